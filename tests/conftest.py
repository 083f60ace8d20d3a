"""What holds for all tests: four devices, as `jax.pmap` sees them."""

import os

# Before JAX is imported. One processor stands for all of them.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import pytest

from my3dgen_jax.training import devices

# A worker that runs a hundred larger tests reaches the limit.
_MANY, _TOO_MANY = 20_000, 45_000


@pytest.fixture(autouse=True, scope="module")
def forget_programs_of_modules():
  """Drops compiled programs after a module when there are many."""
  yield
  devices.forget_programs(_MANY)


@pytest.fixture(autouse=True)
def forget_programs_of_tests():
  """Drops them at once when the limit is near; what follows is slower."""
  yield
  devices.forget_programs(_TOO_MANY)

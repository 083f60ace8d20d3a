"""What holds for all tests: four devices, as `jax.pmap` sees them."""

import gc
import os
import pathlib

# Before JAX is imported. One processor stands for all of them.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import jax
import pytest

# Every compiled program is a few mappings of memory, of which Linux allows a
# process 65,530. A worker that runs a hundred larger tests gets there, and
# then XLA aborts.
_MAPS = pathlib.Path("/proc/self/maps")
_MANY, _TOO_MANY = 20_000, 45_000


def _forget_programs(most):
  if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > most:
    jax.clear_caches()
    gc.collect()


@pytest.fixture(autouse=True, scope="module")
def forget_programs_of_modules():
  """Drops compiled programs after a module when there are many."""
  yield
  _forget_programs(_MANY)


@pytest.fixture(autouse=True)
def forget_programs_of_tests():
  """Drops them at once when the limit is near; what follows is slower."""
  yield
  _forget_programs(_TOO_MANY)

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
_MANY = 25_000


@pytest.fixture(autouse=True)
def forget_programs():
  """Drops compiled programs between tests when there are many."""
  yield
  if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > _MANY:
    jax.clear_caches()
    gc.collect()

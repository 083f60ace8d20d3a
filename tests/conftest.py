"""What holds for all tests: four devices, as `jax.pmap` sees them."""

import gc
import os
import pathlib

# Before JAX is imported. One processor stands for all of them.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import jax
import pytest

# Every compiled program is a few mappings of memory, of which Linux allows a
# process 65,530. A worker that runs a thousand tests comes close, and then
# XLA aborts.
_MAPS = pathlib.Path("/proc/self/maps")
_MANY = 20_000


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
  """Drops compiled programs between modules when there are many."""
  yield
  if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > _MANY:
    jax.clear_caches()
    gc.collect()

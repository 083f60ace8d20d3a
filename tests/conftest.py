"""What holds for all tests: devices, compiling, memory."""

import gc
import os
import pathlib

# Before JAX is imported. To compile a few steps of a tiny model takes longer
# than to make them, so most tests compile with little effort, which shows in
# speed and in the last digits. `make test` runs those that hold numbers against
# the original's, marked so, in a second run that compiles as everybody does.
FULLY = os.environ.get("MY3DGEN_COMPILE_FULLY", "0") == "1"
_LITTLE_EFFORT = (
  "--xla_cpu_use_fusion_emitters=false",
  "--xla_cpu_parallel_codegen_split_count=1",
)
os.environ.setdefault(
  "XLA_FLAGS",
  " ".join(
    (
      # One processor stands for four devices of `jax.pmap`.
      "--xla_force_host_platform_device_count=4",
      *(() if FULLY else _LITTLE_EFFORT),
    )
  ),
)
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(not FULLY)))
# Workers, and the commands that tests start, take programs from each other;
# the next run takes them all.
for _name, _value in (
  (
    "JAX_COMPILATION_CACHE_DIR",
    str(pathlib.Path(__file__).parents[1] / ".cache" / "jax"),
  ),
  ("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0"),
  ("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1"),
):
  os.environ.setdefault(_name, _value)

import jax
import pytest

from my3dgen_jax.jobs import devices
from my3dgen_jax.tracing import platforms

# As commands do; what looks at other platforms says so, `both_ways`.
platforms.trace_for_cpu_alone()

# A worker that runs a hundred larger tests reaches the limit.
_MANY, _TOO_MANY = 20_000, 45_000


# Traced programs are millions of objects, and to look through all of them for
# garbage as often as Python does takes a tenth of a worker's time.
gc.set_threshold(10_000, 10, 10)


def pytest_configure(config):
  config.addinivalue_line("markers", "numbers: holds numbers, see conftest")


@pytest.fixture(autouse=True, scope="class")
def compile_fully_where_numbers_count(request):
  """Where both kinds of tests are asked for in one run."""
  quickly = (
    os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1"
    and request.node.get_closest_marker("numbers") is None
  )
  if jax.config.read("jax_disable_most_optimizations") != quickly:
    jax.clear_caches()  # they know nothing of the choice
    jax.config.update("jax_disable_most_optimizations", quickly)


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


@pytest.fixture(scope="module")
def both_ways():
  """Functions are traced for other platforms, too."""
  jax.clear_caches()
  platforms.trace_for_cpu_alone(False)
  yield
  platforms.trace_for_cpu_alone()
  jax.clear_caches()

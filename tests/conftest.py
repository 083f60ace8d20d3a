"""What holds for all tests: four devices, as `jax.pmap` sees them."""

import os

# Before JAX is imported. One processor stands for all of them.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

"""Commands: flags to config to one call: python -m my3dgen_jax.launch.NAME."""

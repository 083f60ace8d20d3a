"""Thin `flax.linen` modules that give parameters to `my3dgen_jax.ops`."""

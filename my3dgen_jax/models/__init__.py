"""Thin `flax.linen` modules that hold the parameters for `my3dgen_jax.ops`."""

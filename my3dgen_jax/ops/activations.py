"""Activations that XLA's own definitions compute more slowly."""

import jax
import jax.numpy as jnp

from my3dgen_jax.types import Array


@jax.custom_jvp
def softplus(x: Array) -> jax.Array:
  """log(1 + exp(x)).

  The renderer takes a hundred million of these an image. `jax.nn.softplus`
  also guards infinities of two arguments and takes three times as long on a
  CPU.
  """
  return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


# By hand, because the parts have no derivative at zero and the whole has.
softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))

"""Parameters as modules compute with them."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp


def stored(
  module: nn.Module,
  name: str,
  initializer: Callable[..., jax.Array],
  shape: tuple[int, ...],
) -> jax.Array:
  """A parameter of a module: float32, whatever it is kept in.

  So half the memory is a matter of `jax.tree.map(to_half, params)`: products
  and sums stay as exact as activations are, and gradients come in the type of
  what they are of.

  Args:
    module: whose `param` it is.
    name: of the parameter.
    initializer: (key, shape, dtype) to values.
    shape: of the parameter.
  """
  value = module.param(name, initializer, shape, jnp.float32)
  return jnp.asarray(value).astype(jnp.float32)

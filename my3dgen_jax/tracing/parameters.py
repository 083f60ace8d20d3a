"""Parameters in the dtype that modules compute with, and their shapes."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


def traced_once(shapes: Callable[..., Any]) -> Callable[..., Any]:
  """Caches a function that returns a tree of `jax.ShapeDtypeStruct`s.

  To trace a model takes seconds, and files are checked against its shapes
  whenever they are read.

  Args:
    shapes: the function, of hashable arguments.

  Returns: the function; each caller gets its own tree.
  """
  cached = functools.lru_cache(maxsize=16)(shapes)
  signature = inspect.signature(shapes)

  @functools.wraps(shapes)
  def own(*arguments: Any, **options: Any) -> Any:
    bound = signature.bind(*arguments, **options)
    bound.apply_defaults()  # however it is called, it is traced once
    return jax.tree.map(lambda leaf: leaf, cached(*bound.args, **bound.kwargs))

  return own


def stored(
  module: nn.Module,
  name: str,
  initializer: Callable[..., jax.Array],
  shape: tuple[int, ...],
) -> jax.Array:
  """A module's parameter in float32, whatever dtype it is stored in.

  So `jax.tree.map(to_half, params)` halves the memory: products and sums stay
  as exact as the activations, and gradients have the dtype of their
  parameters.

  Args:
    module: the module that owns the parameter.
    name: name of the parameter.
    initializer: (key, shape, dtype) to values.
    shape: shape of the parameter.
  """
  if module.has_variable("params", name):
    # Flax traces the initializer for its shape alone whenever a parameter is
    # read, which for random numbers is a tenth of tracing a model.
    initializer = nn.initializers.zeros
  value = module.param(name, initializer, shape, jnp.float32)
  return jnp.asarray(value).astype(jnp.float32)

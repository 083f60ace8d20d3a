"""Matrix products of shapes that a GPU should not have to try out."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.tracing.platforms import by_platform, is_symbolic
from my3dgen_jax.types import Array

# Rows up to which a sum of scaled rows is as quick as a product on a GPU:
# what is large, the matrix, is read once in either case.
_FEW_ROWS = 32


def few_rows(
  x: Array, matrix: Array, *, precision: lax.PrecisionLike | None = None
) -> jax.Array:
  """The product [N, I] x [I, O], as a rule of a few rows with a large matrix.

  Args:
    x: [N, I] float32.
    matrix: [I, O] float32.
    precision: of the product where it is one.

  Returns: [N, O] float32.
  """
  return _few_rows(precision)(x, matrix)


def scaled_rows(
  x: Array, matrix: Array, *, precision: lax.PrecisionLike | None = None
) -> jax.Array:
  """`few_rows` as accelerators compute it."""
  if is_symbolic(x.shape[0]) or x.shape[0] > _FEW_ROWS:
    return jnp.matmul(x, matrix, precision=precision)
  return jnp.sum(x[:, :, None] * matrix, axis=1)


@functools.cache
def _few_rows(precision: lax.PrecisionLike | None) -> Callable[..., jax.Array]:
  return by_platform(
    cpu=functools.partial(jnp.matmul, precision=precision),
    default=functools.partial(scaled_rows, precision=precision),
  )

"""Matrix products for shapes that a GPU should not have to autotune."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.tracing.platforms import by_platform, is_symbolic
from my3dgen_jax.types import Array

# Up to this number of rows, a sum of scaled rows is as fast as a product on a
# GPU: both read the large operand, the matrix, once.
_FEW_ROWS = 32


def few_rows(
  x: Array, matrix: Array, *, precision: lax.PrecisionLike | None = None
) -> jax.Array:
  """The product [N, I] x [I, O], usually of few rows with a large matrix.

  Args:
    x: [N, I] float32.
    matrix: [I, O] float32.
    precision: matrix-product precision, where a product is used.

  Returns: [N, O] float32.
  """
  return _few_rows(precision)(x, matrix)


def scaled_rows(
  x: Array, matrix: Array, *, precision: lax.PrecisionLike | None = None
) -> jax.Array:
  """`few_rows` as it is computed on accelerators."""
  if is_symbolic(x.shape[0]) or x.shape[0] > _FEW_ROWS:
    return jnp.matmul(x, matrix, precision=precision)
  return jnp.sum(x[:, :, None] * matrix, axis=1)


@functools.cache
def _few_rows(precision: lax.PrecisionLike | None) -> Callable[..., jax.Array]:
  return by_platform(
    cpu=functools.partial(jnp.matmul, precision=precision),
    default=functools.partial(scaled_rows, precision=precision),
  )

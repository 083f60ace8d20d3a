"""Checks of what callers hand in, with messages that name the argument.

Shapes are checked always; values only where they are concrete, because
inside `jax.jit` there are none to look at.
"""

from typing import Optional, Tuple, Union

import chex
import jax
import numpy as np

from my3dgen_jax.errors import UserError


def concrete(array: chex.Array) -> Optional[np.ndarray]:
  """The array's values on the host, or None while it is being traced."""
  return None if isinstance(array, jax.core.Tracer) else np.asarray(array)


def check_shape(name: str, array: chex.Array,
                expected: Tuple[Union[int, str, type(...)], ...]):
  """Checks a shape.

  Args:
    name: what to call the array in the message.
    array: anything with a shape.
    expected: sizes; a text stands for any size, a leading `...` for any
      number of leading axes.

  Raises:
    UserError: names the array, the expected and the actual shape.
  """
  shape = np.shape(array)
  tail = expected[1:] if expected[:1] == (...,) else expected
  got = shape[len(shape) - len(tail):]
  fits = (len(shape) >= len(tail) if tail is not expected
          else len(shape) == len(tail))
  if not fits or any(isinstance(want, int) and want != size
                     for want, size in zip(tail, got)):
    text = ", ".join("..." if size is ... else str(size) for size in expected)
    raise UserError(f"{name}: expected shape [{text}], got {list(shape)}")


def check_finite(name: str, array: chex.Array):
  """Raises UserError if concrete values hold NaN or infinity."""
  values = concrete(array)
  if values is not None and not np.isfinite(values).all():
    first = tuple(map(int, np.argwhere(~np.isfinite(values))[0]))
    raise UserError(f"{name}: holds NaN or infinity, first at {first}")


def check_rows(name: str, array: chex.Array, rows: int, other: str):
  """Raises UserError unless the leading axis has 1 or `rows` entries."""
  if np.shape(array)[0] not in (1, rows):
    raise UserError(f"{name}: has {np.shape(array)[0]} rows, but {other} has "
                     f"{rows}; they must be equal, or 1")

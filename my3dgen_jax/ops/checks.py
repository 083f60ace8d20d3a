"""Checks of callers' arguments, with messages that name the argument.

Shapes are always checked; values only if they are concrete, because
there are none inside `jax.jit`.
"""

import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Array


def concrete(array: Any) -> np.ndarray | None:
  """The array's values on the host, or None while it is being traced."""
  return None if isinstance(array, jax.core.Tracer) else np.asarray(array)


def as_float32(
  name: str, value: Any, shape: tuple[int | str | type(...), ...]
) -> jax.Array:
  """Checks real numbers of any type and converts them to float32.

  Args:
    name: the value's name in messages.
    value: an array, a number or nested lists of numbers.
    shape: see `check_shape`.

  Raises:
    UserError: not real numbers, a wrong shape, NaN or infinity; it names the
      value.
  """
  try:
    dtype = (
      jnp.result_type(value)
      if hasattr(value, "dtype")
      else np.asarray(value).dtype
    )
  except (TypeError, ValueError):
    dtype = np.dtype(object)
  if not (
    jnp.issubdtype(dtype, jnp.floating) or jnp.issubdtype(dtype, jnp.integer)
  ):
    raise UserError(
      f"{name}: expected real numbers, got {type(value).__name__} of {dtype}"
    )
  check_shape(name, value, shape)
  values = concrete(value)
  if values is not None and not np.isfinite(values).all():
    first = tuple(map(int, np.argwhere(~np.isfinite(values))[0]))
    raise UserError(
      f"{name}: holds NaN or infinity"
      + (f", first at {first}" if first else "")
    )
  return jnp.asarray(value, jnp.float32)


def check_shape(
  name: str, array: Array, expected: tuple[int | str | type(...), ...]
):
  """Checks a shape.

  Args:
    name: the array's name in the message.
    array: anything with a shape.
    expected: sizes; a string stands for any size except zero, a leading `...`
      for any number of leading axes.

  Raises:
    UserError: names the array, the expected and the actual shape.
  """
  shape = np.shape(array)
  tail = expected[1:] if expected[:1] == (...,) else expected
  got = shape[len(shape) - len(tail) :]
  fits = (
    len(shape) >= len(tail) if tail is not expected else len(shape) == len(tail)
  )
  if not fits or any(
    size != want if isinstance(want, int) else size == 0
    for want, size in zip(tail, got)
  ):
    text = ", ".join("..." if size is ... else str(size) for size in expected)
    raise UserError(f"{name}: expected shape [{text}], got {list(shape)}")


def check_rows(name: str, array: Array, rows: int, other: str):
  """Raises UserError unless the leading axis has 1 or `rows` entries."""
  if np.shape(array)[0] not in (1, rows):
    raise UserError(
      f"{name}: has {np.shape(array)[0]} rows, but {other} has "
      f"{rows}; they must be equal, or 1"
    )


def whole_number(name: str, value: Any, low: int, high: int) -> int:
  """Checks that a value of any integer type lies within bounds.

  Raises:
    UserError: another type, or out of bounds; it names the value.
  """
  try:
    number = operator.index(value)
  except TypeError:
    number = None
  if number is None or isinstance(value, bool) or not low <= number <= high:
    raise UserError(
      f"{name}: expected a whole number >= {low} and <= {high}, got {value!r}"
    )
  return number

"""Messages about files that cannot be converted, always one line."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from my3dgen_jax.errors import CheckpointError

_LONGEST_VALUE = 60
_LONGEST_SHAPE = 8


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
  """Prefixes errors raised in the block with the file's name."""
  try:
    yield
  except CheckpointError as error:
    raise CheckpointError(f"{path}: {error}") from None
  except OSError as error:
    raise CheckpointError(
      f"{path}: {error.strerror or type(error).__name__}"
    ) from None


def describe(value: Any) -> str:
  """A short text for a value from a file, however large or nested it is."""
  if value is None or isinstance(value, (bool, int, float)):
    return repr(value)
  if isinstance(value, (str, bytes)):
    shown = ascii(value[:_LONGEST_VALUE])
    return shown if len(value) <= _LONGEST_VALUE else shown + "…"
  return f"a {type(value).__name__}"


def bare(text: Any) -> str:
  """As `describe`, without the quotes, for names of tensors and networks."""
  return describe(text).strip("'")


def describe_shape(shape: Sequence[int]) -> str:
  """A short text for a shape, however many axes it has."""
  shown = ", ".join(map(str, shape[:_LONGEST_SHAPE]))
  return f"[{shown}]" if len(shape) <= _LONGEST_SHAPE else f"[{shown}, …]"


def some_of(texts: Iterable[str], *, most: int = 4) -> str:
  """The first few texts, and their number if there are more.

  Args:
    texts: short texts; see `describe`.
    most: the maximum number of texts to show.
  """
  names = sorted(texts)
  shown = ", ".join(names[:most])
  return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"


def read_file(path: str) -> bytes:
  """The bytes of a regular file.

  Raises:
    CheckpointError: the file is missing or empty, or is a folder or a device.
  """
  with naming(path):
    if os.path.isdir(path):
      raise CheckpointError("is a folder, not a checkpoint file")
    if os.path.exists(path) and not os.path.isfile(path):
      # Reading a pipe or a device might never end.
      raise CheckpointError("is not a regular file")
    try:
      with open(path, "rb") as file:
        data = file.read()
    except MemoryError:
      raise CheckpointError("is larger than the free memory") from None
    if not data:
      raise CheckpointError("is empty")
    return data

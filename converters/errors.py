"""The one kind of failure that converters have, always a single line."""

import contextlib
import os
from typing import Any, Iterable, Iterator

from my3dgen_jax.errors import UserError

_LONGEST_LINE = 600  # a hostile file must not fill the terminal
_LONGEST_VALUE = 60


class CheckpointError(UserError):
  """A file that cannot be used; the message is one line of plain text."""

  def __init__(self, reason: str):
    super().__init__(_one_line(reason))


def _one_line(text: str) -> str:
  """Printable characters only: names in a file may hold terminal codes."""
  shown = text if len(text) <= _LONGEST_LINE else text[:_LONGEST_LINE] + "…"
  return "".join(char if char.isprintable() else "?" for char in shown)


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
  """Puts the file's name in front of what goes wrong inside the block."""
  try:
    yield
  except CheckpointError as error:
    raise CheckpointError(f"{path}: {error}") from None
  except OSError as error:
    raise CheckpointError(
        f"{path}: {error.strerror or type(error).__name__}") from None


def describe(value: Any) -> str:
  """A short text for a value out of a file, however large or tangled it is."""
  if value is None or isinstance(value, (bool, int, float)):
    return repr(value)
  if isinstance(value, (str, bytes)):
    shown = ascii(value[:_LONGEST_VALUE])
    return shown if len(value) <= _LONGEST_VALUE else shown + "…"
  return f"a {type(value).__name__}"


def some_of(names: Iterable[str], *, most: int = 4) -> str:
  """The first few names, and how many there are where that is more."""
  names = sorted(names)
  shown = ", ".join(describe(name).strip("'\"") for name in names[:most])
  return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"


def read_file(path: str) -> bytes:
  """The bytes of an ordinary file.

  Raises:
    CheckpointError: there is none, or it is a folder, a device or empty.
  """
  with naming(path):
    if os.path.isdir(path):
      raise CheckpointError("is a folder, not a checkpoint file")
    if os.path.exists(path) and not os.path.isfile(path):
      # A pipe or a device could go on for ever.
      raise CheckpointError("is not an ordinary file")
    with open(path, "rb") as file:
      data = file.read()
    if not data:
      raise CheckpointError("is empty")
    return data

"""Untrusted JSON."""

import json
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from my3dgen_jax.errors import UserError

MOST_BYTES = 2**25  # limit for a text; parsed, it takes some 25 times as much

_MOST_DEPTH = 64  # nesting; this project's files have ten levels at most
_MOST_DIGITS = 20  # of integers that fit in 64 bits, with a sign


def parse(data: bytes | str) -> Any:
  """Parses plain data.

  Args:
    data: the text, or its bytes in UTF-8, -16 or -32. Integers beyond 64 bits
      become floats.

  Raises: UserError: it is too long, not JSON, or nested too deeply. The
    message begins with "is": callers put the file's name in front.
  """
  if len(data) > MOST_BYTES:
    raise UserError(
      f"is {len(data) / 1e6:.0f} MB long, expected {MOST_BYTES / 1e6:.0f} MB "
      "at most"
    )
  try:
    content = json.loads(data, parse_int=_parse_int)
  except RecursionError:
    raise UserError("is nested too deeply") from None
  except ValueError as error:
    raise UserError(f"is not valid JSON: {error}") from None
  level = _containers([content])
  for _ in range(_MOST_DEPTH):
    if not level:
      return content
    level = [
      inner
      for outer in level
      for inner in _containers(
        outer.values() if isinstance(outer, dict) else outer
      )
    ]
  raise UserError("is nested too deeply")


def _containers(values: Iterable[Any]) -> list[Any]:
  return [value for value in values if isinstance(value, (dict, list))]


def read(path: str | os.PathLike) -> Any:
  """Reads plain data from a file.

  Raises: UserError: names the file; see `parse`.
  """
  return parse_file(path, read_bytes(path))


def read_bytes(path: str | os.PathLike) -> bytes:
  """A file's bytes, up to one more than `parse` accepts.

  Raises: UserError: it cannot be read.
  """
  try:
    with pathlib.Path(path).open("rb") as file:
      return file.read(MOST_BYTES + 1)
  except OSError as error:
    raise UserError(f"{path}: cannot be read: {error.strerror}") from None


def parse_file(path: str | os.PathLike, data: bytes | str) -> Any:
  """`parse`, with errors that name the file."""
  try:
    return parse(data)
  except UserError as error:
    raise UserError(f"{path}: {error}") from None


def _parse_int(digits: str) -> int | float:
  """An integer, or a float (such as infinity) if it does not fit 64 bits.

  Python's own integers have no limit: arithmetic with floats would then fail.
  """
  if len(digits) > _MOST_DIGITS or abs(int(digits)) >= 2**63:
    return float(digits)
  return int(digits)

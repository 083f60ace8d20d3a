"""Reads scores of samples from tables of labels."""

import csv
import io
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from my3dgen_jax.data.dataset_json import normal_name
from my3dgen_jax.directions.direction import read_bytes
from my3dgen_jax.errors import UserError

_MOST_DIGITS = 18  # of a sample's number
_LONGEST_CELL = 40  # characters of a cell in messages
_WORDS = {"true": 1.0, "false": 0.0}


def read_labels(
  path: str | os.PathLike,
  names_or_count: Sequence[str] | int,
  *,
  partly: bool = False,
) -> np.ndarray:
  """Reads a table of labels or scores.

  The file is CSV in UTF-8 with two columns, separated by commas: a sample's
  name or number, and its score: a number, "true" or "false". Surrounding spaces
  and empty lines are ignored. The first line is ignored as a header if its
  second column is not a score and its first is not a sample.

    name,smile
    00012.png,0.83
    00013.png,0.02

  Args:
    path: the file to read.
    names_or_count: the samples' names, each of which the first column must
      contain once, in any order (other names are ignored); or the number of
      samples, then the first column must contain 0 to count - 1 once each, in
      any order.
    partly: allow samples without a line or with an empty second column, which
      are not labeled.

  Returns: [N] float64, in the order of the names or numbers; NaN for samples
    that `partly` leaves out.
  Raises:
    UserError: an invalid score, an unknown number or a duplicate name, with
      file and line; or a missing label, with the file and the first such name.
  """
  numbered = isinstance(names_or_count, (int, np.integer))
  names = (
    list(map(str, range(names_or_count)))
    if numbered
    else list(map(normal_name, names_or_count))
  )
  rows = {name: i for i, name in enumerate(names)}
  if len(rows) < len(names):
    raise UserError("names_or_count: some names appear twice")
  scores = np.full(len(names), np.nan)
  seen: dict[str, int] = {}
  for i, (line, cells) in enumerate(_read_table(path)):
    here = f"{path}: line {line}"
    if len(cells) != 2:
      raise UserError(
        f"{here}: expected 2 columns separated by a comma, got {len(cells)}"
      )
    name = _number(cells[0]) if numbered else normal_name(cells[0])
    score = _score(cells[1])
    if (
      i == 0
      and score is None
      and (name is None if numbered else name not in rows)
    ):
      continue  # the header
    if partly and not cells[1]:
      continue
    if score is None:
      raise UserError(
        f"{here}: expected a finite number, true or false, got "
        f"{_short(cells[1])}"
      )
    if name not in rows:
      if not numbered:
        continue
      raise UserError(
        f"{here}: expected a sample's number, 0 to "
        f"{len(names) - 1}, got {_short(cells[0])}"
      )
    if name in seen:
      raise UserError(
        f"{here}: {_short(name)} already has a label in line "
        f"{seen[name]}; keep one of them"
      )
    seen[name] = line
    scores[rows[name]] = score
  missing = [name for name in names if name not in seen]
  if missing and not (partly and seen):
    raise UserError(
      f"{path}: {len(missing)} of {len(names)} have no label, "
      f"the first is {_short(missing[0])}; add a line for "
      + ("some" if partly else "each")
    )
  return scores


def _read_table(path: str | os.PathLike) -> Iterator[tuple[int, list[str]]]:
  """Yields the lines that are not empty, with their numbers."""
  path = pathlib.Path(path)
  try:
    # Spreadsheets may write a byte order mark, which "-sig" removes.
    text = read_bytes(path).decode("utf-8-sig")
  except OSError as error:
    raise UserError(f"{path}: cannot be read: {error.strerror}") from None
  except UnicodeDecodeError:
    raise UserError(
      f"{path}: is not UTF-8 text; save it as CSV in UTF-8"
    ) from None
  reader = csv.reader(io.StringIO(text, newline=""), strict=True)
  try:
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if any(cells):
        yield reader.line_num, cells
  except csv.Error as error:
    raise UserError(
      f"{path}: line {reader.line_num}: is not valid CSV: {error}"
    ) from None


def _number(cell: str) -> str | None:
  """A sample's number in canonical form, or None."""
  if cell.isascii() and cell.isdigit() and len(cell) <= _MOST_DIGITS:
    return str(int(cell))
  return None


def _score(cell: str) -> float | None:
  if cell.lower() in _WORDS:
    return _WORDS[cell.lower()]
  try:
    score = float(cell)
  except ValueError:
    return None
  return score if np.isfinite(score) else None


def _short(text: str) -> str:
  return repr(
    text if len(text) <= _LONGEST_CELL else text[: _LONGEST_CELL - 3] + "..."
  )

"""Scores of samples, read from tables of labels."""

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
_LONGEST_CELL = 40  # of a table, in messages
_WORDS = {"true": 1.0, "false": 0.0}


def read_labels(
  path: str | os.PathLike,
  names_or_count: Sequence[str] | int,
  *,
  partly: bool = False,
) -> np.ndarray:
  """Reads a table of labels or scores.

  The file is CSV in UTF-8, two columns, separated by commas: what is
  labelled, and a number, "true" or "false". Space around either does not
  count, and empty lines are passed over. The first line is a header, and
  passed over as well, if its second column is no score and its first is
  nothing that could be labelled.

    name,smile
    00012.png,0.83
    00013.png,0.02

  Args:
    path: of the file.
    names_or_count: names of what is labelled: the first column is to have
      each of them once, in any order, and other names in it are passed over;
      or how many samples there are: the first column is to have the numbers
      0 to count - 1, each once, in any order.
    partly: some may have no line, or nothing in their second column: those
      that nobody could decide, or has come to.

  Returns: [N] float64, in the order of the names or numbers; NaN of those
    that `partly` leaves out.
  Raises:
    UserError: names the file and the line: no score, no such number, a name
      that comes twice; or the file, and the first name that has no label, if
      all must, or none has.
  """
  numbered = isinstance(names_or_count, (int, np.integer))
  names = (
    list(map(str, range(names_or_count)))
    if numbered
    else list(map(normal_name, names_or_count))
  )
  rows = {name: i for i, name in enumerate(names)}
  if len(rows) < len(names):
    raise UserError("names_or_count: some names come twice")
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
        f"{here}: {_short(name)} has a label already, in line "
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
  """The lines that are not empty, with their numbers."""
  path = pathlib.Path(path)
  try:
    # A spreadsheet may put a mark in front, which "-sig" takes off.
    text = read_bytes(path).decode("utf-8-sig")
  except OSError as error:
    raise UserError(f"{path}: cannot be read: {error.strerror}") from None
  except UnicodeDecodeError:
    raise UserError(
      f"{path}: is no text in UTF-8; save it as CSV in UTF-8"
    ) from None
  reader = csv.reader(io.StringIO(text, newline=""), strict=True)
  try:
    for cells in reader:
      cells = [cell.strip() for cell in cells]
      if any(cells):
        yield reader.line_num, cells
  except csv.Error as error:
    raise UserError(
      f"{path}: line {reader.line_num}: is no CSV: {error}"
    ) from None


def _number(cell: str) -> str | None:
  """A sample's number as Python writes it, or None."""
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

"""Tables of measurements: the numbers, then the text."""

import csv
import dataclasses
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LEVEL = 0.95  # of confidence intervals
FEW = 5  # people: with fewer, an interval is little more than their range
_RESAMPLES = 2000


@dataclasses.dataclass(frozen=True)
class Column:
  """A measured number.

  Attributes:
    name: key of the values.
    title: title in the heading.
    better: 1: higher is better, -1: lower is, 0: neither.
    digits: decimals to print.
  """

  name: str
  title: str
  better: int = 0
  digits: int = 3

  @property
  def heading(self) -> str:
    return self.title + {1: " ↑", -1: " ↓", 0: ""}[self.better]


@dataclasses.dataclass(frozen=True)
class Table:
  """Values of people by row and column.

  Attributes:
    name: stem of its files' names.
    title: heading above it.
    columns: the measured numbers.
    rows: title of a row to its values: column's name to one value per person,
      NaN where unknown.
    notes: lines below it.
  """

  name: str
  title: str
  columns: tuple[Column, ...]
  rows: dict[str, dict[str, Sequence[float]]]
  notes: tuple[str, ...] = ()


class Estimate(NamedTuple):
  """A mean over people.

  Attributes:
    mean: mean of the known values.
    low: lower end of the confidence interval, NaN for one person.
    high: upper end of the confidence interval, NaN for one person.
    count: count of people.
  """

  mean: float
  low: float
  high: float
  count: int


def estimate(values: Sequence[float], *, seed: int = 0) -> Estimate | None:
  """A mean and its interval, by percentile bootstrap over people.

  Args:
    values: one value per person; NaN is left out.
    seed: seed of the resampling.

  Returns: Estimate; None: nothing is known.
  Source: Efron 1979.
  """
  values = np.asarray(values, np.float64)
  values = values[~np.isnan(values)]
  if not len(values):
    return None
  if len(values) == 1:
    return Estimate(float(values[0]), math.nan, math.nan, 1)
  drawn = np.random.default_rng(seed).integers(
    len(values), size=(_RESAMPLES, len(values))
  )
  low, high = np.quantile(
    values[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
  )
  return Estimate(float(values.mean()), float(low), float(high), len(values))


def cell(values: Sequence[float], digits: int) -> str:
  """A mean with its interval as text; "–" if nothing is known."""
  found = estimate(values)
  if found is None:
    return "–"
  text = f"{found.mean:.{digits}f}"
  if found.count > 1:
    text += f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"
  return text


def difference(
  table: Table, column: str, row: str, other: str
) -> Estimate | None:
  """The difference of two rows, person by person.

  Args:
    table: the table of both rows.
    column: the column's name.
    row: the row's title.
    other: the other row's title.

  Returns: the estimate of row - other; None: a row or its values are missing.
  """
  try:
    a, b = (
      np.asarray(table.rows[name][column], np.float64) for name in (row, other)
    )
  except KeyError:
    return None
  return estimate(a - b)


def to_markdown(table: Table) -> str:
  """The table as text, with its title and notes."""
  lines = [
    f"### {table.title}",
    "",
    "| | " + " | ".join(one.heading for one in table.columns) + " |",
    "|---" * (len(table.columns) + 1) + "|",
  ]
  for title, values in table.rows.items():
    lines.append(
      f"| {title} | "
      + " | ".join(
        cell(values.get(one.name, ()), one.digits) for one in table.columns
      )
      + " |"
    )
  if table.notes:
    lines += [""] + [f"- {note}" for note in table.notes]
  return "\n".join(lines) + "\n"


def to_csv(table: Table, people: Sequence[str]) -> str:
  """All values, one line per row, column and person.

  Args:
    table: the table, with values in the order of people.
    people: people's names.
  """
  text = io.StringIO()
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow(["row", "column", "person", "value"])
  for title, values in table.rows.items():
    for column in table.columns:
      for person, value in zip(people, values.get(column.name, ())):
        if not math.isnan(value):
          writer.writerow([title, column.name, person, repr(float(value))])
  return text.getvalue()


def verdict(found: Estimate | None, better: int) -> str:
  """An estimated difference in a word or two."""
  if found is None or found.count < 2:
    return "not known"
  if found.low <= 0 <= found.high:
    return "no difference seen"
  return "better" if (found.mean > 0) == (better > 0) else "worse"


def merged(
  columns: Sequence[str], rows: Sequence[dict[str, float]]
) -> dict[str, list[float]]:
  """Merges people's rows into values by column, NaN where one is missing."""
  return {
    name: [float(row.get(name, math.nan)) for row in rows] for name in columns
  }

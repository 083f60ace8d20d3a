"""Plots of tables, with matplotlib."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from my3dgen_jax.apps.evaluation import tables
from my3dgen_jax.apps.evaluation.tables import Table
from my3dgen_jax.errors import without_package
from my3dgen_jax.storage.files import replacing


def has_picture(table: Table) -> bool:
  """Whether `draw` has something to draw."""
  return table.name in _FIGURES


def check():
  """Raises UserError where matplotlib is missing."""
  try:
    import matplotlib.figure  # pylint: disable=import-outside-toplevel

    del matplotlib
  except ImportError as error:
    raise without_package(
      error,
      "matplotlib",
      'figures need matplotlib: pip install "my3dgen-jax[evaluate]"',
    ) from error


def draw(table: Table, out: pathlib.Path):
  """Writes the plot of a table, if it has one, to `NAME.png`.

  Args:
    table: any table.
    out: folder.

  Raises: UserError: matplotlib is missing.
  """
  if not has_picture(table):
    return
  check()
  # Not pyplot, which keeps figures alive and needs a display.
  # pylint: disable=import-outside-toplevel
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure

  figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
  FigureCanvasAgg(figure)
  axes = figure.add_subplot()
  _FIGURES[table.name](table, axes)
  axes.set_title(table.title)
  axes.grid(alpha=0.3)
  axes.legend()
  with replacing(out / f"{table.name}.png") as file:
    figure.savefig(file, format="png")


def _curve(table: Table, axes: Any):
  """ID_sim over the weight of the second anchor."""
  columns = [one.name for one in table.columns if one.name.isdigit()]
  weight = np.linspace(0, 1, len(columns))
  for title, row in table.rows.items():
    found = [tables.estimate(row[name]) for name in columns]
    if None in found:
      continue
    (line,) = axes.plot(
      weight, [one.mean for one in found], marker="o", label=title
    )
    axes.fill_between(
      weight,
      [one.low for one in found],
      [one.high for one in found],
      alpha=0.15,
      color=line.get_color(),
    )
  axes.set_xlabel("weight of the second anchor")
  axes.set_ylabel("ID_sim")


def _bars(table: Table, axes: Any, *, unit: str):
  """One group of bars per column."""
  place = np.arange(len(table.columns))
  width = 0.8 / len(table.rows)
  for i, (title, row) in enumerate(table.rows.items()):
    found = [tables.estimate(row[one.name]) for one in table.columns]
    means = [np.nan if one is None else one.mean for one in found]
    axes.bar(
      place + width * (i - (len(table.rows) - 1) / 2), means, width, label=title
    )
  axes.set_xticks(place, [one.title for one in table.columns], rotation=45)
  axes.set_ylabel(unit)


_FIGURES: dict[str, Callable[[Table, Any], None]] = {
  "figure4": _curve,
  "figure9": functools.partial(_bars, unit="change, per cent"),
}

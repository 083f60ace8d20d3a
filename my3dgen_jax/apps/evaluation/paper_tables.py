"""The paper's tables, from people and measurements.

Source: My3DGen, tables 1 to 6, figures 4 and 9, appendix D.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from my3dgen_jax.apps.evaluation import tables
from my3dgen_jax.apps.evaluation.runs import blocks, cost, Runs, Variant
from my3dgen_jax.apps.evaluation.tables import Column, Table

PRETRAINED, FULL, LORA = "pretrained", "all weights", "LoRA"
LAYOUTS_FILE = "layouts.png"

_ID = Column("id_sim", "ID_sim", 1)
_LPIPS = Column("lpips", "LPIPS", -1)
_PSNR = Column("psnr", "PSNR", 1, 1)
_Measure = Callable[[str, Variant], dict[str, Any]]


def _settings(runs: Runs) -> dict[str, Variant | None]:
  return {
    PRETRAINED: Variant(runs.main, pretrained=True),
    FULL: runs.full and Variant(runs.full),
    LORA: Variant(runs.main),
  }


def _by_setting(
  people: Sequence[Runs],
  columns: Sequence[Column],
  values: Callable[[Variant], dict[str, Any]],
  settings: Sequence[str] = (PRETRAINED, FULL, LORA),
) -> dict[str, dict[str, list[float]]]:
  """Rows of a table: `values` of each person's generators."""
  return {
    setting: tables.merged(
      [one.name for one in columns],
      [
        values(variant) if variant else {}
        for variant in (_settings(runs)[setting] for runs in people)
      ],
    )
    for setting in settings
  }


def _three(
  name: str,
  title: str,
  measure_name: str,
  columns: Sequence[Column],
  notes: Sequence[str] = (),
) -> Callable[..., Table]:
  """A table with rows for pretrained, all weights and LoRA."""

  def make(people: Sequence[Runs], measure: _Measure) -> Table:
    rows = _by_setting(
      people, columns, functools.partial(measure, measure_name)
    )
    return Table(name, title, tuple(columns), rows, tuple(notes))

  return make


def _ablation(
  name: str,
  title: str,
  axis: str,
  label: str,
  columns: Sequence[Column],
  measured: Mapping[str, str],
  *,
  with_full: bool = False,
  notes: Sequence[str] = (),
) -> Callable[..., Table]:
  """A table with one row per value of an axis.

  Args:
    name: the table's name.
    title: the table's title.
    axis: one of `AXES`.
    label: title of a row, with `{}` for the value.
    columns: the table's columns.
    measured: column's name to "protocol.value", the value of a protocol.
    with_full: whether to add a row for tuning all weights.
    notes: lines below the table.
  """

  def values(variant: Variant | None, measure: _Measure):
    found = {}
    for column, what in measured.items() if variant else ():
      protocol, value = what.split(".")
      found[column] = (
        cost(variant) if protocol == "cost" else measure(protocol, variant)
      )[value]
    return found

  def make(people: Sequence[Runs], measure: _Measure) -> Table:
    # People with nothing to compare would only blur it.
    compared = [len(runs.variants[axis]) > 1 for runs in people]
    steps = sorted({step for runs in people for step in runs.variants[axis]})
    of = lambda runs, step: runs.variants[axis].get(step)
    rows = {
      label.format(step): tables.merged(
        [one.name for one in columns],
        [
          values(
            Variant(of(runs, step)) if use and of(runs, step) else None, measure
          )
          for runs, use in zip(people, compared)
        ],
      )
      for step in steps
    }
    if with_full:
      rows[FULL] = tables.merged(
        [one.name for one in columns],
        [
          values(Variant(runs.full) if use and runs.full else None, measure)
          for runs, use in zip(people, compared)
        ],
      )
    return Table(
      name,
      title,
      tuple(columns),
      rows,
      tuple(notes)
      + (f"{sum(compared)} of {len(people)} people have runs to compare.",),
    )

  return make


def _curve(people: Sequence[Runs], measure: _Measure) -> Table:
  """Figure 4 as a table: one column per weight."""

  def values(variant):
    found = measure("interpolation", variant)
    return {
      "id_sim": found["id_sim"],
      **{str(i): value for i, value in enumerate(found["curve"])},
    }

  count = len(measure("interpolation", Variant(people[0].main))["curve"])
  columns = (dataclasses.replace(_ID, title="mean"),) + tuple(
    Column(str(i), f"{i / (count - 1):.2g}", 1) for i in range(count)
  )
  return Table(
    "figure4",
    "Figure 4: interpolation between anchors, ID_sim",
    columns,
    _by_setting(people, columns, values),
    (
      "Columns are weights of the second anchor; all weights of a pair are "
      "seen from the same random views.",
    ),
  )


def _blocks(people: Sequence[Runs], measure: _Measure) -> Table:
  """Figure 9 as a table: one column per block."""
  del measure
  found = {
    setting: [
      blocks(_settings(runs)[setting]) if _settings(runs)[setting] else {}
      for runs in people
    ]
    for setting in (FULL, LORA)
  }
  names = list(
    dict.fromkeys(
      name for rows in found.values() for row in rows for name in row
    )
  )
  columns = tuple(
    Column(name, name.split("/")[-1], digits=1)
    for name in sorted(names, key=_order)
  )
  return Table(
    "figure9",
    "Figure 9: change of the weights by block, per cent",
    columns,
    {setting: tables.merged(names, rows) for setting, rows in found.items()},
    ("Mean over weight tensors W of sum |change| / sum |W|.",),
  )


def _order(block: str) -> tuple[Any, ...]:
  """Sort key of blocks: by number, not as text."""
  first, *rest = block.split("/")
  order = ("backbone", "superresolution", "decoder")
  last = rest[-1] if rest else ""
  return (
    order.index(first) if first in order else len(order),
    int(last[1:]) if last[1:].isdigit() else 0,
    last,
  )


def _cost(people: Sequence[Runs], measure: _Measure) -> Table:
  del measure
  columns = (
    Column("numbers", "numbers tuned", -1, 0),
    Column("megabytes", "on disk, MB", -1, 2),
    Column("seconds", "tuning, s", -1, 0),
  )
  rows = _by_setting(people, columns, cost, (FULL, LORA))
  return Table(
    "cost",
    "Cost of a run",
    columns,
    rows,
    (
      "Seconds of tuning alone, including compilation, on the machine that ran "
      "it, beside whatever else ran there.",
    ),
  )


# Read from the runs, so there is nothing to measure first.
READ_OFF = ("figure9", "cost")
_INVERTED = {
  "lpips": "inversion.lpips",
  "psnr": "inversion.psnr",
  "id_sim": "inversion.id_sim",
  "interpolation": "interpolation.id_sim",
}
_ABLATED = (
  _LPIPS,
  _PSNR,
  _ID,
  Column("interpolation", "interpolation ID_sim", 1),
)
_STUDY = "The paper's user study needs human raters; it is not repeated here."

# Name -> function that makes the table from people and measurements.
TABLES: dict[str, Callable[..., Table]] = {
  "1": _three(
    "table1",
    "Table 1: inversion of held-out photos",
    "inversion",
    (Column("dists", "DISTS", -1), _LPIPS, _PSNR, _ID),
    ("ID_sim of random views; other scores of the photo's own view.",),
  ),
  "figure4": _curve,
  "2": _three(
    "table2",
    "Table 2: synthesis from the hull",
    "synthesis",
    (
      _ID,
      Column("diversity", "diversity", 1),
      Column("groups", "groups of 3 or more", digits=1),
    ),
    (
      _STUDY,
      "A group of fewer than three images has no spread, so with "
      "few images diversity depends on how many groups are larger.",
    ),
  ),
  "3": _three(
    "table3",
    "Table 3: enhancement of held-out photos, ID_sim",
    "enhancement",
    (
      Column("inpainting", "inpainting", 1),
      Column("superresolution", "super-resolution", 1),
    ),
    (
      _STUDY,
      "Super-resolution starts from photos 16 times smaller, but "
      "not below 16 pixels; the generator fills in what they lack.",
    ),
  ),
  "4": _three(
    "table4",
    "Table 4: editing in alpha-space",
    "editing",
    (_ID, Column("unedited", "before the edit", 1)),
    (_STUDY,),
  ),
  "5": _ablation(
    "table5",
    "Table 5: rank",
    "rank",
    "rank {}",
    _ABLATED + (Column("numbers", "numbers", -1, 0),),
    {**_INVERTED, "numbers": "cost.numbers"},
    with_full=True,
  ),
  "6": _ablation(
    "table6",
    "Table 6: number of training photos",
    "photos",
    "{} photos",
    _ABLATED[-1:],
    {"interpolation": "interpolation.id_sim"},
  ),
  "figure9": _blocks,
  "layout": _ablation(
    "layout",
    "How convolutions are adapted",
    "layout",
    "{}",
    _ABLATED + (Column("numbers", "numbers", -1, 0),),
    {**_INVERTED, "numbers": "cost.numbers"},
    notes=(
      "kernel: rank 3 for a 3 x 3 convolution, which gives the sizes the "
      "paper reports; rank: its equation 4; original: LoRA's original "
      f"layout, see {LAYOUTS_FILE}.",
    ),
  ),
  "lpips": _ablation(
    "lpips_weight",
    "Weight of LPIPS in the loss",
    "lpips_weight",
    "weight {}",
    _ABLATED,
    _INVERTED,
  ),
  "hull": _three(
    "hull",
    "Appendix D: photos projected into the hull, weights unchanged",
    "reprojection",
    (_LPIPS, _PSNR, _ID),
  ),
  "cost": _cost,
}


def with_gaps(table: Table) -> Table:
  """The table, with a note on why a column is empty."""
  if not any(column.name == "dists" for column in table.columns) or not all(
    np.isnan(row["dists"]).all() for row in table.rows.values()
  ):
    return table
  return dataclasses.replace(
    table, notes=table.notes + ("DISTS needs its weights; give --dists.",)
  )

"""The paper's claims about its numbers, checked against ours."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from my3dgen_jax.apps.evaluation import tables
from my3dgen_jax.apps.evaluation.tables import Estimate, Table

_CLOSE = 0.05  # share of the other's mean: a smaller difference counts as none
_MOST_CHANGED = ("b8", "b16", "b32")
_NOT_SEEN = "not seen"


@dataclasses.dataclass(frozen=True)
class Claim:
  """A claim that one row is better than another, or as good.

  Attributes:
    text: the claim, short.
    table: the table's name.
    column: name of the column to compare.
    row: title of the row that the claim is about.
    other: title of the row to compare it with.
    expected: "better", or "same": not worse by more than 5 %.
  """

  text: str
  table: str
  column: str
  row: str
  other: str
  expected: Literal["better", "same"]


def _of_settings() -> list[Claim]:
  found = []
  for table, columns in (
    ("table1", ("lpips", "id_sim")),
    ("figure4", ("id_sim",)),
    ("table2", ("id_sim", "diversity")),
    ("table3", ("inpainting", "superresolution")),
    ("table4", ("id_sim",)),
  ):
    for column in columns:
      found.append(
        Claim(
          "better than pretrained",
          table,
          column,
          "LoRA",
          "pretrained",
          "better",
        )
      )
      found.append(
        Claim(
          "as good as all weights", table, column, "LoRA", "all weights", "same"
        )
      )
  return found


CLAIMS: Sequence[Claim] = (
  *_of_settings(),
  *(
    Claim(
      f"as good as {other} for identity",
      "table5",
      column,
      "rank 1",
      other,
      "same",
    )
    for other in ("rank 4", "rank 16")
    for column in ("id_sim", "interpolation")
  ),
  Claim(
    "shows the photo more closely than rank 1",
    "table5",
    "lpips",
    "rank 16",
    "rank 1",
    "better",
  ),
  Claim(
    "better than 10",
    "table6",
    "interpolation",
    "50 photos",
    "10 photos",
    "better",
  ),
  Claim(
    "as good as 100",
    "table6",
    "interpolation",
    "50 photos",
    "100 photos",
    "same",
  ),
)


def judge(claim: Claim, found: dict[str, Table]) -> str | None:
  """Judges a claim by our numbers.

  Args:
    claim: one of `CLAIMS`.
    found: tables by name.

  Returns: "yes", "no" or "not seen", with the numbers, after "perhaps" if
    there are few people; None: unknown, or only one person.
  """
  table = found.get(claim.table)
  column = table and next(
    (one for one in table.columns if one.name == claim.column), None
  )
  if not column:
    return None
  gain = tables.difference(table, claim.column, claim.row, claim.other)
  if gain is None or gain.count < 2:
    return None
  numbers = (
    f"{gain.mean:+.{column.digits}f} [{gain.low:.{column.digits}f}, "
    f"{gain.high:.{column.digits}f}], {gain.count} people"
  )
  answer = _answer(claim, table, column, gain)
  if gain.count < tables.FEW and answer != _NOT_SEEN:
    answer = f"perhaps {answer}"
  return f"{answer} ({numbers})"


def _answer(
  claim: Claim, table: Table, column: tables.Column, gain: Estimate
) -> str:
  if claim.expected == "better":
    return {"better": "yes", "worse": "no"}.get(
      tables.verdict(gain, column.better), _NOT_SEEN
    )
  other = np.nanmean(table.rows[claim.other][claim.column])
  loss = -gain.mean * column.better / abs(other)
  return "yes" if loss <= _CLOSE else "no"


def to_markdown(found: Sequence[Table]) -> str:
  """All claims that our tables can judge, as Markdown; none: ""."""
  by_name = {table.name: table for table in found}
  lines = []
  for claim in CLAIMS:
    answer = judge(claim, by_name)
    if answer is not None:
      table = by_name[claim.table]
      title = next(
        one.title for one in table.columns if one.name == claim.column
      )
      lines.append(
        f"| {table.title}: {title} | {claim.row}: {claim.text} | {answer} |"
      )
  blocks = by_name.get("figure9")
  if blocks is not None:
    lines.append(
      f"| {blocks.title} | {', '.join(_MOST_CHANGED)} change most "
      f"| {_most_changed(blocks)} |"
    )
  if not lines:
    return ""
  return (
    "\n".join(
      [
        "## The paper's claims",
        "",
        'Compared per person. "As good": at most 5 % worse; "better": the '
        f'interval excludes 0; "perhaps": fewer than {tables.FEW} people.',
        "",
        "| | claim | here |",
        "|---|---|---|",
        *lines,
      ]
    )
    + "\n"
  )


def _most_changed(table: Table) -> str:
  """Whether the blocks that LoRA changes most are the paper's."""
  means = {
    column.title: np.nanmean(table.rows["LoRA"][column.name])
    for column in table.columns
    if column.name.startswith("backbone")
  }
  first = sorted(means, key=means.get, reverse=True)[: len(_MOST_CHANGED)]
  same = len(set(first) & set(_MOST_CHANGED))
  return (
    f"{'yes' if same == len(first) else 'no'} ({', '.join(first)} of "
    "the backbone)"
  )

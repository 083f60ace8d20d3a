"""Measures quality over time for several ways to find anchors and to tune.

    python -m benchmarks.time_to_quality --flagfile=demo.flags \\
        --people=8 --out=runs/time_to_quality
    python -m benchmarks.time_to_quality --flagfile=demo.flags \\
        --people=1 --first=100 --ways=sweep --out=runs/schedules

Personalizes people of the demo that no network has seen, in each of `WAYS`,
with the command's own code in one process. A first short run of each way
compiles the programs and is not counted. Seconds are those of anchors and
tuning; quality is measured on held-out photos, with latents found in the same
way. Run the same command again to resume after an interruption.
"""

import contextlib
import dataclasses
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from benchmarks import report
from my3dgen_jax.apps import personalize
from my3dgen_jax.apps.evaluation import tables
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.apps.personalization.shelf import Shelf
from my3dgen_jax.data.photo_selection import parse_selection
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.demo.personal_runs import with_demo_person
from my3dgen_jax.launch.support import cli, config_flags
from my3dgen_jax.training import run_folder

_SELECTIONS = ("test", "reference", "train", "validation")
_CONFIG = config_flags.define(
  PersonalizeConfig,
  cache="",
  skip=["report"],
  parse=dict.fromkeys(_SELECTIONS, parse_selection),
)
_DEMO = cli.integer(
  "demo_person",
  None,
  "Not used, but set in flagfiles; see --first and --people.",
)
_PEOPLE = cli.integer("people", 8, "Number of people, >= 1.", lower_bound=1)
_FIRST = cli.integer(
  "first", 0, "Number of the first procedural person, >= 0.", lower_bound=0
)
_WAYS = cli.string(
  "ways", "all", "Names of ways, separated by semicolons; or all, or sweep."
)
_FIRST_ADAPTER = cli.string(
  "first_adapter",
  "runs/first/run/adapter.safetensors",
  "Adapter file that first_adapter wrote.",
)
cli.define_cpu_devices()


class Way(NamedTuple):
  """Flags and step counts of runs.

  Attributes:
    steps: numbers of tuning steps, one per run.
    flags: flags that differ from the flagfile's.
  """

  steps: tuple[int, ...]
  flags: Mapping[str, str]


# The settings of demo.flags before there was an encoder.
_BEFORE = {
  "anchor_init": "mean",
  "anchor_steps": "20",
  "anchor_learning_rate": "0.1",
  "decay": "none",
  "beta1": "0",
  "learning_rate": "0.01",
  "batch_size": "2",
}
_LOOK = {
  **_BEFORE,
  "anchor_init": "encoder",
  "anchor_steps": "0",
  "anchor_looks": "1",
}
_REFINED = {**_LOOK, "anchor_steps": "5", "anchor_learning_rate": "0.05"}
WAYS = {
  "before": Way((100, 200), _BEFORE),
  "a look": Way((100, 200), _LOOK),
  "a look, refined": Way((70, 130, 200), _REFINED),
  "a look, refined, twice the rate": Way(
    (70,), {**_REFINED, "learning_rate": "0.02"}
  ),
  "demo.flags": Way((0,), {}),  # with the flagfile's own steps
}
SWEEP = {
  f"{rate:g} {decay} b1={beta1:g} batch {batch}{' first' * first}": Way(
    (steps,),
    {
      **_LOOK,
      "learning_rate": f"{rate}",
      "decay": decay,
      "beta1": f"{beta1}",
      "batch_size": f"{batch}",
      "adapter_init": "FIRST" if first else "",
    },
  )
  for rate, decay, beta1, batch, steps, first in (
    (0.01, "none", 0.0, 2, 80, False),
    (0.01, "cosine", 0.9, 2, 80, False),
    (0.03, "cosine", 0.9, 2, 80, False),
    (0.01, "none", 0.0, 2, 80, True),
    (0.01, "cosine", 0.9, 2, 80, True),
    (0.03, "cosine", 0.9, 2, 80, True),
    (0.02, "cosine", 0.0, 2, 80, True),
    (0.01, "cosine", 0.0, 2, 80, False),
    (0.015, "cosine", 0.0, 2, 80, False),
  )
}
_COLUMNS = (
  tables.Column("seconds", "seconds", -1, 1),
  tables.Column("lpips", "LPIPS", -1, 4),
  tables.Column("psnr", "PSNR", 1, 2),
  tables.Column("psnr_marks", "PSNR at marks", 1, 2),
  tables.Column("id_sim", "ID_sim", 1, 3),
)
_WARM = 1_000_000  # number of the person whose runs compile programs


def main():
  out = pathlib.Path(_CONFIG().out or "runs/time_to_quality")
  ways = (
    SWEEP
    if _WAYS.value == "sweep"
    else report.chosen("ways", _WAYS.value, WAYS)
  )
  people = range(_FIRST.value, _FIRST.value + _PEOPLE.value)
  shelf = Shelf()
  rows: dict[str, dict[str, list[float]]] = {}
  for name, way in ways.items():
    for steps in way.steps:
      todo = [n for n in people if not _summary(out, n, name, steps).exists()]
      if todo:
        _run(out, _WARM, name, way, steps, shelf)
      for n in todo:
        _run(out, n, name, way, steps, shelf)
      title = f"{name}, {steps} steps" if steps else name
      found = [_numbers(_summary(out, n, name, steps)) for n in people]
      rows[title] = {
        column.name: [one[column.name] for one in found] for column in _COLUMNS
      }
      print(tables.to_markdown(_table({title: rows[title]})), flush=True)
  table = _table(rows)
  print(f"\n{report.machine()}\n\n{tables.to_markdown(table)}")
  first = next(iter(rows))
  for title in list(rows)[1:]:
    compared = (
      (column, tables.difference(table, column.name, title, first))
      for column in _COLUMNS
    )
    print(
      f"{title} - {first}: "
      + ", ".join(
        f"{column.title} {one.mean:+.{column.digits}f} "
        f"[{one.low:+.{column.digits}f}, {one.high:+.{column.digits}f}]"
        for column, one in compared
        if one is not None
      )
    )
  _draw(out / "curves.png", rows)


def _summary(out: pathlib.Path, n: int, name: str, steps: int) -> pathlib.Path:
  folder = "".join(c if c.isalnum() or c in ".=" else "_" for c in name)
  return out / f"person_{n}" / f"{folder}_{steps}" / run_folder.SUMMARY_FILE


def _run(
  out: pathlib.Path, n: int, name: str, way: Way, steps: int, shelf: Shelf
):
  """Makes one run; for the person who is not counted, of a single step."""
  path = _summary(out, n, name, steps)
  album = out / f"person_{n}" / "album"
  demo_album.write_demo_album(album, n)
  with _flags(way, steps):
    config = with_demo_person(
      dataclasses.replace(_CONFIG(), album=str(album), out=str(path.parent)), n
    )
  if n == _WARM:
    tuning = dataclasses.replace(config.tuning, steps=1)
    config = dataclasses.replace(config, tuning=tuning)
    if name in _warmed:
      return
    _warmed.add(name)
    shutil.rmtree(path.parent, ignore_errors=True)
  personalize.personalize(config, resume=True, shelf=shelf, log=lambda _: None)


_warmed: set[str] = set()  # ways whose programs are compiled


@contextlib.contextmanager
def _flags(way: Way, steps: int) -> Iterator[None]:
  values = {**way.flags, **({"steps": str(steps)} if steps else {})}
  if values.get("adapter_init") == "FIRST":
    values["adapter_init"] = _FIRST_ADAPTER.value
  with cli.given(values):
    yield


def _numbers(path: pathlib.Path) -> dict[str, float]:
  summary = run_folder.read_json(path)
  return {
    "seconds": summary["anchor_seconds"] + summary["tuning_seconds"],
    **summary["personalized"],
  }


def _table(rows: Mapping[str, Any]) -> tables.Table:
  return tables.Table("time", "Time to quality", _COLUMNS, dict(rows))


def _draw(path: pathlib.Path, rows: Mapping[str, Mapping[str, list[float]]]):
  """Draws quality over seconds, one curve per way."""
  import matplotlib  # pylint: disable=import-outside-toplevel

  matplotlib.use("Agg")
  from matplotlib import pyplot  # pylint: disable=import-outside-toplevel

  figure, axes = pyplot.subplots(1, 3, figsize=(13, 4))
  ways: dict[str, list[str]] = {}
  for title in rows:
    ways.setdefault(title.rpartition(", ")[0] or title, []).append(title)
  for axis, name in zip(axes, ("lpips", "psnr_marks", "id_sim")):
    for way, titles in ways.items():
      mean = lambda title, column: (
        sum(rows[title][column]) / len(rows[title][column])
      )
      axis.plot(
        [mean(title, "seconds") for title in titles],
        [mean(title, name) for title in titles],
        marker="o",
        label=way,
      )
    axis.set_xlabel("seconds of anchors and tuning")
    axis.set_ylabel(name)
  axes[0].legend()
  figure.tight_layout()
  figure.savefig(path)
  print(path)


if __name__ == "__main__":
  cli.run(main)

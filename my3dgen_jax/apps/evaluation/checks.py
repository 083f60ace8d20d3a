"""Checks for all that an evaluation needs, before anything is measured."""

import pathlib
from collections.abc import Sequence

from my3dgen_jax.apps.evaluation import plots
from my3dgen_jax.apps.evaluation.runs import Runs
from my3dgen_jax.apps.evaluation.settings import (
  EvaluateConfig,
  judge_digest,
  judges_of,
)
from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import metrics
from my3dgen_jax.training import run_folder


def check(people: Sequence[Runs], config: EvaluateConfig):
  """Checks that all weights and libraries are there.

  Raises: UserError: something is missing, with where to get it; or people's
    scores would not be comparable.
  """
  if {"figure4", "figure9"} & set(config.tables):
    plots.check()
  for runs in people:
    for folder in _used(runs, config.tables):
      _check_run(folder, config)
  first = people[0].main
  for runs in people[1:]:
    for kind, folder in judges_of(config, runs.main).items():
      if judge_digest(folder) != judge_digest(judges_of(config, first)[kind]):
        raise UserError(
          f"{runs.main}: uses different weights for "
          f"{kind} than {first}; give one folder for all with "
          f"--{kind}"
        )
    if "4" in config.tables and _base(runs.main) != _base(first):
      raise UserError(
        f"{runs.main}: has another base generator than {first}, and a "
        "direction belongs to one base; measure them separately, or leave "
        "table 4 out"
      )


def _base(folder: pathlib.Path) -> str:
  return run_folder.read_config(folder)[run_folder.BASE_DIGEST]


def _used(runs: Runs, names: Sequence[str]) -> list[pathlib.Path]:
  """The runs of a person that tables use."""
  axes = {
    "5": "rank",
    "6": "photos",
    "layout": "layout",
    "lpips": "lpips_weight",
  }
  compared = [
    folder
    for name in names
    if name in axes
    for folder in runs.variants[axes[name]].values()
  ]
  return list(
    dict.fromkeys([runs.main, *([runs.full] if runs.full else []), *compared])
  )


def _check_run(folder: pathlib.Path, config: EvaluateConfig):
  """Checks that what a run needs is still there."""
  content = run_folder.read_config(folder)
  weights = judges_of(config, folder)
  folders = {"lpips_alex": weights["lpips"], "ir_se50": weights["identity"]}
  if weights["dists"]:
    folders["dists"] = weights["dists"]
  error = metrics.missing(list(folders), folders)
  if error is not None:
    raise UserError(
      f"{folder}: {error} | then give the folders with --lpips, "
      "--identity, --dists"
    )
  for part, remedy in (
    ("test", "which are inverted and enhanced"),
    ("reference", "which identity scores compare with"),
  ):
    if not content["photos"][part]:
      raise UserError(
        f"{folder}: has no {part} photos, {remedy}; personalize "
        f"with --{part}=10"
      )
  for name in ("checkpoint", "album"):
    place = pathlib.Path(content["settings"][name]).expanduser()
    if not place.exists():
      raise UserError(f"{folder}: its {name}, {place}, is missing; restore it")

"""People's runs: found on disk, compared, and loaded for measuring."""

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flax import traverse_util

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.apps.evaluation.protocols import Subject
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.apps.personalization.settings import CIRCUMSTANCES
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.losses import metrics, scores
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.training import run_folder

_MAIN, _WHOLE = "lora", "full"  # run folders of a person


class Variant(NamedTuple):
  """One of a person's generators.

  Attributes:
    folder: the run's folder.
    pretrained: whether to use the run's base, with the run's anchors.
  """

  folder: pathlib.Path
  pretrained: bool = False


class Runs(NamedTuple):
  """A person's runs.

  Attributes:
    name: the person's name.
    main: the LoRA run that the others are compared with.
    full: the run that tuned all weights, or None.
    variants: axis of `AXES` to value to run, including the main run; only runs
      that differ from the main one in nothing else.
  """

  name: str
  main: pathlib.Path
  full: pathlib.Path | None
  variants: dict[str, dict[Any, pathlib.Path]]


# Axis that runs are compared along -> its key in `_content`.
AXES = {
  "rank": "settings.lora.rank",
  "layout": "settings.lora.conv_rank",
  "lpips_weight": "settings.loss.lpips_weight",
  "photos": "photos.train",
}
# What a run that tunes all weights may set differently.
_OF_MODE = ("settings.tuning.", "settings.lora.")


def _content(config: Mapping[str, Any]) -> dict[str, Any]:
  """What a run was made from, by dotted names, from its config."""
  settings = {
    name: value
    for name, value in config["settings"].items()
    if name not in CIRCUMSTANCES
  }
  photos = {
    part: tuple(sorted(names.items()))
    for part, names in config["photos"].items()
  }
  return traverse_util.flatten_dict(
    {
      "settings": settings,
      "photos": photos,
      "weights": config["weights"],
      "base": config[run_folder.BASE_DIGEST],
    },
    sep=".",
  )


def _different(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
  return sorted(name for name in {*a, *b} if a.get(name) != b.get(name))


def _value(axis: str, content: Mapping[str, Any]) -> Any:
  value = content[AXES[axis]]
  return len(value) if axis == "photos" else value


def find_people(places: Sequence[str | os.PathLike]) -> list[Runs]:
  """Finds people's runs.

  Args:
    places: folders of runs, one per person, or runs. Of a person's LoRA runs,
      the one in a folder called "lora" is compared with the others.

  Returns: people, in the order given.
  Raises: UserError, CheckpointError: name the folder and what is wrong.
  """
  people = [_runs_of(pathlib.Path(place).expanduser()) for place in places]
  names = [person.name for person in people]
  for person in people:
    if names.count(person.name) > 1:
      raise UserError(
        f"runs: two people are named {person.name!r}; rename a folder"
      )
  return people


def _runs_of(place: pathlib.Path) -> Runs:
  folders = (
    [place]
    if run_folder.is_run(place)
    else sorted(
      filter(run_folder.is_run, place.iterdir() if place.is_dir() else ())
    )
  )
  configs = {folder: run_folder.read_config(folder) for folder in folders}
  mode = lambda folder: configs[folder]["settings"]["tuning"]["mode"]
  loras = [folder for folder in folders if mode(folder) == "lora"]
  wholes = [folder for folder in folders if mode(folder) == "full"]
  if not loras:
    raise UserError(
      f"{place}: contains no run of my3dgen personalize with an adapter "
      "(--mode=lora); give such a run, or a folder of runs"
    )
  main = _one_of(place, loras, _MAIN)
  for folder in loras + wholes:
    if not (folder / run_folder.SUMMARY_FILE).is_file():
      raise UserError(
        f"{folder}: is not finished; run its command again with --resume"
      )
  contents = {folder: _content(configs[folder]) for folder in loras + wholes}
  variants: dict[str, dict[Any, pathlib.Path]] = {
    axis: {_value(axis, contents[main]): main} for axis in AXES
  }
  for folder in loras:
    different = _different(contents[folder], contents[main])
    for axis in AXES:
      if different == [AXES[axis]]:
        value = _value(axis, contents[folder])
        if value in variants[axis]:
          raise UserError(
            f"{folder}: adds no comparison that "
            f"{variants[axis][value]} does not have; remove one"
          )
        variants[axis][value] = folder
  full = _one_of(place, wholes, _WHOLE) if wholes else None
  for name in _different(contents[full], contents[main]) if full else ():
    if not name.startswith(_OF_MODE):
      raise UserError(
        f"{full}: has a different {name} from {main}, so they "
        "cannot be compared; personalize one of them again"
      )
  return Runs(place.name, main, full, variants)


def _one_of(
  place: pathlib.Path, folders: Sequence[pathlib.Path], name: str
) -> pathlib.Path:
  called = [folder for folder in folders if folder.name == name]
  if not called and len(folders) > 1:
    raise UserError(
      f"{place}: has {len(folders)} runs of the same kind "
      f"({', '.join(folder.name for folder in folders)}); name the one to "
      f"compare {name!r}"
    )
  return (called or list(folders))[0]


def load_subject(
  variant: Variant,
  *,
  stop: StopRequest | None = None,
  cache: pathlib.Path | None = None,
  lpips: str | None = None,
  identity: str | None = None,
  dists: str | None = None,
  precision: str | None = None,
) -> Subject:
  """Loads what protocols need.

  Args:
    variant: the generator.
    stop: see `Subject`.
    cache: see `Subject`.
    lpips: folder of LPIPS's weights; None: the run's.
    identity: folder of the identity network; None: the run's.
    dists: folder of DISTS's weights; None: not measured.
    precision: see `EvaluateConfig`.

  Raises: UserError, CheckpointError, AlbumError: name what is missing.
  """
  person = load_person(
    run=variant.folder,
    pretrained=variant.pretrained,
    lpips=lpips,
    identity=identity,
    encoder="",  # the paper's searches start from means
    precision=precision,
  )
  person.need_lpips()
  reference, photos = (person.photos_of(part) for part in ("reference", "test"))
  for network in (person.lpips, person.identity):
    if scores.judge(network, photos) is not network:
      raise UserError(
        f"{variant.folder}: the demo's networks have only seen procedural "
        "people, so their scores of these photos mean nothing; give others "
        "with --lpips and --identity"
      )
  score = IdentityScore.of(person.identity, reference)
  if score is None:
    raise UserError(
      f"{variant.folder}: has no reference photos, or no "
      "identity network to use them; give one with "
      "--identity"
    )
  if not photos:
    raise UserError(
      f"{variant.folder}: has no held-out photos to "
      "invert and enhance; personalize with "
      "--test=10"
    )
  return Subject(
    person=person,
    photos=photos,
    trained=person.photos_of("train"),
    score=score,
    dists=dists and metrics.load(["dists"], {"dists": dists})["dists"],
    stop=stop or StopRequest(),
    cache=cache,
  )


def blocks(variant: Variant) -> dict[str, float]:
  """Figure 9: how much the weights of each block changed, percent.

  Returns: see `lora.relative_change`.
  """
  run = run_folder.load_run(variant.folder)
  base = run.base.variables["params"]
  if run.lora_config is not None:
    _, adapter = lora_lib.split_collections(run.generator.variables)
    return lora_lib.relative_change(base, adapter, run.lora_config)
  return lora_lib.relative_difference(base, run.generator.variables["params"])


def cost(variant: Variant) -> dict[str, float]:
  """The cost of tuning: "seconds", "numbers" tuned, "megabytes"."""
  summary = run_folder.read_json(variant.folder / run_folder.SUMMARY_FILE)
  # Earlier versions did not record the seconds of tuning alone.
  return {
    "seconds": summary.get("tuning_seconds", math.nan),
    "numbers": summary["adapter_numbers"],
    "megabytes": summary["adapter_bytes"] / 1e6,
  }

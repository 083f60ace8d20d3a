"""Where a direction comes from: a file, labels of samples, or a measure."""

import dataclasses
import os
import pathlib
from collections.abc import Callable

import numpy as np

from my3dgen_jax import directions
from my3dgen_jax.apps.editing import finding, labels
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.samples import read_samples
from my3dgen_jax.apps.person import Person
from my3dgen_jax.config import setting
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import FlagError

_TABLE = ".csv"


@dataclasses.dataclass(frozen=True)
class DirectionSource:
  """Where a direction comes from, and which attributes it keeps fixed."""

  direction: str | None = setting(None, "Direction file, .npy.")
  labels: str | None = setting(
    None, "CSV file of labels: per line, a name from --samples and a score."
  )
  samples: str | None = setting(
    None, "Folder of samples, written by --write_samples."
  )
  attribute: str | None = None  # one of `measurable`, instead of labels
  without: tuple[str, ...] = setting(
    (),
    "Attributes to keep fixed: .npy files, .csv files of the same "
    "samples, or attributes of procedural people.",
  )
  measurable: tuple[str, ...] = ()  # attributes that a `Measure` knows

  @property
  def tables(self) -> list[str]:
    """The label files."""
    return [
      one for one in [self.labels or "", *self.without] if one.endswith(_TABLE)
    ]

  @property
  def measured(self) -> list[str]:
    """The attributes to label by a `Measure`, sorted."""
    return sorted({self.attribute, *self.without} & set(self.measurable))

  def validate(self) -> "DirectionSource":
    """Checks the combination; raises FlagError naming the flags."""
    if sum(map(bool, (self.direction, self.labels, self.attribute))) != 1:
      raise FlagError("give one of --direction, --labels and --demo_attribute")
    if bool(self.tables) != bool(self.samples):
      raise FlagError(
        "--samples, the folder written by --write_samples, and its labels "
        f"({_TABLE}) go together; one of them is missing"
      )
    if self.measured and self.tables:
      raise FlagError(
        f"--without: {', '.join(self.measured)} would be measured "
        "on other samples than those of --samples; give "
        "labels for them"
      )
    if self.measured or self.tables:
      directions.check_fitting()
    return self


def direction_from(
  person: Person,
  source: DirectionSource,
  config: EditConfig,
  out: str | os.PathLike,
  *,
  measure: labels.Measure | None = None,
  log: Callable[[str], None] = print,
) -> Direction:
  """Reads a direction, or finds it among labeled samples.

  Args:
    person: the owner of the generator.
    source: the direction's source.
    config: `share`, and the samples for a measure to label.
    out: folder to keep a measure's labels in.
    measure: labels samples where `source.measured` names attributes.
    log: called with one line per table, and with the accuracy.

  Raises: UserError, CheckpointError: name the file.
  """
  model = person.generator.module.config
  load = lambda path: directions.load(
    path, w_dim=model.w_dim, num_ws=model.num_ws
  )
  name = lambda path: pathlib.Path(path).stem
  tables = source.tables
  # Files first, so that a bad one is found before the samples are drawn.
  given = source.direction and load(source.direction)
  without = [
    one
    if one in source.measurable
    else name(one)
    if one in tables
    else load(one)
    for one in source.without
  ]
  w, scores = None, {}
  if tables:
    w, names = read_samples(
      source.samples, w_dim=model.w_dim, base=person.origin.base
    )
    scores = {
      name(one): directions.read_labels(one, names, partly=True)
      for one in tables
    }
    for one, values in scores.items():
      log(
        f"{one}: {np.isfinite(values).sum()} of {len(names)} samples have "
        "a label"
      )
  elif measure:
    w, scores = labels.label_samples(person, measure, config, out)
  found = lambda one, **options: finding.find_direction(
    w, scores, one, share=config.share, **options
  )
  if given:
    direction = finding.without_others(
      given, [found(one) if isinstance(one, str) else one for one in without]
    )
  else:
    direction = found(source.attribute or name(source.labels), without=without)
  if direction.accuracy is not None:
    log(
      f"{direction.name}: {100 * direction.accuracy:.1f} % of the held-out "
      "samples are on the right side"
    )
  return direction

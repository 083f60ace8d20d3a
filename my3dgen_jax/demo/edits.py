"""Directions of smile and age for the demo's prior, shipped with the package.

Labeling thousands of faces takes one or two minutes, too long to wait for in a
viewer. `benchmarks/demo_directions.py` finds the directions again.
"""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from my3dgen_jax import directions
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.finding import find_direction, with_spread
from my3dgen_jax.apps.editing.labels import label_samples
from my3dgen_jax.apps.person import Person
from my3dgen_jax.demo import attributes, shipped
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.training import run_folder

DIRECTIONS = shipped.PRIOR.with_name("directions")
FILE = "directions.json"
SAMPLES = 3000

_DIGITS = 9  # decimal digits that float32 needs


def find(
  person: Person, out: str | os.PathLike, *, samples: int = SAMPLES
) -> list[Direction]:
  """Finds a direction of each attribute, without the others.

  Args:
    person: the bare prior.
    out: folder to keep labels in, for repeated calls.
    samples: number of faces to label.

  Raises: UserError: scikit-learn is missing; Interrupted.
  """
  config = EditConfig(samples=samples, batch_size=8)
  w, labels = label_samples(person, attributes.shipped_measure(), config, out)
  return [
    find_direction(
      w,
      labels,
      name,
      without=[other for other in attributes.NAMES if other != name],
    )
    for name in attributes.NAMES
  ]


def save(folder: str | os.PathLike, base: str, found: Sequence[Direction]):
  """Writes directions for the base with SHA-256 `base`; raises OSError."""
  numbers = lambda vector: [float(f"{x:.{_DIGITS}g}") for x in vector]
  run_folder.write_json(
    pathlib.Path(folder) / FILE,
    {
      run_folder.BASE_DIGEST: base,
      "directions": [
        {
          "name": one.name,
          "accuracy": one.accuracy,
          "spread": one.spread,
          "vector": numbers(one.vector),
        }
        for one in found
      ],
    },
  )


def shipped_directions(
  base: str, folder: str | os.PathLike = DIRECTIONS
) -> list[Direction]:
  """The directions that come with the package.

  Args:
    base: SHA-256 of the generator, or the start of it.
    folder: the folder of the directions.

  Returns: the directions; none if they are for another generator.
  Raises: CheckpointError: the file is damaged.
  """
  path = pathlib.Path(folder) / FILE
  data = run_folder.read_json(path)
  try:
    if not base or not data[run_folder.BASE_DIGEST].startswith(base):
      return []
    return [_direction(row) for row in data["directions"]]
  except (KeyError, TypeError, ValueError, AttributeError):
    raise CheckpointError(
      f"{path}: is damaged; install the package again, or run "
      "benchmarks/demo_directions.py"
    ) from None


def directions_for(person: Person, paths: Sequence[str]) -> list[Direction]:
  """Directions to edit along, with spreads.

  Args:
    person: a person with the directions' base.
    paths: `.npy` files; none: the package's own directions, if the base is the
      demo's.

  Raises: UserError, CheckpointError: names the file.
  """
  if not paths:
    return shipped_directions(person.origin.base)
  model = person.generator.module.config
  return [
    with_spread(
      person,
      directions.load(path, w_dim=model.w_dim, num_ws=model.num_ws),
      EditConfig(samples=SAMPLES),
    )
    for path in paths
  ]


def _direction(row: dict[str, Any]) -> Direction:
  vector = np.array(row["vector"], np.float32)
  vector.flags.writeable = False
  accuracy = row["accuracy"]
  return Direction(
    str(row["name"]),
    vector,
    None if accuracy is None else float(accuracy),
    float(row["spread"]),
  )

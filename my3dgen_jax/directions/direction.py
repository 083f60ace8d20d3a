"""What a direction is: a unit vector, its name, and how good it is."""

import dataclasses
import pathlib

import numpy as np

_MOST_BYTES = 2**24  # of a file; directions have some kilobytes


@dataclasses.dataclass(frozen=True, eq=False)
class Direction:
  """A direction in W, or in W+.

  Attributes:
    name: of what changes, for people.
    vector: [w_dim], or [num_ws, w_dim] where layers differ; float32, of unit
      length over all its entries.
    accuracy: share of held-out samples on the right side of the plane, in
      [0, 1]; None: not known.
    spread: standard deviation of the samples' projections on it, so that
      strengths can be told in standard deviations; None: not known.
  """

  name: str
  vector: np.ndarray
  accuracy: float | None = None
  spread: float | None = None


def read_bytes(path: pathlib.Path) -> bytes:
  """The bytes of a regular file; raises OSError, which has a reason."""
  if path.exists() and not path.is_file():
    # A pipe or a device could go on for ever.
    raise OSError(None, "is not a regular file")
  with path.open("rb") as file:
    data = file.read(_MOST_BYTES + 1)
  if len(data) > _MOST_BYTES:
    raise OSError(None, f"has more than {_MOST_BYTES // 2**20} MiB")
  return data


def unit(vector: np.ndarray) -> np.ndarray:
  """The same direction in float32, of unit length, read-only."""
  vector = np.asarray(vector, np.float64)
  vector = vector / np.abs(vector).max()  # squares of tiny numbers are zero
  vector = (vector / np.linalg.norm(vector)).astype(np.float32)
  vector.flags.writeable = False
  return vector

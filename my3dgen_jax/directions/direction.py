"""A direction: a unit vector, its name, accuracy and spread."""

import dataclasses
import pathlib

import numpy as np

_MOST_BYTES = 2**24  # largest file to read; directions have a few kilobytes


@dataclasses.dataclass(frozen=True, eq=False)
class Direction:
  """A direction in W, or in W+.

  Attributes:
    name: name of the attribute, for display.
    vector: [w_dim], or [num_ws, w_dim] if layers differ; float32, unit norm
      over all entries.
    accuracy: share of held-out samples on the correct side of the plane, in
      [0, 1]; None: unknown.
    spread: standard deviation of the samples' projections onto it, to express
      strengths in standard deviations; None: unknown.
  """

  name: str
  vector: np.ndarray
  accuracy: float | None = None
  spread: float | None = None


def read_bytes(path: pathlib.Path) -> bytes:
  """Reads a regular file; OSError has a reason in `strerror`."""
  if path.exists() and not path.is_file():
    # Reading a pipe or a device might never end.
    raise OSError(None, "is not a regular file")
  with path.open("rb") as file:
    data = file.read(_MOST_BYTES + 1)
  if len(data) > _MOST_BYTES:
    raise OSError(None, f"has more than {_MOST_BYTES // 2**20} MiB")
  return data


def unit(vector: np.ndarray) -> np.ndarray:
  """Normalizes a vector; float32, read-only."""
  vector = np.asarray(vector, np.float64)
  vector = (
    vector / np.abs(vector).max()
  )  # squares of tiny numbers would underflow
  vector = (vector / np.linalg.norm(vector)).astype(np.float32)
  vector.flags.writeable = False
  return vector

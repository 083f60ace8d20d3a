"""Marks of photos, saved after each photo, and proposals for the next.

The file is a landmarks file, see `data.faces.landmarks`: a marked photo has a
face, a skipped one has none, and other photos are not in it.
"""

import pathlib
import threading
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from my3dgen_jax.apps.marking.kinds import Kind
from my3dgen_jax.data.faces import landmarks
from my3dgen_jax.data.faces.landmarks import Face, Given

Box = tuple[float, float, float, float]


class Item(NamedTuple):
  """A photo to mark.

  Attributes:
    name: the photo's name in the landmarks file.
    path: the photo's file.
  """

  name: str
  path: pathlib.Path


class Marks:
  """Marks of photos; thread-safe.

  Attributes:
    items: the photos, in the order shown.
    kind: the points to mark.
  """

  def __init__(self, path: pathlib.Path, items: Sequence[Item], kind: Kind):
    """Continues from the file, if there is one.

    Args:
      path: the landmarks file.
      items: the photos.
      kind: the points to mark.

    Raises: UserError: the file is damaged.
    """
    self._path, self.items, self.kind = path, tuple(items), kind
    self._lock = threading.Lock()
    self._faces: dict[str, list[Face]] = {}
    if path.exists():
      self._faces = dict(landmarks.read_json(path, len(kind.names)).faces)

  def of(self, name: str) -> list[Face] | None:
    """The face of a photo; []: the photo was skipped; None: not marked yet."""
    return self._faces.get(name)

  def count(self) -> int:
    """Number of photos that are marked or skipped."""
    return sum(item.name in self._faces for item in self.items)

  def set(self, name: str, face: Face | None):
    """Marks a photo, or skips it (None), and writes the file.

    Raises: OSError: the file cannot be written; the marks do not change.
    """
    with self._lock:
      faces = {**self._faces, name: [] if face is None else [face]}
      landmarks.write_json(self._path, faces)
      self._faces = faces

  def given(self) -> Given:
    """The faces by the photo's name, in the form that `prepare` uses."""
    return Given(dict(self._faces), {})

  def shape(self) -> np.ndarray:
    """The typical face, updated with the marks so far, [K, 2]."""
    marked = [faces[0].points for faces in self._faces.values() if faces]
    typical = self.kind.shape
    return np.mean([typical, *(_fitted(one, typical) for one in marked)], 0)

  def proposal(self, box: Box | None) -> np.ndarray | None:
    """Proposed points in a box, from the marks so far.

    Args:
      box: the detector's box; None: there is none.

    Returns: [K, 2], pixels; None: there is no box, or no marks yet.
    """
    known = [
      _in_box(face.points, face.box)
      for faces in self._faces.values()
      for face in faces
      if face.box is not None
    ]
    if box is None or not known:
      return None
    place = np.mean(known, axis=0)
    corner, size = np.array(box[:2]), np.subtract(box[2:], box[:2])
    return corner + place * size


def _in_box(points: np.ndarray, box: Box) -> np.ndarray:
  return (points - box[:2]) / np.maximum(np.subtract(box[2:], box[:2]), 1e-9)


def _fitted(points: np.ndarray, target: np.ndarray) -> np.ndarray:
  """Points, rotated, scaled and moved to fit others by least squares."""
  a, b = (x @ [1, 1j] for x in (points, target))
  a0, b0 = a.mean(), b.mean()
  turn = np.vdot(a - a0, b - b0) / max(np.vdot(a - a0, a - a0).real, 1e-12)
  found = b0 + turn * (a - a0)
  return np.stack([found.real, found.imag], axis=1)

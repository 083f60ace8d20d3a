"""Faces in photos: their landmarks, and files of landmarks.

Everything is in pixels of the photo; (0, 0) is its upper left corner, "left" is
the image's left. A face has the few points that `face_align` needs (for people:
the centers of the eyes, the nose's tip, the corners of the mouth; left ones
first, in MTCNN's order) and, if a detector knows more, the 468 points of
MediaPipe's face mesh, which make `face_pose` more accurate.

Files that replace a detector:

    detections/NAME.txt   one face: "x y" in each line, as EG3D's own tools
                          write, or "9 x y x y ...", as cat data sets have it
    landmarks.json        {"NAME.jpg": [{"points": [[x, y], ...],
                                         "dense": [[x, y, z], ...],
                                         "box": [x, y, x, y],
                                         "score": 0.9}, ...], ...}
                          all but "points" may be missing

The mean mesh, `face_mesh.npz`, is the average of what MediaPipe's two models
in 0.10.14 see in the unlabeled photos that `benchmarks/face_constants.py`
lists, made left-right symmetric.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from my3dgen_jax.data.dataset_json import normal_name
from my3dgen_jax.errors import one_line, UserError
from my3dgen_jax.storage import json_files
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.types import Array

FACE_POINTS = 5
MESH_POINTS = 468

# Mesh indices: the eyes' corners and the top of the lid; the nose's tip and
# its bridge between the eyes; the corners of the mouth.
_LEFT_EYE, _RIGHT_EYE = ((33, 133), 159), ((263, 362), 386)
_NOSE, _BRIDGE = 1, 168
_MOUTH = 61, 291
# MTCNN, to whose points EG3D aligns, places an eye this fraction of the way
# from the middle of its corners to the lid, and the nose's tip this fraction of
# the way to the bridge. benchmarks/face_constants.py fitted both to MTCNN's
# points in unlabeled photos.
_EYE_TO_LID = 0.48
_NOSE_TO_BRIDGE = 0.09


@dataclasses.dataclass(frozen=True, eq=False)
class Face:
  """One face in a photo.

  Attributes:
    points: [K, 2] float64, pixels.
    dense: [468, 3] float64, MediaPipe's mesh, or None. Depth is also in pixels,
      from an arbitrary origin; it grows away from the camera.
    box: (left, top, right, bottom), pixels, or None.
    score: the detector's confidence, in [0, 1], or None.
  """

  points: np.ndarray
  dense: np.ndarray | None = None
  box: tuple[float, float, float, float] | None = None
  score: float | None = None

  @property
  def size(self) -> float:
    """The longer side of the box, or otherwise of the points, pixels."""
    if self.box is not None:
      return max(self.box[2] - self.box[0], self.box[3] - self.box[1])
    return float(np.ptp(self.points, axis=0).max())

  def moved(self, move: Callable[[np.ndarray], np.ndarray]) -> "Face":
    """The face after `Alignment.to_crop` or another similarity.

    Args:
      move: function of points, [N, 2], or [N, 3] with depth.
    """
    box = self.box
    if box is not None:
      box = tuple(move(np.reshape(box, (2, 2))).ravel().tolist())
    return dataclasses.replace(
      self,
      points=move(self.points),
      box=box,
      dense=None if self.dense is None else move(self.dense),
    )


class Detector(Protocol):
  """A function that finds faces."""

  def __call__(self, image: np.ndarray) -> list[Face]:
    """The faces in a photo, [H, W, 3] uint8, the largest first."""


def largest_first(faces: list[Face]) -> list[Face]:
  """Sorts faces in the order in which a `Detector` returns them."""
  return sorted(faces, key=lambda face: -face.size)


def points_of_mesh(mesh: Array) -> np.ndarray:
  """The five points of a face, where MTCNN would place them.

  Args:
    mesh: [468, D].

  Returns: [5, D].
  """
  mesh = np.asarray(mesh)

  def eye(corners, lid):
    middle = mesh[list(corners)].mean(axis=0)
    return middle + _EYE_TO_LID * (mesh[lid] - middle)

  nose = mesh[_NOSE] + _NOSE_TO_BRIDGE * (mesh[_BRIDGE] - mesh[_NOSE])
  return np.stack(
    [eye(*_LEFT_EYE), eye(*_RIGHT_EYE), nose, *mesh[list(_MOUTH)]]
  )


@dataclasses.dataclass(frozen=True, eq=False)
class MeanMesh:
  """MediaPipe's mesh of an average face.

  Attributes:
    points: [468, 3]: x to the image's right, y up, z towards the viewer; x
      is 0 in the plane of symmetry, 1 the distance of the eyes' outer
      corners.
    deviation: [468, 2], standard deviation over faces: along x and y, and along
      z.
    mirror: [468], the index of each point's mirror image.
  """

  points: np.ndarray
  deviation: np.ndarray
  mirror: np.ndarray


@functools.cache
def mean_mesh() -> MeanMesh:
  """The average face; see the module's docstring."""
  with np.load(pathlib.Path(__file__).with_name("face_mesh.npz")) as file:
    points, deviation = file["points"], file["deviation"]
  other = points * [-1, 1, 1]
  mirror = np.argmin(np.sum((points[:, None] - other) ** 2, axis=-1), axis=1)
  return MeanMesh(
    points.astype(np.float64), deviation.astype(np.float64), mirror
  )


def read_points(
  path: str | os.PathLike, count: int = FACE_POINTS
) -> np.ndarray:
  """Reads one face's points, "x y" per line or "COUNT x y x y ...".

  Args:
    path: a text file.
    count: expected number of points.

  Returns: [count, 2] float64.
  Raises: UserError: it cannot be read, or holds anything but this many points;
    names the file.
  """
  try:
    words = pathlib.Path(path).read_text().replace(",", " ").split()
    numbers = np.array([float(word) for word in words])
  except (OSError, ValueError) as error:
    raise UserError(
      f"{path}: cannot be read as landmarks: "
      f"{one_line(error).removeprefix(f'{path}: ')}"
    ) from None
  if len(numbers) == 2 * count + 1 and numbers[0] == count:
    numbers = numbers[1:]
  if len(numbers) != 2 * count or not np.isfinite(numbers).all():
    raise UserError(
      f"{path}: expected {count} points, x and y of each, got "
      f"{len(numbers)} numbers"
    )
  return numbers.reshape(count, 2)


class Given(NamedTuple):
  """Landmarks read from files, by the photos' names.

  Attributes:
    faces: faces of each photo, the largest first.
    faults: why a photo's landmarks cannot be used.
  """

  faces: dict[str, list[Face]]
  faults: dict[str, str]


def read_files(
  files: Iterable[tuple[str, str | os.PathLike]], count: int = FACE_POINTS
) -> Given:
  """Reads one face per file; a bad file does not affect the others.

  Args:
    files: names of the photos, and the files for `read_points`.
    count: expected number of points.
  """
  given = Given({}, {})
  for name, path in files:
    try:
      given.faces[normal_name(name)] = [Face(read_points(path, count))]
    except UserError as error:
      given.faults[normal_name(name)] = str(error)
  return given


def read_folder(folder: str | os.PathLike, count: int = FACE_POINTS) -> Given:
  """Reads a folder of `NAME.txt`, one face each.

  Returns: names without extension.
  Raises: UserError: there are no such files.
  """
  files = sorted(pathlib.Path(folder).glob("*.txt"))
  if not files:
    raise UserError(
      f'{folder}: there are no landmarks (NAME.txt, {count} lines "x y")'
    )
  return read_files([(file.stem, file) for file in files], count)


def read_json(path: str | os.PathLike, count: int = FACE_POINTS) -> Given:
  """Reads what `write_json` writes, or a user's own file; see the module.

  Instead of a list of faces there may be a single face, and instead of a face
  just its points. A bad entry does not affect the others.

  Args:
    path: a JSON file.
    count: expected number of points per face.

  Raises: UserError: it is not such a file; names the file.
  """
  content = json_files.read(path)
  if not isinstance(content, dict):
    raise UserError(f'{path}: expected {{"NAME.jpg": [faces], ...}}')
  given = Given({}, {})
  for name, faces in content.items():
    where = f"{path}: {name!r}"
    if isinstance(faces, dict) or _is_matrix(faces):
      faces = [faces]
    try:
      if not isinstance(faces, list):
        raise UserError(f"{where}: expected a list of faces")
      given.faces[normal_name(name)] = largest_first(
        [_face_of_json(face, count, where) for face in faces]
      )
    except UserError as error:
      given.faults[normal_name(name)] = str(error)
  return given


def write_json(path: str | os.PathLike, faces: Mapping[str, list[Face]]):
  """Writes what `read_json` reads, atomically.

  Args:
    path: the file.
    faces: the photo's name -> its faces.

  Raises: OSError if the folder cannot be written.
  """

  def to_json(face):
    record = {"points": np.round(face.points, 3).tolist()}
    if face.dense is not None:
      record["dense"] = np.round(face.dense, 3).tolist()
    if face.box is not None:
      record["box"] = np.round(face.box, 3).tolist()
    if face.score is not None:
      record["score"] = float(face.score)
    return record

  content = {
    name: [to_json(face) for face in found] for name, found in faces.items()
  }
  with replacing(path) as file:
    file.write(json.dumps(content).encode())


def _is_matrix(value: Any) -> bool:
  """Whether it is a list of lists of numbers, i.e. a face's points."""
  return (
    isinstance(value, list)
    and bool(value)
    and all(
      isinstance(row, list) and row and not isinstance(row[0], (list, dict))
      for row in value
    )
  )


def _face_of_json(record: Any, count: int, where: str) -> Face:
  if not isinstance(record, dict):
    record = {"points": record}
  if "points" not in record:
    raise UserError(f'{where}: a face has no "points"')
  dense, box, score = (record.get(name) for name in ("dense", "box", "score"))
  return Face(
    points=_array(record["points"], (count, 2), f"{where}: points"),
    dense=None
    if dense is None
    else _array(dense, (MESH_POINTS, 3), f"{where}: dense"),
    box=None
    if box is None
    else tuple(_array(box, (4,), f"{where}: box").tolist()),
    score=None
    if score is None
    else float(_array(score, (), f"{where}: score")),
  )


def _array(value: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
  try:
    array = np.array(value, np.float64)
  except (ValueError, TypeError, OverflowError):
    array = np.array(np.nan)
  if array.shape != shape or not np.isfinite(array).all():
    raise UserError(f"{where}: expected numbers of shape {list(shape)}")
  return array

"""What is found in one photo, and the file that caches it."""

import dataclasses
import functools
import hashlib
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from my3dgen_jax.data import photo_files
from my3dgen_jax.data.faces import (
  cat_face,
  face_align,
  face_pose,
  landmarks,
  photo_quality,
  upright,
)
from my3dgen_jax.data.faces.face_align import Crop
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.data.faces.photo_quality import Quality
from my3dgen_jax.errors import one_line, UserError
from my3dgen_jax.storage.files import replacing

DOMAINS: Mapping[str, Callable[[], face_pose.Domain]] = {
  "face": face_pose.people,
  "cat": cat_face.cats,
}

_FORMAT = 3  # of cache files; a new number discards all
_MOST_FACES = 6  # largest faces kept per photo
_SMALL = 160  # pixels along a side of a kept photo without a face

MakeDetector = Callable[[], landmarks.Detector]


@dataclasses.dataclass(frozen=True)
class Looking:
  """How to look at photos.

  Attributes:
    cache: cache folder.
    size: side of the crops, pixels.
    domain: a key of `DOMAINS`.
    make_detector: function that makes a detector in each process; can be
      pickled; None: all landmarks are given.
  """

  cache: pathlib.Path
  size: int
  domain: Literal["face", "cat"]
  make_detector: MakeDetector | None


class Task(NamedTuple):
  """A photo to look at.

  Attributes:
    path: the photo's file.
    faces: its known faces, in pixels; None: to be detected.
  """

  path: pathlib.Path
  faces: list[Face] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
  """One face of a photo.

  Attributes:
    face: the face, in pixels of the file as stored.
    label: [25] float32, the crop's camera label.
    quality: the crop's quality.
    cut_off: share of the landmarks that lie outside the photo.
    recognition: [112, 112, 3] uint8, the face for a recognition network.
  """

  face: Face
  label: np.ndarray
  quality: Quality
  cut_off: float
  recognition: np.ndarray | None


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
  """What was found in a photo.

  Attributes:
    path: the cache file; None: the photo could not be processed.
    reason: why there is no face; "" if there is one.
    faces: the faces, largest first.
    turned: rotation of the photo before cropping, degrees clockwise: 0, 90, 180
      or 270.
  """

  path: pathlib.Path | None
  reason: str
  faces: tuple[Seen, ...] = ()
  turned: int = 0

  def crop(self, index: int) -> Crop:
    """The crop of a face, decoded at each call."""
    with np.load(self.path) as file:
      return Crop(
        file[f"crop{index}"], file[f"mask{index}"].astype(np.float32)[..., None]
      )

  def small(self) -> np.ndarray | None:
    """The whole photo, shrunk, if no face was found; else None."""
    if self.path is None:
      return None
    with np.load(self.path) as file:
      return file["small"] if "small" in file.files else None


def key_of(task: Task, looking: Looking) -> str:
  """The name of a photo's cache file.

  Raises: UserError: the photo cannot be read.
  """
  known = (
    ["found"]
    if task.faces is None
    else [
      text
      for face in task.faces
      for text in (
        face.points.tobytes().hex(),
        "" if face.dense is None else face.dense.tobytes().hex(),
      )
    ]
  )
  detector = looking.make_detector
  settings = [
    _FORMAT,
    looking.size,
    looking.domain,
    None if task.faces is not None or detector is None else _name(detector),
    known,
  ]
  digest = hashlib.sha256(repr(settings).encode())
  if not task.path.is_file():  # opening a named pipe would block forever
    raise UserError(f"{task.path}: is not a regular file")
  try:
    with open(task.path, "rb") as file:
      while block := file.read(2**20):
        digest.update(block)
  except OSError as error:
    raise UserError(f"{task.path}: cannot be read: {error.strerror}") from None
  return digest.hexdigest()[:32]


def _name(function: Any) -> str:
  if isinstance(function, functools.partial):
    return f"{_name(function.func)} {function.args} {function.keywords}"
  return f"{function.__module__}.{function.__qualname__}"


def look(
  task: Task, looking: Looking, detector: landmarks.Detector | None
) -> dict[str, Any]:
  """Looks at one photo.

  Args:
    task: the photo.
    looking: the settings.
    detector: the detector, used if the task has no faces.

  Returns: arrays by name, as cached; see `load`.
  Raises: UserError: the photo cannot be processed.
  """
  try:
    photo = photo_files.read_photo(task.path)
    pixels = photo.pixels
    if task.faces is None:
      with warnings.catch_warnings():
        # protobuf warns about MediaPipe's calls, once per photo.
        warnings.filterwarnings("ignore", "SymbolDatabase")
        faces, quarters = upright.find(detector, pixels)
    else:
      shrink = lambda points: points / photo.shrunk
      faces = landmarks.largest_first(
        [face.moved(shrink) for face in task.faces]
      )
      quarters = upright.quarters_of(faces, DOMAINS[looking.domain]().framing)
      size = pixels.shape[1], pixels.shape[0]
      faces = [upright.turned_face(face, quarters, size) for face in faces]
    if quarters:
      pixels = upright.turned(pixels, quarters)
    seen, reason = [], "no face was found"
    for face in landmarks.largest_first(faces)[:_MOST_FACES]:
      try:
        seen.append(_see(pixels, face, looking))
      except (
        UserError
      ) as error:  # implausible landmarks; other faces may be better
        reason = str(error)
  # Whatever a decoder or detector makes of the strangest of 200 photos, the
  # others continue.
  except Exception as error:  # pylint: disable=broad-exception-caught
    text = one_line(error).removeprefix(f"{task.path}: ")
    if not isinstance(error, UserError):
      text = f"cannot be processed: {type(error).__name__}: {text}"
    raise UserError(text) from None
  if not seen:
    return {"reason": reason, "small": _small(pixels)}
  size = pixels.shape[1], pixels.shape[0]

  def in_file(face: Face) -> Face:
    face = upright.turned_face(face, -quarters, size)
    return face.moved(lambda points: points * photo.shrunk)

  return {**_arrays(seen, in_file), "turned": 90 * quarters}


def _see(pixels: np.ndarray, face: Face, looking: Looking) -> tuple[Seen, Crop]:
  domain = DOMAINS[looking.domain]()
  alignment = face_align.align(
    face.points, size=looking.size, framing=domain.framing
  )
  crop = alignment.crop(pixels)
  label = face_pose.label(
    face.moved(alignment.to_crop), size=looking.size, domain=domain
  )
  points = face.points if face.dense is None else face.dense[:, :2]
  size = np.array(pixels.shape[1::-1])
  cut_off = float(np.mean(((points < 0) | (points > size)).any(axis=1)))
  recognition = None
  if len(face.points) == landmarks.FACE_POINTS:
    recognition = photo_quality.recognition_face(pixels, face.points)
  return Seen(
    face, label, photo_quality.measure(pixels, alignment), cut_off, recognition
  ), crop


def _small(pixels: np.ndarray) -> np.ndarray:
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  image = Image.fromarray(pixels)
  image.thumbnail((_SMALL, _SMALL))
  return np.asarray(image)


_NUMBERS = ("sharpness", "color", "side", "inside")
_ARRAYS = ("thumbnail", "thumbnail_mask")


def _arrays(
  faces: Sequence[tuple[Seen, Crop]], in_file: Callable[[Face], Face]
) -> dict[str, Any]:
  """The arrays of a cache file; `load` is the inverse."""
  result: dict[str, Any] = {"reason": "", "count": len(faces)}
  for i, (seen, crop) in enumerate(faces):
    face = in_file(seen.face)
    arrays = {
      "points": face.points,
      "dense": face.dense,
      "box": face.box,
      "score": face.score,
      "label": seen.label,
      "numbers": [getattr(seen.quality, name) for name in _NUMBERS]
      + [seen.cut_off],
      **{name: getattr(seen.quality, name) for name in _ARRAYS},
      "recognition": seen.recognition,
      "crop": crop.image,
      "mask": crop.mask[..., 0] > 0,
    }
    result.update(
      {
        f"{name}{i}": np.asarray(array)
        for name, array in arrays.items()
        if array is not None
      }
    )
  return result


def load(path: pathlib.Path) -> Look:
  """Reads a photo's cache file, except its pictures.

  Raises: OSError, ValueError, KeyError, zipfile.BadZipFile: it is damaged.
  """
  with np.load(path) as file:
    reason = str(file["reason"])
    faces = []
    for i in range(int(file["count"]) if "count" in file.files else 0):
      optional = {
        name: file[f"{name}{i}"] if f"{name}{i}" in file.files else None
        for name in ("dense", "box", "score")
      }
      *numbers, cut_off = file[f"numbers{i}"].tolist()
      faces.append(
        Seen(
          face=Face(
            points=file[f"points{i}"],
            dense=optional["dense"],
            box=None
            if optional["box"] is None
            else tuple(optional["box"].tolist()),
            score=None
            if optional["score"] is None
            else float(optional["score"]),
          ),
          label=file[f"label{i}"],
          quality=Quality(*numbers, *(file[f"{name}{i}"] for name in _ARRAYS)),
          cut_off=cut_off,
          recognition=file[f"recognition{i}"]
          if f"recognition{i}" in file.files
          else None,
        )
      )
    turned = int(file["turned"]) if faces else 0
  return Look(path, reason, tuple(faces), turned)


def look_and_keep(
  task: Task,
  path: pathlib.Path,
  looking: Looking,
  detector: landmarks.Detector | None,
) -> str | None:
  """Looks at one photo and caches the result.

  Args:
    task: the photo.
    path: the file to write, unless the photo cannot be processed.
    looking: the settings.
    detector: see `look`.

  Returns: why the photo cannot be processed, or None.
  """
  try:
    arrays = look(task, looking, detector)
  except UserError as error:
    return str(error)
  with replacing(path) as file:
    np.savez_compressed(file, **arrays)
  return None

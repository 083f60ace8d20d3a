"""Measures whether a face recognition network tells real people apart.

    python -m benchmarks.real_faces --data=DATA

Takes every photo of every album in DATA/albums (one folder per person;
NAME_hard has more photos of NAME), finds the largest face with MediaPipe,
aligns it to ArcFace's template, and compares all pairs by MobileFaceNet,
converted from DATA/weights/mobilefacenet/mobilefacenet.pt. Crops like a
generator's images, DATA/eg3d_crops, are compared both aligned and as whole
images, with the network's own frame.

Prints tables, and stores nothing of the photos. Needs MediaPipe 0.10.14 and
OpenCV, which comes with it: pip install ".[prepare]".
"""

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from benchmarks import report
from converters import arcface_to_flax
from my3dgen_jax.errors import one_line, UserError
from my3dgen_jax.launch.support import cli
from my3dgen_jax.losses import identity
from my3dgen_jax.types import Network

_DATA = cli.string(
  "data",
  "../shared/data",
  "Folder that contains albums/, eg3d_crops/ and weights/.",
)

WEIGHTS = "weights/mobilefacenet/mobilefacenet.pt"  # in DATA
NETWORK = "mobilefacenet"
# ArcFace's template: eyes, tip of the nose, corners of the mouth, the viewer's
# left first, in pixels of a 112 x 112 image.
TEMPLATE = np.array(
  [
    [38.2946, 51.6963],
    [73.5318, 51.5014],
    [56.0252, 71.7366],
    [41.5493, 92.3655],
    [70.7299, 92.2041],
  ]
)
# The same points in MediaPipe's mesh; an eye is the mean of its corners.
_MESH = ((33, 133), (362, 263), (1,), (61,), (291,))
_HARD = "_hard"
_MARGIN = 0.5  # around the detector's box, as a share of its side
_SUFFIXES = (".jpg", ".jpeg", ".png")
_BAR = 0.95
_BATCH = 16


@dataclasses.dataclass(frozen=True)
class Album:
  """One person's faces.

  Attributes:
    name: the person's name.
    faces: [N, 112, 112, 3] in [-1, 1], aligned.
    skipped: names of photos in which no face was found.
    several: number of photos with several faces, of which the largest is used.
  """

  name: str
  faces: np.ndarray
  skipped: tuple[str, ...]
  several: int


class FaceFinder:
  """The largest face of a photo, by five points."""

  def __init__(self):
    os.environ.setdefault("GLOG_minloglevel", "2")  # silences its log
    try:
      # pylint: disable=import-outside-toplevel
      from mediapipe.python import solutions
    except ImportError as error:
      raise UserError(
        "finding faces needs MediaPipe 0.10.14: pip install "
        f'".[prepare]" ({one_line(error)})'
      ) from error
    # This detector is for whole scenes. The mesh's own detector expects a head
    # that fills the picture, so the mesh gets a crop.
    self._detector = solutions.face_detection.FaceDetection(
      model_selection=1, min_detection_confidence=0.5
    )
    self._mesh = solutions.face_mesh.FaceMesh(
      static_image_mode=True, max_num_faces=5
    )

  def __call__(self, photo: np.ndarray) -> tuple[np.ndarray | None, int]:
    """Finds the largest face in a photo, uint8 [H, W, 3].

    Returns: [5, 2] points, pixels, in the order of `TEMPLATE`, or None; and the
      number of faces.
    """
    boxes = [
      self._box(found, photo)
      for found in self._detector.process(photo).detections or ()
    ]
    for left, top, right, bottom in sorted(
      boxes, key=lambda box: box[0] - box[2]
    )[:1]:
      points = self._points(np.ascontiguousarray(photo[top:bottom, left:right]))
      if points is not None:
        return points + (left, top), len(boxes)
    # Tightly cropped heads are too close for the detector.
    points = self._points(photo)
    return points, max(len(boxes), int(points is not None))

  def _box(self, found: Any, photo: np.ndarray) -> tuple[int, ...]:
    """Left, top, right and bottom of a face with its margin, pixels."""
    box = found.location_data.relative_bounding_box
    size = np.array(photo.shape[1::-1])
    start = np.array([box.xmin, box.ymin]) * size
    extent = np.array([box.width, box.height]) * size
    start, end = start - _MARGIN * extent, start + (1 + _MARGIN) * extent
    return (
      *np.clip(start, 0, size).astype(int),
      *np.clip(end, 0, size).astype(int),
    )

  def _points(self, photo: np.ndarray) -> np.ndarray | None:
    """[5, 2] points of the largest face that the mesh finds, or None."""
    size = np.array(photo.shape[1::-1])
    faces = [
      np.array([(mark.x, mark.y) for mark in face.landmark]) * size
      for face in self._mesh.process(photo).multi_face_landmarks or ()
    ]
    if not faces:
      return None
    largest = max(faces, key=lambda face: np.ptp(face, axis=0).prod())
    return np.stack([largest[list(marks)].mean(axis=0) for marks in _MESH])


def align(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
  """Rotates, scales and moves a face so that its points best fit the template.

  Args:
    photo: uint8 [H, W, 3].
    points: [5, 2], pixels.

  Returns: [112, 112, 3] in [-1, 1].
  """
  import cv2  # pylint: disable=import-outside-toplevel

  x, y = points.T
  one, zero = np.ones(5), np.zeros(5)
  # x' = a x - b y + c, y' = b x + a y + d: least squares in a, b, c, d.
  a, b, c, d = np.linalg.lstsq(
    np.concatenate(
      [
        np.stack([x, -y, one, zero], axis=1),
        np.stack([y, x, zero, one], axis=1),
      ]
    ),
    TEMPLATE.T.reshape(-1),
  )[0]
  side = identity.NETWORKS[NETWORK].side
  face = cv2.warpAffine(photo, np.array([[a, -b, c], [b, a, d]]), (side, side))
  return np.float32(face) / 127.5 - 1


def read_albums(folder: pathlib.Path, finder: FaceFinder) -> list[Album]:
  """Every person's aligned faces; `NAME_hard` counts as NAME."""
  people = sorted(
    {
      path.name.removesuffix(_HARD)
      for path in folder.iterdir()
      if path.is_dir()
    }
  )
  return [
    read_album(
      name,
      sorted(
        path
        for part in (name, name + _HARD)
        if (folder / part).is_dir()
        for path in (folder / part).iterdir()
      ),
      finder,
    )
    for name in people
  ]


def read_album(
  name: str, paths: Sequence[pathlib.Path], finder: FaceFinder
) -> Album:
  """The aligned faces of one person's photos."""
  faces, skipped, several = [], [], 0
  for path in paths:
    if path.suffix.lower() not in _SUFFIXES:
      continue
    photo = _read(path)
    points, count = finder(photo)
    if points is None:
      skipped.append(path.name)
      continue
    several += count > 1
    faces.append(align(photo, points))
  return Album(name, np.array(faces), tuple(skipped), several)


def cosines(embeddings: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
  """Cosines of all pairs: of the same person, and of different people.

  Args:
    embeddings: [N, features] for each person, of unit length.
  """
  people = np.repeat(np.arange(len(embeddings)), list(map(len, embeddings)))
  every = np.concatenate(embeddings)
  first, second = np.triu_indices(len(every), k=1)
  values = np.sum(every[first] * every[second], axis=1)
  same = people[first] == people[second]
  return values[same], values[~same]


def area_under_curve(same: np.ndarray, different: np.ndarray) -> float:
  """How often a pair of one person is closer than one of different people."""
  ordered = np.sort(different)
  below = np.searchsorted(ordered, same, "left")
  not_above = np.searchsorted(ordered, same, "right")
  return float(np.mean(below + not_above) / 2 / len(ordered))


def load_network(data: pathlib.Path) -> Network:
  """Converts the published file, and loads the result."""
  with tempfile.TemporaryDirectory() as folder:
    output = str(pathlib.Path(folder) / NETWORK)
    arcface_to_flax.convert(
      str(data / WEIGHTS), output, network=NETWORK, log=lambda line: None
    )
    return identity.load_identity(output)


def embed(network: Network, faces: np.ndarray) -> np.ndarray:
  """Embeddings [N, features] of aligned faces, in batches of one size."""
  function = jax.jit(network.module.embed_faces)
  padded = np.concatenate(
    [faces, np.zeros_like(faces[:1]).repeat(-len(faces) % _BATCH, axis=0)]
  )
  return np.concatenate(
    [
      np.asarray(function(network.variables, padded[start : start + _BATCH]))
      for start in range(0, len(padded), _BATCH)
    ]
  )[: len(faces)]


def main():
  data = pathlib.Path(_DATA.value)
  if not (data / "albums").is_dir():
    raise UserError(
      f"{data}: has no albums/; give the folder that contains it with --data"
    )
  network = load_network(data)
  finder = FaceFinder()
  albums = read_albums(data / "albums", finder)
  embeddings = [embed(network, album.faces) for album in albums]
  print(
    report.table(
      ["person", "faces", "skipped", "several faces, largest used"],
      [
        [
          album.name,
          str(len(album.faces)),
          ", ".join(album.skipped) or "-",
          str(album.several),
        ]
        for album in albums
      ],
    ),
    end="\n\n",
  )
  rows = []
  for i, album in enumerate(albums):
    same, _ = cosines(embeddings[i : i + 1])
    others = np.concatenate(embeddings[:i] + embeddings[i + 1 :])
    rows.append(_row(album.name, same, (embeddings[i] @ others.T).reshape(-1)))
  rows.append(_row("all", *cosines(embeddings)))
  print(
    report.table(
      [
        "person",
        "same: pairs",
        "cosine",
        "different: pairs",
        "cosine",
        f"AUC (bound {_BAR})",
      ],
      rows,
    ),
    end="\n\n",
  )
  _compare_frames(data / "eg3d_crops", finder, network)
  print(report.machine() + ".")


def _row(name: str, same: np.ndarray, different: np.ndarray) -> list[str]:
  shown = [
    text
    for values in (same, different)
    for text in (str(len(values)), f"{values.mean():.3f} ± {values.std():.3f}")
  ]
  return [name, *shown, f"{area_under_curve(same, different):.4f}"]


def _compare_frames(folder: pathlib.Path, finder: FaceFinder, network: Network):
  """Compares the frame of a generator's image with its aligned face."""
  aligned, framed = [], []
  for path in sorted(folder.glob("*")):
    if path.suffix.lower() not in _SUFFIXES:
      continue
    photo = _read(path)
    points, _ = finder(photo)
    if points is not None:
      aligned.append(align(photo, points))
      framed.append(np.float32(photo) / 127.5 - 1)
  if not aligned:
    return
  first = embed(network, np.array(aligned))
  whole = jax.jit(network.module.embed)
  second = np.concatenate(
    [whole(network.variables, image[None]) for image in framed]
  )
  values = first @ second.T
  same = np.diag(values)
  different = values[~np.eye(len(values), dtype=bool)]
  print(
    report.table(
      ["crops", "aligned and framed", "two crops", "AUC"],
      [
        [
          str(len(same)),
          f"{same.mean():.3f} ± {same.std():.3f}",
          f"{different.mean():.3f} ± {different.std():.3f}",
          f"{area_under_curve(same, different):.4f}",
        ]
      ],
    ),
    end="\n\n",
  )


def _read(path: pathlib.Path) -> np.ndarray:
  """A photo as uint8 [H, W, 3], rotated by its EXIF orientation."""
  from PIL import Image, ImageOps  # pylint: disable=import-outside-toplevel

  with Image.open(path) as image:
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))


if __name__ == "__main__":
  cli.run(main)

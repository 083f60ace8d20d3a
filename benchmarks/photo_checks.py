"""Measures how well the limits of `prepare` separate good and bad photos.

    python -m benchmarks.photo_checks --data=DATA

Measures the crop of the largest face in every photo in DATA/albums, then
degraded versions of it. The limits of `data.faces.photo_quality` should lie
between them. For the check for other people, each person's photos are mixed at
random with others', and the errors of `find_person` are counted; its network is
MobileFaceNet, converted from DATA/weights. Prints tables, and stores nothing of
the photos. Needs MediaPipe 0.10.14.
"""

import io
import pathlib
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from benchmarks import real_faces, report
from my3dgen_jax.data import images, photo_files
from my3dgen_jax.data.faces import face_align, mediapipe_models, photo_quality
from my3dgen_jax.errors import UserError
from my3dgen_jax.launch.support import cli

_DATA = cli.string(
  "data", "../shared/data", "Folder that contains albums/ and weights/."
)

_HARD = "_hard"
_SIDE = 256  # side of the crops to degrade, pixels
_LEAST_SIDE = 220  # pixels in the photo; smaller faces are blurred already
_NOISE = 3.0  # standard deviation, in 1/255
_MIXTURES = 300
_FEWEST, _MOST = 6, 30  # photos of the person in a mixture


class Photo(NamedTuple):
  """A photo with its person, five points, crop, and all faces to recognize."""

  person: str
  image: np.ndarray
  points: np.ndarray
  crop: np.ndarray
  faces: list[np.ndarray]


def read(folder: pathlib.Path) -> list[Photo]:
  """All photos with a face; `NAME_hard` counts as NAME."""
  detect = mediapipe_models.face_detector()
  photos = []
  for path in sorted(folder.glob("*/*")):
    image = photo_files.read_photo(path).pixels
    found = detect(image)
    if not found:
      print(f"{path.name}: no face")
      continue
    crop = face_align.align(found[0].points, size=_SIDE).crop(image).image
    photos.append(
      Photo(
        path.parent.name.removesuffix(_HARD),
        image,
        found[0].points,
        crop,
        [photo_quality.recognition_face(image, face.points) for face in found],
      )
    )
  return photos


def saved(image: np.ndarray, quality: int) -> np.ndarray:
  """The image after JPEG compression."""
  file = io.BytesIO()
  Image.fromarray(image).save(file, "JPEG", quality=quality)
  return np.asarray(Image.open(file).convert("RGB"))


def _blurred(image: np.ndarray, sigma: float) -> np.ndarray:
  return ndimage.gaussian_filter(
    image.astype(np.float64), (sigma, sigma, 0)
  ).astype(np.uint8)


def _noisy(image: np.ndarray) -> np.ndarray:
  noise = np.random.default_rng(0).normal(0, _NOISE, image.shape)
  return np.clip(image + noise, 0, 255).astype(np.uint8)


def _sepia(image: np.ndarray) -> np.ndarray:
  gray = Image.fromarray(image).convert("L")
  return np.asarray(
    ImageOps.colorize(gray, (20, 10, 0), (255, 240, 200), (150, 110, 75))
  )


WORSE: dict[str, Callable[[np.ndarray], np.ndarray]] = {
  "as it is": lambda x: x,
  "blur 2": lambda x: _blurred(x, 2),
  "blur 2, noise": lambda x: _noisy(_blurred(x, 2)),
  "blur 3, JPEG 30": lambda x: saved(_blurred(x, 3), 30),
  "smear 9": lambda x: ndimage.uniform_filter1d(x, 9, axis=1),
  "smear 9, noise": lambda x: _noisy(ndimage.uniform_filter1d(x, 9, axis=1)),
  "noise": _noisy,
  "gray, JPEG 75": lambda x: saved(
    np.repeat(np.asarray(Image.fromarray(x).convert("L"))[..., None], 3, -1), 75
  ),
  "sepia, JPEG 75": lambda x: saved(_sepia(x), 75),
}


def _measured(crop: np.ndarray) -> photo_quality.Quality:
  whole = face_align.Alignment((_SIDE / 2, _SIDE / 2), float(_SIDE))
  return photo_quality.measure(crop, whole)


def quality_rows(photos: list[Photo]) -> list[list[str]]:
  """Measurements of the crops and of their degraded versions."""
  large = [
    photo.crop
    for photo in photos
    if face_align.align(photo.points).side >= _LEAST_SIDE
  ]
  rows = []
  for name, change in WORSE.items():
    found = [_measured(change(crop)) for crop in large]
    sharp, color = (
      np.array([getattr(one, key) for one in found])
      for key in ("sharpness", "color")
    )
    rows.append(
      [
        name,
        *(
          f"{f(values):.2f}"
          for values in (sharp, color)
          for f in (np.min, np.median, np.max)
        ),
        f"{np.mean(sharp < photo_quality.MIN_SHARPNESS):.0%}",
        f"{np.mean(color < photo_quality.MIN_COLOR):.0%}",
      ]
    )
  return rows


def duplicate_rows(photos: list[Photo]) -> list[list[str]]:
  """Correlations between different photos, and between copies."""
  generator = np.random.default_rng(0)
  originals, copies = [], []
  for photo in photos:
    originals.append(
      photo_quality.measure(photo.image, face_align.align(photo.points))
    )
    # Half the size, brighter, compressed again, with shifted landmarks.
    half = Image.fromarray(photo.image).resize(
      (photo.image.shape[1] // 2, photo.image.shape[0] // 2)
    )
    image = saved(
      np.clip(np.asarray(half) * 1.15 + 8, 0, 255).astype(np.uint8), 50
    )
    eyes = np.linalg.norm(photo.points[1] - photo.points[0])
    points = photo.points + generator.normal(0, 0.015 * eyes, (5, 2))
    copies.append(photo_quality.measure(image, face_align.align(points / 2)))
  alike = photo_quality.correlations(originals + copies)
  count = len(photos)
  person = np.array([photo.person for photo in photos])
  pairs = alike[:count, :count][np.triu(person[:, None] == person, k=1)]
  same = np.diag(alike[:count, count:])
  top = np.sort(pairs)[::-1]
  return [
    ["copies, lowest five", " ".join(f"{x:.3f}" for x in np.sort(same)[:5])],
    [
      "one person's photos, highest ten",
      " ".join(f"{x:.3f}" for x in top[:10]),
    ],
  ]


def mixture_rows(photos: list[Photo], data: pathlib.Path) -> list[list[str]]:
  """Errors of `find_person` on mixtures of people."""
  network = real_faces.load_network(data)
  # The owner of a face is known if there is only one.
  alone = [photo for photo in photos if len(photo.faces) == 1]
  embeddings = real_faces.embed(
    network, images.to_float(np.stack([photo.faces[0] for photo in alone]))
  )
  owners = np.array([photo.person for photo in alone])
  people = sorted(set(owners))
  generator = np.random.default_rng(0)
  counts = dict.fromkeys(people, (0, 0, 0, 0))
  for n in range(_MIXTURES):
    person = people[n % len(people)]
    mine, others = (
      generator.permutation(np.flatnonzero((owners == person) == is_mine))
      for is_mine in (True, False)
    )
    mine = mine[: generator.integers(_FEWEST, _MOST + 1)]
    others = others[: generator.integers(1, len(mine) // 2 + 1)]
    chosen = np.concatenate([mine, others])
    found, _ = photo_quality.find_person(
      embeddings[chosen], np.arange(len(chosen))
    )
    counts[person] = tuple(
      a + b
      for a, b in zip(
        counts[person],
        (
          len(mine),
          np.sum(~found[: len(mine)]),
          len(others),
          np.sum(found[len(mine) :]),
        ),
      )
    )
  return [
    [person, *(str(int(x)) for x in numbers)]
    for person, numbers in counts.items()
  ]


def report_of(photos: list[Photo], data: pathlib.Path) -> tuple[str, ...]:
  """The tables."""
  return (
    report.table(
      [
        "crops",
        "sharpness: min",
        "median",
        "max",
        "color: min",
        "median",
        "max",
        f"under {photo_quality.MIN_SHARPNESS}",
        f"under {photo_quality.MIN_COLOR}",
      ],
      quality_rows(photos),
    ),
    report.table(
      ["pairs", f"correlation (limit {photo_quality.DUPLICATE})"],
      duplicate_rows(photos),
    ),
    report.table(
      ["person", "photos", "set aside", "others' photos", "accepted"],
      mixture_rows(photos, data),
    ),
  )


def main():
  data = pathlib.Path(_DATA.value)
  if not (data / "albums").is_dir():
    raise UserError(
      f"{data}: has no albums/; give the folder that contains it with --data"
    )
  for table in report_of(read(data / "albums"), data):
    print(table, end="\n\n")
  print(report.machine() + ".")


if __name__ == "__main__":
  cli.run(main)

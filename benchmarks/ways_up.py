"""Does `prepare` find out which way up a photo is?

    python -m benchmarks.ways_up --data=../shared/data

Every photo of DATA/albums and DATA/eg3d_crops is looked at as it is, and lying
or upside down (in turn; with --all in all four ways). Counted are those whose
largest face comes out as in the upright photo, those in which nothing is found
any more, and those with a face that is the wrong way up. Exits with 1 where
there is one of the last. Needs MediaPipe 0.10.14.
"""

import pathlib
import sys
import warnings

import numpy as np

from benchmarks import report
from my3dgen_jax.data import photo_files
from my3dgen_jax.data.faces import mediapipe_models, upright
from my3dgen_jax.errors import UserError
from my3dgen_jax.launch.support import cli

_DATA = cli.string("data", "../shared/data", "Folder with albums/.")
_ALL = cli.boolean("all", False, "Each photo in all four ways.")

_NEAR = 0.1  # of the distance of the eyes: faces at one place


def main():
  data = pathlib.Path(_DATA.value)
  paths = sorted(
    path
    for pattern in ("albums/*/*", "eg3d_crops/*")
    for path in data.glob(pattern)
    if path.suffix in photo_files.EXTENSIONS
  )
  if not paths:
    raise UserError(f"{data}: holds no albums/; --data names another folder")
  warnings.filterwarnings("ignore", "SymbolDatabase")
  detect = mediapipe_models.face_detector()
  counts = {quarters: {} for quarters in range(4)}
  for i, path in enumerate(paths):
    image = photo_files.read_photo(path).pixels
    faces = detect(image)
    ways = range(4) if _ALL.value else (0, 1 + i % 3)
    for way in ways:
      found, quarters = upright.find(detect, upright.turned(image, way))
      result = _judged(faces, found, (way + quarters) % 4)
      counts[way][result] = counts[way].get(result, 0) + 1
      if result != "right":
        print(f"{path.name}, turned by {90 * way}: {result}", flush=True)
  kinds = ("right", "missed", "new", "wrong")
  print(
    report.table(
      ["turned by", *kinds],
      [
        [f"{90 * way}", *(str(found.get(kind, 0)) for kind in kinds)]
        for way, found in counts.items()
      ],
    )
  )
  if any("wrong" in found for found in counts.values()):
    sys.exit(1)


def _judged(wanted, found, left: int) -> str:
  """What became of a photo that is still turned by so many quarters."""
  if not found:
    return "missed" if wanted else "right"
  if not wanted:
    return "new"
  if left:
    return "wrong"
  a, b = wanted[0].points, found[0].points
  apart = np.linalg.norm(a - b, axis=1).mean()
  return (
    "right"
    if apart < _NEAR * np.linalg.norm(a[1] - a[0]) or len(wanted) > 1
    else "wrong"
  )


if __name__ == "__main__":
  cli.run(main)

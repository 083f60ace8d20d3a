"""Measures whether `prepare` finds the orientation of photos.

    python -m benchmarks.ways_up --data=DATA

Every photo in DATA/albums and DATA/eg3d_crops is processed upright and in one
other orientation, sideways or upside down (with --all: in all four). Counts the
photos whose largest face is found as in the upright photo, those without a face
that was found upright, and those with a face in the wrong orientation. Exits
with 1 if there are any of the last. Needs MediaPipe 0.10.14.
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

_DATA = cli.string(
  "data", "../shared/data", "Folder that contains albums/ and eg3d_crops/."
)
_ALL = cli.boolean("all", False, "Process each photo in all four orientations.")

_NEAR = 0.1  # faces this close are the same, as a share of the eyes' distance


def main():
  data = pathlib.Path(_DATA.value)
  paths = sorted(
    path
    for pattern in ("albums/*/*", "eg3d_crops/*")
    for path in data.glob(pattern)
    if path.suffix in photo_files.EXTENSIONS
  )
  if not paths:
    raise UserError(
      f"{data}: has no photos in albums/ or eg3d_crops/; give their folder "
      "with --data"
    )
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
  """The result for a photo that is still rotated by `left` quarter turns."""
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

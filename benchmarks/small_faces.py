"""Measures whether photos with small faces help or harm personalization.

    python -m benchmarks.small_faces --out=runs/small_faces

A person of the demo is personalized from --sharp photos; from these and --small
more at full size; and from these and the same --small photos with smaller
faces: downscaled, saved as JPEG and enlarged to the crop's size again, as by
my3dgen prepare. The scale corresponds to --min_scale of my3dgen prepare. Small
photos are worth keeping if the scores on held-out photos are better with them
than without. Run the same command again to resume after an interruption.
"""

import io
import pathlib
import shutil
import subprocess
import sys

import numpy as np
from PIL import Image

from benchmarks import report
from my3dgen_jax.data import dataset_json
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.errors import UserError
from my3dgen_jax.launch.support import cli
from my3dgen_jax.training import run_folder

_OUT = cli.string("out", "runs/small_faces", "Folder for the runs.")
_FIRST = cli.integer(
  "first", 0, "Number of the first procedural person, >= 0.", lower_bound=0
)
_PEOPLE = cli.integer("people", 1, "Number of people, >= 1.", lower_bound=1)
_STEPS = cli.integer("steps", 100, "Tuning steps per run, >= 1.", lower_bound=1)
_SHARP = cli.integer(
  "sharp", 10, "Number of unchanged training photos, >= 1.", lower_bound=1
)
_SMALL = cli.integer(
  "small", 20, "Number of downscaled training photos, >= 1.", lower_bound=1
)
_SCALES = cli.string(
  "scales",
  "1,0.5,0.4,0.3,0.2,0.12",
  "Scales of the downscaled photos' sides, in (0, 1], separated by commas.",
)

_JPEG_QUALITY = 90
_METRICS = ("lpips", "psnr", "psnr_marks", "id_sim")


def main():
  rows = []
  for number in range(_FIRST.value, _FIRST.value + _PEOPLE.value):
    folder = pathlib.Path(_OUT.value) / f"person_{number}"
    demo_album.write_demo_album(folder / "album", number)
    for scale in (None, *map(float, _SCALES.value.split(","))):
      name = f"{_SHARP.value} sharp"
      if scale is not None:
        name += f" and {_SMALL.value} at {scale:g}"
      rows.append([f"{number}", name, *_scores(folder, number, scale)])
  print(
    report.table(["person", "photos", "LPIPS", "PSNR", "at marks", "ID"], rows)
  )


def _scores(folder: pathlib.Path, number: int, scale: float | None):
  """Scores on held-out photos, after a run."""
  name = f"{_SHARP.value}_alone"
  if scale is not None:
    name = f"{_SHARP.value}_and_{_SMALL.value}_at{scale:g}"
  out = folder / name
  if not (out / run_folder.SUMMARY_FILE).exists():
    album = folder / f"album_{name}"
    _write(folder / "album", album, scale)
    done = subprocess.run(
      [
        *(sys.executable, "-m", "my3dgen_jax.launch.personalize"),
        *("--flagfile=demo.flags", f"--demo_person={number}"),
        *(f"--album={album}", f"--test={album / demo_album.TEST_FILE}"),
        f"--reference={album / demo_album.REFERENCE_FILE}",
        *(f"--steps={_STEPS.value}", f"--out={out}", "--resume", "--noreport"),
      ],
      check=False,
    )
    if done.returncode:
      raise UserError(f"{out}: personalization failed, see above")
  found = run_folder.read_json(out / run_folder.SUMMARY_FILE)["personalized"]
  return [f"{found[metric]:.3f}" for metric in _METRICS]


def _write(album: pathlib.Path, out: pathlib.Path, scale: float | None):
  """Writes the album with only the first photos unchanged.

  Args:
    album: the album to copy.
    out: the folder to write.
    scale: scale of the --small next photos; None: leave them out. All further
      photos are left out.
  """
  shutil.rmtree(out, ignore_errors=True)
  shutil.copytree(album, out)
  labels = dataset_json.read(out / dataset_json.FILE_NAME)
  photos = sorted(name for name in labels if name.startswith("photo"))
  for place, name in enumerate(photos[_SHARP.value :]):
    if scale is None or place >= _SMALL.value:
      (out / name).unlink()
      del labels[name]
    else:
      pixels = np.asarray(Image.open(out / name).convert("RGB"))
      Image.fromarray(small(pixels, scale)).save(out / name)
  dataset_json.write(out / dataset_json.FILE_NAME, labels)


def small(pixels: np.ndarray, scale: float) -> np.ndarray:
  """A crop, [S, S, 3], as from a photo with fewer pixels."""
  size = pixels.shape[0]
  if scale == 1:
    return pixels
  side = max(1, round(size * scale))
  image = Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX)
  file = io.BytesIO()
  image.save(file, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
  return np.asarray(
    Image.open(file).resize((size, size), Image.Resampling.LANCZOS)
  )


if __name__ == "__main__":
  cli.run(main)

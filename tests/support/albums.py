"""Small albums on disk, in EG3D's format.

Usage:
  folder = albums.make(tmp / "obama", count=4, size=16, latents=(6, 8))
  albums.zip_folder(folder, tmp / "obama.zip")
"""

import functools
import io
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np
from PIL import Image

from my3dgen_jax.data import dataset_json
from my3dgen_jax.ops import cameras


def labels(count: int, *, seed: int = 0) -> np.ndarray:
  """Cameras about the front, [count, 25] float32; count <= 64."""
  return _labels(seed)[:count]


@functools.cache
def _labels(seed: int) -> np.ndarray:
  # All of one shape, because JAX compiles anew for each.
  yaw, pitch = np.random.default_rng(seed).uniform(-1, 1, (2, 64))
  return np.asarray(
    cameras.pack_label(
      cameras.look_at(0.4 * yaw, 0.2 * pitch, (0.0, 0.0, 0.2), 2.7),
      cameras.intrinsics_from_focal(4.2647),
    )
  )


def picture(seed: int, size: int) -> np.ndarray:
  """A photo's pixels, uint8 [size, size, 3]; another for each seed."""
  return (
    np.random.default_rng(seed)
    .integers(0, 256, (size, size, 3))
    .astype(np.uint8)
  )


def png(pixels: np.ndarray, **options) -> bytes:
  """A PNG file's bytes."""
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, format="PNG", **options)
  return file.getvalue()


def make(
  folder: pathlib.Path,
  *,
  count: int = 4,
  size: int = 16,
  latents: tuple[int, int] | None = None,
  masks: bool = False,
  extension: str = ".png",
  seed: int = 0,
) -> pathlib.Path:
  """Makes an album.

  Args:
    folder: to be created.
    count: photos, `photo00.png` and so on.
    size: their side, pixels.
    latents: (num_ws, w_dim) of an anchor for each, or None.
    masks: whether each has one: black in the upper left quarter.
    extension: of the photos.
    seed: of pixels, cameras and anchors.

  Returns: the folder.
  """
  folder.mkdir(parents=True)
  rng = np.random.default_rng(seed)
  for i in range(count):
    stem = folder / f"photo{i:02}"
    Image.fromarray(picture(seed + i, size)).save(f"{stem}{extension}")
    if latents is not None:
      np.save(
        f"{stem}_latent.npy",
        rng.standard_normal((1, *latents)).astype(np.float32),
      )
    if masks:
      mask = np.full((size, size), 255, np.uint8)
      mask[: size // 2, : size // 2] = 0
      Image.fromarray(mask).save(f"{stem}_mask.png")
  dataset_json.write(
    folder / "dataset.json",
    dict(zip(names(count, extension=extension), labels(count, seed=seed))),
  )
  return folder


def names(count: int, *, extension: str = ".png") -> tuple[str, ...]:
  """What `make` calls its photos."""
  return tuple(f"photo{i:02}{extension}" for i in range(count))


def relabel(folder: pathlib.Path, changes: Mapping[str, np.ndarray | None]):
  """Adds labels by photo name, or removes those that are None."""
  known = dataset_json.read(folder / "dataset.json")
  known.update(changes)
  dataset_json.write(
    folder / "dataset.json",
    {name: label for name, label in known.items() if label is not None},
  )


def zip_folder(
  folder: pathlib.Path, path: pathlib.Path, *, prefix: str = ""
) -> pathlib.Path:
  """Packs a folder's files; their names in the zip begin with `prefix`."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for file in sorted(folder.rglob("*")):
      if file.is_file():
        archive.write(file, prefix + file.relative_to(folder).as_posix())
  return path

"""Converts images between arrays and files.

In memory: float32 in [-1, 1]. On disk: 8 bits per channel, PNG.
"""

import os
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from my3dgen_jax.data.fonts import font_for
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.types import Array

_LARGEST_TITLE = 40  # pixels


def to_uint8(image: Array) -> np.ndarray:
  """[-1, 1] to 0 … 255, rounded and clipped; any shape."""
  image = np.asarray(image, np.float32)
  return np.clip(np.rint((image + 1) * 127.5), 0, 255).astype(np.uint8)


def to_float(pixels: Array) -> np.ndarray:
  """0 … 255 to [-1, 1], float32; any shape."""
  return np.asarray(pixels, np.float32) / np.float32(127.5) - 1


def depth_to_uint8(depth: Array, near: float, far: float) -> np.ndarray:
  """Depth as gray: `near` and nearer is white, `far` and farther black."""
  share = (np.asarray(depth, np.float32) - near) / max(far - near, 1e-6)
  return to_uint8(1 - 2 * share)


def as_colors(picture: np.ndarray) -> np.ndarray:
  """Gray uint8 [H, W, 1] or colors [H, W, 3] as [H, W, 3]."""
  return np.repeat(picture, 3 // picture.shape[-1], axis=-1)


def fitted(picture: np.ndarray, side: int | None) -> np.ndarray:
  """Resizes an image to a width; its aspect ratio stays.

  Args:
    picture: uint8 [H, W, 1] or [H, W, 3].
    side: the new width, pixels; None: unchanged.

  Returns: the image, shrunk with a Lanczos filter or enlarged by repeating
    pixels, so that it does not seem to have more detail.
  """
  height, width, channels = picture.shape
  if side in (None, width):
    return picture
  size = (side, max(1, round(height * side / width)))
  image = Image.fromarray(picture[..., 0] if channels == 1 else picture)
  method = (
    Image.Resampling.LANCZOS if side < width else Image.Resampling.NEAREST
  )
  return np.asarray(image.resize(size, method)).reshape(
    size[::-1] + (channels,)
  )


def make_grid(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
  """Tiles images of one size, [H, W, C] each, into rows."""
  return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def with_titles(grid: np.ndarray, titles: Sequence[str]) -> np.ndarray:
  """Adds a line of text above each column of a grid, uint8 [H, W, 3]."""
  width = grid.shape[1] // len(titles)
  size = min(max(10, width // 14), _LARGEST_TITLE)
  header = Image.new("RGB", (grid.shape[1], 2 * size), "white")
  draw = ImageDraw.Draw(header)
  for column, title in enumerate(titles):
    draw.text(
      ((column + 0.5) * width, size),
      title,
      "black",
      font_for(title, size),
      anchor="mm",
    )
  return np.concatenate([np.asarray(header), grid])


def write_png(path: str | os.PathLike, image: np.ndarray):
  """Writes uint8 [H, W, 3], [H, W, 1] or [H, W], atomically.

  Raises: OSError if the folder cannot be written.
  """
  if image.ndim == 3 and image.shape[-1] == 1:
    image = image[..., 0]
  with replacing(path) as file:
    Image.fromarray(image).save(file, format="PNG")

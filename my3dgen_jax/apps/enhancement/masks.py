"""Masks of photos: which pixels are known, and which show the person."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from my3dgen_jax.data.album_files import failures_named
from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Array

# Eyes, nose and mouth in images aligned as EG3D does: first and last row and
# column, as shares of the side.
CENTRE = ((0.35, 0.75), (0.3, 0.7))


def centre_hole(side: int) -> np.ndarray:
  """The hole that covers eyes, nose and mouth: [side, side] bool."""
  hole = np.zeros((side, side), bool)
  (top, bottom), (left, right) = (
    [round(share * side) for share in pair] for pair in CENTRE
  )
  hole[top:bottom, left:right] = True
  return hole


def by_depth(depth: Array, side: int) -> np.ndarray:
  """Where something stands in front of the background.

  The threshold is the distance that splits the near from the far with the
  least variance in each. This needs no other network, and a generator's depth
  ends exactly where its person does.

  Args:
    depth: [S, S, 1], from `RenderOutput`; infinite where there is nothing.
    side: the mask's side, pixels.

  Returns: [side, side] bool.
  Source: Otsu 1979.
  """
  depth = np.asarray(depth, np.float64)[..., 0]
  seen = np.isfinite(depth)
  if not seen.any():
    return np.zeros((side, side), bool)
  values = np.sort(depth[seen])
  count = np.arange(1, len(values))
  total = np.cumsum(values)
  near = total[:-1] / count
  far = (total[-1] - total[:-1]) / (len(values) - count)
  between = count * (len(values) - count) * (far - near) ** 2
  # Everything is at one distance: there is no background.
  threshold = values[np.argmax(between)] if len(values) > 1 else values[0]
  is_near = (seen & (depth <= threshold)).astype(np.float32)
  large = Image.fromarray(is_near).resize((side, side), Image.BILINEAR)
  return np.asarray(large) >= 0.5


def read_mask(path: str | os.PathLike, side: int) -> np.ndarray:
  """Reads a mask in the format of albums.

  Args:
    path: a gray picture.
    side: the side it must have, pixels.

  Returns: [side, side] bool, True where it is closer to white.
  Raises: UserError: names the file, which is not gray or has another size.
  """
  path = pathlib.Path(path).expanduser()
  with failures_named(str(path)), Image.open(path) as picture:
    if picture.mode not in ("L", "1"):
      raise UserError(
        f"{path}: a mask must be gray, with 8 bits or 1, got mode {picture.mode}"
      )
    mask = np.asarray(picture.convert("L"))
  if mask.shape != (side, side):
    raise UserError(
      f"{path}: is {mask.shape[1]}x{mask.shape[0]}, the photo "
      f"is {side}x{side}; they must have the same size"
    )
  return mask >= 128


def known_shares(
  own: Sequence[np.ndarray | None], seen: np.ndarray
) -> np.ndarray | None:
  """The known share of each pixel seen, by the photos' own masks.

  What `prepare` mirrored beyond a photo's border is unknown.

  Args:
    own: [H, W, 1] float32 in [0, 1] each; None: all is known.
    seen: [N, h, w, C], the photos as they are seen.

  Returns: [N, h, w, 1] float32 in [0, 1]; None: no photo has a mask.
  """
  if all(mask is None for mask in own):
    return None
  height, width = seen.shape[1:3]
  known = np.ones((len(own), height, width, 1), np.float32)
  for i, mask in enumerate(own):
    if mask is not None:
      known[i, ..., 0] = Image.fromarray(
        np.ascontiguousarray(mask[..., 0])
      ).resize((width, height), Image.BOX)
  return np.clip(known, 0, 1)  # rounding may push means just outside

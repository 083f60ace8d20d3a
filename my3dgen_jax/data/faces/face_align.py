"""From a photo to the square crop that EG3D's face generators expect.

    alignment = align(face.points)
    crop = alignment.crop(photo)
    crop.image, crop.mask, alignment.to_crop(face.points)

A photo is scaled and shifted, never rotated: a tilted head stays tilted, and
its camera is tilted instead. Points are in pixels; (0, 0) is the photo's upper
left corner, so the first pixel's center is (0.5, 0.5).

Source: EG3D, preprocessing of photos in the wild, which takes the scale and
shift from Deep3DFaceRecon. There sizes and shifts are truncated to whole pixels
of a 1024 image, and pixels are interpolated twice; here neither happens.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Array

# A crop this many times the photo's longer side shows almost nothing of it.
_MAX_SIDE = 4
_LANCZOS = 3  # radius of its kernel, in (larger) pixels


@dataclasses.dataclass(frozen=True)
class Framing:
  """Where a kind of face lies in a crop.

  Attributes:
    points: [K, 3], the points of a frontal face: x to the image's right, y up,
      z towards the viewer; (0, 0, 0) maps to the crop's center. K >= 4, not in
      one plane.
    side: side of the crop, in the points' unit.
  """

  points: tuple[tuple[float, float, float], ...]
  side: float


# The eyes' centers, the nose's tip, the mouth's corners: the face to which
# Deep3DFaceRecon aligns. EG3D makes its unit 300 pixels, and crops 700.
FACE = Framing(
  points=(
    (-0.31148657, 0.29036078, 0.13377953),
    (0.30979887, 0.28972036, 0.13179526),
    (0.0032535, -0.04617932, 0.55244243),
    (-0.25216928, -0.38133916, 0.22405732),
    (0.2484662, -0.38128236, 0.22235769),
  ),
  side=700 / 300,
)


@dataclasses.dataclass(frozen=True, eq=False)
class Crop:
  """The crop that an alignment cuts out.

  Attributes:
    image: [size, size, C] uint8.
    mask: [size, size, 1] float32: 1 where a pixel is wholly inside the photo, 0
      where it was filled by reflection.
  """

  image: np.ndarray
  mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Alignment:
  """The square of a photo that becomes the crop.

  Attributes:
    centre: (x, y), the square's center, in the photo's pixels.
    side: side of the square, in the photo's pixels.
    size: side of the crop, pixels.
  """

  centre: tuple[float, float]
  side: float
  size: int = 512

  @property
  def scale(self) -> float:
    """Crop pixels per photo pixel."""
    return self.size / self.side

  @property
  def matrix(self) -> np.ndarray:
    """[2, 3]: a crop point is matrix @ (x, y, 1) of the photo point."""
    shift = self.size / 2 - self.scale * np.array(self.centre)
    return np.concatenate([self.scale * np.eye(2), shift[:, None]], axis=1)

  def to_crop(self, points: Array) -> np.ndarray:
    """Maps photo points, [..., 2] or with depth [..., 3], to the crop."""
    return self._moved(
      points, self.scale, np.array(self.centre), np.full(2, self.size / 2)
    )

  def to_photo(self, points: Array) -> np.ndarray:
    """Maps crop points, [..., 2] or with depth [..., 3], to the photo."""
    return self._moved(
      points, 1 / self.scale, np.full(2, self.size / 2), np.array(self.centre)
    )

  @staticmethod
  def _moved(
    points: Array, scale: float, start: np.ndarray, end: np.ndarray
  ) -> np.ndarray:
    points = np.asarray(points, np.float64)
    return np.concatenate(
      [(points[..., :2] - start) * scale + end, points[..., 2:] * scale],
      axis=-1,
    )

  def crop(self, photo: np.ndarray) -> Crop:
    """Cuts the square out, in one antialiased interpolation.

    Args:
      photo: [H, W, 3], [H, W, 1] or [H, W] uint8, upright.

    Returns: the crop; outside the photo it shows the photo's reflection.
    Raises: UserError: the photo is empty, or the square is far larger than it.
    """
    photo = np.asarray(photo)
    height, width = photo.shape[:2]
    if not height or not width or self.side > _MAX_SIDE * max(height, width):
      raise UserError(
        f"a square of {self.side:.0f} pixels cannot be cut out of a photo "
        f"of {width} x {height}: are these the face's landmarks?"
      )
    # The pixels that the interpolation reads, including ones outside.
    reach = _LANCZOS * max(1, 1 / self.scale) + 1
    low = np.array(self.centre) - self.side / 2
    first = np.floor(low - reach).astype(int)
    last = np.ceil(low + self.side + reach).astype(int)
    columns = _reflected(np.arange(first[0], last[0]), width)
    rows = _reflected(np.arange(first[1], last[1]), height)
    pixels = photo[rows[:, None], columns[None]]
    image = _resized(pixels, low - first, self.side, self.size)
    across, down = (
      self._inside(start, length) for start, length in zip(low, (width, height))
    )
    mask = (down[:, None] & across[None]).astype(np.float32)
    return Crop(image, mask[..., None])

  def _inside(self, start: float, length: int) -> np.ndarray:
    """Which rows or columns of the crop are inside the photo, [size] bool."""
    edges = start + np.arange(self.size + 1) / self.scale
    # Rounding must not exclude the outermost row of a photo that fits exactly.
    slack = 1e-6 / self.scale
    return (edges[:-1] >= -slack) & (edges[1:] <= length + slack)


def _reflected(index: np.ndarray, length: int) -> np.ndarray:
  """Reflects indices about the outer edges of the outermost pixels."""
  index = index % (2 * length)
  return np.minimum(index, 2 * length - 1 - index)


def _resized(
  pixels: np.ndarray, low: np.ndarray, side: float, size: int
) -> np.ndarray:
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  grey = pixels.ndim == 3 and pixels.shape[-1] == 1
  image = Image.fromarray(pixels[..., 0] if grey else pixels).resize(
    (size, size),
    Image.Resampling.LANCZOS,
    box=(low[0], low[1], low[0] + side, low[1] + side),
  )
  image = np.asarray(image)
  return image[..., None] if grey else image


def align(
  points: Array, *, size: int = 512, framing: Framing = FACE
) -> Alignment:
  """The square that puts a face's points where the standard face's are.

  The best affine camera of the standard face is fitted to the points; its
  scale and shift are used, its rotation is not.

  Args:
    points: [K, 2], in the order of `framing.points`, pixels.
    size: side of the crop, pixels.
    framing: framing for this kind of face.

  Raises: UserError on another shape, and on points that are not a face: not
    finite, or all in one place.
  Source: EG3D, preprocessing of photos in the wild.
  """
  points = np.asarray(points, np.float64)
  count = len(framing.points)
  if points.shape != (count, 2):
    raise UserError(
      f"landmarks: expected {count} points [{count}, 2], got "
      f"{list(points.shape)}"
    )
  if not np.isfinite(points).all():
    raise UserError("landmarks: contain NaN or infinity")
  affine = _affine_solver(framing) @ points  # [4, 2]: 3 axes and the origin
  scale = np.linalg.norm(affine[:3], axis=0).mean()
  if scale < 1:  # pixels between the eyes, or less
    raise UserError(
      "landmarks: all are in the same place; is the face only a few pixels "
      "wide?"
    )
  return Alignment(
    centre=(float(affine[3, 0]), float(affine[3, 1])),
    side=float(scale * framing.side),
    size=size,
  )


def roll(points: Array, framing: Framing = FACE) -> float:
  """How far a face is rotated in the image plane.

  Args:
    points: [K, 2], in the order of `framing.points`, pixels.
    framing: framing for this kind of face.

  Returns: degrees clockwise, in [-180, 180]; 0: upright, +-180: upside down.
  """
  up = (_affine_solver(framing) @ np.asarray(points, np.float64))[1]
  return float(np.degrees(np.arctan2(up[0], -up[1])))


@functools.cache
def _affine_solver(framing: Framing) -> Any:
  standard = np.array(framing.points)
  return np.linalg.pinv(
    np.concatenate([standard, np.ones((len(standard), 1))], axis=1)
  )

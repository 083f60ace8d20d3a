"""From a photo to the square that EG3D's face generators know.

    alignment = align(face.points)
    crop = alignment.crop(photo)
    crop.image, crop.mask, alignment.to_crop(face.points)

A photo is scaled and shifted, never turned: a tilted head stays tilted, and
its camera is tilted instead. Points are in pixels, (0, 0) the photo's upper
left corner, so that the first pixel's centre is (0.5, 0.5).

Source: EG3D, preprocessing of photos in the wild, which takes the scale and
shift from Deep3DFaceRecon. There sizes and shifts are cut to whole pixels of
a 1024 image, and pixels are interpolated twice; here neither.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from my3dgen_jax.errors import UserError
from my3dgen_jax.types import Array

# A crop this many times the photo's longer side shows next to nothing of it.
_MAX_SIDE = 4
_LANCZOS = 3  # how many (larger) pixels its kernel reaches


@dataclasses.dataclass(frozen=True)
class Framing:
  """Where a kind of face lies in a crop.

  Attributes:
    points: [K, 3], the points of a face that looks straight on: x to the
      image's right, y up, z towards the viewer; (0, 0, 0) comes to lie in the
      crop's middle. K >= 4, not in one plane.
    side: of the crop, in the points' unit.
  """

  points: tuple[tuple[float, float, float], ...]
  side: float


# The eyes' centres, the nose's tip, the mouth's corners: the face to which
# Deep3DFaceRecon aligns. EG3D makes its unit 300 pixels, and cuts out 700.
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
  """What an alignment cuts out.

  Attributes:
    image: [size, size, C] uint8.
    mask: [size, size, 1] float32: 1 where a pixel lies wholly inside the
      photo, 0 where it was filled up by reflection.
  """

  image: np.ndarray
  mask: np.ndarray


@dataclasses.dataclass(frozen=True)
class Alignment:
  """Which square of a photo is the crop.

  Attributes:
    centre: (x, y), in the photo's pixels.
    side: in the photo's pixels.
    size: the crop's side, pixels.
  """

  centre: tuple[float, float]
  side: float
  size: int = 512

  @property
  def scale(self) -> float:
    """Pixels of the crop in one of the photo."""
    return self.size / self.side

  @property
  def matrix(self) -> np.ndarray:
    """[2, 3]: a point of the crop is matrix @ (x, y, 1) of the photo."""
    shift = self.size / 2 - self.scale * np.array(self.centre)
    return np.concatenate([self.scale * np.eye(2), shift[:, None]], axis=1)

  def to_crop(self, points: Array) -> np.ndarray:
    """Points of the photo, [..., 2] or with depth [..., 3], in the crop."""
    return self._moved(
      points, self.scale, np.array(self.centre), np.full(2, self.size / 2)
    )

  def to_photo(self, points: Array) -> np.ndarray:
    """Points of the crop, [..., 2] or with depth [..., 3], in the photo."""
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
    """Cuts the square out, in one step of antialiased interpolation.

    Args:
      photo: [H, W, 3], [H, W, 1] or [H, W] uint8, upright.

    Returns: the crop; what lies outside the photo is its reflection.
    Raises: UserError: it has no pixel, or the square is far larger than it.
    """
    photo = np.asarray(photo)
    height, width = photo.shape[:2]
    if not height or not width or self.side > _MAX_SIDE * max(height, width):
      raise UserError(
        f"a square of {self.side:.0f} pixels cannot be cut out of a photo "
        f"of {width} x {height}: are these the face's landmarks?"
      )
    # The pixels that the interpolation looks at, outside ones included.
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
    """Which rows or columns of the crop lie in the photo, [size] bool."""
    edges = start + np.arange(self.size + 1) / self.scale
    # Rounding must not take the outermost row of a photo that fits exactly.
    slack = 1e-6 / self.scale
    return (edges[:-1] >= -slack) & (edges[1:] <= length + slack)


def _reflected(index: np.ndarray, length: int) -> np.ndarray:
  """Indices about the edges of the outermost pixels' outer sides."""
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
  """The square in which a face's points lie as the standard face's do.

  The best affine camera of the standard face is fitted to the points; its
  scale and shift are kept, its turn is not undone.

  Args:
    points: [K, 2], in the order of `framing.points`, pixels.
    size: side of the crop, pixels.
    framing: of this kind of face.

  Raises: UserError on another shape, and on points that are no face: not
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
    raise UserError("landmarks: there are infinite ones, or NaN")
  affine = _affine_solver(framing) @ points  # [4, 2]: 3 axes and the origin
  scale = np.linalg.norm(affine[:3], axis=0).mean()
  if scale < 1:  # pixels between the eyes, or less
    raise UserError(
      "landmarks: they lie all in one place; is the face a few pixels wide?"
    )
  return Alignment(
    centre=(float(affine[3, 0]), float(affine[3, 1])),
    side=float(scale * framing.side),
    size=size,
  )


def roll(points: Array, framing: Framing = FACE) -> float:
  """How far a face is turned in the picture's plane.

  Args:
    points: [K, 2], in the order of `framing.points`, pixels.
    framing: of this kind of face.

  Returns: degrees clockwise, in [-180, 180]; 0: its forehead is up, +-180: it
    is upside down.
  """
  up = (_affine_solver(framing) @ np.asarray(points, np.float64))[1]
  return float(np.degrees(np.arctan2(up[0], -up[1])))


@functools.cache
def _affine_solver(framing: Framing) -> Any:
  standard = np.array(framing.points)
  return np.linalg.pinv(
    np.concatenate([standard, np.ones((len(standard), 1))], axis=1)
  )

"""Converts cameras of other programs to labels, and finds wrong labels.

A label is well formed in any convention, but is useful only in that of
`ops.cameras`: a camera that looks away from the head silently trains nothing.
So labels must see a head that stands upright near the world's origin; if they
do not, the message says which convention they look like.

A convention is words, in any order, separated by commas:

        opencv      camera axes are right, down, forward: ours, the default
        opengl      right, up, backward: OpenGL, Blender, nerfstudio
        pytorch3d   left, up, forward
        world2cam   matrices map the world to the camera, as in COLMAP
    columns     matrices are stored column by column
    z_up        the world's up is z and the face looks along -y, as in Blender
    pixels      intrinsics are in pixels
"""

import itertools
from collections.abc import Sequence

import numpy as np

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops.cameras import LABEL_SIZE
from my3dgen_jax.types import Array

_OWN, OPENGL = "opencv", "opengl"
HELP = (
  "Convention of the album's cameras, words separated by commas: opencv, "
  "opengl or pytorch3d axes; world2cam, columns, z_up, pixels; default: EG3D's."
)

_PIXELS, _COLUMNS, _WORLD2CAM, _Z_UP = "pixels", "columns", "world2cam", "z_up"
# Signs that turn a camera's axes into right, down, forward; of the last two
# axes, or the first two, the sign changes.
_AXES = {
  _OWN: (1.0, 1.0, 1.0),
  OPENGL: (1.0, -1.0, -1.0),
  "pytorch3d": (-1.0, -1.0, 1.0),
}
_SWITCHES = (_PIXELS, _COLUMNS, _WORLD2CAM, _Z_UP)
_WORDS = (*_AXES, *_SWITCHES)
# Maps (x, y, z) of a world with z up to (x, z, -y).
_UPRIGHT = np.array(
  [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64
)
_LONGEST_FOCAL = 60.0  # image sizes, about one degree; in pixels: hundreds
_SHORTEST_FOCAL = 0.05  # a field of view of 168 degrees
_LEVEL = 1e-3  # a camera that looks straight down has no "up"
_FLAG = "--camera_convention"


def parse(text: str, name: str = "camera_convention") -> tuple[str, ...]:
  """Parses the words of a convention.

  Args:
    text: words separated by commas, see above; "" is our own.
    name: the argument's name in the message.

  Raises: UserError: an unknown word, or more than one choice of axes.
  """
  words = tuple(filter(None, (word.strip() for word in text.split(","))))
  for word in words:
    if word not in _WORDS:
      raise UserError(
        f"{name}: expected some of {', '.join(_WORDS)}, separated by commas, "
        f"got {text!r}"
      )
  if sum(word in _AXES for word in words) > 1:
    raise UserError(f"{name}: expected one of {', '.join(_AXES)}, got {text!r}")
  return words


def to_ours(numbers: Array, words: Sequence[str]) -> np.ndarray:
  """Converts labels to our convention.

  Args:
    numbers: [..., 25] in the convention of `words`: the camera's 4x4 matrix and
      3x3 intrinsics, both row by row.
    words: see `parse`. With "pixels", the image is assumed to be twice as wide
      and high as its principal point is from its corner.

  Returns: [..., 25] float64; meaningless values if it is not a camera in that
    convention, NaN if its matrix has no inverse.
  """
  numbers = np.asarray(numbers, np.float64)
  batch = numbers.shape[:-1]
  matrix = numbers[..., :16].reshape(*batch, 4, 4)
  intrinsics = numbers[..., 16:].reshape(*batch, 3, 3).copy()
  if _COLUMNS in words:
    matrix = matrix.swapaxes(-1, -2)
  if _WORLD2CAM in words:
    matrix = _inverse(matrix)
  for axes in set(words) & set(_AXES):
    matrix = matrix * np.array([*_AXES[axes], 1.0])
  if _Z_UP in words:
    matrix = _UPRIGHT @ matrix
  if _PIXELS in words:
    with np.errstate(divide="ignore", invalid="ignore"):
      intrinsics[..., :2, :] /= 2 * intrinsics[..., :2, 2:]
  return np.concatenate(
    [matrix.reshape(*batch, 16), intrinsics.reshape(*batch, 9)], axis=-1
  )


def as_written(c: Array, words: Sequence[str]) -> np.ndarray:
  """The inverse of `to_ours`, except for pixels, whose number is lost."""
  numbers = np.asarray(c, np.float64)
  batch = numbers.shape[:-1]
  matrix = numbers[..., :16].reshape(*batch, 4, 4)
  if _Z_UP in words:
    matrix = _UPRIGHT.T @ matrix
  for axes in set(words) & set(_AXES):
    matrix = matrix * np.array([*_AXES[axes], 1.0])
  if _WORLD2CAM in words:
    matrix = _inverse(matrix)
  if _COLUMNS in words:
    matrix = matrix.swapaxes(-1, -2)
  return np.concatenate(
    [matrix.reshape(*batch, 16), numbers[..., 16:]], axis=-1
  )


def _inverse(matrix: np.ndarray) -> np.ndarray:
  """Inverses of rigid matrices; other matrices give arbitrary values."""
  rotation = matrix[..., :3, :3].swapaxes(-1, -2)
  result = matrix.copy()
  result[..., :3, :3] = rotation
  result[..., :3, 3:] = -rotation @ matrix[..., :3, 3:]
  return result


def faults(c: Array, rendering: RenderConfig | None = None) -> list[str | None]:
  """Finds labels that cannot be right.

  Args:
    c: [N, 25], well-formed labels in our own convention.
    rendering: the generator's rendering config, which sets what its rays reach;
      None: any distance.

  Returns: for each label the problem with it, or None.
  """
  c = np.asarray(c, np.float64).reshape(-1, LABEL_SIZE)
  return [_fault(one, rendering) for one in c]


def _fault(c: np.ndarray, rendering: RenderConfig | None) -> str | None:
  cam2world, intrinsics = c[:16].reshape(4, 4), c[16:].reshape(3, 3)
  focal = intrinsics[[0, 1], [0, 1]]
  if focal.max() > _LONGEST_FOCAL or focal.min() < _SHORTEST_FOCAL:
    wrong = focal.max() if focal.max() > _LONGEST_FOCAL else focal.min()
    return f"its focal length is {wrong:.4g}, expected image sizes, about 4.26"
  x, y, depth = -cam2world[:3, :3].T @ cam2world[:3, 3]
  if depth <= 0:
    return "the head is behind the camera"
  u, v, _ = intrinsics @ (x / depth, y / depth, 1)
  if not (0 <= u <= 1 and 0 <= v <= 1):
    return f"the head is outside the image, at ({u:.2f}, {v:.2f}) of its size"
  if cam2world[1, 1] > _LEVEL:
    return "the head is upside down in the image"
  if rendering is not None and rendering.ray_start != "auto":
    start, end = rendering.ray_start, rendering.ray_end
    if not start <= depth <= end:
      return (
        f"the head is {depth:.4g} from the camera, but this generator sees "
        f"only what is {start:g} to {end:g} away; scale its position"
      )
  return None


def _sees_face(c: np.ndarray) -> bool:
  """Whether a label's camera is in front of the face."""
  return bool(c[11] > 0)


def _is_rigid(c: np.ndarray) -> bool:
  matrix = c[:16].reshape(4, 4)
  rotation = matrix[:3, :3]
  return bool(
    np.isfinite(c).all()
    and np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3
    and np.linalg.det(rotation) > 0
    and np.abs(matrix[3] - [0, 0, 0, 1]).max() < 1e-3
  )


def looks_like(
  numbers: Array, rendering: RenderConfig | None = None
) -> str | None:
  """The simplest convention in which labels would be valid.

  Args:
    numbers: [N, 25], in some convention.
    rendering: see `faults`.

  Returns: its words, separated by commas, "opencv" for our own; None if there
    is none.
  """
  numbers = np.asarray(numbers, np.float64).reshape(-1, LABEL_SIZE)
  found = []
  for axes in _AXES:
    for count in range(len(_SWITCHES) + 1):
      for switches in itertools.combinations(_SWITCHES, count):
        words = (*(axes,) * (axes != _OWN), *switches)
        c = to_ours(numbers, words)
        if all(map(_is_rigid, c)) and not any(faults(c, rendering)):
          backs = sum(not _sees_face(one) for one in c)
          found.append((backs, len(words), words))
  return ",".join(min(found)[-1]) or _OWN if found else None


def check(
  c: Array,
  names: Sequence[str],
  where: str,
  rendering: RenderConfig | None = None,
  *,
  words: Sequence[str] = (),
  may_look_away: bool = False,
):
  """Checks that labels are plausible.

  Args:
    c: [N, 25], in our own convention.
    names: names of the labels, N of them.
    where: the file, which begins the message.
    rendering: see `faults`.
    words: words of the convention that they were written in.
    may_look_away: for cameras of a film, which may be behind or below a head:
      labels are refused only if none sees it and all would in another
      convention.

  Raises: UserError: names the first wrong label, and the convention that all
    of them look like.
  """
  found = faults(c, rendering)
  written = as_written(c, words)
  if may_look_away and (
    not all(found) or looks_like(written, rendering) is None
  ):
    return
  for name, fault in zip(names, found):
    if fault:
      more = sum(map(bool, found)) - 1
      raise UserError(
        f"{where}: {name!r}: {fault}"
        + (f" (and {more} more)" if more else "")
        + hint(written, rendering, words)
      )


def hint(
  numbers: Array,
  rendering: RenderConfig | None = None,
  words: Sequence[str] = (),
) -> str:
  """The end of a message: what labels look like and how to convert them.

  Args:
    numbers: [N, 25], as they were read; pixels as fractions of the image.
    rendering: see `faults`.
    words: words of the convention that was assumed.
  """
  convention = looks_like(numbers, rendering)
  if convention and _PIXELS in words and _PIXELS not in convention:
    convention = ",".join(
      [*(x for x in convention.split(",") if x != _OWN), _PIXELS]
    )
  if convention:
    return f"; the labels look like {convention}: set {_FLAG}={convention}"
  return (
    "; expected EG3D's labels: a head near the origin that looks along +z, y "
    f"up, camera axes right, down, forward; or set the convention by {_FLAG}"
  )

"""Cameras of other programs as labels, and labels that cannot be meant.

A label is well formed in any convention, and is of use in one alone, that of
`ops.cameras`: a camera that looks away from the head trains nothing, without
a word. So labels must see a head that stands upright about the world's
middle; where they do not, it is told which convention they look like.

A convention is words, in any order, separated by commas:

    opencv      cameras' axes are right, down, forward: our own, the default
    opengl      right, up, backward: OpenGL, Blender, nerfstudio
    pytorch3d   left, up, forward
    world2cam   matrices take the world to the camera, as COLMAP's do
    columns     matrices are written column by column
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
# What turns a camera's axes into right, down, forward; of the last two axes,
# or the first two, the sign changes.
_AXES = {
  _OWN: (1.0, 1.0, 1.0),
  OPENGL: (1.0, -1.0, -1.0),
  "pytorch3d": (-1.0, -1.0, 1.0),
}
_SWITCHES = (_PIXELS, _COLUMNS, _WORLD2CAM, _Z_UP)
_WORDS = (*_AXES, *_SWITCHES)
# Takes (x, y, z) of a world whose up is z to (x, z, -y).
_UPRIGHT = np.array(
  [[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64
)
_LONGEST_FOCAL = 60.0  # image sizes, about one degree; pixels are hundreds
_SHORTEST_FOCAL = 0.05  # of a field of view of 168 degrees
_LEVEL = 1e-3  # a camera that looks straight down has no upside
_FLAG = "--camera_convention"


def parse(text: str, name: str = "camera_convention") -> tuple[str, ...]:
  """The words of a convention.

  Args:
    text: words separated by commas, see above; "" is our own.
    name: what to call it in the message.

  Raises: UserError: an unknown word; axes said twice.
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
  """Labels in our own convention.

  Args:
    numbers: [..., 25] in the convention of `words`: the camera's matrix 4x4
      and intrinsics 3x3, both row by row.
    words: see `parse`. Of "pixels", the image is taken to be twice as wide
      and high as its principal point is from its corner.

  Returns: [..., 25] float64; nonsense of what is no camera in that
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
  """The inverse of `to_ours`, but for pixels, whose number is lost."""
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
  """Inverses of rigid matrices; whatever of others."""
  rotation = matrix[..., :3, :3].swapaxes(-1, -2)
  result = matrix.copy()
  result[..., :3, :3] = rotation
  result[..., :3, 3:] = -rotation @ matrix[..., :3, 3:]
  return result


def faults(c: Array, rendering: RenderConfig | None = None) -> list[str | None]:
  """What labels cannot mean.

  Args:
    c: [N, 25], well-formed labels in our own convention.
    rendering: of the generator, which sees what its rays pass; None: any.

  Returns: for each label what is wrong with it, or None.
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
    return "the head lies behind the camera"
  u, v, _ = intrinsics @ (x / depth, y / depth, 1)
  if not (0 <= u <= 1 and 0 <= v <= 1):
    return (
      f"the head lies outside of the picture, at ({u:.2f}, {v:.2f}) of its size"
    )
  if cam2world[1, 1] > _LEVEL:
    return "the head stands upside down in the picture"
  if rendering is not None and rendering.ray_start != "auto":
    start, end = rendering.ray_start, rendering.ray_end
    if not start <= depth <= end:
      return (
        f"the head is {depth:.4g} from the camera, and this generator sees "
        f"what is {start:g} to {end:g} away; scale its place"
      )
  return None


def _sees_face(c: np.ndarray) -> bool:
  """Whether a label is of a camera before the face."""
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
  """The simplest convention in which labels could be meant.

  Args:
    numbers: [N, 25], in some convention.
    rendering: see `faults`.

  Returns: its words, separated by commas, "opencv" for our own; None: there
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
  """Checks that labels could be meant.

  Args:
    c: [N, 25], in our own convention.
    names: of the labels, [N].
    where: the file, the start of the message.
    rendering: see `faults`.
    words: of the convention that they were written in.
    may_look_away: as cameras of a film may, beyond a head and from beneath:
      refused are those of which none sees it, and all would in another
      convention.

  Raises: UserError: names the first that could not, and the convention that
    all of them look like.
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
    numbers: [N, 25], as they were read; of pixels, in shares of the picture.
    rendering: see `faults`.
    words: of the convention that they were taken to be in.
  """
  convention = looks_like(numbers, rendering)
  if convention and _PIXELS in words and _PIXELS not in convention:
    convention = ",".join(
      [*(x for x in convention.split(",") if x != _OWN), _PIXELS]
    )
  if convention:
    return f"; the labels look like {convention}: give {_FLAG}={convention}"
  return (
    "; expected EG3D's labels: a head about the middle that looks along +z, y "
    f"up, camera axes right, down, forward; or say others by {_FLAG}"
  )

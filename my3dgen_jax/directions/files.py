"""Directions on disk, one .npy file each."""

import io
import os
import pathlib
import shlex

import numpy as np

from my3dgen_jax.directions.direction import Direction, read_bytes, unit
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage.files import replacing

SUFFIX = ".npy"
_TORCH_SUFFIXES = (".pt", ".pth", ".pkl")


def save(path: str | os.PathLike, direction: Direction):
  """Writes a direction's vector to a `.npy` file, atomically.

  Args:
    path: the file to write; replaced if it exists.
    direction: the direction; its name, accuracy and spread are not stored.

  Raises: OSError.
  """
  with replacing(path) as file:
    np.save(file, np.asarray(direction.vector, np.float32), allow_pickle=False)


def load(path: str | os.PathLike, *, w_dim: int, num_ws: int) -> Direction:
  """Reads a direction from a `.npy` file.

  Args:
    path: a `.npy` file of real numbers, see `check_vector`.
    w_dim: the generator's width of w.
    num_ws: rows of the generator's ws.

  Returns: Direction, named after the file.
  Raises:
    CheckpointError: names the file, what is wrong with it, and the remedy.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() in _TORCH_SUFFIXES and path.is_file():
    source, target = (
      shlex.quote(str(name)) for name in (path, path.with_suffix(SUFFIX))
    )
    raise CheckpointError(
      f"{path}: is a PyTorch file; convert it: python converters/"
      f"direction_to_npy.py --input {source} --output {target}"
    )
  try:
    data = read_bytes(path)
  except OSError as error:
    raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
  try:
    array = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
  # NumPy raises a good dozen types for damaged files.
  except Exception:  # pylint: disable=broad-exception-caught
    raise CheckpointError(
      f"{path}: is damaged, or not a {SUFFIX} file of numbers; write it again "
      "with numpy.save"
    ) from None
  try:
    return Direction(path.stem, check_vector(array, w_dim=w_dim, num_ws=num_ws))
  except CheckpointError as error:
    raise CheckpointError(f"{path}: {error}") from None


def check_vector(
  array: np.ndarray, *, w_dim: int | None = None, num_ws: int | None = None
) -> np.ndarray:
  """Checks a direction read from a file, and normalizes it.

  Args:
    array: real numbers, [w_dim] or [1, w_dim] for all layers, or [num_ws,
      w_dim] or [1, num_ws, w_dim] for each layer.
    w_dim: the generator's width of w; None: any.
    num_ws: rows of the generator's ws; None: any.

  Returns: float32, [w_dim] if all layers are equal, so that strengths do not
    depend on the file's shape; else [num_ws, w_dim].
  Raises:
    CheckpointError: wrong dtype or shape, NaN, infinity, or only zeros; does
      not name the file.
  """
  if array.dtype.kind not in "iuf" or not _fits(array.shape, w_dim, num_ws):
    width, rows = w_dim or "w_dim", num_ws or "num_ws"
    raise CheckpointError(
      f"expected real numbers of shape [{width}], [1, {width}], [{rows}, "
      f"{width}] or [1, {rows}, {width}], got {array.dtype} "
      f"{list(array.shape)}; it is not a direction, or belongs to another "
      "generator: fit one to yours"
    )
  with np.errstate(over="ignore"):  # becomes infinity, refused below
    array = array.astype(np.float64)
  if not np.isfinite(array).all():
    raise CheckpointError("holds NaN or infinity; make the direction again")
  if not array.any():
    raise CheckpointError("holds only zeros; make the direction again")
  rows = array.reshape(-1, array.shape[-1])
  return unit(rows[0] if (rows == rows[0]).all() else rows)


def _fits(
  shape: tuple[int, ...], w_dim: int | None, num_ws: int | None
) -> bool:
  if not 1 <= len(shape) <= 3 or 0 in shape:
    return False
  *outer, rows, width = (1, 1, *shape)[-3:]
  return (
    outer == [1]
    and w_dim in (None, width)
    and (rows == 1 or num_ws in (None, rows))
  )

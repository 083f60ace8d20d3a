"""Directions on disk: one .npy file each."""

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
  """Writes a direction's vector as one `.npy` file, whole or not at all.

  Args:
    path: of the file; replaced if it exists.
    direction: its name, accuracy and spread are not kept.

  Raises: OSError.
  """
  with replacing(path) as file:
    np.save(file, np.asarray(direction.vector, np.float32), allow_pickle=False)


def load(path: str | os.PathLike, *, w_dim: int, num_ws: int) -> Direction:
  """Reads a direction, ours or anybody's.

  Args:
    path: a `.npy` file of real numbers, see `check_vector`.
    w_dim: the generator's width of w.
    num_ws: rows of the generator's ws.

  Returns: Direction, called as the file.
  Raises:
    CheckpointError: a UserError of one line: the file, what is wrong with it,
      and the remedy.
  """
  path = pathlib.Path(path)
  if path.suffix.lower() in _TORCH_SUFFIXES and path.is_file():
    source, target = (
      shlex.quote(str(name)) for name in (path, path.with_suffix(SUFFIX))
    )
    raise CheckpointError(
      f"{path}: is a file of PyTorch; convert it: python converters/"
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
      f"{path}: is damaged, or no {SUFFIX} file of numbers alone; write it "
      "again by numpy.save"
    ) from None
  try:
    return Direction(path.stem, check_vector(array, w_dim=w_dim, num_ws=num_ws))
  except CheckpointError as error:
    raise CheckpointError(f"{path}: {error}") from None


def check_vector(
  array: np.ndarray, *, w_dim: int | None = None, num_ws: int | None = None
) -> np.ndarray:
  """Checks a direction out of a file and brings it to unit length.

  Args:
    array: real numbers, [w_dim] or [1, w_dim] for all layers alike, or
      [num_ws, w_dim] or [1, num_ws, w_dim].
    w_dim: the generator's width of w; None: any.
    num_ws: rows of the generator's ws; None: any.

  Returns: float32, [w_dim] if all layers are alike, so that a strength means
    the same however the file is written; else [num_ws, w_dim].
  Raises:
    CheckpointError: another dtype or shape; NaN, infinity or zeros alone. It
      does not know the file's name.
  """
  if array.dtype.kind not in "iuf" or not _fits(array.shape, w_dim, num_ws):
    width, rows = w_dim or "w_dim", num_ws or "num_ws"
    raise CheckpointError(
      f"expected real numbers of shape [{width}], [1, {width}], [{rows}, "
      f"{width}] or [1, {rows}, {width}], got {array.dtype} "
      f"{list(array.shape)}; it is no direction, or one of another "
      "generator: fit one of yours"
    )
  with np.errstate(over="ignore"):  # becomes infinity, refused below
    array = array.astype(np.float64)
  if not np.isfinite(array).all():
    raise CheckpointError("holds NaN or infinity; make the direction again")
  if not array.any():
    raise CheckpointError(
      "holds zeros alone, which is no direction; make it again"
    )
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

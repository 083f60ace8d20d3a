"""Content of format 3 files: a quantized adapter, see `quantization`.

    codes, scales, bits   tensors for all of an adapter's numbers
    shapes                metadata, JSON: nested names and their shapes
    dtype                 metadata: "int8" or "int4"

One tensor per name would cost 100 bytes of header each: a third of the file.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import unflatten_dict

from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.lora import quantization
from my3dgen_jax.storage import json_files

FORMAT = "3"
DTYPE = "dtype"  # the metadata entry with the dtype
SHAPES = "shapes"  # the metadata entry with the shapes
_MOST_SIDES = 8

Path = tuple[str, ...]


def encode(
  leaves: Mapping[Path, np.ndarray], dtype: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
  """A file's tensors and metadata.

  Args:
    leaves: tensors by path, finite.
    dtype: one of `quantization.DTYPES`.
  """
  shapes = unflatten_dict(
    {path: list(leaves[path].shape) for path in sorted(leaves)}
  )
  return quantization.pack(leaves, dtype)._asdict(), {
    DTYPE: dtype,
    SHAPES: json.dumps(shapes, separators=(",", ":")),
  }


def decode(
  path: str | os.PathLike,
  tensors: Mapping[str, np.ndarray],
  metadata: dict[str, str],
) -> dict[Path, np.ndarray]:
  """The inverse of `encode`.

  Args:
    path: path of the file, for messages.
    tensors: the file's tensors, by name.
    metadata: the file's metadata; the shapes are removed from it.

  Returns: float32 tensors by path.
  Raises: CheckpointError: the file is damaged; it names the file and problem.
  """
  shapes = shapes_of(path, metadata)
  metadata.pop(SHAPES)
  if set(tensors) != set(quantization.Packed._fields):
    raise CheckpointError(
      f"{path}: is damaged: it holds the tensors {', '.join(sorted(tensors))}; "
      f"those of format {FORMAT} are {', '.join(quantization.Packed._fields)}"
    )
  try:
    return quantization.unpack(shapes, quantization.Packed(**tensors))
  except ValueError as error:
    raise CheckpointError(f"{path}: is damaged: {error}") from None


def shapes_of(
  path: str | os.PathLike, metadata: Mapping[str, str]
) -> dict[Path, tuple[int, ...]]:
  """The shapes of a file's adapter, by path; raises CheckpointError."""
  try:
    if metadata.get(DTYPE) not in quantization.DTYPES:
      raise UserError(f"its dtype is not one of {quantization.DTYPES}")
    found: dict[Path, tuple[int, ...]] = {}
    _collect(json_files.parse(metadata.get(SHAPES, "")), (), found)
  except UserError as error:
    raise CheckpointError(
      f"{path}: is damaged: its metadata has no valid shapes: {error}"
    ) from None
  return found


def _collect(data: Any, path: Path, found: dict[Path, tuple[int, ...]]):
  """Collects shapes; `json_files.parse` has bounded the depth."""
  if isinstance(data, dict) and data:
    for name, inner in data.items():
      _collect(inner, (*path, name), found)
  elif (
    isinstance(data, list)
    and path
    and len(data) <= _MOST_SIDES
    and all(type(side) is int and side > 0 for side in data)
  ):
    found[path] = tuple(data)
  else:
    raise UserError(f"{'/'.join(path)} has no shape")

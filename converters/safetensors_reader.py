"""Reads state dicts in `.safetensors` files, as `torch_reader` does."""

import ml_dtypes
import numpy as np

from converters.errors import describe
from converters.torch_reader import StorageRecord, TensorRecord
from my3dgen_jax.errors import CheckpointError

NAME = "safetensors"

_HEADER = 8  # bytes that hold the header's length, before it
_DTYPES = {
  "F64": np.dtype("<f8"),
  "F32": np.dtype("<f4"),
  "F16": np.dtype("<f2"),
  "BF16": np.dtype(ml_dtypes.bfloat16),
  "I64": np.dtype("<i8"),
  "I32": np.dtype("<i4"),
  "I16": np.dtype("<i2"),
  "I8": np.dtype("i1"),
  "U8": np.dtype("u1"),
  "BOOL": np.dtype("?"),
}


def is_safetensors(data: bytes) -> bool:
  """Whether a file's bytes begin like a `.safetensors` file."""
  return data[_HEADER : _HEADER + 1] == b"{" and (
    int.from_bytes(data[:_HEADER], "little") <= len(data)
  )


def loads(data: bytes) -> dict[str, TensorRecord]:
  """The tensors of a file's bytes.

  Raises: CheckpointError: the file is damaged, or has tensors of a dtype that
    generators do not use; without the file's name.
  """
  import safetensors  # pylint: disable=import-outside-toplevel

  try:
    entries = safetensors.deserialize(bytes(data))
  except safetensors.SafetensorError as error:
    raise CheckpointError(f"is a damaged safetensors file: {error}") from None
  found = {}
  for name, entry in entries:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
      raise CheckpointError(
        f"{describe(name)} has the unsupported dtype {entry['dtype']}"
      )
    shape = tuple(entry["shape"])
    strides = tuple(
      int(np.prod(shape[i + 1 :], dtype=np.int64)) for i in range(len(shape))
    )
    raw = memoryview(entry["data"])
    storage = StorageRecord(dtype, len(raw) // dtype.itemsize, raw)
    found[name] = TensorRecord(storage, dtype, 0, shape, strides)
  return found

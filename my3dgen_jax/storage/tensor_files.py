"""`.safetensors` files: the same bytes for the same content."""

import contextlib
import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from my3dgen_jax.errors import CheckpointError

_ALIGNMENT = 8  # of the first tensor byte


@contextlib.contextmanager
def opened(path: str | os.PathLike, kind: str) -> Iterator[Any]:
  """Opens a file for reading, like `safetensors.safe_open`.

  Args:
    path: path of the file.
    kind: what it should be, for the message, e.g. "an adapter".

  Raises: CheckpointError: it cannot be read; also for reads inside the block.
  """
  # Imported here because only reading and writing files needs it.
  from safetensors import safe_open, SafetensorError

  try:
    with safe_open(path, framework="numpy") as file:
      yield file
  except (OSError, SafetensorError) as error:
    reason = getattr(error, "strerror", None) or str(error)
    raise CheckpointError(
      f"{path}: cannot be read as {kind}: {reason}"
    ) from None


def encode(
  tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> bytes:
  """Encodes a file's bytes.

  The library's order of metadata differs from process to process, and with it
  the file's SHA-256.

  Args:
    tensors: the tensors, by name.
    metadata: strings by name.
  """
  # Imported here because only reading and writing files needs it.
  from safetensors.numpy import save  # pylint: disable=import-outside-toplevel

  data = save(dict(tensors), metadata=dict(metadata))
  (size,) = struct.unpack("<Q", data[:8])
  entries = json.loads(data[8 : 8 + size])
  return _header(entries, metadata) + data[8 + size :]


def header(
  tensors: Mapping[str, tuple[str, tuple[int, ...]]],
  metadata: Mapping[str, str],
  *,
  length: int = 0,
) -> bytes:
  """Encodes a file's header, for numbers that are written piece by piece.

  Args:
    tensors: dtype, "F32" or "F16", and shape by name, in the order in which
      their bytes follow.
    metadata: strings by name.
    length: minimum length of the header's text, padded with spaces.
  """
  entries: dict[str, Any] = {"__metadata__": {}}  # first, as the library has it
  end = 0
  for name, (kind, shape) in tensors.items():
    begin, end = end, end + int(kind[1:]) // 8 * math.prod(shape)
    entries[name] = {
      "dtype": kind,
      "shape": list(shape),
      "data_offsets": [begin, end],
    }
  return _header(entries, metadata, length)


def _header(
  entries: Mapping[str, Any], metadata: Mapping[str, str], length: int = 0
) -> bytes:
  entries = {**entries, "__metadata__": dict(sorted(metadata.items()))}
  text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
  text = text.ljust(length)
  text += b" " * (-len(text) % _ALIGNMENT)
  return struct.pack("<Q", len(text)) + text

"""`.safetensors` files: the same bytes for the same content."""

import json
import struct
from collections.abc import Mapping

import numpy as np

_ALIGNMENT = 8  # of the tensors' first byte


def encode(
  tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> bytes:
  """A file's bytes.

  The library writes the metadata in an order that differs from one process to
  the next, and with it the file's SHA-256.

  Args:
    tensors: by name.
    metadata: texts by name.
  """
  # Only whoever reads or writes files needs it.
  from safetensors.numpy import save  # pylint: disable=import-outside-toplevel

  data = save(dict(tensors), metadata=dict(metadata))
  (size,) = struct.unpack("<Q", data[:8])
  header = json.loads(data[8 : 8 + size])
  header = {**header, "__metadata__": dict(sorted(metadata.items()))}
  text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
  text += b" " * (-len(text) % _ALIGNMENT)
  return struct.pack("<Q", len(text)) + text + data[8 + size :]

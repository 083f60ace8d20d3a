"""Writes state dicts that torch.load reads, without torch.

The file is a zip whose `data.pkl` rebuilds the tensors from `data/<key>`, as
torch.save has written since 1.6. The few pickle instructions that it needs are
written by hand.
"""

import struct
import zipfile
from collections.abc import Mapping
from typing import BinaryIO

import numpy as np

_PREFIX = "archive"
_ALIGNMENT = 64  # bytes; torch maps storages into memory
_PADDING_ID = 0x4246  # id of the zip extra field for alignment; any unused one
_LOCAL_HEADER_SIZE = 30
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same tensors give the same file


def write_state_dict(file: BinaryIO, tensors: Mapping[str, np.ndarray]):
  """Writes float32 tensors.

  Args:
    file: a seekable file, open for writing.
    tensors: torch name → float32 array in torch's layout.
  """
  with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
    _write(archive, "data.pkl", _pickle(tensors))
    _write(archive, "byteorder", b"little")
    for key, array in enumerate(tensors.values()):
      _write(archive, f"data/{key}", np.asarray(array, "<f4").tobytes())
    _write(archive, "version", b"3\n")


def _write(archive: zipfile.ZipFile, name: str, data: bytes):
  """Adds an entry whose data starts at a multiple of the alignment."""
  info = zipfile.ZipInfo(f"{_PREFIX}/{name}", _EPOCH)
  start = (
    archive.fp.tell() + _LOCAL_HEADER_SIZE + len(info.filename.encode()) + 4
  )
  padding = -start % _ALIGNMENT
  info.extra = struct.pack("<2H", _PADDING_ID, padding) + b"\0" * padding
  archive.writestr(info, data)


def _pickle(tensors: Mapping[str, np.ndarray]) -> bytes:
  """OrderedDict of name → _rebuild_tensor_v2(storage, …), protocol 2."""
  items = b"".join(
    _text(name) + _tensor(key, array)
    for key, (name, array) in enumerate(tensors.items())
  )
  return b"\x80\x02" + _ORDERED_DICT + b"(" + items + b"u."


def _tensor(key: int, array: np.ndarray) -> bytes:
  storage = (
    b"("
    + _text("storage")
    + b"ctorch\nFloatStorage\n"
    + _text(str(key))
    + _text("cpu")
    + _integer(array.size)
    + b"tQ"
  )
  strides = [
    int(np.prod(array.shape[axis + 1 :])) for axis in range(array.ndim)
  ]
  arguments = (
    storage
    + _integer(0)
    + _tuple(array.shape)
    + _tuple(strides)
    + b"\x89"
    + _ORDERED_DICT
  )
  return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


_ORDERED_DICT = b"ccollections\nOrderedDict\n)R"


def _text(value: str) -> bytes:
  raw = value.encode()
  return b"X" + struct.pack("<I", len(raw)) + raw


def _integer(value: int) -> bytes:
  if value < 2**31:
    return b"J" + struct.pack("<i", value)
  return b"\x8a\x08" + struct.pack("<q", value)


def _tuple(values) -> bytes:
  return b"(" + b"".join(map(_integer, values)) + b"t"

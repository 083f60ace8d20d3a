"""Shards of a bank: `.safetensors` files of one tensor, a person a row.

    with safetensors.safe_open("shard-00000001.safetensors", "numpy") as file:
      file.get_slice("numbers")[5:6]

A shard is written once, whole, and never changed. One tensor for all people
costs one header, so a file is its numbers and 0.1 kB; a row is read through a
memory map as one copy of consecutive bytes.
"""

import collections
import contextlib
import pathlib
import re
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage import tensor_files
from my3dgen_jax.storage.files import replacing

_TENSOR = "numbers"
_NAME = re.compile(r"shard-\d{8,}\.safetensors")
_KINDS = {"float32": "F32", "float16": "F16"}
_MOST_ROWS = 10**9
_HEADER = 192  # bytes of text, for any number of rows and numbers
_MOST_OPEN = 128  # a system lets a process have 1024 files, or 256
_BYTES_AT_ONCE = 2**24  # while a whole shard is read


def path_of(folder: pathlib.Path, number: int) -> pathlib.Path:
  """The file of a shard."""
  return folder / f"shard-{number:08}.safetensors"


def is_shard(path: pathlib.Path) -> bool:
  """Whether a file has the name of one."""
  return bool(_NAME.fullmatch(path.name))


def checksum(row: np.ndarray) -> int:
  """The CRC-32 of a row's bytes.

  As a signed number, which SQLite keeps in 4 bytes; it tells damage at a third
  of the time that SHA-256 takes.
  """
  value = zlib.crc32(np.ascontiguousarray(row).data)
  return value - 2**32 if value >= 2**31 else value


class Writer:
  """A shard that is written row by row, and is there once `finish` returns.

  Attributes:
    rows: how many there are so far.
    bytes: of them.
  """

  def __init__(self, path: pathlib.Path, dtype: str, size: int):
    """Opens a temporary file.

    Args:
      path: of the shard.
      dtype: of its numbers.
      size: numbers in a row.

    Raises: OSError, as all methods do.
    """
    self.rows = self.bytes = 0
    self._dtype, self._size = dtype, size
    self._stack = contextlib.ExitStack()
    self._file = self._stack.enter_context(replacing(path))
    self._file.write(self._header(_MOST_ROWS))  # as long as the real one

  def append(self, row: np.ndarray):
    """Writes a row, [size]."""
    data = np.ascontiguousarray(row).data
    self._file.write(data)
    self.rows += 1
    self.bytes += data.nbytes

  def finish(self) -> int:
    """Writes the header, syncs and renames; bytes of the file."""
    header = self._header(self.rows)
    with self._stack:
      self._file.seek(0)
      self._file.write(header)
    return len(header) + self.bytes

  def abandon(self, error: BaseException):
    """Leaves nothing of it."""
    with contextlib.suppress(type(error)):
      with self._stack:
        raise error

  def _header(self, rows: int) -> bytes:
    """A header of one length, whatever the number of rows."""
    return tensor_files.header(
      {_TENSOR: (_KINDS[self._dtype], (rows, self._size))},
      {"format": "my3dgen bank"},
      length=_HEADER,
    )


class Files:
  """Shards that are open to be read; may be asked by several threads."""

  def __init__(self, folder: pathlib.Path):
    """Opens nothing yet.

    Args:
      folder: of the bank.
    """
    self._folder = folder
    self._open: collections.OrderedDict[int, Any] = collections.OrderedDict()
    self._lock = threading.Lock()

  def row(self, number: int, row: int, size: int) -> np.ndarray:
    """One row, a copy.

    Args:
      number: of the shard.
      row: which.
      size: numbers that it must have.

    Raises: FileNotFoundError: there is no such shard, any more perhaps;
      CheckpointError: it is damaged.
    """
    tensor = self._tensor(number)
    rows, found = tensor.get_shape()
    if found != size or not 0 <= row < rows:
      raise CheckpointError(
        f"{path_of(self._folder, number)}: is damaged: it has {rows} rows of "
        f"{found} numbers, the index expects row {row} of {size}"
      )
    return tensor[row : row + 1][0]

  def rows(self, number: int) -> Iterator[np.ndarray]:
    """All rows of a shard, in order.

    Raises: as `row`.
    """
    tensor = self._tensor(number)
    count, size = tensor.get_shape()
    step = max(1, _BYTES_AT_ONCE // (4 * max(1, size)))
    for start in range(0, count, step):
      yield from tensor[start : min(start + step, count)]

  def forget(self, number: int):
    """Closes a shard."""
    with self._lock:
      self._open.pop(number, None)

  def close(self):
    """Closes all of them; the next use opens one again."""
    with self._lock:
      self._open.clear()

  def _tensor(self, number: int) -> Any:
    with self._lock:
      if number not in self._open:
        self._open[number] = _opened(path_of(self._folder, number))
      self._open.move_to_end(number)
      while len(self._open) > _MOST_OPEN:
        self._open.popitem(last=False)
      return self._open[number]


def _opened(path: pathlib.Path) -> Any:
  """The tensor of a file; it stays open as long as somebody has it."""
  # pylint: disable-next=import-outside-toplevel
  from safetensors import safe_open, SafetensorError

  try:
    tensor = safe_open(path, framework="numpy").get_slice(_TENSOR)
    if len(tensor.get_shape()) == 2 and tensor.get_dtype() in _KINDS.values():
      return tensor
    reason = f"it has the shape {tensor.get_shape()}"
  except FileNotFoundError:
    raise FileNotFoundError(2, "is missing", str(path)) from None
  except (OSError, SafetensorError) as error:
    reason = getattr(error, "strerror", None) or str(error)
  raise CheckpointError(f"{path}: is damaged: {reason}")

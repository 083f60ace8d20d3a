"""Shards of a bank: `.safetensors` files with one tensor, a person per row.

    with safetensors.safe_open("shard-00000001.safetensors", "numpy") as file:
      file.get_slice("numbers")[5:6]

A shard is written once, complete, and never changed. One tensor for all people
needs one header, so a file is its numbers and 0.1 kB; reading a row copies
consecutive bytes out of a memory map.
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
_HEADER = 192  # bytes of the header, for any number of rows and numbers
_MOST_OPEN = 128  # systems limit a process to 1024 open files, or 256
_BYTES_AT_ONCE = 2**24  # chunk for reading a whole shard


def path_of(folder: pathlib.Path, number: int) -> pathlib.Path:
  """A shard's file."""
  return folder / f"shard-{number:08}.safetensors"


def is_shard(path: pathlib.Path) -> bool:
  """Whether a file is named like a shard."""
  return bool(_NAME.fullmatch(path.name))


def checksum(row: np.ndarray) -> int:
  """The CRC-32 of a row's bytes.

  As a signed number, which SQLite stores in 4 bytes; it detects damage in a
  third of SHA-256's time.
  """
  value = zlib.crc32(np.ascontiguousarray(row).data)
  return value - 2**32 if value >= 2**31 else value


class Writer:
  """Writes a shard row by row; it exists once `finish` returns.

  Attributes:
    rows: rows written so far.
    bytes: their size.
  """

  def __init__(self, path: pathlib.Path, dtype: str, size: int):
    """Opens a temporary file.

    Args:
      path: path of the shard.
      dtype: dtype of its numbers.
      size: numbers in a row.

    Raises: OSError, as all methods do.
    """
    self.rows = self.bytes = 0
    self._dtype, self._size = dtype, size
    self._stack = contextlib.ExitStack()
    self._file = self._stack.enter_context(replacing(path))
    self._file.write(self._header(_MOST_ROWS))  # same length as the final one

  def append(self, row: np.ndarray):
    """Writes a row, [size]."""
    data = np.ascontiguousarray(row).data
    self._file.write(data)
    self.rows += 1
    self.bytes += data.nbytes

  def finish(self) -> int:
    """Writes the header, syncs and renames; returns the file's size, bytes."""
    header = self._header(self.rows)
    with self._stack:
      self._file.seek(0)
      self._file.write(header)
    return len(header) + self.bytes

  def abandon(self, error: BaseException):
    """Deletes the temporary file."""
    with contextlib.suppress(type(error)):
      with self._stack:
        raise error

  def _header(self, rows: int) -> bytes:
    """A header whose length does not depend on the number of rows."""
    return tensor_files.header(
      {_TENSOR: (_KINDS[self._dtype], (rows, self._size))},
      {"format": "my3dgen bank"},
      length=_HEADER,
    )


class Files:
  """Shards open for reading; safe to use from several threads."""

  def __init__(self, folder: pathlib.Path):
    """Opens nothing yet.

    Args:
      folder: the bank's folder.
    """
    self._folder = folder
    self._open: collections.OrderedDict[int, Any] = collections.OrderedDict()
    self._lock = threading.Lock()

  def row(self, number: int, row: int, size: int) -> np.ndarray:
    """Copies one row.

    Args:
      number: number of the shard.
      row: index of the row.
      size: expected numbers in a row.

    Raises: FileNotFoundError: there is no such shard, perhaps no longer;
      CheckpointError: it is damaged.
    """
    tensor = self._tensor(number)
    rows, found = tensor.get_shape()
    if found != size or not 0 <= row < rows:
      raise CheckpointError(
        f"{path_of(self._folder, number)}: is damaged: it has {rows} rows of "
        f"{found} numbers, but the index expects row {row} of {size}"
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
    """Closes all shards; the next use opens one again."""
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
  """A file's tensor; the file stays open as long as the tensor is in use."""
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

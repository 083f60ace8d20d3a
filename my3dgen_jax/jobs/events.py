"""TensorBoard's event files, without TensorFlow.

    with EventWriter("runs/anna") as events:
      events.scalar("loss", 0.25, step)
      events.image("samples", png, step, width=512, height=512)
      events.flush()

A file is a sequence of records, each an `Event` in protobuf's wire format
between checksums. Every writer starts a file of its own, and TensorBoard
shows all files of a folder as one run. `flush` appends whole records, so a
run that is killed leaves at worst a last record cut short, where readers
stop.

Sources: tensorflow/core/lib/io/record_writer.h (framing), core/util/
event.proto and core/framework/summary.proto (the fields below), RFC 3720
(CRC32C); protobuf.dev/programming-guides/encoding.
"""

import itertools
import operator
import os
import pathlib
import socket
import struct
import time
from typing import Any

import numpy as np

from my3dgen_jax.errors import UserError

_VERSION = b"brain.Event:2"

# Numbers of fields.
_WALL_TIME, _STEP, _FILE_VERSION, _SUMMARY, _SESSION_LOG = 1, 2, 3, 5, 7
_VALUE = 1  # of a Summary
_TAG, _SIMPLE_VALUE, _IMAGE = 1, 2, 4  # of a Value
_HEIGHT, _WIDTH, _ENCODED_IMAGE = 1, 2, 4  # of an Image
_STATUS, _START = 1, 1  # of a SessionLog, and the status that it has here
# How a field's value is written.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_POLYNOMIAL = 0x82F63B78  # of CRC32C, the lowest bit first
_LARGEST_STEP = 2**63 - 1


class EventWriter:
  """Writes one event file.

  Attributes:
    path: of the file.
  """

  def __init__(
    self,
    directory: str | os.PathLike,
    *,
    purge_step: int | None = None,
    wall_time: float | None = None,
  ):
    """Starts a file.

    Args:
      directory: of the run; created if it is missing.
      purge_step: of a run that goes on from a checkpoint: what older files
        say of this step and those after it is void.
      wall_time: seconds since 1970; None: now.

    Raises: OSError if the folder cannot be written.
    """
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    seconds = int(time.time() if wall_time is None else wall_time)
    # TensorBoard reads the files in the order of their names.
    stem = (
      f"events.out.tfevents.{seconds:010d}.{socket.gethostname()}.{os.getpid()}"
    )
    for count in itertools.count():
      self.path = directory / f"{stem}.{count}"
      try:
        # Unbuffered, as a buffer would cut records.
        self._file = open(self.path, "xb", buffering=0)
        break
      except FileExistsError:
        continue
    self._waiting = bytearray()
    self._append(wall_time, _field(_FILE_VERSION, _VERSION))
    if purge_step is not None:
      self._append(
        wall_time,
        _step(purge_step) + _field(_SESSION_LOG, _number(_STATUS, _START)),
      )
    self.flush()

  def scalar(
    self, name: str, value: Any, step: int, *, wall_time: float | None = None
  ):
    """Adds a number.

    Args:
      name: of the chart; "/" makes groups.
      value: a number, or an array without axes; kept as float32, NaN
        included.
      step: >= 0.
      wall_time: seconds since 1970; None: now.

    Raises: UserError if the step is none.
    """
    with np.errstate(over="ignore"):  # infinity, then
      value = np.asarray(float(value)).astype("<f4")
    self._add(
      name, _key(_SIMPLE_VALUE, _FIXED32) + value.tobytes(), step, wall_time
    )

  def image(
    self,
    name: str,
    png: bytes,
    step: int,
    *,
    width: int,
    height: int,
    wall_time: float | None = None,
  ):
    """Adds a picture.

    Args:
      name: of the slot; "/" makes groups.
      png: a PNG file's bytes.
      step: >= 0.
      width: pixels.
      height: pixels.
      wall_time: seconds since 1970; None: now.

    Raises: UserError if the step is none.
    """
    image = (
      _number(_HEIGHT, height)
      + _number(_WIDTH, width)
      + _field(_ENCODED_IMAGE, bytes(png))
    )
    self._add(name, _field(_IMAGE, image), step, wall_time)

  def flush(self):
    """Appends what was added to the file.

    Raises: OSError that names the file, e.g. if the disk is full; then the
      file is as it was, and the next flush tries again.
    """
    start = self._file.tell()
    rest = memoryview(bytes(self._waiting))
    try:
      while rest:
        rest = rest[self._file.write(rest) :]
    except OSError as error:
      # Behind half a record nothing could be read.
      self._file.truncate(start)
      self._file.seek(start)
      raise OSError(error.errno, error.strerror, str(self.path)) from error
    self._waiting.clear()

  def close(self):
    """Flushes, and ends the file; may be called again."""
    if self._file.closed:
      return
    try:
      self.flush()
    finally:
      self._file.close()

  def __enter__(self) -> "EventWriter":
    return self

  def __exit__(self, *_):
    self.close()

  def _add(self, name: str, value: bytes, step: int, wall_time: float | None):
    summary = _field(_VALUE, _field(_TAG, name.encode()) + value)
    self._append(wall_time, _step(step) + _field(_SUMMARY, summary))

  def _append(self, wall_time: float | None, fields: bytes):
    seconds = time.time() if wall_time is None else wall_time
    self._waiting += record(
      _key(_WALL_TIME, _FIXED64) + struct.pack("<d", seconds) + fields
    )


def record(data: bytes) -> bytes:
  """A record of a TFRecord file: length and data, each with its checksum."""
  length = struct.pack("<Q", len(data))
  return length + _masked_crc(length) + data + _masked_crc(data)


def crc32c(data: bytes) -> int:
  """Castagnoli's checksum; a megabyte takes a fifth of a second."""
  table, crc = _TABLE, 0xFFFFFFFF
  for byte in data:
    crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
  return crc ^ 0xFFFFFFFF


def _table() -> tuple:
  """What each byte does to the checksum."""
  entries = []
  for entry in range(256):
    for _ in range(8):
      entry = entry >> 1 ^ (_POLYNOMIAL if entry & 1 else 0)
    entries.append(entry)
  return tuple(entries)


_TABLE = _table()


def _masked_crc(data: bytes) -> bytes:
  """Turned and shifted: a checksum of data with checksums is a poor one."""
  crc = crc32c(data)
  return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


# Protobuf's wire format.


def _varint(value: int) -> bytes:
  """Seven bits a byte, the lowest first; the top bit says that more come."""
  result = bytearray()
  while value > 0x7F:
    result.append(value & 0x7F | 0x80)
    value >>= 7
  result.append(value)
  return bytes(result)


def _key(field: int, kind: int) -> bytes:
  return _varint(field << 3 | kind)


def _number(field: int, value: int) -> bytes:
  return _key(field, _VARINT) + _varint(operator.index(value))


def _field(field: int, value: bytes) -> bytes:
  """Bytes, a text or a message."""
  return _key(field, _BYTES) + _varint(len(value)) + value


def _step(step: int) -> bytes:
  try:
    number = operator.index(step)
  except TypeError:
    number = -1
  if not 0 <= number <= _LARGEST_STEP:
    raise UserError(f"step: expected a whole number >= 0, got {step!r}")
  return _number(_STEP, number)

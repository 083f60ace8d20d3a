"""TensorBoard event files, without TensorFlow.

    with EventWriter("runs/anna") as events:
      events.scalar("loss", 0.25, step)
      events.image("samples", png, step, width=512, height=512)
      events.flush()

Messages and checksums are tensorboardX's; the file is written here, because a
writer with its own thread and buffer truncates records when a run is killed or
a disk is full. Every writer starts a new file, and TensorBoard shows all files
of a folder as one run. `flush` appends whole records, so a killed run leaves at
worst one truncated record at the end, where readers stop.
"""

import itertools
import operator
import os
import pathlib
import struct
import time
from typing import Any

from my3dgen_jax.errors import UserError

_VERSION = "brain.Event:2"
_LARGEST_STEP = 2**63 - 1


class EventWriter:
  """Writes one event file.

  Attributes:
    path: path of the file.
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
      directory: the run's folder; created if it is missing.
      purge_step: for a run that resumes from a checkpoint: values of this and
        later steps in older files are discarded.
      wall_time: seconds since 1970; None: now.

    Raises: OSError if the folder cannot be written.
    """
    messages = _messages()  # before a file is created
    directory = pathlib.Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    seconds = int(time.time() if wall_time is None else wall_time)
    # TensorBoard reads the files in the order of their names. Nothing else is
    # in the name: people share runs, and need not reveal which machine made
    # them.
    stem = f"events.out.tfevents.{seconds:010d}.{os.getpid()}"
    for count in itertools.count():
      self.path = directory / f"{stem}.{count}"
      try:
        # Unbuffered, because a buffer would truncate records.
        self._file = open(self.path, "xb", buffering=0)
        break
      except FileExistsError:
        continue
    self._waiting = bytearray()
    self._append(wall_time, file_version=_VERSION)
    if purge_step is not None:
      self._append(
        wall_time,
        step=_step(purge_step),
        session_log={"status": messages.SessionLog.START},
      )
    self.flush()

  def scalar(
    self, name: str, value: Any, step: int, *, wall_time: float | None = None
  ):
    """Adds a number.

    Args:
      name: name of the chart; "/" makes groups.
      value: a number, or a scalar array; kept as float32, including NaN.
      step: step number, >= 0.
      wall_time: seconds since 1970; None: now.

    Raises: UserError if the step is invalid.
    """
    self._add(step, wall_time, tag=name, simple_value=float(value))

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
    """Adds an image.

    Args:
      name: name of the slot; "/" makes groups.
      png: a PNG file's bytes.
      step: step number, >= 0.
      width: width, pixels.
      height: height, pixels.
      wall_time: seconds since 1970; None: now.

    Raises: UserError if the step is invalid.
    """
    self._add(
      step,
      wall_time,
      tag=name,
      image={"height": height, "width": width, "encoded_image_string": png},
    )

  def flush(self):
    """Appends to the file what was added.

    Raises: OSError that names the file, e.g. if the disk is full; the file is
      then unchanged, and the next flush tries again.
    """
    start = self._file.tell()
    rest = memoryview(bytes(self._waiting))
    try:
      while rest:
        rest = rest[self._file.write(rest) :]
    except OSError as error:
      # After a truncated record nothing could be read.
      self._file.truncate(start)
      self._file.seek(start)
      raise OSError(error.errno, error.strerror, str(self.path)) from error
    self._waiting.clear()

  def close(self):
    """Flushes and closes the file; may be called again."""
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

  def _add(self, step: int, wall_time: float | None, **value: Any):
    self._append(wall_time, step=_step(step), summary={"value": [value]})

  def _append(self, wall_time: float | None, **fields: Any):
    seconds = time.time() if wall_time is None else wall_time
    event = _messages().Event(wall_time=seconds, **fields)
    self._waiting += record(event.SerializeToString())


def _messages() -> Any:
  """The module of messages; generated on import, so it has no types."""
  # pylint: disable-next=import-outside-toplevel
  from tensorboardX.proto import event_pb2

  return event_pb2


def record(data: bytes) -> bytes:
  """A TFRecord record: length and data, each with its checksum."""
  # pylint: disable-next=import-outside-toplevel
  from tensorboardX.record_writer import masked_crc32c

  length = struct.pack("<Q", len(data))
  checksum = lambda part: struct.pack("<I", masked_crc32c(part))
  return length + checksum(length) + data + checksum(data)


def _step(step: int) -> int:
  try:
    number = operator.index(step)
  except TypeError:
    number = -1
  if not 0 <= number <= _LARGEST_STEP:
    raise UserError(f"step: expected a whole number >= 0, got {step!r}")
  return number

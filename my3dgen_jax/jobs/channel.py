"""A connection between two processes: framed messages in both directions."""

import contextlib
import io
import queue
import socket
import struct
import threading
from collections.abc import Iterator

import numpy as np

Arrays = dict[str, np.ndarray]

END_SECONDS = 5.0  # time for a process to end, s
# A machine that vanishes is noticed after 10 + 3 * 5 seconds.
_KEEPALIVE = (
  ("TCP_KEEPIDLE", 10),
  ("TCP_KEEPINTVL", 5),
  ("TCP_KEEPCNT", 3),
  ("TCP_USER_TIMEOUT", 25_000),
)
_HEADER = struct.Struct("!4sQ")
_MOST_BYTES = 2**36  # of a frame; a larger one is not from this project


class Channel:
  """A connection to another process, with threads for sending."""

  def __init__(self, connection: socket.socket):
    self._socket = connection
    self._socket.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for name, value in _KEEPALIVE:
      if hasattr(socket, name):  # not on every system
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    self._out: queue.SimpleQueue[bytes | threading.Event] = queue.SimpleQueue()
    self.closed = threading.Event()
    threading.Thread(target=self._send_all, daemon=True).start()

  def send(self, kind: bytes, payload: bytes = b""):
    """Queues a frame, in order; safe in a signal handler."""
    self._out.put(_HEADER.pack(kind, len(payload)) + payload)

  def flush(self):
    """Waits until everything is sent, or briefly if the peer does not read."""
    sent = threading.Event()
    self._out.put(sent)
    sent.wait(END_SECONDS)

  def receive(self, timeout: float | None = None) -> tuple[bytes, bytes]:
    """The next frame; raises OSError at the end, or after the timeout."""
    self._socket.settimeout(timeout)
    kind, size = _HEADER.unpack(self._exactly(_HEADER.size))
    if size > _MOST_BYTES:
      raise OSError("not a frame")
    return kind, self._exactly(size)

  def close(self):
    """Closes the connection."""
    with contextlib.suppress(OSError):
      self._socket.shutdown(socket.SHUT_RDWR)
    self._socket.close()

  def _exactly(self, size: int) -> bytes:
    parts = []
    while size:
      part = self._socket.recv(min(size, 2**20))
      if not part:
        raise ConnectionResetError("closed")
      parts.append(part)
      size -= len(part)
    return b"".join(parts)

  def _send_all(self):
    connected = True
    while True:
      frame = self._out.get()
      if isinstance(frame, threading.Event):
        frame.set()
      elif connected:
        try:
          self._socket.sendall(frame)
        except OSError:
          connected = False  # the receiving side reports it


def packed(arrays: Arrays) -> bytes:
  """Packs named arrays into a frame's payload; see `unpacked`."""
  file = io.BytesIO()
  np.savez(file, **arrays)
  return file.getvalue()


def unpacked(data: bytes) -> Arrays:
  """The inverse of `packed`."""
  with np.load(io.BytesIO(data), allow_pickle=False) as file:
    return {name: file[name] for name in file.files}


def split_frame(data: bytes) -> Iterator[bytes]:
  """Splits several processes' payloads, joined with their lengths."""
  place = 0
  while place < len(data):
    (size,) = struct.unpack_from("!Q", data, place)
    yield data[place + 8 : place + 8 + size]
    place += 8 + size

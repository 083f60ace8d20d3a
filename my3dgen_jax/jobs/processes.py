"""Several processes working on one job: they connect, talk, end together.

    processes.start("10.0.0.1:9000", count=2, index=0)  # before JAX computes
    shared = processes.from_first(lambda: {"w": weights})
    everybodys = processes.gather({"row": np.arange(3)})
    processes.finish()

Gradients are averaged by JAX, over all devices of all processes. Everything
else goes over one connection from each process to process 0, which is also how
a process notices that another has died: JAX itself would wait for minutes, or
abort with a dump. Without `start` a process is alone, and all of this costs
nothing.
"""

import contextlib
import json
import os
import queue
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

from my3dgen_jax.errors import FlagError, Interrupted, UserError
from my3dgen_jax.jobs.channel import (
  Arrays,
  Channel,
  END_SECONDS,
  packed,
  split_frame,
  unpacked,
)
from my3dgen_jax.jobs.clusters import CONNECT_SECONDS, parse_address
from my3dgen_jax.jobs.words import said, words

_SECONDS_TO_SAVE = 60.0  # time to save before a process is ended, s
_HELLO, _GO, _DATA, _STOP, _END = b"HELO", b"MEET", b"DATA", b"STOP", b"ENDS"
_MAGIC = "my3dgen_jax 1"

_job: "_Job | None" = None  # one per process, like JAX's own


def count() -> int:
  """Number of processes that work on the job."""
  return _job.count if _job else 1


def index() -> int:
  """Index of this process: 0, 1, …"""
  return _job.index if _job else 0


def is_first() -> bool:
  """Whether this is the process that writes files."""
  return index() == 0


def start(
  coordinator: str,
  *,
  count: int,
  index: int,  # pylint: disable=redefined-outer-name
  local_devices: list[int] | None = None,
  timeout: float = CONNECT_SECONDS,
):
  """Connects to the other processes; call it before JAX uses a device.

  Args:
    coordinator: HOST:PORT of process 0, the same for all; it listens there.
    count: number of processes.
    index: index of this process, in [0, count).
    local_devices: the machine's devices to use; None: all.
    timeout: seconds until all must be connected.

  Raises:
    FlagError: the arguments contradict each other.
    UserError: the port is in use, process 0 cannot be reached, or some
      processes do not connect.
  """
  global _job  # pylint: disable=global-statement
  host, port = parse_address(coordinator)
  if not 0 <= index < count:
    raise FlagError(
      f"--process_id: expected 0 … {count - 1} of "
      f"--num_processes={count}, got {index}"
    )
  deadline = time.monotonic() + timeout
  job = _Job(index, count)
  if index == 0:
    inner = job.wait_for_others(host, port, deadline)
  else:
    inner = job.join(host, port, deadline)
  if index:  # only process 0 prints
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # pylint: disable=consider-using-with
  _job = job
  job.watch()
  # Signals are handled here, see `interrupts`.
  with contextlib.suppress(AttributeError):
    jax.config.update("jax_enable_preemption_service", False)
  jax.distributed.initialize(
    f"{f'[{host}]' if ':' in host else host}:{inner}",
    count,
    index,
    local_device_ids=local_devices,
    cluster_detection_method="deactivate",
  )


def from_first(make: Callable[[], Arrays]) -> Arrays:
  """Gives all processes what process 0 makes.

  Args:
    make: called in process 0 only.

  Raises: UserError or Interrupted, if another process has ended that way.
  """
  if _job is None:
    return make()
  if _job.index == 0:
    made = make()
    _job.tell_all(_DATA, packed(made))
    return made
  return unpacked(_job.receive(0))


def gather(arrays: Arrays) -> list[Arrays]:
  """What each process gives, in the order of processes; all get the list.

  Raises: as `from_first`.
  """
  if _job is None:
    return [arrays]
  if _job.index:
    _job.tell_all(_DATA, packed(arrays))
    return [unpacked(part) for part in split_frame(_job.receive(0))]
  parts = [packed(arrays)] + [
    _job.receive(peer) for peer in range(1, _job.count)
  ]
  _job.tell_all(
    _DATA, b"".join(struct.pack("!Q", len(part)) + part for part in parts)
  )
  return [unpacked(part) for part in parts]


def barrier():
  """Waits until all processes are here; raises as `from_first`."""
  gather({})


def ask_to_stop(signal: int):
  """Asks all processes to stop; a single process may call it."""
  if _job is not None:
    _job.ask_to_stop(signal)


def asked_to_stop() -> int | None:
  """The signal that any process got, if known here yet; otherwise None."""
  return _job.asked if _job else None


def finish():
  """Ends the job successfully, with all others; does nothing if alone.

  Raises: as `from_first`.
  """
  if _job is None:
    return
  barrier()
  _job.ending = True
  jax.distributed.shutdown()


def abandon(code: int, message: str, *, signal: int | None = None):
  """Ends this process and all others; returns only if it is alone.

  Args:
    code: the exit code.
    message: the reason; already printed here, and printed by the others.
    signal: the signal that asked for it, if others may save their work.
  """
  if _job is not None:
    _job.abandon(code, message, signal)


def await_end_of_others():
  """Waits briefly for the news that another process has ended.

  For use after a failure of JAX that this would explain; the news ends this
  process. Returns if there is none.
  """
  if _job is not None:
    time.sleep(END_SECONDS)


class _Job:
  """This process's connections: to all others, or to process 0."""

  def __init__(self, index: int, count: int):  # pylint: disable=redefined-outer-name
    self.index, self.count = index, count
    self.asked: int | None = None
    self.ending = False
    self._channels: dict[int, Channel] = {}
    self._inbox: dict[int, Any] = {
      peer: queue.SimpleQueue() for peer in range(count)
    }
    self._ended: dict[int, dict[str, Any]] = {}
    self._last_words = threading.Lock()

  def wait_for_others(self, host: str, port: int, deadline: float) -> int:
    """Process 0: listens until all are here; returns the port for JAX."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Others may know this machine by a name that it does not have itself, or
    # that is its loopback: so it listens on all interfaces, as JAX does,
    # unless all processes are on this machine.
    here = host in ("localhost", "::1") or host.startswith("127.")
    place = (host if here else "", port)
    with socket.socket(family, socket.SOCK_STREAM) as listener:
      listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      try:
        listener.bind(place)
        listener.listen(self.count)
      except OSError as error:
        raise UserError(
          f"--coordinator={host}:{port}: {error.strerror}; process 0 "
          "listens there, so it must be a free port on its own machine"
        ) from None
      while len(self._channels) < self.count - 1:
        left = deadline - time.monotonic()
        listener.settimeout(max(left, 0.001))
        try:
          channel = Channel(listener.accept()[0])
        except OSError:
          missing = sorted(set(range(1, self.count)) - set(self._channels))
          self._refuse(
            f"--num_processes={self.count}: process "
            f"{', '.join(map(str, missing))} did not connect in time"
          )
        self._welcome(channel)
    with socket.socket(family, socket.SOCK_STREAM) as free:
      free.bind((place[0], 0))
      inner = free.getsockname()[1]
    self.tell_all(_GO, str(inner).encode())
    return inner

  def _welcome(self, channel: Channel):
    """Accepts a process that identifies itself."""
    try:
      kind, text = channel.receive(END_SECONDS)
      hello = json.loads(text) if kind == _HELLO else {}
      if not isinstance(hello, dict) or hello.get("magic") != _MAGIC:
        raise ValueError
      number, peer = int(hello["count"]), int(hello["index"])
    except (OSError, ValueError, KeyError):
      channel.close()  # not one of this job
      return
    if number != self.count:
      channel.send(
        _END,
        said(
          0,
          2,
          "--num_processes: process 0 has "
          f"{self.count}, process {peer} has {number}",
        ),
      )
      channel.flush()
      self._refuse(
        f"--num_processes: process 0 has {self.count}, process "
        f"{peer} has {number}"
      )
    if peer in self._channels or not 0 < peer < self.count:
      channel.send(_END, said(0, 2, f"--process_id: there are two of {peer}"))
      channel.flush()
      self._refuse(f"--process_id: there are two of {peer}")
    self._channels[peer] = channel

  def _refuse(self, message: str):
    """Process 0: tells those connected, and ends."""
    self.tell_all(_END, said(0, 2, message))
    self._flush()
    raise FlagError(message)

  def join(self, host: str, port: int, deadline: float) -> int:
    """Other processes: connects to process 0; returns the port for JAX."""
    while True:
      try:
        channel = Channel(
          socket.create_connection(
            (host, port), timeout=max(deadline - time.monotonic(), 0.001)
          )
        )
        break
      except OSError as error:
        if time.monotonic() + 0.2 > deadline:
          raise UserError(
            f"--coordinator={host}:{port}: process 0 cannot be reached "
            f"there: {error.strerror or error}"
          ) from None
        time.sleep(0.2)
    channel.send(
      _HELLO,
      json.dumps(
        {"magic": _MAGIC, "count": self.count, "index": self.index}
      ).encode(),
    )
    try:
      kind, text = channel.receive(
        max(deadline - time.monotonic(), 0) + END_SECONDS
      )
      if kind == _END:
        raise FlagError(str(json.loads(text)["message"]))
      inner = int(text)
      if kind != _GO:
        raise ValueError
    except FlagError:
      raise
    except (OSError, ValueError, KeyError, TypeError):
      raise UserError(
        f"--coordinator={host}:{port}: the process listening there is not "
        "process 0 of this job, or has ended"
      ) from None
    self._channels[0] = channel
    return inner

  def watch(self):
    """Starts to listen to all connections."""
    for peer in self._channels:
      threading.Thread(target=self._listen, args=(peer,), daemon=True).start()

  def tell_all(self, kind: bytes, payload: bytes):
    for channel in self._channels.values():
      channel.send(kind, payload)

  def _flush(self):
    for channel in self._channels.values():
      channel.flush()

  def receive(self, peer: int) -> bytes:
    """The next data from a process."""
    payload = self._inbox[peer].get()
    if payload is None:
      end = next(iter(self._ended.values()))
      # Others may also end before this process can tell them.
      if end["signal"] is not None:
        raise Interrupted(end["signal"], end["message"])
      raise UserError(words(end, self.count))
    return payload

  def ask_to_stop(self, signal: int):
    self.asked = signal
    self.tell_all(_STOP, str(signal).encode())

  def abandon(self, code: int, message: str, signal: int | None):
    self.ending = True
    self.tell_all(_END, said(self.index, code, message, signal))
    self._leave(
      code, _SECONDS_TO_SAVE if signal is not None else 2 * END_SECONDS
    )

  def _leave(self, code: int, patience: float):
    """Ends immediately, without waiting for the others at exit."""
    if self.index == 0:
      # JAX aborts processes whose process 0 is gone: so it is the last to end.
      deadline = time.monotonic() + patience
      for channel in self._channels.values():
        channel.closed.wait(max(deadline - time.monotonic(), 0))
    else:
      self._flush()
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError, ValueError):
        stream.flush()
    os._exit(code)  # pylint: disable=protected-access

  def _listen(self, peer: int):
    channel = self._channels[peer]
    while True:
      try:
        kind, payload = channel.receive()
      except (OSError, struct.error):
        channel.closed.set()
        self._hung_up(peer)
        return
      if kind == _DATA:
        self._inbox[peer].put(payload)
      elif kind == _STOP:
        self.asked = int(payload)
        self._pass_on(peer, kind, payload)
      elif kind == _END:
        self._pass_on(peer, kind, payload)
        end = json.loads(payload)
        self._has_ended(
          end, _SECONDS_TO_SAVE if end["signal"] is not None else END_SECONDS
        )

  def _pass_on(self, origin: int, kind: bytes, payload: bytes):
    if self.index == 0:
      for peer, channel in self._channels.items():
        if peer != origin:
          channel.send(kind, payload)

  def _hung_up(self, peer: int):
    """Handles a closed connection, which may have come without a message."""
    if self.ending or peer in self._ended or (self.index and self._ended):
      return
    message = "it was killed, or its machine cannot be reached"
    self._pass_on(peer, _END, said(peer, 1, message))
    self._has_ended(
      {"process": peer, "code": 1, "message": message, "signal": None}, 0.0
    )

  def _has_ended(self, end: dict[str, Any], patience: float):
    """Handles another process's end: this one ends, too, soon."""
    self._ended[end["process"]] = end
    if end["signal"] is not None:
      self.asked = end["signal"]
    for inbox in self._inbox.values():
      inbox.put(None)
    if patience:
      timer = threading.Timer(patience, self._end_after, (end,))
      timer.daemon = True
      timer.start()
    else:
      self._end_after(end)

  def _end_after(self, end: dict[str, Any]):
    """Ends, unless the main thread is about to; it may hang in JAX."""
    with self._last_words:
      if self.ending:
        return
      self.ending = True
      os.write(2, f"error: {words(end, self.count)}\n".encode())
      self._leave(1, END_SECONDS)

"""Being asked to stop, and stopping where nothing is lost."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence

import jax

from my3dgen_jax.errors import Interrupted
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes

_asked: list[int] = []  # of the whole process, see `ask_to_stop`


def ask_to_stop(number: int | None):
  """Asks all that this process does to stop, now and from now on.

  For work in other threads than the main one, where signals do not reach.

  Args:
    number: of a signal that says so; None takes it back.
  """
  _asked[:] = [] if number is None else [number]


class StopRequest:
  """Whether the process has been asked to stop, or another one of the job."""

  def __init__(self):
    self._signal: int | None = None

  @property
  def signal(self) -> int | None:
    """The signal's number, or None so far.

    Of several processes one may know it before another: see `agreed`.
    """
    if self._signal is None and _asked:
      return _asked[0]
    return (
      self._signal if self._signal is not None else processes.asked_to_stop()
    )

  @signal.setter
  def signal(self, number: int):
    self._signal = number
    processes.ask_to_stop(number)

  def agreed(self, devices: Sequence[jax.Device]) -> bool:
    """Whether all processes stop now; all of them ask at the same time.

    Args:
      devices: of all of them.
    """
    if processes.count() == 1:
      return self.signal is not None
    number = devices_lib.highest(self.signal or 0, devices)
    if number and self._signal is None:
      self._signal = number
    return number > 0

  def raise_if_wanted(self, message: str):
    """Ends long work, after it has saved what it has.

    Raises: Interrupted with the message.
    """
    if self.signal is not None:
      raise Interrupted(self.signal, message)


@contextlib.contextmanager
def stopping_gently() -> Iterator[StopRequest]:
  """Within the block SIGTERM and SIGINT set a flag, and stop nothing.

  A second one does what it always does, for whoever cannot wait.
  """
  request = StopRequest()
  if threading.current_thread() is not threading.main_thread():
    yield request  # only the main thread may say what signals do
    return
  before = {
    number: signal.getsignal(number)
    for number in (signal.SIGTERM, signal.SIGINT)
  }

  def note(number, _):
    request.signal = number
    signal.signal(number, before[number])

  try:
    for number in before:
      signal.signal(number, note)
    yield request
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)

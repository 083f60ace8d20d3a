"""Stop requests, handled where no work is lost."""

import contextlib
import signal
import threading
from collections.abc import Iterator, Sequence

import jax

from my3dgen_jax.errors import Interrupted
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes

_asked: list[int] = []  # for the whole process, see `ask_to_stop`


def ask_to_stop(number: int | None):
  """Asks everything that this process does to stop, from now on.

  For work outside the main thread, which signals do not reach.

  Args:
    number: number of the signal to report; None cancels the request.
  """
  _asked[:] = [] if number is None else [number]


class StopRequest:
  """Whether this process, or another one of the job, was asked to stop."""

  def __init__(self):
    self._signal: int | None = None

  @property
  def signal(self) -> int | None:
    """The signal's number, or None so far.

    One of several processes may know it before the others: see `agreed`.
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
    """Whether all processes stop now; they all call it together.

    Args:
      devices: the devices of all processes.
    """
    if processes.count() == 1:
      return self.signal is not None
    number = devices_lib.highest(self.signal or 0, devices)
    if number and self._signal is None:
      self._signal = number
    return number > 0

  def raise_if_wanted(self, message: str):
    """Ends long work, after the caller has saved it.

    Raises: Interrupted with the message.
    """
    if self.signal is not None:
      raise Interrupted(self.signal, message)


@contextlib.contextmanager
def stopping_gently() -> Iterator[StopRequest]:
  """Makes SIGTERM and SIGINT set a flag instead of stopping, in a block.

  A second signal has its usual effect, for those who cannot wait.
  """
  request = StopRequest()
  if threading.current_thread() is not threading.main_thread():
    yield request  # only the main thread may set signal handlers
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

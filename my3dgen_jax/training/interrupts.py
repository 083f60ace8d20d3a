"""Being asked to stop, and stopping where nothing is lost."""

import contextlib
import signal
import threading
from typing import Iterator, Optional

from my3dgen_jax.errors import Interrupted


class StopRequest:
  """Whether the process has been asked to stop.

  Attributes:
    signal: the signal's number, or None so far.
  """

  def __init__(self):
    self.signal: Optional[int] = None

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
  before = {number: signal.getsignal(number)
            for number in (signal.SIGTERM, signal.SIGINT)}

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

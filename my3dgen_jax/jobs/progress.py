"""A line that says how far long work is, and what one waits for."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from my3dgen_jax.jobs import compile_time

_LIVE_INTERVAL, _FILE_INTERVAL = 0.2, 30.0  # seconds between lines
_PATIENCE = 2.0  # seconds that nobody needs to be told about
_TICK = 0.25  # seconds


def duration(seconds: float) -> str:
  """Time as a person reads it: 42 s, 3 min 20 s, 5 h 02 min."""
  seconds = int(round(seconds))
  if seconds < 60:
    return f"{seconds} s"
  if seconds < 3600:
    return f"{seconds // 60} min {seconds % 60:02} s"
  return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


class Progress:
  """Share done, speed and time left.

  On a terminal one line that is written over, a few times a second; in a
  file a line now and then, so that logs stay short. The speed counts from the
  first update on, less what programs took to be compiled: that is not told of
  the rest.

  Attributes:
    title: of the work.
    total: units in all.
    unit: what is counted, e.g. "images".
    start: units that were done before.
  """

  def __init__(
    self,
    title: str,
    total: int,
    unit: str,
    *,
    start: int = 0,
    file: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
    compiling_time: Callable[[], float] = compile_time.seconds,
  ):
    self.title, self.total, self.unit, self.start = title, total, unit, start
    self._file = sys.stdout if file is None else file
    self._clock = clock
    self._compiling_time = compiling_time
    compiling_time()  # counts from its first call on
    self._shown: float | None = None
    # Units that were new at the first update; when, and how much was compiled.
    self._first = (0, 0.0, 0.0)
    self._live = self._file.isatty()
    self._interval = _LIVE_INTERVAL if self._live else _FILE_INTERVAL

  def skip(self, count: int):
    """Counts units that cost nothing: they leave the speed as it is."""
    self.start += count

  def note(self, text: str):
    """Shows a line that stays."""
    self._file.write(f"{self.title}: {text}\n")
    self._file.flush()

  def update(self, done: int, detail: str = ""):
    """Shows the line if it is time, and when all is done.

    Args:
      done: units so far, those before `start` included.
      detail: more to show, e.g. a loss.
    """
    now, new = self._clock(), done - self.start
    compiled = self._compiling_time()
    if self._shown is None:
      self._first = new, now, compiled
    elif done < self.total and now - self._shown < self._interval:
      return
    self._shown = now
    line = (
      f"{self.title}: {done} of {self.total} "
      f"({100 * done // max(self.total, 1)} %)"
    )
    if new > self._first[0]:
      passed = now - self._first[1]
      working = passed - (compiled - self._first[2])
      # Of several that are compiled at once the sum may be all there was.
      rate = (new - self._first[0]) / max(working, passed / 10, 1e-9)
      line += f", {rate:.3g} {self.unit}/s"
      if done < self.total:
        line += f", {duration((self.total - done) / rate)} left"
    if detail:
      line += f", {detail}"
    if self._live:
      end = "\n" if done >= self.total else ""
      self._file.write(f"\r{line}\x1b[K{end}")
    else:
      self._file.write(line + "\n")
    self._file.flush()


class Waiting:
  """Says what one waits for, e.g. a program's compiling, if that takes a while.

  On a terminal one line that is written over; in a file one at first, then
  one now and then. What is ready at once, e.g. since it was kept from an
  earlier run, is not worth a word.
  """

  def __init__(
    self,
    title: str,
    *,
    doing: str = "compiling",
    done: str = "compiled",
    file: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
  ):
    """Starts to wait.

    Args:
      title: of the work.
      doing: what one waits for.
      done: the same, once it is over.
      file: written to; None: stdout.
      clock: tells the seconds.
    """
    self._title, self._clock = title, clock
    self._doing, self._done = doing, done
    self._file = sys.stdout if file is None else file
    self._live = self._file.isatty()
    self._began = clock()
    self._shown: float | None = None

  def tick(self):
    """Shows the line if it is time."""
    now = self._clock()
    if self._shown is None:
      due = now - self._began >= _PATIENCE
    else:
      due = now - self._shown >= (1.0 if self._live else _FILE_INTERVAL)
    if due:
      self._shown = now
      self._write(f"{self._doing} … {duration(now - self._began)}", end="")

  def end(self, done: bool = True):
    """Says how long it took, if anything was said.

    Args:
      done: whether it was waited for to the end.
    """
    if self._shown is not None:
      seconds = duration(self._clock() - self._began)
      self._write(
        f"{self._done} in {seconds}" if done else f"{self._doing} … {seconds}",
        end="\n",
      )

  def _write(self, text: str, end: str):
    line = f"{self._title}: {text}"
    self._file.write(f"\r{line}\x1b[K{end}" if self._live else line + "\n")
    self._file.flush()


@contextlib.contextmanager
def compiling(title: str, **options: Any) -> Iterator[None]:
  """Around the first call of a program, so that nobody thinks it hangs.

  JAX compiles within that call, and returns before the program has run.

  Args:
    title: of the work.
    **options: of `Waiting`, e.g. to wait for something else.
  """
  waiting, over = Waiting(title, **options), threading.Event()

  def watch():
    try:
      while not over.wait(_TICK):
        waiting.tick()
    except (OSError, ValueError):  # nobody reads it any more
      pass

  thread = threading.Thread(target=watch, daemon=True, name="compiling")
  thread.start()
  done = False
  try:
    yield
    done = True
  finally:
    over.set()
    thread.join()
    waiting.end(done)

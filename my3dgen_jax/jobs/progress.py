"""Progress lines for long work."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from my3dgen_jax.jobs import compile_time

_LIVE_INTERVAL, _FILE_INTERVAL = 0.2, 30.0  # seconds between lines
_PATIENCE = 2.0  # seconds of waiting that are not worth a line
_TICK = 0.25  # seconds


def duration(seconds: float) -> str:
  """Formats a duration: 42 s, 3 min 20 s, 5 h 02 min."""
  seconds = int(round(seconds))
  if seconds < 60:
    return f"{seconds} s"
  if seconds < 3600:
    return f"{seconds // 60} min {seconds % 60:02} s"
  return f"{seconds // 3600} h {seconds % 3600 // 60:02} min"


class Progress:
  """Shows the share done, the speed and the time left.

  On a terminal it is one line, rewritten a few times a second; in a file a
  line now and then, so that logs stay short. The speed counts from the first
  update on, without compile time, which says nothing about the remaining
  work.

  Attributes:
    title: title of the work.
    total: total number of units.
    unit: name of the units, e.g. "images".
    start: units that were already done.
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
    compiling_time()  # starts counting at its first call
    self._shown: float | None = None
    # New units at the first update, its time, and the compile time until then.
    self._first = (0, 0.0, 0.0)
    self._live = self._file.isatty()
    self._interval = _LIVE_INTERVAL if self._live else _FILE_INTERVAL

  def skip(self, count: int):
    """Counts units that took no time: they do not change the speed."""
    self.start += count

  def note(self, text: str):
    """Prints a line that stays."""
    self._file.write(f"{self.title}: {text}\n")
    self._file.flush()

  def update(self, done: int, detail: str = ""):
    """Shows the line if it is due, and when all is done.

    Args:
      done: units done, including those before `start`.
      detail: further text to show, e.g. a loss.
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
      # Programs compiled in parallel may add up to more than the time passed.
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
  """Says what is being waited for, e.g. compilation, if it takes a while.

  On a terminal it is one line, rewritten; in a file one line at first, then
  one now and then. Nothing is printed for what is ready at once, e.g. from an
  earlier run's cache.
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
    """Starts waiting.

    Args:
      title: title of the work.
      doing: what is being waited for.
      done: the wording once it is over.
      file: output file; None: stdout.
      clock: function that returns seconds.
    """
    self._title, self._clock = title, clock
    self._doing, self._done = doing, done
    self._file = sys.stdout if file is None else file
    self._live = self._file.isatty()
    self._began = clock()
    self._shown: float | None = None

  def tick(self):
    """Shows the line if it is due."""
    now = self._clock()
    if self._shown is None:
      due = now - self._began >= _PATIENCE
    else:
      due = now - self._shown >= (1.0 if self._live else _FILE_INTERVAL)
    if due:
      self._shown = now
      self._write(f"{self._doing} … {duration(now - self._began)}", end="")

  def end(self, done: bool = True):
    """Says how long it took, if anything was shown.

    Args:
      done: whether the work was finished.
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
  """Wraps the first call of a program, so that it does not seem to hang.

  JAX compiles within that call, and returns before the program has run.

  Args:
    title: title of the work.
    **options: options of `Waiting`, e.g. to wait for something else.
  """
  waiting, over = Waiting(title, **options), threading.Event()

  def watch():
    try:
      while not over.wait(_TICK):
        waiting.tick()
    except (OSError, ValueError):  # the output was closed
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

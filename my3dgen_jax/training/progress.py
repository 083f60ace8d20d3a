"""A line that says how far long work is."""

import sys
import time
from typing import Callable, Optional, TextIO


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
  file a line now and then, so that logs stay short.

  Attributes:
    title: of the work.
    total: units in all.
    unit: what is counted, e.g. "images".
    start: units that were done before.
  """

  def __init__(self, title: str, total: int, unit: str, *, start: int = 0,
               file: Optional[TextIO] = None,
               clock: Callable[[], float] = time.monotonic):
    self.title, self.total, self.unit, self.start = title, total, unit, start
    self._file = sys.stdout if file is None else file
    self._clock = clock
    self._began = self._shown = clock()
    self._live = self._file.isatty()
    self._interval = 0.2 if self._live else 30.0

  def skip(self, count: int):
    """Counts units that cost nothing: they leave the speed as it is."""
    self.start += count

  def update(self, done: int, detail: str = ""):
    """Shows the line if it is time, and when all is done.

    Args:
      done: units so far, those before `start` included.
      detail: more to show, e.g. a loss.
    """
    now = self._clock()
    first = self._shown == self._began
    if done < self.total and not first and now - self._shown < self._interval:
      return
    self._shown = now
    new = done - self.start
    rate = new / max(now - self._began, 1e-9)
    line = (f"{self.title}: {done} of {self.total} "
            f"({100 * done // max(self.total, 1)} %)")
    if new:
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

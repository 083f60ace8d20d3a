"""News of one browser window: what its callbacks tell, taken in turn.

Nobody waits here: viser has few threads for all windows, and a person who is
being loaded keeps one of them busy.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from my3dgen_jax.errors import one_line, UserError


class News:
  """Callbacks of a window, called by any of viser's threads.

  Attributes:
    lock: held while the window's controls are read or set.
  """

  def __init__(
    self,
    *,
    face: Callable[[], None],
    camera: Callable[[], None],
    tell: Callable[[str], None],
    warn: Callable[[Exception], None],
    closed: threading.Event,
  ):
    """Nothing is called before something is heard.

    Args:
      face: shows what the controls say now.
      camera: shows what the browser's camera says now.
      tell: shows one line in the window.
      warn: reports an unexpected error on the viewer's console.
      closed: set when the window has closed; nothing is called after that.
    """
    self.lock = threading.RLock()
    self._face, self._camera = face, camera
    self._tell, self._warn = tell, warn
    self._closed = closed
    self._quiet: int | None = None  # thread that changes controls itself
    self._camera_news = self._face_news = False

  def guarded(self, act: Callable[[Any], None]) -> Callable[[Any], None]:
    """A callback for viser whose failures are shown in its window."""

    def run(event: Any):
      if self._ignored():
        return
      try:
        with self.lock:
          act(event)
      except UserError as error:
        self._tell(str(error))
      except Exception as error:  # pylint: disable=broad-exception-caught
        if self._closed.is_set():
          return
        self._tell(one_line(error))
        self._warn(error)
      self._catch_up()

    return run

  def heard(self, *, camera: bool = False):
    """Takes in that a control or the camera has changed; returns at once.

    Args:
      camera: whether it was the camera; else it was a control.
    """
    if self._ignored():
      return
    if camera:
      self._camera_news = True
    else:
      self._face_news = True
    self._catch_up()

  @contextlib.contextmanager
  def silently(self) -> Iterator[None]:
    """Within, controls that this thread sets call nobody."""
    self._quiet = threading.get_ident()
    try:
      yield
    finally:
      self._quiet = None

  def _ignored(self) -> bool:
    return self._closed.is_set() or self._quiet == threading.get_ident()

  def _catch_up(self):
    """Shows what is new, unless another thread of the window will."""
    while (self._camera_news or self._face_news) and (
      self.lock.acquire(blocking=False)
    ):
      try:
        # Cleared before the controls are read, and only what was seen: what
        # another thread has to tell meanwhile stays.
        self._camera_news = False
        face = self._face_news
        if face:
          self._face_news = False
        self._show(face)
      finally:
        self.lock.release()

  def _show(self, face: bool):
    if self._closed.is_set():
      return
    try:
      if face:
        self._face()
      else:
        self._camera()
    except UserError as error:
      self._tell(str(error))
    except Exception as error:  # pylint: disable=broad-exception-caught
      self._warn(error)

"""Events of one browser window, handled one after the other.

Callbacks do not wait: viser has few threads for all windows, and loading a
person keeps one of them busy.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from my3dgen_jax.errors import one_line, UserError


class News:
  """Handles a window's events, which come from any of viser's threads.

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
    """Calls nothing before the first event.

    Args:
      face: redraws after a change of the controls.
      camera: redraws after a change of the browser's camera.
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
    """A callback for viser that shows its errors in the window."""

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
    """Records that a control or the camera has changed; returns at once.

    Args:
      camera: whether the camera changed; else a control did.
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
    """Ignores the events of controls that this thread sets in the block."""
    self._quiet = threading.get_ident()
    try:
      yield
    finally:
      self._quiet = None

  def _ignored(self) -> bool:
    return self._closed.is_set() or self._quiet == threading.get_ident()

  def _catch_up(self):
    """Handles new events, unless another thread of the window does."""
    while (self._camera_news or self._face_news) and (
      self.lock.acquire(blocking=False)
    ):
      try:
        # Cleared before the controls are read, and only the events seen here:
        # those that another thread adds meanwhile are kept.
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

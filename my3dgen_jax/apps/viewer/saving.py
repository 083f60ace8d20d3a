"""Saves files for one browser window: pictures, videos, meshes and pages."""

import contextlib
import itertools
import pathlib
import re
import tempfile
import threading
from collections.abc import Callable, Sequence
from typing import Any

import jax

from my3dgen_jax.apps import share
from my3dgen_jax.apps.meshing.files import write_mesh
from my3dgen_jax.apps.meshing.surface import extract_mesh
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.viewer.orbits import Limits
from my3dgen_jax.apps.viewer.scene import Choice
from my3dgen_jax.apps.viewer.workers import Renderer, Request
from my3dgen_jax.data import provenance
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import one_line, UserError

HIDDEN_SECONDS = 6.0  # time until a notification closes
MOST_SAVING = 4  # files of one window at a time

_FRAMES, _FPS = 96, 24  # a saved video's
VIDEO_SECONDS = _FRAMES / _FPS
_VIDEO_YAW, _VIDEO_PITCH = 0.45, 0.1
_MESH_RESOLUTION = 256

OnProgress = Callable[[int, int], None]  # called with steps done, and all steps
Writer = Callable[[pathlib.Path, Origin, OnProgress], None]


class _Gone(Exception):
  """The window that requested a file has closed."""


class Savings:
  """Files that a window requests: made in turn, and sent to its browser."""

  def __init__(
    self,
    client: Any,
    *,
    out: str | None,
    submit: Callable[[Callable[[], None]], None],
    tell: Callable[[str, str], None],
    warn: Callable[[Exception], None],
    closed: threading.Event,
  ):
    """Saves nothing yet.

    Args:
      client: viser's handle of the window.
      out: the folder to keep files in, besides sending them; None: none.
      submit: runs jobs one after the other.
      tell: shows a line and its title in the window.
      warn: reports an unexpected error on the viewer's console.
      closed: set when the window has closed, which stops its jobs.
    """
    self._client, self._out, self._submit = client, out, submit
    self._tell, self._warn, self._closed = tell, warn, closed
    self._numbers = itertools.count(1)
    # Files that are waiting or being made.
    self._saving = threading.BoundedSemaphore(MOST_SAVING)

  def begin(self, stem: str, suffix: str, origin: Origin, write: Writer):
    """Starts to make a file, which goes to the browser and to `out`.

    Args:
      stem: start of the file's name; a number follows.
      suffix: suffix of the file's name.
      origin: the file's origin, for its metadata.
      write: function that writes the file.

    Raises: UserError: too many files of the window are being made.
    """
    if not self._saving.acquire(blocking=False):
      raise UserError(
        f"{MOST_SAVING} files are being made already; wait for one to finish"
      )
    note = self._client.add_notification(
      f"{stem}{suffix}", "being made", loading=True
    )

    def on_progress(done: int, total: int):
      if self._closed.is_set():
        raise _Gone()
      note.body = f"{100 * done // max(total, 1)} % done"

    def job():
      try:
        on_progress(0, 1)
        self._finish(
          stem, suffix, lambda path: write(path, origin, on_progress)
        )
      except _Gone:
        return
      # After any failure, the next file may succeed.
      except Exception as error:  # pylint: disable=broad-exception-caught
        self._tell(one_line(error), f"{stem}{suffix} was not saved")
        if not isinstance(error, (UserError, OSError)):
          self._warn(error)
      finally:
        self._saving.release()
        if not self._closed.is_set():
          note.remove()

    self._submit(job)

  def _finish(
    self, stem: str, suffix: str, write: Callable[[pathlib.Path], None]
  ):
    """Writes a file and sends it; raises OSError, UserError."""
    out = self._out
    with contextlib.ExitStack() as stack:
      folder = (
        pathlib.Path(out).expanduser()
        if out
        else pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
      )
      path = folder / f"{stem}_{next(self._numbers):03d}{suffix}"
      while path.exists():
        path = folder / f"{stem}_{next(self._numbers):03d}{suffix}"
      write(path)
      content = path.read_bytes()
    if self._closed.is_set():
      raise _Gone()
    self._client.send_file_download(path.name, content, save_immediately=True)
    self._client.add_notification(
      path.name,
      f"saved in {out}" if out else "sent to the browser",
      auto_close_seconds=HIDDEN_SECONDS,
    )


def picture_writer(request: Request, renderer: Renderer) -> Writer:
  """A writer of a request's still picture."""
  return lambda path, origin, _: provenance.write_picture(
    path, renderer.draw(request, request.still), origin
  )


def video_writer(
  request: Request, *, limits: Limits, devices: Sequence[jax.Device]
) -> Writer:
  """A writer of a turning video of a request's face.

  Args:
    request: the request, with the face and the first camera.
    limits: limits of the camera's angles.
    devices: the devices to use.
  """
  c = render.orbit(
    request.network,
    request.c,
    frames=_FRAMES,
    yaw=min(_VIDEO_YAW, limits.yaw),
    pitch=min(_VIDEO_PITCH, limits.pitch),
  )
  return lambda path, origin, on_progress: render.render_video(
    request.network,
    request.ws[None],
    c,
    path,
    fps=_FPS,
    kind=request.still.shown,
    origin=origin,
    neural_rendering_resolution=request.still.resolution,
    on_progress=on_progress,
    devices=devices,
  )


def mesh_writer(request: Request, *, devices: Sequence[jax.Device]) -> Writer:
  """A writer of the surface of a request's head."""

  def write(path: pathlib.Path, origin: Origin, on_progress: OnProgress):
    write_mesh(
      path,
      extract_mesh(
        request.network,
        request.ws[None],
        resolution=_MESH_RESOLUTION,
        on_progress=on_progress,
        devices=devices,
      ),
      origin,
    )

  return write


def page_writer(request: Request, *, limits: Limits) -> Writer:
  """A writer of a web page with a request's head.

  Args:
    request: the request, with the face and intrinsics to use.
    limits: limits of the angles that the head turns by.
  """
  row = share.row_of(request.network, request.ws, request.c)

  def write(path: pathlib.Path, origin: Origin, on_progress: OnProgress):
    share.write_rows(
      path,
      [row],
      share.ShareConfig(limits=limits),
      origin,
      on_progress=lambda done: on_progress(done, 1),
    )

  return write


def file_stem(person: str, choice: Choice) -> str:
  """The start of a saved file's name."""
  parts = [person]
  if choice.start in ("a photo", "between two"):
    parts.append(pathlib.PurePath(choice.first).stem)
  if choice.start == "a seed":
    parts.append(f"seed{choice.seed}")
  return re.sub(r"[^\w.-]+", "_", "_".join(parts)).strip("_.") or "face"

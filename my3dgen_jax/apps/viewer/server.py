"""Serves people in the browser, to turn, edit, compare and save.

    viewer = Viewer(people, ViewerConfig(), directions=[smile, age])
    print(viewer.start())                   # http://127.0.0.1:8080
    viewer.stop()

Each browser window has its own controls and camera. viser serves the page;
`window` is one window, `workers` draws pictures, `scene` computes latents, and
`connections` decides who may connect and what they may send.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import io
import threading
import urllib.parse
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from my3dgen_jax.apps import gate as gate_lib
from my3dgen_jax.apps.meshing.files import MESHES
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.viewer import connections, orbits
from my3dgen_jax.apps.viewer.orbits import Limits, Orbit
from my3dgen_jax.apps.viewer.people import People
from my3dgen_jax.apps.viewer.window import Window
from my3dgen_jax.apps.viewer.workers import Renderer
from my3dgen_jax.config import part, setting
from my3dgen_jax.data import provenance
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import one_line, UserError, without_package
from my3dgen_jax.storage.files import make_writable

_TITLE = "My3DGen"


@dataclasses.dataclass(frozen=True)
class ViewerConfig:
  """Settings of a viewer."""

  host: str = setting("127.0.0.1", "Host name or address to listen on.")
  port: int = setting(
    8080,
    "Port to listen on, or the next free one after it.",
    low=1,
    high=2**16 - 1,
  )
  token: str | None = setting(
    None,
    "Token that browsers must send, at least 8 letters and digits; default: "
    "none.",
  )
  names: tuple[str, ...] = setting(
    (), "Host names under which browsers reach the viewer through a proxy."
  )
  share: bool = setting(
    False, "Serve through viser's public service, too; needs a --token."
  )
  out: str | None = setting(
    None, "Folder to keep saved files in, besides sending them to the browser."
  )
  limits: Limits = part(Limits())
  video: str = setting(
    ".mp4", "Format of saved videos.", choices=provenance.VIDEOS
  )
  mesh: str = setting(".glb", "Format of saved meshes.", choices=MESHES)

  def validate(self) -> "ViewerConfig":
    """Checks every field; raises UserError that names the invalid one."""
    self.limits.validate()
    if self.token is not None:
      gate_lib.check_token(self.token)
    if self.share and self.token is None:
      raise UserError("share: makes the viewer public; --token is required")
    if not 1 <= self.port < 2**16:
      raise UserError(
        f"port: expected a whole number from 1 to 65535, got {self.port}"
      )
    for name, known in (("video", provenance.VIDEOS), ("mesh", MESHES)):
      if getattr(self, name) not in known:
        raise UserError(
          f"{name}: expected one of {', '.join(known)}, got "
          f"{getattr(self, name)!r}"
        )
    return self


class Viewer:
  """A server with its windows.

  Attributes:
    people: the people to choose from.
    config: the viewer's settings.
    renderer: the renderer of all windows.
    directions: directions of edits for the first person's base.
    log: called with lines for the user who started it.
    moving: the level of pictures while a face moves.
    still: the level of pictures at rest.
  """

  def __init__(
    self,
    people: People,
    config: ViewerConfig,
    *,
    directions: Sequence[Direction] = (),
    log: Callable[[str], None] = print,
  ):
    """Compiles the first pictures; serves nothing yet.

    Args:
      people: the people to choose from.
      config: the viewer's settings.
      directions: directions with spreads, for the first person's base.
      log: called with lines of progress.

    Raises: UserError, CheckpointError: names the flag or file.
    """
    self.config = config.validate()
    names = [one.name for one in directions]
    for name in names:
      if names.count(name) > 1:
        raise UserError(
          f"--directions: {name!r} occurs twice; give the files different names"
        )
    self.people, self.directions, self.log = people, directions, log
    if config.out is not None:
      make_writable(config.out, "give another folder with --out")
    self.person, failures = people.first()
    for failure in failures:
      log(f"warning: {failure}")
    shown = people.load(self.person)
    self._base = shown.base.origin.base
    self._troubles = connections.Troubles(log)
    self.renderer = Renderer(log=log, warn=self.warn)
    self.moving, self.still = self.renderer.prepare(shown.own.generator)
    self._jobs = concurrent.futures.ThreadPoolExecutor(
      1, thread_name_prefix="viewer save"
    )
    self._windows: dict[int, Window] = {}
    self._lock = threading.Lock()
    self._server: Any = None
    self.port = 0

  def directions_of(self, person: Person) -> Sequence[Direction]:
    """The directions that fit a person: those of the same base."""
    return self.directions if person.origin.base == self._base else ()

  def start(self) -> str:
    """Starts to serve.

    Returns: the address to open, with the token if there is one.
    Raises: UserError: no port is free, the host does not exist, viser is
      missing or not supported, or its share service does not answer.
    """
    viser = _import_viser()
    config = self.config
    port = gate_lib.free_port(config.host, config.port)
    if port != config.port:
      self.log(f"port {config.port} is in use; using {port}")
    gate = gate_lib.Gate(
      token=config.token,
      host=config.host,
      port=port,
      names=config.names,
      hint="; add that name with --names, or use --host",
    )
    # viser prints its own panel, with an address without the token.
    with (
      connections.guarding(
        gate, self._troubles, protocol=f"viser-v{viser.__version__}"
      ),
      contextlib.redirect_stdout(io.StringIO()),
    ):
      self._server = server = viser.ViserServer(
        host=config.host, port=port, label=_TITLE, verbose=False
      )
    try:
      self.port = server.get_port()
      connections.check_guarded(self.port, config.host)
      share = server.request_share_url
      # Any window could ask viser for a public address.
      server.request_share_url = lambda verbose=True: None
      self._set_up(server)
      host = gate_lib.reachable(config.host)
      address = f"http://[{host}]" if ":" in host else f"http://{host}"
      address = f"{address}:{self.port}"
      if config.share:
        with contextlib.redirect_stdout(io.StringIO()):
          address = share(verbose=False)
        if address is None:
          raise UserError(
            "--share: viser's service (share.viser.studio) does not answer; "
            "drop --share, and forward the port instead, e.g. with ssh -L"
          )
        gate.admit(urllib.parse.urlsplit(address).hostname or "")
    except BaseException:
      self.stop()
      raise
    self._troubles.begin()
    return address.rstrip("/") + (
      f"/?token={config.token}" if config.token else ""
    )

  def _set_up(self, server: Any):
    """Sets up what all windows share."""
    server.gui.configure_theme(
      dark_mode=True,
      show_logo=False,
      show_share_button=False,
      control_width="medium",
    )
    server.gui.main_panel.dock_right()
    server.scene.set_up_direction("+y")
    rendering = self.people.load(self.person).own.generator.module.config
    position, look_at = orbits.pose_of_orbit(Orbit(), rendering.rendering)
    server.initial_camera.position = position
    server.initial_camera.look_at = look_at
    server.initial_camera.up = (0.0, 1.0, 0.0)
    server.initial_camera.fov = orbits.field_of_view()
    server.on_client_connect(self._opened)
    server.on_client_disconnect(self._closed)

  def _opened(self, client: Any):
    with contextlib.suppress(UserError):
      self.people.look_again()
    window = Window(self, client)
    with self._lock:
      self._windows[client.client_id] = window
    try:
      window.open()
    # One window's failure must not affect others or the server.
    except Exception as error:  # pylint: disable=broad-exception-caught
      client.add_notification(
        "No one could be loaded", one_line(error), color="red"
      )
      if not isinstance(error, UserError):
        self.warn(error)

  def warn(self, error: Exception):
    """Reports an unexpected error of a window, in few lines."""
    self._troubles.note(f"a window: {type(error).__name__}: {one_line(error)}")

  def _closed(self, client: Any):
    with self._lock:
      window = self._windows.pop(client.client_id, None)
    if window is not None:
      window.close()

  def save(self, job: Callable[[], None]):
    """Runs jobs one after the other, in their own thread."""
    self._jobs.submit(job)

  def stop(self):
    """Stops the server and the renderer."""
    if self._server is not None:
      with contextlib.redirect_stdout(io.StringIO()):
        self._server.stop()
      self._server = None
    with self._lock:
      windows, self._windows = list(self._windows.values()), {}
    for window in windows:
      window.close()
    self._jobs.shutdown(wait=False, cancel_futures=True)
    self.renderer.stop()


@functools.cache
def _import_viser() -> Any:
  """Imports viser, which only viewers need; UserError if it is missing."""
  try:
    import viser  # pylint: disable=import-outside-toplevel
  except ImportError as error:
    raise without_package(
      error, "viser", 'the viewer needs viser: pip install ".[viewer]"'
    ) from error
  # Messages may be sent to a closed window before its closing is noticed.
  warnings.filterwarnings("ignore", "Queued .* on a closed connection")
  # viser prints unexpected messages in full.
  warnings.filterwarnings("ignore", r"\[viser\]")
  return viser

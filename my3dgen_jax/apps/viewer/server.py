"""Persons in the browser: turned, edited, compared and saved.

    viewer = Viewer(people, ViewerConfig(), directions=[smile, age])
    print(viewer.start())                   # http://127.0.0.1:8080
    viewer.stop()

Each window that is opened has controls and a camera of its own. viser serves
the page; what is drawn, and when, is `workers`'; what a choice means
is `scene`'s; who may look is `gate`'s.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import io
import itertools
import pathlib
import re
import tempfile
import threading
import time
import warnings
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import chex
import jax
import numpy as np
from PIL import Image

from my3dgen_jax.apps.rendering import mesh, render
from my3dgen_jax.apps.viewer import gate, scene
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.viewer.people import People, Shown
from my3dgen_jax.apps.viewer.workers import Frame, Level, Renderer, Request
from my3dgen_jax.apps.viewer.scene import Choice, Limits, Orbit
from my3dgen_jax.data import provenance
from my3dgen_jax.storage.files import make_writable
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError, one_line
from my3dgen_jax.types import Network

_TITLE = "My3DGen"
_SLOTS = 4  # anchors that a mix may have
_STRONGEST = 3.0  # edit, in standard deviations
_LARGEST_SEED = 2**32 - 1
_SETTLING = 0.4  # seconds until a browser's camera is where it was put
_ARRIVING = 2.0  # seconds that a new window's camera may take to the front
_SHARPEST = 1600  # pixels that a still picture is enlarged to at most
_QUALITY, _MOVING_QUALITY = 95, 85  # of JPEG
_HIDDEN_MILLISECONDS = 6000  # of a notification
_FRAMES, _FPS = 96, 24  # of a saved video
_VIDEO_YAW, _VIDEO_PITCH = 0.45, 0.1
_MESH_RESOLUTION = 256
_MOST_SAVING = 4  # files of one window at a time
_MOST_RAYS = 512  # side of image_raw


@dataclasses.dataclass(frozen=True)
class ViewerConfig:
  """How a viewer is served.

  Attributes:
    host: that it listens on.
    port: the first that is tried.
    token: that a browser must bring; None: none.
    share: through viser's public service; needs a token.
    out: folder that saved files are kept in, besides going to the browser;
      None: they are not.
    limits: of the camera.
    video: suffix of saved videos.
    mesh: suffix of saved meshes.
  """

  host: str = "127.0.0.1"
  port: int = 8080
  token: Optional[str] = None
  share: bool = False
  out: Optional[str] = None
  limits: Limits = Limits()
  video: str = ".mp4"
  mesh: str = ".glb"

  def validate(self) -> "ViewerConfig":
    """Checks every field; raises UserError that names one."""
    self.limits.validate()
    if self.token is not None:
      gate.check_token(self.token)
    if self.share and self.token is None:
      raise UserError("share: anybody on the internet could look; give a "
                      "--token, too")
    if not 1 <= self.port < 2**16:
      raise UserError(f"port: expected a whole number from 1 to 65535, got "
                      f"{self.port}")
    for name, known in (("video", provenance.VIDEOS), ("mesh", mesh.MESHES)):
      if getattr(self, name) not in known:
        raise UserError(f"{name}: expected one of {', '.join(known)}, got "
                        f"{getattr(self, name)!r}")
    return self


class Viewer:
  """A server with its windows.

  Attributes:
    people: who can be chosen.
    config: how it is served.
    renderer: that draws for all windows.
    directions: that faces of the first person's base can be edited along.
    report: called with lines for whoever started it.
    moving: what is fast enough to be shown while a face moves.
    still: what is shown when it rests.
  """

  def __init__(self, people: People, config: ViewerConfig, *,
               directions: Sequence[Direction] = (),
               report: Callable[[str], None] = print):
    """Compiles what windows begin with; nothing is served yet.

    Args:
      people: who can be chosen.
      config: how it is served.
      directions: with spreads, of the first person's base.
      report: called with lines of progress.

    Raises: UserError, CheckpointError: names the flag or file.
    """
    self.config = config.validate()
    names = [one.name for one in directions]
    for name in names:
      if names.count(name) > 1:
        raise UserError(f"directions: {name!r} comes twice; give files names "
                        "of their own")
    self.people, self.directions, self.report = people, directions, report
    if config.out is not None:
      make_writable(config.out, "name another folder by --out")
    self.person, failures = people.first()
    for failure in failures:
      report(f"warning: {failure}")
    shown = people.load(self.person)
    self._base = shown.base.origin.base
    self.renderer = Renderer(report=report)
    self.moving, self.still = self.renderer.prepare(shown.own.generator)
    self._jobs = concurrent.futures.ThreadPoolExecutor(
        1, thread_name_prefix="viewer save")
    self._windows: Dict[int, "_Window"] = {}
    self._lock = threading.Lock()
    self._server: Any = None
    self.port = 0

  def directions_of(self, person: Person) -> Sequence[Direction]:
    """Those that fit a person: of the same base."""
    return self.directions if person.origin.base == self._base else ()

  def start(self) -> str:
    """Serves.

    Returns: the address to open, with the token where there is one.
    Raises: UserError: no port is free, there is no such host, viser is
      missing or another than we know, or its share service does not answer.
    """
    viser = _import_viser()
    config = self.config
    port = gate.free_port(config.host, config.port)
    if port != config.port:
      self.report(f"port {config.port} is in use; taking {port}")
    # viser prints a panel of its own, with an address without the token.
    with gate.guarding(token=config.token, host=config.host), (
        contextlib.redirect_stdout(io.StringIO())):
      self._server = server = viser.ViserServer(
          host=config.host, port=port, label=_TITLE, verbose=False)
    try:
      self.port = server.get_port()
      gate.check_guarded(self.port, config.host)
      share = server.request_share_url
      # Any window could ask viser for a public address.
      server.request_share_url = lambda verbose=True: None
      self._set_up(server)
      host = gate.reachable(config.host)
      address = f"http://[{host}]" if ":" in host else f"http://{host}"
      address = f"{address}:{self.port}"
      if config.share:
        with contextlib.redirect_stdout(io.StringIO()):
          address = share(verbose=False)
        if address is None:
          raise UserError("share: viser's service (share.viser.studio) does "
                          "not answer; leave --share out, and forward the "
                          "port, e.g. by ssh -L")
    except BaseException:
      self.stop()
      raise
    return address.rstrip("/") + (
        f"/?token={config.token}" if config.token else "")

  def _set_up(self, server: Any):
    """What is the same for all windows."""
    server.gui.configure_theme(dark_mode=True, show_logo=False,
                               show_share_button=False, control_width="medium")
    server.gui.main_panel.dock_right()
    server.scene.set_up_direction("+y")
    rendering = self.people.load(self.person).own.generator.module.config
    position, look_at = scene.pose_of_orbit(Orbit(),
                                                   rendering.rendering)
    server.initial_camera.position = position
    server.initial_camera.look_at = look_at
    server.initial_camera.up = (0.0, 1.0, 0.0)
    server.initial_camera.fov = scene.field_of_view()
    server.on_client_connect(self._opened)
    server.on_client_disconnect(self._closed)

  def _opened(self, client: Any):
    with contextlib.suppress(UserError):
      self.people.look_again()
    window = _Window(self, client)
    with self._lock:
      self._windows[client.client_id] = window
    try:
      window.open()
    # One window's failure is no other's: whatever it is, the server goes on.
    except Exception as error:  # pylint: disable=broad-exception-caught
      client.add_notification("Nobody can be shown", one_line(error),
                              color="red")
      if not isinstance(error, UserError):
        self.report(f"warning: {type(error).__name__}: {one_line(error)}")

  def _closed(self, client: Any):
    with self._lock:
      window = self._windows.pop(client.client_id, None)
    if window is not None:
      window.close()

  def save(self, job: Callable[[], None]):
    """Runs one job after the other, in a thread of theirs."""
    self._jobs.submit(job)

  def stop(self):
    """Ends the server and the renderer."""
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


class _Gone(Exception):
  """Whoever wanted a file has closed the window."""


class _Window:
  """One browser window: its controls, its camera, and what it shows."""

  def __init__(self, viewer: Viewer, client: Any):
    """Nothing is shown before `open`."""
    self._viewer, self._client = viewer, client
    self._name = f"window {client.client_id}"
    self._lock = threading.RLock()
    self._closed = False
    self._shown: Optional[Shown] = None
    self._person = viewer.person
    self._steps: Dict[bool, Dict[str, np.ndarray]] = {}
    self._photo_camera: Optional[Tuple[np.ndarray, Orbit]] = None
    self._settled = 0.0  # when a camera that was set has arrived
    self._arriving = 0.0  # until then the camera belongs in front; 0: it was
    self._last: Optional[Tuple[Any, ...]] = None
    self._saved = itertools.count(1)
    # Files that wait or are being made.
    self._saving = threading.BoundedSemaphore(_MOST_SAVING)
    self._quiet: Optional[int] = None  # thread that changes controls itself
    self._camera_news = self._face_news = False
    self._face: Optional[Tuple[Any, np.ndarray]] = None  # the last latent

  # Controls.

  def open(self):
    """Builds the controls and shows the first person."""
    with self._lock:
      people = self._viewer.people
      try:
        self._shown = people.load(self._person)
      except UserError:  # its folder is gone, or is being written again
        self._person, _ = people.first()
        self._shown = people.load(self._person)
      self._build()
      self._refresh_person()
      low, high = scene.zoom_distances(self._rendering)
      self._client.camera.min_orbit_distance = low
      self._client.camera.max_orbit_distance = high
      # viser's own first camera may win over the one that it was told, and
      # would then be kept as if somebody had turned the face there.
      self._arriving = time.monotonic() + _ARRIVING
      self._client.camera.on_update(lambda _: self._heard(camera=True))
      self._put_camera(Orbit())

  def close(self):
    """Forgets the window; what is being drawn or saved for it ends."""
    self._closed = True
    self._viewer.renderer.close(self._client.client_id)

  def _build(self):
    gui, names = self._client.gui, self._viewer.people.names()
    changed = lambda _: self._heard()

    def slider(label, low, high, step, value, hint=None):
      handle = gui.add_slider(label, low, high, step, value, hint=hint)
      handle.on_update(changed)
      return handle

    def dropdown(label, options, value=None, hint=None):
      handle = gui.add_dropdown(label, options, initial_value=value, hint=hint)
      handle.on_update(changed)
      return handle

    def button(label, act, hint=None):
      gui.add_button(label, hint=hint).on_click(
          self._guarded(lambda _: act()))

    def checkbox(label, value, hint):
      handle = gui.add_checkbox(label, value, hint=hint)
      handle.on_update(changed)
      return handle

    self._status = gui.add_markdown("loading …")
    self._who = gui.add_dropdown("Person", names, initial_value=self._person)
    self._who.on_update(self._guarded(lambda _: self._choose_person()))
    self._personal = checkbox(
        "Personalized", True, "Off: what the pretrained prior makes of the "
        "same latent.")
    with gui.add_folder("Face"):
      self._start = dropdown("Start", list(scene.STARTS))
      self._first = dropdown("Photo", [""], hint="An anchor of the person.")
      self._second = dropdown("Second photo", [""])
      self._way = slider("Way", 0.0, 1.0, 0.01, 0.0, "From the first photo to "
                         "the second.")
      self._slots = [dropdown(f"Anchor {i + 1}", [""])
                     for i in range(_SLOTS)]
      self._weights = [slider(
          f"α {i + 1}", 0.0, 1.0, 0.01, 1.0 if i == 0 else 0.0, "Its share; "
          "all shares are divided by their sum.") for i in range(_SLOTS)]
      self._seed = gui.add_number("Seed", 0, min=0, max=_LARGEST_SEED, step=1)
      self._seed.on_update(changed)
      self._truncation = slider("Truncation", 0.0, 1.0, 0.01, 1.0, "1: the "
                                "face as it is; 0: the generator's mean.")
    self._edits: Dict[str, Any] = {}
    if self._viewer.directions:
      with gui.add_folder("Edits") as self._edit_folder:
        for direction in self._viewer.directions:
          self._edits[direction.name] = slider(
              direction.name.split(" without ")[0].capitalize(), -_STRONGEST,
              _STRONGEST, 0.05, 0.0, "In standard deviations of the prior's "
              "faces.")
        self._within = checkbox("Keep likeness", True, "Edits go as far "
                                "as the person's photos tell.")
        button("No edits", self._reset_edits)
    with gui.add_folder("Camera"):
      button("The photo's camera", self._to_photo, "As the chosen photo was "
             "taken.")
      button("From the front", lambda: self._put_camera(Orbit()))
    with gui.add_folder("Picture", expand_by_default=False):
      self._kind = dropdown("Show", list(scene.SHOWN))
      self._levels: Dict[str, Level] = {}
      self._moving = dropdown("Rays, moving", [""], hint="Side of what is "
                              "rendered; raw: without super-resolution.")
      self._still = dropdown("Rays, still", [""])
    with gui.add_folder("Save"):
      button("Picture", self._save_picture)
      button("Video", self._save_video, f"{_FRAMES / _FPS:.0f} seconds of "
             "turning.")
      button("Mesh", self._save_mesh)

  def _guarded(self, act: Callable[[Any], None]) -> Callable[[Any], None]:
    """What a browser triggers: its failures are shown in its window."""
    def run(event: Any):
      if self._closed or self._quiet == threading.get_ident():
        return
      try:
        with self._lock:
          act(event)
      except UserError as error:
        self._tell(str(error))
      except Exception as error:  # pylint: disable=broad-exception-caught
        if self._closed:
          return
        self._tell(one_line(error))
        self._viewer.report(f"warning: {self._name}: {type(error).__name__}: "
                            f"{one_line(error)}")
      self._catch_up()
    return run

  def _heard(self, *, camera: bool = False):
    """A control or the camera has changed; may be called very often.

    Nobody waits here: viser has few threads for all windows, and a person who
    is being loaded keeps this one busy.
    """
    if self._closed or self._quiet == threading.get_ident():
      return
    if camera:
      self._camera_news = True
    else:
      self._face_news = True
    self._catch_up()

  def _catch_up(self):
    """Shows what is new, unless another thread of the window will."""
    while (self._camera_news or self._face_news) and (
        self._lock.acquire(blocking=False)):
      try:
        # Cleared before the controls are read, and only what was seen: what
        # another thread has to tell meanwhile stays.
        self._camera_news = False
        face = self._face_news
        if face:
          self._face_news = False
        self._guarded_news(face)
      finally:
        self._lock.release()

  def _guarded_news(self, face: bool):
    if self._closed:
      return
    try:
      if face:
        self._changed()
      else:
        self._moved()
    except UserError as error:
      self._tell(str(error))
    except Exception as error:  # pylint: disable=broad-exception-caught
      self._viewer.report(f"warning: {self._name}: {type(error).__name__}: "
                          f"{one_line(error)}")

  def _tell(self, message: str, title: str = "That does not work"):
    if not self._closed:
      self._client.add_notification(title, message, color="red",
                                    auto_close_seconds=_HIDDEN_MILLISECONDS
                                    / 1000)

  @contextlib.contextmanager
  def _silently(self):
    """Within, controls that we set call nobody."""
    self._quiet = threading.get_ident()
    try:
      yield
    finally:
      self._quiet = None

  def _choose_person(self):
    name = self._who.value
    if name == self._person:
      return
    note = None
    try:
      note = self._client.add_notification(name, "is being loaded",
                                           loading=True,
                                           with_close_button=False)
      shown = self._viewer.people.load(name)
      self._shown, self._person = shown, name
      self._refresh_person()
    except UserError:
      with self._silently():
        self._who.value = self._person
      raise
    finally:
      if note is not None:
        note.remove()
    self._changed()

  def _refresh_person(self):
    """Controls that depend on who is shown."""
    own = self._shown.own
    model = own.generator.module.config
    photos = list(own.anchors.names) if own.anchors is not None else [""]
    with self._silently():
      names = self._viewer.people.names()  # some may have come or gone
      self._who.options = list(dict.fromkeys([*names, self._person]))
      self._who.value = self._person
      starts = list(scene.starts_of(own))
      self._start.options = starts
      self._start.value = starts[0]
      for i, handle in enumerate([self._first, self._second, *self._slots]):
        handle.options = photos
        # The mix begins with other photos than the way ends at.
        handle.value = photos[(0, -1, *range(_SLOTS))[i] % len(photos)]
      levels = [Level(*level) for level in scene.levels_of(model)]
      fits = self._viewer.moving in levels
      full = levels[0].resolution
      finer = [Level(full * factor) for factor in (2,)
               if full * factor <= _MOST_RAYS]
      self._levels = {str(level): level for level in [*finer, *levels]}
      self._moving.options = [str(level) for level in levels]
      self._moving.value = str(self._viewer.moving if fits else levels[-1])
      self._still.options = [str(level) for level in [*finer, *levels]
                             if level.shown == "image"]
      self._still.value = str(levels[0])
      if self._edits:
        self._edit_folder.visible = bool(self._viewer.directions_of(own))
        self._within.visible = own.anchors is not None
    self._steps, self._face = {}, None
    self._photo_camera = None

  def _show_what_counts(self):
    """Only controls that the start reads are to be seen."""
    start = self._start.value
    photo = start in ("a photo", "between two")
    self._first.visible = photo
    self._second.visible = self._way.visible = start == "between two"
    for handle in (*self._slots, *self._weights):
      handle.visible = start == "a mix"
    self._seed.visible = start == "a seed"

  def _reset_edits(self):
    with self._silently():
      for handle in self._edits.values():
        handle.value = 0.0
    self._changed()

  # What is shown.

  @property
  def _who_is_shown(self) -> Person:
    return self._shown.own if self._personal.value else self._shown.base

  @property
  def _rendering(self):
    return self._shown.own.generator.module.config.rendering

  def _choice(self) -> Choice:
    """The face's controls."""
    edits = self._viewer.directions_of(self._shown.own)
    return Choice(
        start=self._start.value, first=self._first.value,
        second=self._second.value, way=float(self._way.value),
        weights=tuple((slot.value, float(weight.value)) for slot, weight in
                      zip(self._slots, self._weights)),
        seed=int(self._seed.value or 0),
        truncation=float(self._truncation.value),
        edits=tuple((one.name, float(self._edits[one.name].value))
                    for one in edits),
        within=bool(self._edits and self._within.value))

  def _ws(self, choice: Choice) -> np.ndarray:
    person = self._who_is_shown
    if self._face is not None and self._face[0] == (person.digest, choice):
      return self._face[1]
    edits = self._viewer.directions_of(person)
    if choice.within not in self._steps:
      self._steps[choice.within] = scene.edit_steps(
          person, edits, within=choice.within)
    sampled = {}
    if choice.start == "a seed":
      sampled[choice.seed] = sampled_w(person.generator, choice.seed)
    ws = scene.latents_of(
        person, choice, self._steps[choice.within],
        mean=scene.mean_of(person), sampled=sampled)
    self._face = (person.digest, choice), ws
    return ws

  def _c(self) -> np.ndarray:
    """The label [25] of the camera as it is now."""
    if self._photo_camera is not None:
      return self._photo_camera[0]
    return scene.label_of_orbit(self._orbit(), self._rendering)

  def _orbit(self) -> Orbit:
    camera = self._client.camera
    return scene.orbit_of_pose(camera.position, camera.look_at,
                                      self._rendering,
                                      self._viewer.config.limits)

  def _request(self, choice: Choice) -> Request:
    person, shown = self._who_is_shown, self._kind.value
    if shown not in scene.SHOWN:  # a browser may send anything
      raise UserError(f"show: there is no {str(shown)[:20]!r}")
    moving = self._levels[self._moving.value]
    still = self._levels[self._still.value]._replace(shown=shown)
    if shown != "image":
      moving = moving._replace(shown=shown)
    return Request(person.generator, person.digest, self._ws(choice),
                   self._c(), moving, still)

  def _changed(self):
    """Controls or the camera say something new."""
    self._show_what_counts()
    self._last = None
    request, renderer = self._request(self._choice()), self._viewer.renderer
    if any(renderer.is_new(request.network, level)
           for level in (request.moving, request.still)):
      self._status.content = "preparing such pictures for the first time …"
    renderer.submit(self._client.client_id, request, self._deliver)

  def _moved(self):
    """The browser's camera, or the size of its window, may be another."""
    camera = self._client.camera
    if self._arriving:
      in_front = scene.same_orbit(self._orbit(), Orbit())
      if not in_front and time.monotonic() < self._arriving:
        self._set_pose(*scene.pose_of_orbit(Orbit(), self._rendering))
        return
      if not in_front or time.monotonic() > self._settled:
        self._arriving = 0.0
    settled = time.monotonic() > self._settled
    if self._photo_camera is not None and settled and (
        not scene.same_orbit(self._orbit(), self._photo_camera[1])):
      self._photo_camera = None
    now = (camera.image_width, camera.image_height, self._c().tobytes())
    if now == self._last:
      return
    self._changed()
    self._last = now

  def _deliver(self, frame: Frame):
    """Called in the renderer's thread."""
    if self._closed:
      return
    if frame.failure is not None:
      self._tell(frame.failure)
      return
    camera, client = self._client.camera, self._client
    width, height = camera.image_width, camera.image_height
    picture = frame.picture
    side = min(width, height, _SHARPEST)
    if frame.still and side > picture.shape[0]:
      # Browsers enlarge by straight lines between pixels.
      picture = np.asarray(Image.fromarray(picture).resize(
          (side, side), Image.Resampling.BICUBIC))
    client.scene.set_background_image(
        scene.framed(picture, width, height), format="jpeg",
        jpeg_quality=_QUALITY if frame.still else _MOVING_QUALITY)
    client.flush()
    if frame.still:
      self._status.content = self._status_line(frame)
      self._rest()

  def _status_line(self, frame: Frame) -> str:
    level = frame.request.still
    return (f"{level.resolution} × {level.resolution} rays, "
            f"{1000 * frame.seconds:.0f} ms; drag to turn, scroll to zoom")

  # The camera.

  def _rest(self):
    """Brings a browser's camera back that went far beyond the limits."""
    camera = self._client.camera
    pose = scene.rested_pose(camera.position, camera.look_at,
                                    self._rendering,
                                    self._viewer.config.limits)
    if pose is not None and self._photo_camera is None and (
        not self._arriving):
      self._set_pose(*pose)

  def _put_camera(self, orbit: Orbit):
    self._photo_camera = None
    self._set_pose(*scene.pose_of_orbit(orbit, self._rendering))
    self._changed()

  def _to_photo(self):
    own = self._shown.own
    if own.anchors is None or self._start.value not in (
        "a photo", "between two"):
      raise UserError("choose a photo as the start: its camera is known")
    row = own.anchors.names.index(self._first.value)
    c = np.asarray(own.anchors.c[row], np.float32)
    orbit = scene.orbit_of_label(c, self._rendering)
    pose = scene.pose_of_orbit(orbit, self._rendering)
    # Dragging goes on from what is nearest to it.
    self._photo_camera = c, scene.orbit_of_pose(
        *pose, self._rendering, self._viewer.config.limits)
    self._set_pose(*pose)
    self._changed()

  def _set_pose(self, position: chex.Array, look_at: chex.Array):
    self._settled = time.monotonic() + _SETTLING
    camera = self._client.camera
    with self._client.atomic():
      camera.up_direction = (0.0, 1.0, 0.0)
      camera.position = position
      camera.look_at = look_at

  # Files.

  def _save_picture(self):
    request = self._request(self._choice())
    renderer = self._viewer.renderer
    self._save(".png", lambda path, origin, _: provenance.write_picture(
        path, renderer.draw(request, request.still), origin), show=self._kind.
               value)

  def _save_video(self):
    request = self._request(self._choice())
    limits = self._viewer.config.limits
    c = render.orbit(request.network, request.c, frames=_FRAMES,
                     yaw=min(_VIDEO_YAW, limits.yaw),
                     pitch=min(_VIDEO_PITCH, limits.pitch))
    self._save(self._viewer.config.video, lambda path, origin, report: (
        render.render_video(request.network, request.ws[None], c, path,
                            fps=_FPS, kind=request.still.shown, origin=origin,
                            neural_rendering_resolution=(
                                request.still.resolution),
                            report=report,
                            devices=self._who_is_shown.devices)),
               show=request.still.shown)

  def _save_mesh(self):
    request = self._request(self._choice())

    def write(path, origin, report):
      mesh.write_mesh(path, mesh.extract_mesh(
          request.network, request.ws[None], resolution=_MESH_RESOLUTION,
          report=report, devices=self._who_is_shown.devices), origin)
    self._save(self._viewer.config.mesh, write)

  def _save(self, suffix: str, write: Callable[..., None], **details: str):
    """Begins to make a file, which goes to the browser and to --out."""
    choice, person = self._choice(), self._who_is_shown
    details = {"person": self._person, **scene.describe(choice),
               **details}
    origin = person.made("view", **details)
    stem = file_stem(self._person, choice)
    if not self._saving.acquire(blocking=False):
      raise UserError(f"{_MOST_SAVING} files are being made already; wait for "
                      "one")
    note = self._client.add_notification(
        f"{stem}{suffix}", "is being made", loading=True)

    def report(done: int, total: int):
      if self._closed:
        raise _Gone()
      note.body = f"{100 * done // max(total, 1)} % is done"

    def job():
      try:
        report(0, 1)
        self._finish(stem, suffix, lambda path: write(path, origin, report))
      except _Gone:
        return
      # Whatever fails, the next file may succeed.
      except Exception as error:  # pylint: disable=broad-exception-caught
        self._tell(one_line(error), f"{stem}{suffix} was not saved")
        if not isinstance(error, (UserError, OSError)):
          self._viewer.report(f"warning: {self._name}: "
                              f"{type(error).__name__}: {one_line(error)}")
      finally:
        self._saving.release()
        if not self._closed:
          note.remove()
    self._viewer.save(job)

  def _finish(self, stem: str, suffix: str,
              write: Callable[[pathlib.Path], None]):
    """Writes a file and sends it; raises OSError, UserError."""
    out = self._viewer.config.out
    with contextlib.ExitStack() as stack:
      folder = pathlib.Path(out).expanduser() if out else pathlib.Path(
          stack.enter_context(tempfile.TemporaryDirectory()))
      path = folder / f"{stem}_{next(self._saved):03d}{suffix}"
      while path.exists():
        path = folder / f"{stem}_{next(self._saved):03d}{suffix}"
      write(path)
      content = path.read_bytes()
    if self._closed:
      raise _Gone()
    self._client.send_file_download(path.name, content, save_immediately=True)
    self._client.add_notification(
        path.name, f"saved in {out}" if out else "sent to the browser",
        auto_close_seconds=_HIDDEN_MILLISECONDS / 1000)


def sampled_w(generator: Network, seed: int) -> np.ndarray:
  """The w of a seed as `apps.rendering` draws it, [w_dim]."""
  config = generator.module.config
  front = render.view_labels(config.rendering, [0.0], [0.0])
  z = render.latents_of_seeds([seed], config.z_dim)
  return np.asarray(_mapped(generator, z, front))[0, 0]


@jax.jit
def _mapped(generator: Network, z: chex.Array, c: chex.Array) -> jax.Array:
  return generator(z, c, method="mapping")


def file_stem(person: str, choice: Choice) -> str:
  """What a saved file's name begins with."""
  parts: List[str] = [person]
  if choice.start in ("a photo", "between two"):
    parts.append(pathlib.PurePath(choice.first).stem)
  if choice.start == "a seed":
    parts.append(f"seed{choice.seed}")
  return re.sub(r"[^\w.-]+", "_", "_".join(parts)).strip("_.") or "face"


@functools.cache
def _import_viser() -> Any:
  """viser, which only viewers need; raises UserError if it is missing."""
  try:
    import viser  # pylint: disable=import-outside-toplevel
  except ImportError as error:
    raise UserError("the viewer needs viser: pip install \".[viewer]\" "
                    f"({one_line(error)})") from error
  # A window that has closed is told something now and then before we know.
  warnings.filterwarnings("ignore", "Queued .* on a closed connection")
  return viser

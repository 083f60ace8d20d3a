"""One browser window: connects its panel, its camera and its files."""

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from PIL import Image

from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.viewer import saving, scene
from my3dgen_jax.apps.viewer.camera import BrowserCamera
from my3dgen_jax.apps.viewer.controls import Actions, Controls
from my3dgen_jax.apps.viewer.news import News
from my3dgen_jax.apps.viewer.orbits import Orbit
from my3dgen_jax.apps.viewer.people import People, Shown
from my3dgen_jax.apps.viewer.scene import Choice
from my3dgen_jax.apps.viewer.workers import Frame, Level, Renderer, Request
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError

_SHARPEST = 1600  # largest side that a still picture is enlarged to, pixels
_QUALITY, _MOVING_QUALITY = 95, 85  # JPEG qualities


class Host(Protocol):
  """The part of `server.Viewer` that windows use.

  Attributes:
    people: the people to choose from.
    person: the person shown first.
    config: the viewer's settings.
    renderer: the renderer of all windows.
    directions: the available edits.
    moving: the level of pictures while a face moves.
  """

  people: People
  person: str
  config: Any
  renderer: Renderer
  directions: Sequence[Direction]
  moving: Level

  def directions_of(self, person: Person) -> Sequence[Direction]:
    """The edits that fit a person."""

  def save(self, job: Callable[[], None]):
    """Runs jobs one after the other."""

  def warn(self, error: Exception):
    """Reports an unexpected error on the viewer's console."""


class Window:
  """One browser window."""

  def __init__(self, viewer: Host, client: Any):
    """Shows nothing before `open`.

    Args:
      viewer: the viewer, shared by all windows.
      client: viser's handle of the window.
    """
    self._viewer, self._client = viewer, client
    self._closed = threading.Event()
    self._person = viewer.person
    self._shown: Shown | None = None
    self._steps: dict[bool, dict[str, np.ndarray]] = {}
    self._face: tuple[Any, np.ndarray] | None = None  # the last latent
    self._last: tuple[int, int, bytes] | None = None  # the last view
    self._news = News(
      face=self._changed,
      camera=self._moved,
      tell=self._tell,
      warn=self._warn,
      closed=self._closed,
    )
    self._camera = BrowserCamera(client, viewer.config.limits)
    self._savings = saving.Savings(
      client,
      out=viewer.config.out,
      submit=viewer.save,
      tell=self._tell,
      warn=self._warn,
      closed=self._closed,
    )
    self._controls: Controls | None = None

  def open(self):
    """Builds the controls and shows the first person."""
    with self._news.lock:
      people = self._viewer.people
      try:
        self._shown = people.load(self._person)
      except UserError:  # the folder is gone, or is being rewritten
        self._person, _ = people.first()
        self._shown = people.load(self._person)
      self._controls = Controls(
        self._client.gui,
        self._news,
        self._actions(),
        names=people.names(),
        person=self._person,
        directions=self._viewer.directions,
        video_seconds=saving.VIDEO_SECONDS,
      )
      self._refresh()
      self._camera.begin(lambda _: self._news.heard(camera=True))
      self._put_camera(Orbit())

  def close(self):
    """Forgets the window; stops drawing and saving for it."""
    self._closed.set()
    self._viewer.renderer.close(self._client.client_id)

  def _actions(self) -> Actions:
    return Actions(
      choose_person=self._choose_person,
      reset_edits=self._reset_edits,
      to_photo=self._to_photo,
      to_front=lambda: self._put_camera(Orbit()),
      save_picture=self._save_picture,
      save_video=self._save_video,
      save_mesh=self._save_mesh,
      save_page=self._save_page,
    )

  def _tell(self, message: str, title: str = "Error"):
    if not self._closed.is_set():
      self._client.add_notification(
        title, message, color="red", auto_close_seconds=saving.HIDDEN_SECONDS
      )

  def _warn(self, error: Exception):
    self._viewer.warn(error)

  # The person and the face shown.

  def _choose_person(self):
    name = self._controls.person
    if name == self._person:
      return
    note = None
    try:
      note = self._client.add_notification(
        name, "loading …", loading=True, with_close_button=False
      )
      shown = self._viewer.people.load(name)
      self._shown, self._person = shown, name
      self._refresh()
    except UserError:
      self._controls.choose(self._person)
      raise
    finally:
      if note is not None:
        note.remove()
    self._changed()

  def _refresh(self):
    """Sets everything that depends on the person shown."""
    own = self._shown.own
    self._controls.refresh(
      own,
      names=self._viewer.people.names(),
      person=self._person,
      moving=self._viewer.moving,
      directions=self._viewer.directions_of(own),
    )
    self._steps, self._face = {}, None
    self._camera.use(own.generator.module.config.rendering)

  def _reset_edits(self):
    self._controls.reset_edits()
    self._changed()

  def _put_camera(self, orbit: Orbit):
    self._camera.put(orbit)
    self._changed()

  def _to_photo(self):
    own = self._shown.own
    photo = self._controls.photo
    if own.anchors is None or photo is None:
      raise UserError(
        "only photos have a camera; choose “a photo” as the start first"
      )
    self._camera.go_to_photo(
      np.asarray(own.anchors.c[own.anchors.names.index(photo)], np.float32)
    )
    self._changed()

  @property
  def _who_is_shown(self) -> Person:
    personal = self._controls.personalized
    return self._shown.own if personal else self._shown.base

  def _choice(self) -> Choice:
    return self._controls.choice(self._viewer.directions_of(self._shown.own))

  def _request(self, choice: Choice) -> Request:
    person = self._who_is_shown
    moving, still = self._controls.levels()
    return Request(
      person.generator,
      person.digest,
      self._ws(choice),
      self._camera.label(),
      moving,
      still,
    )

  def _ws(self, choice: Choice) -> np.ndarray:
    """The chosen latent, [num_ws, w_dim]."""
    person = self._who_is_shown
    if self._face is not None and self._face[0] == (person.digest, choice):
      return self._face[1]
    edits = self._viewer.directions_of(person)
    if choice.within not in self._steps:
      self._steps[choice.within] = scene.edit_steps(
        person, edits, within=choice.within
      )
    sampled = {}
    if choice.start == "a seed":
      sampled[choice.seed] = scene.sampled_w(person.generator, choice.seed)
    ws = scene.latents_of(
      person,
      choice,
      self._steps[choice.within],
      mean=scene.mean_of(person),
      sampled=sampled,
    )
    self._face = (person.digest, choice), ws
    return ws

  # Drawing.

  def _changed(self):
    """Redraws after a change of controls or camera."""
    self._controls.show_what_counts()
    self._last = None
    request, renderer = self._request(self._choice()), self._viewer.renderer
    if any(
      renderer.is_new(request.network, level)
      for level in (request.moving, request.still)
    ):
      self._controls.say("compiling this kind of picture …")
    renderer.submit(self._client.client_id, request, self._deliver)

  def _moved(self):
    """Redraws if the browser's camera or window size has changed."""
    view = self._camera.view()
    if view is None or view == self._last:
      return
    self._changed()
    self._last = view

  def _deliver(self, frame: Frame):
    """Sends a frame to the browser; called in the renderer's thread."""
    if self._closed.is_set():
      return
    if frame.failure is not None:
      self._tell(frame.failure)
      return
    camera, client = self._client.camera, self._client
    width, height = camera.image_width, camera.image_height
    picture = frame.picture
    side = min(width, height, _SHARPEST)
    if frame.still and side > picture.shape[0]:
      # Browsers would enlarge it bilinearly.
      picture = np.asarray(
        Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
      )
    client.scene.set_background_image(
      scene.framed(picture, width, height),
      format="jpeg",
      jpeg_quality=_QUALITY if frame.still else _MOVING_QUALITY,
    )
    client.flush()
    if frame.still:
      self._controls.say(_status_line(frame))
      self._camera.rest()

  # Files.

  def _save_picture(self):
    request = self._request(self._choice())
    self._save(
      ".png",
      saving.picture_writer(request, self._viewer.renderer),
      show=request.still.shown,
    )

  def _save_video(self):
    request = self._request(self._choice())
    config = self._viewer.config
    self._save(
      config.video,
      saving.video_writer(
        request, limits=config.limits, devices=self._who_is_shown.devices
      ),
      show=request.still.shown,
    )

  def _save_mesh(self):
    request = self._request(self._choice())
    self._save(
      self._viewer.config.mesh,
      saving.mesh_writer(request, devices=self._who_is_shown.devices),
    )

  def _save_page(self):
    request = self._request(self._choice())
    self._savings.begin(
      saving.file_stem(self._person, self._choice()),
      ".html",
      # The page is for sharing, so it does not name the person.
      self._who_is_shown.made("share", faces=1),
      saving.page_writer(request, limits=self._viewer.config.limits),
    )

  def _save(self, suffix: str, write: saving.Writer, **details: str):
    choice = self._choice()
    details = {"person": self._person, **scene.describe(choice), **details}
    self._savings.begin(
      saving.file_stem(self._person, choice),
      suffix,
      self._who_is_shown.made("view", **details),
      write,
    )


def _status_line(frame: Frame) -> str:
  level = frame.request.still
  return (
    f"{level.resolution} × {level.resolution} rays, "
    f"{1000 * frame.seconds:.0f} ms; drag to turn, scroll to zoom"
  )

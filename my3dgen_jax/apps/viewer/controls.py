"""The panel of one browser window: its controls and their values."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.viewer import scene
from my3dgen_jax.apps.viewer.news import News
from my3dgen_jax.apps.viewer.scene import Choice
from my3dgen_jax.apps.viewer.workers import Level
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError

_SLOTS = 4  # maximum number of anchors in a mix
_STRONGEST = 3.0  # strongest edit, in standard deviations
_LARGEST_SEED = 2**32 - 1
_MOST_RAYS = 512  # largest side of image_raw


class Actions(NamedTuple):
  """Actions of the buttons and of the list of people.

  Attributes:
    choose_person: loads the chosen person.
    reset_edits: removes all edits.
    to_photo: moves to the chosen photo's camera.
    to_front: moves to the camera in front.
    save_picture: starts to save the picture.
    save_video: starts to save a turning video.
    save_mesh: starts to save the surface.
    save_page: starts to save a web page with the head.
  """

  choose_person: Callable[[], None]
  reset_edits: Callable[[], None]
  to_photo: Callable[[], None]
  to_front: Callable[[], None]
  save_picture: Callable[[], None]
  save_video: Callable[[], None]
  save_mesh: Callable[[], None]
  save_page: Callable[[], None]


class Controls:
  """The panel; call `refresh` before reading it."""

  def __init__(
    self,
    gui: Any,
    news: News,
    actions: Actions,
    *,
    names: Sequence[str],
    person: str,
    directions: Sequence[Direction],
    video_seconds: float,
  ):
    """Builds the panel in the browser.

    Args:
      gui: viser's panel of the window.
      news: receives changes.
      actions: the buttons' actions.
      names: names to choose from.
      person: the person chosen first.
      directions: the directions, one slider each.
      video_seconds: duration of a saved video.
    """
    self._gui, self._news = gui, news
    self._levels: dict[str, Level] = {}
    self._status = gui.add_markdown("loading …")
    self._who = gui.add_dropdown("Person", names, initial_value=person)
    self._who.on_update(news.guarded(lambda _: actions.choose_person()))
    self._personal = self._checkbox(
      "Personalized",
      True,
      "Off: the same latent with the pretrained generator.",
    )
    with gui.add_folder("Face"):
      self._add_face()
    self._edits: dict[str, Any] = {}
    if directions:
      with gui.add_folder("Edits") as self._edit_folder:
        self._add_edits(directions, actions)
    with gui.add_folder("Camera"):
      self._button(
        "The photo's camera", actions.to_photo, "The chosen photo's own camera."
      )
      self._button("From the front", actions.to_front)
    with gui.add_folder("Picture", expand_by_default=False):
      self._kind = self._dropdown("Show", list(scene.SHOWN))
      self._moving = self._dropdown(
        "Rays, moving",
        [""],
        "Rays along a side; raw: without super-resolution.",
      )
      self._still = self._dropdown("Rays, still", [""])
    with gui.add_folder("Save"):
      self._button("Picture", actions.save_picture)
      self._button(
        "Video", actions.save_video, f"{video_seconds:.0f} seconds, turning."
      )
      self._button("Mesh", actions.save_mesh)
      self._button(
        "Share",
        actions.save_page,
        "One HTML file with the head, to turn in any browser, offline; "
        "contains no names.",
      )

  # Building.

  def _add_face(self):
    self._start = self._dropdown("Start", list(scene.STARTS))
    self._first = self._dropdown("Photo", [""], "An anchor of the person.")
    self._second = self._dropdown("Second photo", [""])
    self._way = self._slider(
      "Way", 0.0, 1.0, 0.01, 0.0, "From the first photo to the second."
    )
    self._slots = [
      self._dropdown(f"Anchor {i + 1}", [""]) for i in range(_SLOTS)
    ]
    self._weights = [
      self._slider(
        f"α {i + 1}",
        0.0,
        1.0,
        0.01,
        1.0 if i == 0 else 0.0,
        "Weight of this anchor; weights are divided by their sum.",
      )
      for i in range(_SLOTS)
    ]
    self._seed = self._on_change(
      self._gui.add_number("Seed", 0, min=0, max=_LARGEST_SEED, step=1)
    )
    self._truncation = self._slider(
      "Truncation",
      0.0,
      1.0,
      0.01,
      1.0,
      "1: the face itself; 0: the generator's mean face.",
    )

  def _add_edits(self, directions: Sequence[Direction], actions: Actions):
    for direction in directions:
      self._edits[direction.name] = self._slider(
        scene.title_of(direction),
        -_STRONGEST,
        _STRONGEST,
        0.05,
        0.0,
        "Strength in standard deviations of the prior's faces.",
      )
    self._within = self._checkbox(
      "Keep likeness", True, "Edit only as far as the person's photos allow."
    )
    self._unfollowed = self._gui.add_markdown("")
    self._button("No edits", actions.reset_edits)

  def _on_change(self, handle: Any) -> Any:
    handle.on_update(lambda _: self._news.heard())
    return handle

  def _slider(
    self,
    label: str,
    low: float,
    high: float,
    step: float,
    value: float,
    hint: str,
  ) -> Any:
    return self._on_change(
      self._gui.add_slider(label, low, high, step, value, hint=hint)
    )

  def _dropdown(
    self, label: str, options: Sequence[str], hint: str | None = None
  ) -> Any:
    return self._on_change(
      self._gui.add_dropdown(label, options, initial_value=None, hint=hint)
    )

  def _checkbox(self, label: str, value: bool, hint: str) -> Any:
    return self._on_change(self._gui.add_checkbox(label, value, hint=hint))

  def _button(
    self, label: str, act: Callable[[], None], hint: str | None = None
  ):
    self._gui.add_button(label, hint=hint).on_click(
      self._news.guarded(lambda _: act())
    )

  # Setting.

  def say(self, status: str):
    """Shows a line above all controls."""
    self._status.content = status

  def choose(self, person: str):
    """Sets the chosen person, without callbacks."""
    with self._news.silently():
      self._who.value = person

  def refresh(
    self,
    own: Person,
    *,
    names: Sequence[str],
    person: str,
    moving: Level,
    directions: Sequence[Direction],
  ):
    """Fills the controls that depend on the person, without callbacks.

    Args:
      own: the person shown.
      names: names to choose from; they may have changed.
      person: name of the person shown.
      moving: the level for moving pictures, if the person's generator has it.
      directions: the edits that fit the person.
    """
    photos = list(own.anchors.names) if own.anchors is not None else [""]
    with self._news.silently():
      self._who.options = list(dict.fromkeys([*names, person]))
      self._who.value = person
      starts = list(scene.starts_of(own))
      self._start.options = starts
      self._start.value = starts[0]
      for i, handle in enumerate([self._first, self._second, *self._slots]):
        handle.options = photos
        # A mix starts with other photos than "between two" ends with.
        handle.value = photos[(0, -1, *range(_SLOTS))[i] % len(photos)]
      levels = [
        Level(*level) for level in scene.levels_of(own.generator.module.config)
      ]
      full = levels[0].resolution
      finer = [
        Level(full * factor) for factor in (2,) if full * factor <= _MOST_RAYS
      ]
      self._levels = {str(level): level for level in [*finer, *levels]}
      self._moving.options = [str(level) for level in levels]
      self._moving.value = str(moving if moving in levels else levels[-1])
      self._still.options = [
        str(level) for level in [*finer, *levels] if level.shown == "image"
      ]
      self._still.value = str(levels[0])
      if self._edits:
        self._edit_folder.visible = bool(directions)
        self._within.visible = own.anchors is not None
        self._unfollowed.content = scene.unfollowed(own, directions)

  def show_what_counts(self):
    """Hides the controls that the chosen start does not use."""
    start = self._start.value
    self._first.visible = start in ("a photo", "between two")
    self._second.visible = self._way.visible = start == "between two"
    for handle in (*self._slots, *self._weights):
      handle.visible = start == "a mix"
    self._seed.visible = start == "a seed"
    if self._edits:
      self._unfollowed.visible = self._within.visible and self._within.value

  def reset_edits(self):
    """Sets all edits to 0, without callbacks."""
    with self._news.silently():
      for handle in self._edits.values():
        handle.value = 0.0

  # Reading.

  @property
  def person(self) -> str:
    """The chosen person's name."""
    return self._who.value

  @property
  def personalized(self) -> bool:
    """Whether to use the person's own generator, not the prior."""
    return self._personal.value

  @property
  def photo(self) -> str | None:
    """The photo that the face starts from; None: it starts from no photo."""
    photo = self._start.value in ("a photo", "between two")
    return self._first.value if photo else None

  def choice(self, directions: Sequence[Direction]) -> Choice:
    """The controls' values for the face.

    Args:
      directions: the edits that fit the person.
    """
    return Choice(
      start=self._start.value,
      first=self._first.value,
      second=self._second.value,
      way=float(self._way.value),
      weights=tuple(
        (slot.value, float(weight.value))
        for slot, weight in zip(self._slots, self._weights)
      ),
      seed=int(self._seed.value or 0),
      truncation=float(self._truncation.value),
      edits=tuple(
        (one.name, float(self._edits[one.name].value)) for one in directions
      ),
      within=bool(self._edits and self._within.value),
    )

  def levels(self) -> tuple[Level, Level]:
    """The levels of pictures while the face moves, and at rest.

    Raises: UserError: the kind of picture is unknown.
    """
    shown = self._kind.value
    if shown not in scene.SHOWN:  # browsers can send any value
      raise UserError(f"show: unknown kind {str(shown)[:20]!r}")
    moving = self._levels[self._moving.value]
    still = self._levels[self._still.value]._replace(shown=shown)
    if shown != "image":
      moving = moving._replace(shown=shown)
    return moving, still

"""Scenes to render: seeds, photos' latents, paths between them, and edits."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from my3dgen_jax import directions
from my3dgen_jax.apps import edit, interpolate
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.finding import with_spread
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import photo_latents, render
from my3dgen_jax.apps.rendering.photo_latents import PhotoLatent
from my3dgen_jax.config import part, setting
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import FlagError, UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Network

PRETRAINED, PERSONALIZED = "pretrained", "personalized"

_FIRST_SEEDS = (0, 1, 2, 3)


@dataclasses.dataclass(frozen=True)
class LatentsConfig:
  """The faces to show: latents by name, or random ones."""

  latents: tuple[str, ...] = setting(
    (),
    "Latents to show: photos of the run (names, numbers from 0, or all), or "
    "files of my3dgen invert.",
  )
  seeds: tuple[int, ...] = setting(
    (), "Seeds of random faces to show: 0-3, or 1,5,8-10."
  )
  truncation_psi: float = setting(
    0.7,
    "Truncation of random faces; 1: none, 0: the mean face.",
    low=-10,
    high=10,
  )
  truncation_cutoff: int | None = setting(
    None,
    "Number of rows of ws to truncate, for random faces; default: all.",
    low=0,
  )

  def require_one_kind(self):
    """Raises FlagError unless either latents or seeds are given."""
    if bool(self.latents) == bool(self.seeds):
      raise FlagError("give either --latents, photos of a run, or --seeds")


@dataclasses.dataclass(frozen=True)
class ScenesConfig:
  """The scenes to show: faces, paths between them, or edits of each."""

  latents: LatentsConfig = part(LatentsConfig())
  between: Literal["linear", "spherical"] | None = setting(
    None,
    "Interpolation between the latents: linear, or spherical: along great "
    "circles around their mean.",
  )
  direction: str | None = setting(
    None, "Direction file (.npy) of an edit to show at --strengths."
  )
  edit: EditConfig = part(EditConfig(), fields=("strengths", "unit"))
  apply: Literal["alpha", "w"] | None = setting(
    None,
    "How to apply the direction, see my3dgen edit --help; default: w for a "
    "bare checkpoint, else alpha.",
  )


class Panel(NamedTuple):
  """A face in a picture that may show several.

  Attributes:
    title: title above it, if there are several.
    generator: the generator that renders it.
    ws: [1, num_ws, w_dim], or one latent per frame, [F, num_ws, w_dim].
  """

  title: str
  generator: Network
  ws: np.ndarray


class Scene(NamedTuple):
  """A scene for cameras.

  Attributes:
    name: stem of its files' names.
    rows: rows of panels, all of the same length.
    c: its own camera label, [1, 25], or one per frame, [F, 25].
    details: further entries of its origin.
  """

  name: str
  rows: tuple[tuple[Panel, ...], ...]
  c: np.ndarray
  details: Mapping[str, object]

  @property
  def panels(self) -> list[Panel]:
    """All panels, row by row."""
    return [panel for row in self.rows for panel in row]

  @property
  def frames(self) -> int:
    """Number of frames of the latents; 1: they do not move."""
    return max(len(panel.ws) for panel in self.panels)


def of_seeds(
  person: Person,
  seeds: Sequence[int],
  *,
  focal: float = cameras.FACE_FOCAL,
  **truncation: object,
) -> list[PhotoLatent]:
  """Random faces of a generator, with the front camera.

  Args:
    person: the owner of the generator.
    seeds: seeds, one face each, see `render.latents_of_seeds`.
    focal: focal length of the camera that they are made for, in image sizes.
    **truncation: see `Generator.mapping`.

  Raises: UserError: names the argument.
  """
  config = person.generator.module.config
  front = render.view_labels(config.rendering, [0.0], [0.0], focal)
  ws = person.generator(
    render.latents_of_seeds(seeds, config.z_dim),
    front,
    method="mapping",
    **truncation,
  )
  return [
    PhotoLatent(f"seed{seed:04d}", one, np.asarray(front[0]))
    for seed, one in zip(seeds, np.asarray(ws))
  ]


def find(person: Person, names: Sequence[str]) -> list[PhotoLatent]:
  """Latents by name, see `photo_latents.look_up_all`."""
  return photo_latents.with_file_names(
    photo_latents.look_up_all(person, names, flag="latents"), flag="latents"
  )


def look_up(
  person: Person, config: LatentsConfig, *, focal: float = cameras.FACE_FOCAL
) -> tuple[list[PhotoLatent], dict[str, object]]:
  """Latents by name, or random ones if there are no names.

  Args:
    person: the owner of the latents.
    config: the latents to show.
    focal: focal length of the camera that random faces are made for, in image
      sizes.

  Returns: the latents, and their common origin.
  Raises: as `find` and `of_seeds`.
  """
  if config.latents:
    return find(person, config.latents), {}
  return of_seeds(
    person,
    config.seeds,
    focal=focal,
    truncation_psi=config.truncation_psi,
    truncation_cutoff=config.truncation_cutoff,
  ), {"truncation_psi": config.truncation_psi}


def find_scenes(
  person: Person,
  config: ScenesConfig,
  *,
  frames: int,
  focal: float | None = None,
) -> list[Scene]:
  """The scenes of a config.

  Args:
    person: the person shown.
    config: the scenes; without names and seeds, the first four seeds.
    frames: frames of a path from one latent to the next, including both.
    focal: focal length of random faces' camera, in image sizes; None: that of
      the prior's training.

  Raises: UserError, CheckpointError: names the argument or the file.
  """
  latents = config.latents
  if not latents.latents and not latents.seeds:
    latents = dataclasses.replace(latents, seeds=_FIRST_SEEDS)
  found, details = look_up(person, latents, focal=focal or cameras.FACE_FOCAL)
  if config.between:
    scenes = [
      way(person, found, frames=frames, spherical=config.between == "spherical")
    ]
  elif config.direction:
    model = person.generator.module.config
    scenes = edits(
      person,
      found,
      directions.load(config.direction, w_dim=model.w_dim, num_ws=model.num_ws),
      dataclasses.replace(
        config.edit,
        apply=config.apply or ("alpha" if person.anchors is not None else "w"),
      ),
    )
  else:
    scenes = stills(person, found)
  return [
    scene._replace(details={**scene.details, **details}) for scene in scenes
  ]


def stills(person: Person, found: Sequence[PhotoLatent]) -> list[Scene]:
  """One scene per latent.

  Args:
    person: the owner of the latents.
    found: latents from `of_seeds` or `find`. If a generator was tuned to a
      latent's photo, that one renders it.
  """
  return [
    Scene(
      one.name,
      ((Panel(one.name, one.generator or person.generator, one.ws[None]),),),
      one.c[None],
      {"latent": one.name},
    )
    for one in found
  ]


def way(
  person: Person, found: Sequence[PhotoLatent], *, frames: int, spherical: bool
) -> Scene:
  """A path along latents; its own cameras move from each photo's to the next's.

  Args:
    person: the owner of the latents.
    found: the latents, at least two.
    frames: frames from one to the next, including both.
    spherical: see `InterpolateConfig`.

  Raises: UserError: there are fewer than two latents.
  """
  if len(found) < 2:
    raise UserError(f"latents: between needs at least two, got {len(found)}")
  interpolate.warn_of_bent(found)
  path = interpolate.find_path(
    person,
    found,
    interpolate.InterpolateConfig(
      frames=frames, spherical=spherical, camera="photos"
    ),
  )
  names = [one.name for one in found]
  return Scene(
    f"{names[0]}_to_{names[-1]}",
    ((Panel("", person.generator, path.ws),),),
    path.c,
    {
      "latents": ", ".join(names),
      "between": "spherical" if spherical else "straight",
    },
  )


def edits(
  person: Person,
  found: Sequence[PhotoLatent],
  direction: Direction,
  config: EditConfig,
  *,
  log: Callable[[str], None] = print,
) -> list[Scene]:
  """Each latent at all strengths of an edit, side by side.

  Args:
    person: the owner of the latents.
    found: latents.
    direction: the edit's direction.
    config: the edit's settings; `strengths`, `unit`, `apply`, `edge` and `beta`
      are used, and those of samples if the unit needs them, see `with_spread`.
    log: called with a line if a latent is moved onto the hull.

  Raises: UserError: there are no anchors, or the direction does not fit.
  """
  config.validate()
  unit = 1.0
  if config.unit == "spread":
    unit = with_spread(person, direction, config).spread
  scenes = []
  for one in found:
    start = edit.ready(person, one, config, log=log)
    ws, _ = edit.edited_latents(
      person,
      start,
      direction,
      unit * np.array(config.strengths),
      apply=config.apply,
      edge=config.edge,
      beta=config.beta,
    )
    row = tuple(
      Panel(f"{strength:+.3g}", one.generator or person.generator, w[None])
      for strength, w in zip(config.strengths, ws)
    )
    details: dict[str, object] = {
      "latent": one.name,
      "direction": direction.name,
      "strengths": ", ".join(panel.title for panel in row),
      "unit": config.unit,
      "apply": config.apply,
      "edge": config.edge,
    }
    scenes.append(
      Scene(
        f"{one.name}_{edit.file_name(direction.name)}",
        (row,),
        one.c[None],
        details,
      )
    )
  return scenes


def compared(scene: Scene, base: Network) -> Scene:
  """A scene that also shows the same latents with the base.

  Args:
    scene: a person's scene.
    base: the base generator of the person's own.

  Returns: one row of two panels if the scene is one panel; else a row of the
    base's panels above the person's.
  """
  (row,) = scene.rows
  if len(row) == 1:
    rows = (
      (
        row[0]._replace(title=PRETRAINED, generator=base),
        row[0]._replace(title=PERSONALIZED),
      ),
    )
  else:
    titled = lambda name, **changes: tuple(
      panel._replace(title=f"{name} {panel.title}", **changes) for panel in row
    )
    rows = (titled(PRETRAINED, generator=base), titled(PERSONALIZED))
  return scene._replace(
    name=f"{scene.name}_compared",
    rows=rows,
    details={**scene.details, "compare": f"{PRETRAINED}, {PERSONALIZED}"},
  )

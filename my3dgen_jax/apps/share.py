"""Writes a head as one HTML file that turns in any browser, offline.

The page contains the radiance field itself (`sharing.field`) or Gaussian splats
(`sharing.cloud`), a picture for browsers that cannot draw them, and its origin.
It contains no names of people or photos, except in the given title.
"""

import dataclasses
import os
import pathlib
import tempfile
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np

from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.rendering.limits import Limits
from my3dgen_jax.apps.rendering.scenes import Scene
from my3dgen_jax.apps.rendering.views import ViewsConfig
from my3dgen_jax.apps.sharing import pages
from my3dgen_jax.apps.sharing.cloud import Cloud, reach_of
from my3dgen_jax.apps.sharing.field import check_fits, Field, make_field
from my3dgen_jax.apps.splats import splats
from my3dgen_jax.apps.splats.splats import (
  MAX_SPLATS,
  MAX_STEPS,
  MIN_SPLATS,
  SplatsConfig,
)
from my3dgen_jax.config import part, setting
from my3dgen_jax.data import images, provenance
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.storage.files import check_folder_of, replacing
from my3dgen_jax.types import Network

SUFFIXES = (".html", ".htm")
CONTENTS = ("field", "splats")
_MOST_STOPS = 32  # per page; phones read the whole page
_MOST_TITLE = 200  # letters
_POSTER = 512  # largest side, pixels
_HEAD = 4096  # first bytes, which tell a page of this package
_NAMES = ("latent", "latents")  # in a scene's details, those of photos


@dataclasses.dataclass(frozen=True)
class ShareConfig:
  """Settings of a page."""

  title: str = setting(
    pages.TITLE, "Title of the page, the only name that it shows."
  )
  stops: int = setting(
    3,
    "Number of faces to store from one latent to the next, including both; in "
    "between, the page mixes their planes, or shows the nearer one's splats.",
    low=2,
    high=_MOST_STOPS,
  )
  content: Literal["field", "splats"] = setting(
    "field",
    "Content of the page: field: the radiance field, before super-resolution; "
    "splats: Gaussian splats, fitted to super-resolved pictures.",
  )
  splats: int = setting(
    20_000,
    "Maximum number of splats per face, with --content=splats.",
    low=MIN_SPLATS,
    high=MAX_SPLATS,
  )
  splat_steps: int = setting(
    200,
    "Optimizer steps to fit the splats, one view each.",
    low=0,
    high=MAX_STEPS,
  )
  limits: Limits = part(Limits())

  def validate(self) -> "ShareConfig":
    """Checks every field; raises UserError that names the invalid one."""
    if self.content not in CONTENTS:
      raise UserError(
        f"content: expected {' or '.join(CONTENTS)}, got {self.content!r}"
      )
    checks.whole_number("stops", self.stops, 2, _MOST_STOPS)
    self.limits.validate()
    self.fit.validate()
    if not self.title.strip() or len(self.title) > _MOST_TITLE:
      raise UserError(
        f"title: expected 1 to {_MOST_TITLE} letters, got {len(self.title)}"
      )
    return self

  @property
  def fit(self) -> SplatsConfig:
    """Settings of the splats: with background, for all allowed cameras."""
    views = ViewsConfig()
    return SplatsConfig(
      splats=self.splats,
      steps=self.splat_steps,
      background=True,
      views=dataclasses.replace(
        views,
        view_yaw=max(self.limits.yaw, views.view_yaw),
        view_pitch=max(self.limits.pitch, views.view_pitch),
      ),
    )


class Row(NamedTuple):
  """The faces of one slider of the page.

  Attributes:
    source: the row's name in messages; it is not in the page.
    label: the button's text.
    marks: the K faces' names on the slider.
    first: number of the face that is shown first.
    generator: the generator of all K faces.
    ws: [K, num_ws, w_dim].
    c: [25], camera label with the intrinsics to use.
  """

  source: str
  label: str
  marks: Sequence[str]
  first: int
  generator: Network
  ws: np.ndarray
  c: np.ndarray


def write_scenes(
  person: Person,
  found: Sequence[Scene],
  config: ShareConfig,
  out: str | os.PathLike,
  *,
  log: Callable[[str], None] = print,
) -> pathlib.Path:
  """Writes a page of scenes, with one button each.

  Args:
    person: the owner of the scenes.
    found: the scenes; a path, and an edit's strengths, become a slider.
    config: the page's settings.
    out: the file, see `check_path`.
    log: called with a line about the page.

  Returns: the file's path.
  Raises: UserError: names the argument or the file. OSError: the folder cannot
    be written.
  """
  config.validate()
  out = check_path(out)
  rows = [
    _row(scene, f"Face {number + 1}") for number, scene in enumerate(found)
  ]
  details = {
    name: value
    for scene in found
    for name, value in scene.details.items()
    if name not in _NAMES
  }
  if config.content != CONTENTS[0]:
    details["content"] = config.content
  origin = person.made("share", faces=len(rows), **details)
  progress = Progress("faces", sum(len(row.ws) for row in rows), "faces")
  write_rows(
    out,
    rows,
    config,
    origin,
    devices=person.devices,
    on_progress=progress.update,
  )
  size = out.stat().st_size / 1e6
  log(f"{out}: {size:.2f} MB, opens offline in any browser")
  return out


def write_rows(
  path: pathlib.Path,
  rows: Sequence[Row],
  config: ShareConfig,
  origin: Origin,
  *,
  devices: Sequence[jax.Device] = (),
  on_progress: Callable[[int], None] = lambda done: None,
):
  """Writes a page of rows; on failure, an existing file is kept.

  Args:
    path: the file to write.
    rows: the faces, at least one row.
    config: the page's settings.
    origin: the page's origin.
    devices: devices to render views for splats on; none: the first one.
    on_progress: called with the number of finished faces.

  Raises: UserError: names the setting that does not fit. OSError.
  """
  stops = sum(len(row.ws) for row in rows)
  if stops > _MOST_STOPS:
    raise UserError(
      f"{path}: {stops} faces are too many, at most {_MOST_STOPS} fit a page; "
      "give fewer latents, or lower --stops"
    )
  model = rows[0].generator.module.config
  is_field = config.content == CONTENTS[0]
  check = check_fits if is_field else splats.check_fits
  for row in rows:
    check(row.generator.module.config)
  contents = (
    _fields(rows, config.limits, on_progress)
    if is_field
    else _clouds(rows, config.fit, devices or jax.devices()[:1], on_progress)
  )
  poster, side = _poster(rows[0], origin)
  page = pages.head_page(
    [
      pages.Face(row.label, row.marks, row.first, content, _focal(row))
      for row, content in zip(rows, contents)
    ],
    config=model.rendering,
    limits=config.limits,
    poster=poster,
    side=side,
    origin=origin,
    title=config.title,
  )
  with replacing(path) as file:
    file.write(page.encode())


def check_path(out: str | os.PathLike) -> pathlib.Path:
  """Checks that a page can be written, before anything is read.

  Args:
    out: the file to write: a name that ends in .html, in an existing folder.
      Only an existing page of this package is replaced.

  Raises: UserError: names the file.
  """
  out = pathlib.Path(out).expanduser()
  if out.suffix.lower() not in SUFFIXES:
    raise UserError(f"{out}: the name must end in {' or '.join(SUFFIXES)}")
  check_folder_of(out)
  if out.is_dir():
    raise UserError(f"{out}: is a folder; give the name of a file")
  if out.exists():
    with out.open("rb") as file:
      if not pages.is_page(file.read(_HEAD)):
        raise UserError(
          f"{out}: exists and is not a page of my3dgen share; give another "
          "name, or remove it"
        )
  return out


def row_of(network: Network, ws: np.ndarray, c: np.ndarray) -> Row:
  """One face, without a slider.

  Args:
    network: the face's generator.
    ws: [num_ws, w_dim].
    c: [25], camera label with the intrinsics to use.
  """
  return Row(
    "the face", "Face 1", ("",), 0, network, np.asarray(ws)[None], np.asarray(c)
  )


def _row(scene: Scene, label: str) -> Row:
  """A scene's panels and frames, one after the other."""
  panels = scene.panels
  if "direction" in scene.details:
    marks = [panel.title for panel in panels]
    label = f"{label}: {scene.details['direction']}"
    strengths = [abs(float(mark)) for mark in marks]
    first = strengths.index(min(strengths))
  else:
    count, first = scene.frames, 0
    marks = [""] if count == 1 else [f"{i + 1}/{count}" for i in range(count)]
    label = label if count == 1 else "The way"
  return Row(
    scene.name,
    label,
    marks,
    first,
    panels[0].generator,
    np.concatenate([np.asarray(panel.ws) for panel in panels]),
    np.asarray(scene.c[0]),
  )


def _fields(
  rows: Sequence[Row], limits: Limits, on_progress: Callable[[int], None]
) -> list[Field]:
  """The field of each row."""
  found, done = [], 0
  for row in rows:
    found.append(
      make_field(
        row.generator,
        row.ws,
        _names(row),
        yaw=limits.yaw,
        pitch=limits.pitch,
        focal=_focal(row),
      )
    )
    done += len(row.ws)
    on_progress(done)
  return found


def _clouds(
  rows: Sequence[Row],
  config: SplatsConfig,
  devices: Sequence[jax.Device],
  on_progress: Callable[[int], None],
) -> list[Cloud]:
  """The splats of each row, all in the same cube, which a page states once."""
  stops, done = [], 0
  for row in rows:
    made = []
    for name, ws in zip(_names(row), row.ws):
      # The fit would divide by non-finite numbers, and show nothing.
      if not np.isfinite(ws).all():
        raise UserError(f"{name}: its latent holds numbers that are not finite")
      made.append(
        splats.make_of(
          row.generator, name, ws, row.c, config, devices=devices, judges=0
        ).splats
      )
      done += 1
      on_progress(done)
    stops.append(made)
  reach = reach_of([one for made in stops for one in made])
  return [
    Cloud(made, reach, row.generator.module.config.img_resolution)
    for row, made in zip(rows, stops)
  ]


def _names(row: Row) -> list[str]:
  """Names of a row's faces in messages."""
  return [f"{row.source} {mark}".strip() for mark in row.marks]


def _focal(row: Row) -> float:
  """The focal length of a row's camera, in image sizes."""
  _, intrinsics = cameras.unpack_label(row.c)
  return float(intrinsics[0, 0])


def _poster(row: Row, origin: Origin) -> tuple[bytes, int]:
  """A JPEG of the first face from the front, and its side in pixels."""
  c = render.about_front(row.generator, row.c, np.zeros(1), np.zeros(1))
  ws = row.ws[row.first : row.first + 1]
  image = images.to_uint8(render.synthesize(row.generator, ws, c).image[0])
  image = images.fitted(image, min(_POSTER, image.shape[1]))
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder, "poster.jpg")
    provenance.write_picture(path, image, origin)
    return path.read_bytes(), image.shape[1]

"""Heads as 3D Gaussian splats, for viewers without the generator.

They use EG3D's world: y up, the face looks along +z, and +x is to the viewer's
right when seen from the front; lengths are in world units, in which a head is
about 0.45 high. Colors do not depend on the view.
"""

import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import jax
import numpy as np

from my3dgen_jax.apps.meshing.density import extract_volume, finite_number
from my3dgen_jax.apps.meshing.surface import LEVEL
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import photo_latents, views
from my3dgen_jax.apps.rendering.photo_latents import PhotoLatent
from my3dgen_jax.apps.rendering.views import ViewsConfig
from my3dgen_jax.apps.splats import fitting, heads, merging, targets
from my3dgen_jax.apps.splats.files import check_path, UPS, write_splats
from my3dgen_jax.config import GeneratorConfig, part, setting
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.progress import duration, Progress
from my3dgen_jax.ops import checks
from my3dgen_jax.ops.rendering.splats import Splats, TILE
from my3dgen_jax.storage.files import check_folder_of
from my3dgen_jax.types import Network

MIN_SPLATS, MAX_SPLATS = 100, 150_000
MAX_STEPS = 100_000

_GRID = 96  # points along a side, to separate the head from the background
_JUDGES = 8  # held-out cameras


@dataclasses.dataclass(frozen=True)
class SplatsConfig:
  """Settings of splats."""

  splats: int = setting(
    20_000, "Maximum number of splats.", low=MIN_SPLATS, high=MAX_SPLATS
  )
  steps: int = setting(
    200, "Optimizer steps of the fit, one picture each.", low=0, high=MAX_STEPS
  )
  background: bool = setting(False, "Keep the background, not only the head.")
  level: float = setting(LEVEL, "Raw density at the head's surface.")
  up: Literal["y", "-y"] = setting(
    "y",
    "Up axis of the file: y, as here, in glTF, three.js and Spark; -y, as in "
    "most 3DGS files, which SuperSplat turns upright.",
  )
  views: ViewsConfig = part(ViewsConfig())

  def validate(self) -> "SplatsConfig":
    """Checks every field; raises UserError that names the invalid one."""
    checks.whole_number("splats", self.splats, MIN_SPLATS, MAX_SPLATS)
    checks.whole_number("steps", self.steps, 0, MAX_STEPS)
    finite_number("level", self.level)
    if self.up not in UPS:
      raise UserError(f"up: expected one of {', '.join(UPS)}, got {self.up!r}")
    self.views.validate()
    return self


class Made(NamedTuple):
  """Splats of a latent.

  Attributes:
    splats: the splats, as NumPy arrays.
    psnr: [V], PSNR on held-out cameras against super-resolved pictures, on the
      head, dB.
  """

  splats: Splats
  psnr: np.ndarray


def make(person: Person, one: PhotoLatent, config: SplatsConfig) -> Made:
  """Splats of a latent.

  Args:
    person: the owner of the latent.
    one: the latent; if a generator was tuned to its photo, that one is used.
    config: the settings.

  Raises: UserError: the pictures have an unsuitable size, or show nothing.
  """
  return make_of(
    one.generator or person.generator,
    one.name,
    one.ws,
    one.c,
    config,
    devices=person.devices,
  )


def check_fits(config: GeneratorConfig):
  """Checks that splats can be fitted to a generator's pictures.

  Raises: UserError: names the size.
  """
  if config.img_resolution % TILE:
    raise UserError(
      f"splats: the side of the pictures must be a multiple of {TILE} pixels; "
      f"this generator's is {config.img_resolution}"
    )


def make_of(
  network: Network,
  name: str,
  ws: np.ndarray,
  c: np.ndarray,
  config: SplatsConfig,
  *,
  devices: Sequence[jax.Device],
  judges: int = _JUDGES,
) -> Made:
  """Splats of a latent of any generator.

  Args:
    network: the generator.
    name: the latent's name, for the progress lines.
    ws: [num_ws, w_dim], the latent.
    c: [25], camera label with the intrinsics of the views.
    config: the settings.
    devices: the devices to render the views on.
    judges: number of held-out cameras, the V of `Made.psnr`.

  Raises: UserError: as `make`.
  """
  config.validate()
  model = network.module.config
  check_fits(model)
  c = np.concatenate(
    [
      views.spread(model.rendering, c, config.views),
      views.between(model.rendering, c, config.views, judges),
    ]
  )
  wanted = _look(network, name, ws, config, c, devices)
  first, last = (
    targets.Targets(*(values[rows] for values in wanted))
    for rows in np.split(np.arange(len(c)), [len(c) - judges])
  )
  splats, cell = merging.merge(first, config.splats)
  fitted = Progress(name, config.steps, "steps")
  splats = fitting.fit(
    splats,
    first,
    cell,
    config.steps,
    on_progress=lambda done, loss: fitted.update(done, f"loss {loss:.4f}"),
  )
  return Made(splats, fitting.psnr(splats, last))


def look(
  person: Person, one: PhotoLatent, config: SplatsConfig, c: np.ndarray
) -> targets.Targets:
  """Super-resolved views of a latent, as targets.

  Args:
    person: the owner of the latent.
    one: the latent.
    config: the settings; `background` and `level` are used.
    c: [V, 25], camera labels.
  """
  return _look(
    one.generator or person.generator,
    one.name,
    one.ws,
    config,
    c,
    person.devices,
  )


def _look(
  network: Network,
  name: str,
  ws: np.ndarray,
  config: SplatsConfig,
  c: np.ndarray,
  devices: Sequence[jax.Device],
) -> targets.Targets:
  head = None
  if not config.background:
    density = extract_volume(network, ws, resolution=_GRID, devices=devices)
    head = heads.find_head(density, config.level)
  looking = Progress(name, len(c), "views")
  seen = views.take(
    network,
    ws,
    c,
    depth=True,
    devices=devices,
    on_progress=lambda done, _: looking.update(done),
  )
  return targets.targets_of(seen, head)


def write_latents(
  person: Person,
  found: Sequence[PhotoLatent],
  config: SplatsConfig,
  out: str | os.PathLike,
  *,
  details: Mapping[str, object] | None = None,
  log: Callable[[str], None] = print,
) -> list[pathlib.Path]:
  """Writes the splats of each latent.

  Args:
    person: the owner of the latents.
    found: the latents.
    config: the settings.
    out: the file; its suffix selects the format. If there are several latents,
      their names are inserted before the suffix: `head_photo003.ply`.
    details: the latents' origin, for the files' metadata.
    log: called with one line per file.

  Returns: the files' paths.
  Raises: UserError: names the argument or the file. OSError: the folder cannot
    be written.
  """
  config.validate()
  out = pathlib.Path(out).expanduser()
  check_path(out)
  check_folder_of(out)
  paths = photo_latents.files_of(found, out)
  for one, path in zip(found, paths):
    began = time.monotonic()
    made = make(person, one, config)
    write_splats(
      path,
      made.splats,
      person.made(
        "splats", latent=one.name, steps=config.steps, **(details or {})
      ),
      up=config.up,
    )
    log(
      f"{path}: {len(made.splats.means)} splats, "
      f"{path.stat().st_size / 1e6:.2f} MB, in "
      f"{duration(time.monotonic() - began)}; {made.psnr.mean():.1f} dB from "
      f"{len(made.psnr)} cameras that they were not fitted to, "
      f"{made.psnr.min():.1f} from the worst"
    )
  return paths

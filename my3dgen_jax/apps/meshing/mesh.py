"""Surfaces of latents: meshes with vertex colors or a texture, and the density.

A mesh lies in EG3D's world: y up, the face looks along +z, and +x is to the
viewer's right, seen from the front; lengths are world units, in which the box
that holds everything has side `box_warp` (1 for faces) and a head is about 0.45
high. These are glTF's axes too. Triangles turn counterclockwise seen from
outside.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax

from my3dgen_jax.apps.meshing import atlas, baking
from my3dgen_jax.apps.meshing.density import (
  extract_volume,
  finite_number,
  MAX_RESOLUTION,
  MIN_RESOLUTION,
)
from my3dgen_jax.apps.meshing.files import (
  check_libraries,
  check_path,
  VOLUME,
  write_mesh,
  write_volume,
)
from my3dgen_jax.apps.meshing.surface import extract_mesh, LEVEL, Mesh
from my3dgen_jax.apps.meshing.textured_files import (
  TEXTURED,
  Textured,
  write_textured,
)
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import photo_latents, views
from my3dgen_jax.apps.rendering.photo_latents import PhotoLatent
from my3dgen_jax.apps.rendering.views import ViewsConfig
from my3dgen_jax.config import part, setting
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.ops import checks
from my3dgen_jax.storage.files import check_folder_of
from my3dgen_jax.types import Network

MIN_TEXTURE, MAX_TEXTURE = 64, 8192
MIN_TRIANGLES, MAX_TRIANGLES = 100, 500_000


@dataclasses.dataclass(frozen=True)
class MeshConfig:
  """How to extract surfaces."""

  resolution: int = setting(
    256,
    "Grid points along a side of the cube.",
    low=MIN_RESOLUTION,
    high=MAX_RESOLUTION,
  )
  level: float = setting(LEVEL, "Raw density at the surface.")
  crop: float | None = setting(
    None,
    "Side of the cube around the world's origin, world units, > 0; default: "
    "what the average camera sees.",
  )
  all_components: bool = setting(
    False,
    "Keep floating pieces and the background, not only the largest piece.",
  )

  texture: int = setting(
    0,
    "Side of the texture, texels, baked from super-resolved pictures, for .glb "
    "and .obj; 0: one color per vertex.",
    low=0,
    high=MAX_TEXTURE,
  )
  triangles: int = setting(
    30_000,
    "Maximum number of triangles of a textured mesh; more take longer to "
    "unwrap.",
    low=MIN_TRIANGLES,
    high=MAX_TRIANGLES,
  )
  views: ViewsConfig = part(ViewsConfig())

  def validate(self) -> "MeshConfig":
    """Checks every field; raises UserError naming a bad one."""
    checks.whole_number(
      "resolution", self.resolution, MIN_RESOLUTION, MAX_RESOLUTION
    )
    finite_number("level", self.level)
    if self.crop is not None and finite_number("crop", self.crop) <= 0:
      raise UserError(f"crop: expected a number > 0, got {self.crop:g}")
    if self.texture:
      checks.whole_number("texture", self.texture, MIN_TEXTURE, MAX_TEXTURE)
    checks.whole_number(
      "triangles", self.triangles, MIN_TRIANGLES, MAX_TRIANGLES
    )
    self.views.validate()
    return self

  def check_path(self, path: str | os.PathLike):
    """Checks that a file can be written, before there is anything to write.

    Raises: UserError: the suffix is unknown or cannot hold a texture, or a
      package is missing.
    """
    suffix = check_path(path)
    if self.texture and suffix not in TEXTURED:
      raise UserError(
        f"texture: not supported for {suffix} files; write "
        f"{' or '.join(TEXTURED)}, or leave it out"
      )
    check_libraries(path, texture=bool(self.texture))


def write_latents(
  person: Person,
  found: Sequence[PhotoLatent],
  config: MeshConfig,
  out: str | os.PathLike,
  *,
  log: Callable[[str], None] = print,
  **details: Any,
) -> list[pathlib.Path]:
  """Writes the surface or the density of each latent.

  Args:
    person: the owner of the latents.
    found: the latents. A latent with a generator tuned to its photo gets that
      generator's shape.
    config: the settings.
    out: the file; its suffix sets the format. With several latents, their names
      go before the suffix: `head_photo003.ply`.
    log: called with one line per file.
    **details: further entries of their origin.

  Returns: the files.
  Raises: UserError: names the argument or file. OSError: the folder cannot be
    written.
  """
  config.validate()
  out = pathlib.Path(out).expanduser()
  config.check_path(out)
  check_folder_of(out)
  paths = photo_latents.files_of(found, out)
  for one, path in zip(found, paths):
    network = one.generator or person.generator
    made = functools.partial(
      person.made, latent=one.name, resolution=config.resolution, **details
    )
    progress = Progress(one.name, config.resolution, "planes")
    options: dict[str, Any] = dict(
      resolution=config.resolution,
      crop=config.crop,
      devices=person.devices,
      on_progress=lambda done, _, line=progress: line.update(done),
    )
    if check_path(path) == VOLUME:
      density = extract_volume(network, one.ws, **options)
      write_volume(path, density, made("density"))
      line = (
        f"density from {density.inner.min():.4g} to "
        f"{density.inner.max():.4g}; the mesh's level is {LEVEL:g}"
      )
    else:
      mesh = extract_mesh(
        network,
        one.ws,
        level=config.level,
        largest_only=not config.all_components,
        **options,
      )
      origin = made("mesh", level=config.level)
      if config.texture:
        textured = with_texture(
          mesh, network, one, config, devices=person.devices
        )
        write_textured(path, textured, origin)
        line = _counts(textured.mesh) + f", a texture of {config.texture}"
      else:
        write_mesh(path, mesh, origin)
        line = _counts(mesh) + (
          "; STL holds no colors: .ply, .obj and .glb do"
          if check_path(path) == ".stl"
          else ""
        )
    log(f"{path}: {line}")
  return paths


def with_texture(
  mesh: Mesh,
  network: Network,
  one: PhotoLatent,
  config: MeshConfig,
  *,
  devices: Sequence[jax.Device] = (),
) -> Textured:
  """A simplified surface, with a texture of what cameras see of it.

  Args:
    mesh: the full surface.
    network: the generator that renders it.
    one: the latent, and the photo's camera, whose intrinsics are used.
    config: the settings; `texture`, `triangles` and `views` are used.
    devices: the devices to use; none: all.

  Raises: UserError: a package is missing.
  """
  unwrapped = atlas.unwrap(
    *atlas.simplify(mesh.vertices, mesh.faces, config.triangles), config.texture
  )
  c = views.spread(network.module.config.rendering, one.c, config.views)
  progress = Progress(one.name, len(c), "views")
  seen = views.take(
    network,
    one.ws,
    c,
    devices=devices,
    on_progress=lambda done, _: progress.update(done),
  )
  return Textured(unwrapped, baking.bake(unwrapped, seen, config.texture))


def _counts(mesh: Mesh | atlas.Unwrapped) -> str:
  return f"{len(mesh.vertices)} vertices, {len(mesh.faces)} triangles"

"""Pictures of latents from chosen cameras."""

import functools
import math
import os
import pathlib
from typing import (Any, Callable, Iterator, Optional, Sequence, Tuple,
                    Union)

import chex
import jax
import numpy as np

from my3dgen_jax.config import GeneratorConfig, RenderConfig
from my3dgen_jax.data import images, synthetic
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.data.synthetic import Origin
from my3dgen_jax.errors import UserError
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.ops import cameras
from my3dgen_jax.training import devices as devices_lib
from my3dgen_jax.types import Network, RenderOutput

KINDS = ("image", "raw", "depth")


def latents_of_seeds(seeds: Sequence[int], z_dim: int) -> np.ndarray:
  """Latents z, [N, z_dim] float32, one a seed.

  NumPy's old generator, because EG3D's scripts draw their seeds' latents with
  it: seed 7 here is the face that seed 7 is there.
  """
  return np.stack([np.random.RandomState(seed).randn(z_dim) for seed in seeds]
                  ).astype(np.float32)


def view_labels(config: RenderConfig, yaws: Sequence[float],
                pitches: Sequence[float],
                focal: float = cameras.FACE_FOCAL) -> jax.Array:
  """Labels of cameras around the average one, every yaw at every pitch.

  Args:
    config: where the average camera is and looks.
    yaws: radians from the front.
    pitches: radians from the front.
    focal: in image sizes.

  Returns: c, [len(pitches) * len(yaws), 25], yaw changing fastest.
  """
  pitch, yaw = (grid.ravel() for grid in
                np.meshgrid(pitches, yaws, indexing="ij"))
  cam2world = cameras.look_at(yaw, pitch, config.avg_camera_pivot,
                              config.avg_camera_radius)
  return cameras.pack_label(cam2world, cameras.intrinsics_from_focal(focal))


def label_about_front(config: RenderConfig, c: chex.Array, yaw: chex.Numeric,
                      pitch: chex.Numeric) -> jax.Array:
  """Cameras around the average one with the lens of another; may be jitted.

  Args:
    config: where the average camera is and looks.
    c: [25], whose intrinsics are kept.
    yaw: [...], radians from the front.
    pitch: [...], radians from the front.

  Returns: [..., 25].
  """
  _, intrinsics = cameras.unpack_label(c)
  return cameras.pack_label(
      cameras.look_at(yaw, pitch, config.avg_camera_pivot,
                      config.avg_camera_radius), intrinsics)


def about_front(generator: Network, c: chex.Array, yaw: chex.Array,
                pitch: chex.Array) -> np.ndarray:
  """Cameras about the average one with the lens of `c`, [len(yaw), 25]."""
  yaw, pitch = np.broadcast_arrays(np.asarray(yaw, np.float32), pitch)
  return np.asarray(label_about_front(
      generator.module.config.rendering, c, yaw,
      np.asarray(pitch, np.float32)))


def orbit(generator: Network, c: chex.Array, *, frames: int, yaw: float,
          pitch: float) -> np.ndarray:
  """Cameras on a closed way about the front, with the lens of another.

  Args:
    generator: whose average camera it goes about.
    c: [25], whose intrinsics are kept.
    frames: how many.
    yaw: radians to either side.
    pitch: radians up and down.

  Returns: [frames, 25].
  """
  angle = np.linspace(0, 2 * np.pi, frames, endpoint=False)
  return about_front(generator, c, yaw * np.sin(angle),
                     pitch * np.sin(2 * angle) / 2)


def check_reach(yaw: float, pitch: float):
  """Checks how far views may lie from the front, radians.

  Raises: UserError that names the angle.
  """
  for name, value, most in (("yaw", yaw, math.pi), ("pitch", pitch,
                                                    math.pi / 2)):
    if not 0 <= value <= most:
      raise UserError(f"{name}: expected radians in [0, {most:.4g}], got "
                      f"{value}")


def render_views(network: Network, ws: chex.Array, c: chex.Array, *,
                 neural_rendering_resolution: Optional[int] = None
                 ) -> Iterator[Tuple[int, int, RenderOutput]]:
  """Renders every latent from every camera; planes once a latent.

  Args:
    network: the generator.
    ws: [N, num_ws, w_dim].
    c: [V, 25].
    neural_rendering_resolution: side of `image_raw`; None: the config's.

  Yields: (index of the latent, index of the camera, RenderOutput of one).
  """
  cameras.check_label(c)
  for i in range(ws.shape[0]):
    planes = _planes(network, ws[i:i + 1])
    for v in range(c.shape[0]):
      yield i, v, _from_planes(
          network, planes, ws[i:i + 1], c[v:v + 1],
          neural_rendering_resolution=neural_rendering_resolution)


@jax.jit
def synthesize(network: Network, ws: chex.Array,
               c: chex.Array) -> RenderOutput:
  """Each latent from its own camera: [N, num_ws, w_dim], [N, 25]."""
  return network(ws, c, method="synthesis")


def synthesize_many(network: Network, ws: chex.Array, c: chex.Array, *,
                    devices: Sequence[jax.Device],
                    batch_size: int) -> Iterator[np.ndarray]:
  """Each latent from its own camera, in batches that share the devices.

  All batches are of one size, the last filled up, so that one program makes
  them all, and an image is the same however many are asked for with it.

  Args:
    network: the generator.
    ws: [N, num_ws, w_dim].
    c: [N, 25].
    devices: that share each batch.
    batch_size: images at a time, over all devices; rounded up to a multiple
      of their number.

  Yields: images, [H, W, 3] in [-1, 1], N of them.
  Raises: UserError: a label that is no camera.
  """
  cameras.check_label(c)
  count, size = len(c), -(-batch_size // len(devices)) * len(devices)
  network = devices_lib.replicate(network, devices)

  def start(first):
    rows = np.minimum(np.arange(first, first + size), count - 1)
    batch = shard((np.asarray(ws)[rows], np.asarray(c)[rows]),
                  num_devices=len(devices))
    return _synthesis_on(tuple(devices))(
        network, *devices_lib.scatter(batch, devices))

  ahead = start(0)
  for first in range(0, count, size):
    # While the caller writes this batch, the devices work on the next.
    batch, ahead = ahead, (start(first + size) if first + size < count
                           else None)
    yield from np.asarray(batch).reshape((size,) + batch.shape[2:])[
        :count - first]


@functools.cache
def _synthesis_on(devices: Tuple[jax.Device, ...]) -> Callable[..., jax.Array]:
  """Images [D, N, H, W, 3] of [D, N, …]; one program for all callers."""
  return jax.pmap(
      lambda network, ws, c: network(ws, c, method="synthesis").image,
      axis_name=devices_lib.AXIS, devices=devices)


@jax.jit
def _planes(network: Network, ws: chex.Array) -> jax.Array:
  return network(ws, method="planes")


@functools.partial(jax.jit, static_argnames="neural_rendering_resolution")
def _from_planes(network: Network, planes: chex.Array, ws: chex.Array,
                 c: chex.Array, *, neural_rendering_resolution: Optional[int]
                 ) -> RenderOutput:
  return network(planes, ws, c, method="render_planes",
                 neural_rendering_resolution=neural_rendering_resolution)


def render_seeds(generator: Generator, variables: Any, seeds: Sequence[int],
                 out: Union[str, os.PathLike], *, yaws: Sequence[float],
                 pitches: Sequence[float], focal: float = cameras.FACE_FOCAL,
                 truncation_psi: float = 1.0,
                 truncation_cutoff: Optional[int] = None,
                 neural_rendering_resolution: Optional[int] = None,
                 kinds: Sequence[str] = KINDS, grid: bool = False,
                 base: str = "unknown",
                 report: Callable[[str], None] = print):
  """Writes pictures of random faces.

  Args:
    generator: the module.
    variables: its weights.
    seeds: one face each.
    out: folder, made if missing. Files are named
      `seed0003_yaw+0.35_pitch+0.00_image.png` (or raw, depth); with `grid`
      there is a `grid_image.png` with a row a seed and a column a view.
    yaws: radians from the front.
    pitches: radians from the front.
    focal: in image sizes.
    truncation_psi: see `Generator.mapping`.
    truncation_cutoff: see `Generator.mapping`.
    neural_rendering_resolution: side of `image_raw`; None: the config's.
    kinds: which pictures: "image", "raw", "depth" (near is white; one scale
      for all views of a seed).
    grid: also write the grids.
    base: id of the generator, which the pictures' metadata name.
    report: called with a line of progress a face.

  Raises:
    UserError: names the argument; nothing has been written then.
  """
  config: GeneratorConfig = generator.config
  out = pathlib.Path(out)
  c = view_labels(config.rendering, yaws, pitches, focal)
  front = view_labels(config.rendering, [0.0], [0.0], focal)
  names = _view_names(yaws, pitches)
  ws = generator.apply(
      variables, latents_of_seeds(seeds, config.z_dim), front,
      truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff,
      method="mapping")
  made = lambda **details: Origin(
      adapter="none", base=base, task="render", details=tuple(
          (key, str(value)) for key, value in {
              **details, "truncation_psi": truncation_psi}.items()))
  out.mkdir(parents=True, exist_ok=True)
  rows = {kind: [] for kind in kinds}
  views = []
  for i, v, output in render_views(
      Network(variables, generator), ws, c,
      neural_rendering_resolution=neural_rendering_resolution):
    views.append(output)
    if v + 1 < len(names):
      continue
    pictures = _pictures(views, kinds)
    for kind in kinds:
      for name, picture in zip(names, pictures[kind]):
        synthetic.write_picture(
            out / f"seed{seeds[i]:04d}_{name}_{kind}.png", picture,
            made(seed=seeds[i], view=name))
      rows[kind].append(pictures[kind])
    report(f"seed {seeds[i]} ({i + 1} of {len(seeds)}): {len(names)} views "
           f"in {out}")
    views = []
  if grid:
    for kind in kinds:
      synthetic.write_picture(out / f"grid_{kind}.png",
                              images.make_grid(rows[kind]),
                              made(seeds=len(seeds)))
    report(f"grid of {len(seeds)} x {len(names)} in {out}")


def _view_names(yaws: Sequence[float],
                pitches: Sequence[float]) -> Sequence[str]:
  """A part of a file name for each view, with as few digits as tell them."""
  for digits in range(2, 8):
    names = [f"yaw{yaw:+.{digits}f}_pitch{pitch:+.{digits}f}"
             for pitch in pitches for yaw in yaws]
    if len(set(names)) == len(names):
      return names
  raise UserError("yaw, pitch: two views are the same; give each angle once")


def _pictures(views: Sequence[RenderOutput], kinds: Sequence[str]):
  """uint8 pictures of one face: {kind: [view, …]}."""
  pictures = {}
  if "image" in kinds:
    pictures["image"] = [images.to_uint8(view.image[0]) for view in views]
  if "raw" in kinds:
    pictures["raw"] = [images.to_uint8(view.image_raw[0]) for view in views]
  if "depth" in kinds:
    depths = np.stack([view.image_depth[0] for view in views])
    pictures["depth"] = list(images.depth_to_uint8(
        depths, depths.min(), depths.max()))
  return pictures

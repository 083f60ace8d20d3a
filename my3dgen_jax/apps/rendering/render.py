"""Pictures of latents from chosen cameras."""

import functools
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import chex
import jax
import numpy as np

from my3dgen_jax.apps.rendering import camera_paths, frames
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import images, provenance
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.progress import compiling
from my3dgen_jax.models.generator import images_of
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array, Network, RenderOutput


def latents_of_seeds(seeds: Sequence[int], z_dim: int) -> np.ndarray:
  """Latents z, [N, z_dim] float32, one a seed.

  NumPy's old generator, because EG3D's scripts draw their seeds' latents with
  it: seed 7 here is the face that seed 7 is there.
  """
  return np.stack(
    [np.random.RandomState(seed).randn(z_dim) for seed in seeds]
  ).astype(np.float32)


def view_labels(
  config: RenderConfig,
  yaws: Sequence[float],
  pitches: Sequence[float],
  focal: float = cameras.FACE_FOCAL,
) -> jax.Array:
  """Labels of cameras around the average one, every yaw at every pitch.

  Args:
    config: settings of the average camera.
    yaws: yaws, radians from the front.
    pitches: radians from the front.
    focal: focal length in image sizes.

  Returns: c, [len(pitches) * len(yaws), 25], yaw changing fastest.
  """
  pitch, yaw = (
    grid.ravel() for grid in np.meshgrid(pitches, yaws, indexing="ij")
  )
  return camera_paths.label(config, yaw, pitch, focal=focal)


def label_about_front(
  config: RenderConfig, c: Array, yaw: chex.Numeric, pitch: chex.Numeric
) -> jax.Array:
  """Cameras around the average one with the lens of another; may be jitted.

  Args:
    config: settings of the average camera.
    c: [25], whose intrinsics are kept.
    yaw: [...], radians from the front.
    pitch: [...], radians from the front.

  Returns: [..., 25].
  """
  _, intrinsics = cameras.unpack_label(c)
  return cameras.pack_label(
    cameras.look_at(
      yaw, pitch, config.avg_camera_pivot, config.avg_camera_radius
    ),
    intrinsics,
  )


def about_front(
  generator: Network, c: Array, yaw: Array, pitch: Array
) -> np.ndarray:
  """Cameras about the average one with the lens of `c`, [len(yaw), 25]."""
  yaw, pitch = np.broadcast_arrays(np.asarray(yaw, np.float32), pitch)
  return np.asarray(
    _compiled_label(
      generator.module.config.rendering, c, yaw, np.asarray(pitch, np.float32)
    )
  )


_compiled_label = jax.jit(label_about_front, static_argnums=0)


def orbit(generator: Network, c: Array, **options: Any) -> np.ndarray:
  """`orbit_about` the average camera of a generator."""
  return orbit_about(generator.module.config.rendering, c, **options)


def orbit_about(
  config: RenderConfig, c: Array, *, frames: int, yaw: float, pitch: float
) -> np.ndarray:
  """Cameras on a closed path around the front, with another's intrinsics.

  Args:
    config: settings of the average camera to orbit around.
    c: [25], whose intrinsics are kept.
    frames: count of frames.
    yaw: radians to either side.
    pitch: radians up and down.

  Returns: [frames, 25].
  """
  angle = np.linspace(0, 2 * np.pi, frames, endpoint=False)
  return np.asarray(
    label_about_front(
      config,
      c,
      np.asarray(yaw * np.sin(angle), np.float32),
      np.asarray(pitch * np.sin(2 * angle), np.float32),
    )
  )


def check_reach(yaw: float, pitch: float):
  """Checks how far views may lie from the front, radians.

  Raises: UserError: names the angle.
  """
  for name, value, most in (
    ("yaw", yaw, math.pi),
    ("pitch", pitch, math.pi / 2),
  ):
    if not 0 <= value <= most:
      raise UserError(
        f"{name}: expected radians in [0, {most:.4g}], got {value}"
      )


def render_views(
  network: Network,
  ws: Array,
  c: Array,
  *,
  neural_rendering_resolution: int | None = None,
) -> Iterator[tuple[int, int, RenderOutput]]:
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
    planes = frames.planes_of(network, ws[i : i + 1])
    for v in range(c.shape[0]):
      yield (
        i,
        v,
        _from_planes(
          network,
          planes,
          ws[i : i + 1],
          c[v : v + 1],
          neural_rendering_resolution=neural_rendering_resolution,
        ),
      )


synthesize = images_of  # of latents, each from its own camera


def synthesize_many(
  network: Network,
  ws: Array,
  c: Array,
  *,
  devices: Sequence[jax.Device],
  batch_size: int,
) -> Iterator[np.ndarray]:
  """Each latent from its own camera, in batches that share the devices.

  All batches are of one size, the last filled up, so that one program makes
  them all, and an image is the same however many are asked for with it.

  Args:
    network: the generator.
    ws: [N, num_ws, w_dim].
    c: [N, 25].
    devices: the devices to use.
    batch_size: images at a time, over all devices; rounded up to a multiple
      of their number.

  Yields: images, [H, W, 3] in [-1, 1], N of them.
  Raises: UserError: a label is not a camera's.
  """
  cameras.check_label(c)
  count, size = len(c), -(-batch_size // len(devices)) * len(devices)
  network = devices_lib.replicate(network, devices)

  def start(first):
    rows = np.minimum(np.arange(first, first + size), count - 1)
    batch = shard(
      (np.asarray(ws)[rows], np.asarray(c)[rows]), num_devices=len(devices)
    )
    return _synthesis_on(tuple(devices))(
      network, *devices_lib.scatter(batch, devices)
    )

  with compiling("pictures"):
    ahead = start(0)
  for first in range(0, count, size):
    # While the caller writes this batch, the devices work on the next.
    batch, ahead = (
      ahead,
      (start(first + size) if first + size < count else None),
    )
    yield from np.asarray(batch).reshape((size,) + batch.shape[2:])[
      : count - first
    ]


@functools.cache
def _synthesis_on(devices: tuple[jax.Device, ...]) -> Callable[..., jax.Array]:
  """Images [D, N, H, W, 3] of [D, N, …]; one program for all callers."""
  return devices_lib.spread(
    lambda network, ws, c: network(ws, c, method="synthesis").image,
    devices=devices,
  )


@functools.partial(jax.jit, static_argnames="neural_rendering_resolution")
def _from_planes(
  network: Network,
  planes: Array,
  ws: Array,
  c: Array,
  *,
  neural_rendering_resolution: int | None,
) -> RenderOutput:
  return network(
    planes,
    ws,
    c,
    method="render_planes",
    neural_rendering_resolution=neural_rendering_resolution,
  )


def render_video(
  network: Network,
  ws: Array,
  c: Array,
  out: pathlib.Path,
  *,
  fps: float,
  kind: str = frames.IMAGE,
  origin: Origin,
  neural_rendering_resolution: int | None = None,
  on_progress: Callable[[int, int], None] | None = None,
  devices: Sequence[jax.Device] = (),
  side: int | None = None,
  crf: int = 17,
):
  """Writes a video of one face, or of one a frame; whole or not at all.

  Args:
    network: the generator.
    ws: [1, num_ws, w_dim] or [F, num_ws, w_dim].
    c: [F, 25], see `camera_paths`; [1, 25] for a fixed camera.
    out: ends in .mp4, .gif or .webp.
    fps: frames per second.
    kind: one of `frames.KINDS`; depth has one scale for all frames.
    origin: what made it.
    neural_rendering_resolution: see `frames.render_frames`.
    on_progress: called with the number of frames so far and of all of them,
      after each one; whatever it raises ends the work and leaves no file.
    devices: see `frames.render_frames`.
    side: side of the video, pixels; None: as rendered.
    crf: see `provenance.write_video`.

  Raises: UserError: as `frames.render_frames` and `provenance.write_video`.
  """
  shown = frames.render_frames(
    network,
    ws,
    c,
    kinds=(kind,),
    devices=devices,
    neural_rendering_resolution=neural_rendering_resolution,
  )
  total = max(len(ws), len(c))

  def reported():
    for i, frame in enumerate(shown):
      yield frame[kind]
      if on_progress is not None:
        on_progress(i + 1, total)

  arrays, limits = reported(), None
  if kind == frames.DEPTH:
    arrays = list(arrays)
    limits = frames.depth_limits(arrays)
  provenance.write_video(
    out,
    (
      images.as_colors(
        images.fitted(frames.picture_of(kind, array, limits), side)
      )
      for array in arrays
    ),
    origin,
    fps=fps,
    crf=crf,
  )

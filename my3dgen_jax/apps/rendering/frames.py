"""Frames of moving cameras or latents, as arrays and as pictures."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from my3dgen_jax.data import images
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.progress import compiling
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.ops.rendering import normals as normals_lib
from my3dgen_jax.types import Array, Network

KINDS = ("image", "raw", "depth", "normals")
IMAGE, RAW, DEPTH, NORMALS = KINDS
_AT_ONCE = 4  # frames per accelerator

Frame = dict[str, np.ndarray]  # by kind


@jax.jit
def planes_of(network: Network, ws: Array) -> jax.Array:
  """Planes of latents, see `Generator.planes`."""
  return network(ws, method="planes")


def render_frames(
  network: Network, ws: Array, c: Array, **options: Any
) -> Iterator[Frame]:
  """Frames of a moving camera, a moving latent, or both.

  Args:
    network: the generator.
    ws: [1, num_ws, w_dim] for one face, or [F, num_ws, w_dim].
    c: [F, 25], or [1, 25] for a fixed camera.
    **options: keyword arguments of `render_panels`.

  Yields: for each frame "image" [H, W, 3] and "raw" [S, S, 3] in [-1, 1],
    "depth" [S, S, 1] in world units, "normals" [S, S, 3] as in
    `ops.rendering.normals`, if requested.
  Raises: UserError: names the argument; on the call, not at the first frame.
  """
  return (frame for (frame,) in render_panels([(network, ws)], c, **options))


def render_panels(
  panels: Sequence[tuple[Network, Array]],
  c: Array,
  *,
  kinds: Sequence[str] = (IMAGE,),
  devices: Sequence[jax.Device] = (),
  batch_size: int = 0,
  neural_rendering_resolution: int | None = None,
) -> Iterator[tuple[Frame, ...]]:
  """Frames of several faces seen by the same camera.

  One program renders all, in batches of one size that are spread over the
  devices. The planes of a fixed latent are computed once.

  Args:
    panels: one generator and its latents per panel, see `render_frames`.
    c: [F, 25], or [1, 25] for a fixed camera.
    kinds: some of `KINDS`; others are not computed.
    devices: the devices to use; none: all.
    batch_size: frames per batch, over all devices, rounded up to a multiple of
      their count; 0: one per device on a CPU, where more is not faster, else
      four.
    neural_rendering_resolution: S, side of all but `image`; None: the
      config's.

  Yields: the panels of each frame, see `render_frames`.
  Raises: UserError: names the argument; on the call, not at the first frame.
  """
  c = np.asarray(cameras.check_label(c))
  count = max(len(c), *(len(ws) for _, ws in panels))
  checks.check_rows("c", c, count, "ws")
  for _, ws in panels:
    checks.check_rows("ws", ws, count, "c")
  for kind in kinds:
    if kind not in KINDS:
      raise UserError(
        f"kinds: expected some of {', '.join(KINDS)}, got {kind!r}"
      )
  devices = tuple(devices) or tuple(jax.local_devices())
  most = batch_size or len(devices) * (
    1 if devices[0].platform == "cpu" else _AT_ONCE
  )
  size = -(-min(most, count) // len(devices)) * len(devices)
  program = _frames_on(devices, tuple(kinds), neural_rendering_resolution)
  c = np.broadcast_to(c, (count, c.shape[1]))
  networks = {id(network): network for network, _ in panels}

  def frames():
    everywhere = {
      key: devices_lib.replicate(network, devices)
      for key, network in networks.items()
    }
    yield from zip(
      *(
        _frames(
          network,
          everywhere[id(network)],
          np.asarray(ws),
          c,
          devices,
          size,
          program,
        )
        for network, ws in panels
      )
    )

  return frames()


def _frames(
  network: Network,
  everywhere: Network,
  ws: np.ndarray,
  c: np.ndarray,
  devices: tuple[jax.Device, ...],
  size: int,
  program: Callable[..., dict[str, jax.Array]],
) -> Iterator[Frame]:
  """Frames of one panel; `everywhere` is the network on all devices."""
  still, count = len(ws) == 1, len(c)
  planes = latent = None
  if still:
    with compiling("planes"):
      planes = planes_of(network, ws)
    planes, latent = devices_lib.replicate((planes, ws), devices)

  def start(first):
    rows = np.minimum(np.arange(first, first + size), count - 1)
    views = (c[rows],) if still else (c[rows], ws[rows])
    views = devices_lib.scatter(shard(views, num_devices=len(devices)), devices)
    return program(everywhere, planes, latent if still else views[1], views[0])

  with compiling("frames"):
    ahead = start(0)
  for first in range(0, count, size):
    # While the caller writes these frames, the devices render the next.
    batch, ahead = (
      ahead,
      (start(first + size) if first + size < count else None),
    )
    batch = {
      kind: np.asarray(array).reshape((size,) + array.shape[2:])
      for kind, array in batch.items()
    }
    for i in range(min(size, count - first)):
      yield {kind: array[i] for kind, array in batch.items()}


@functools.cache
def _frames_on(
  devices: tuple[jax.Device, ...],
  kinds: tuple[str, ...],
  resolution: int | None,
) -> Callable[..., dict[str, jax.Array]]:
  """Arrays [D, N, …] by kind; one program for all callers."""

  def frames(network, planes, ws, c):
    if planes is None:
      planes = network(ws, method="planes")
    output = network(
      planes,
      ws,
      c,
      method="render_planes",
      neural_rendering_resolution=resolution,
    )
    made = {
      IMAGE: lambda: output.image,
      RAW: lambda: output.image_raw,
      DEPTH: lambda: output.image_depth,
      NORMALS: lambda: normals_lib.normals_from_depth(output.image_depth, c),
    }
    return {kind: made[kind]() for kind in kinds}

  return devices_lib.spread(frames, devices=devices)


def picture_of(
  kind: str, array: np.ndarray, limits: tuple[float, float] | None = None
) -> np.ndarray:
  """A picture of an array of `render_frames`.

  Args:
    kind: one of `KINDS`.
    array: [H, W, C].
    limits: depths shown as white and black; None: the array's own.

  Returns: uint8 [H, W, C]; normals as in normal maps: -1 … 1 as 0 … 255 along x
    (right), y (up) and z (toward the viewer).
  """
  if kind != DEPTH:
    return images.to_uint8(array)
  return images.depth_to_uint8(array, *(limits or depth_limits([array])))


def depth_limits(arrays: Sequence[np.ndarray]) -> tuple[float, float]:
  """The smallest and the largest depth: one scale for all."""
  return (
    float(min(array.min() for array in arrays)),
    float(max(array.max() for array in arrays)),
  )

"""Images that a generator renders from random latents, each only once.

Sample n depends only on the seed and n, whatever else it is drawn with.
"""

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.config.encoder import EncoderConfig, EncoderTrainingConfig
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.models.encoder import resized
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array, Network

_AT_ONCE = 8  # images per device
_PICTURES_FILE, _KNOWN_FILE = "pictures.npy", "known.npy"


@flax.struct.dataclass
class Latents:
  """Latents, and the cameras to render them from.

  Attributes:
    ws: [N, rows, w_dim].
    c: [N, 25], camera labels.
  """

  ws: Array
  c: Array


@functools.partial(jax.jit, static_argnames=("config", "rows"))
def draw_latents(
  generator: Network,
  numbers: Array,
  *,
  config: EncoderTrainingConfig,
  rows: int,
) -> Latents:
  """Draws the latents of samples.

  Args:
    generator: its mapping network is used.
    numbers: [N], numbers of the samples.
    config: distribution of the latents.
    rows: number of rows of ws; if more than 1, some change from one w to
      another somewhere among the layers.
  """
  model = generator.module.config
  keys = jax.vmap(
    lambda n: jax.random.split(
      jax.random.fold_in(jax.random.key(config.seed), n), 5
    )
  )(numbers).T
  angles = jax.vmap(
    lambda key: jax.random.truncated_normal(key, -2.0, 2.0, (2,))
  )(keys[0])
  c = cameras.label(
    config.yaw * angles[:, 0], config.pitch * angles[:, 1], model.rendering
  )
  # Generators conditioned on the camera place faces by the photos' cameras, but
  # anchors are searched around the mean for the frontal camera.
  front = jnp.broadcast_to(cameras.label(0.0, 0.0, model.rendering), c.shape)
  told = jnp.where((numbers % 2 == 0)[:, None], front, c)

  def row(keys):
    z = jax.vmap(lambda key: jax.random.normal(key, (model.z_dim,)))(keys)
    return generator(z, told, method="mapping")[:, 0]

  first = row(keys[1])
  ws = jnp.broadcast_to(first[:, None], (first.shape[0], rows, first.shape[1]))
  if rows > 1:
    second = row(keys[2])
    change = jax.vmap(
      lambda key: jnp.where(
        jax.random.bernoulli(key, config.mixing),
        jax.random.randint(key, (), 1, rows),
        rows,
      )
    )(keys[3])
    ws = jnp.where(
      (jnp.arange(rows) < change[:, None])[..., None], ws, second[:, None]
    )
  psi = jax.vmap(
    lambda key: jax.random.uniform(key, (), minval=config.truncation)
  )(keys[4])
  mean = generator.variables["buffers"]["backbone"]["mapping"]["w_avg"]
  return Latents(mean + psi[:, None, None] * (ws - mean), c)


def rendered(
  generator: Network, ws: Array, c: Array, side: int | None = None
) -> jax.Array:
  """Renders latents, [N, side, side, 3]; one row of W serves all layers.

  Args:
    generator: any generator.
    ws: [N, 1 or num_ws, w_dim].
    c: [N, 25], camera labels.
    side: side of the result, pixels; None: the generator's own.
  """
  image = generator(of_all_layers(generator, ws), c, method="synthesis").image
  return image if side is None else resized(image, side)


def of_all_layers(generator: Network, ws: Array) -> jax.Array:
  """Repeats a single row: [N, 1 or num_ws, w_dim] to [N, num_ws, w_dim]."""
  shape = (ws.shape[0], generator.module.config.num_ws, ws.shape[-1])
  return jnp.broadcast_to(ws, shape)


class Samples:
  """Latents with their images, by number."""

  def __init__(
    self,
    generator: Network,
    encoder: EncoderConfig,
    config: EncoderTrainingConfig,
    devices: Sequence[jax.Device],
    folder: str | os.PathLike | None,
  ):
    """Opens the store.

    Args:
      generator: renders the images.
      encoder: config of the encoder that will be trained on them.
      config: distribution of the latents.
      devices: the devices to render on.
      folder: folder for the images, created if missing; None: no storage.
    """
    self._generator, self._config = generator, config
    self._rows, self._side = encoder.rows, encoder.resolution
    self._devices = tuple(devices)
    self._replicated = devices_lib.replicate(generator, self._devices)
    self._render = devices_lib.spread(
      functools.partial(_picture, side=self._side), devices=self._devices
    )
    self._pictures: Any = None
    self._known: Any = None
    if folder is not None:
      shape = (config.samples, self._side, self._side, 3)
      folder = pathlib.Path(folder)
      folder.mkdir(parents=True, exist_ok=True)
      self._pictures = _open(folder / _PICTURES_FILE, np.uint8, shape)
      self._known = _open(folder / _KNOWN_FILE, np.bool_, shape[:1])

  def fetch(self, numbers: np.ndarray) -> tuple[np.ndarray, Latents]:
    """Images, [N, side, side, 3] uint8, and the latents they show."""
    latents = jax.device_get(
      draw_latents(
        self._generator, numbers, config=self._config, rows=self._rows
      )
    )
    if self._pictures is None:
      return self.draw(latents), latents
    missing = np.flatnonzero(~self._known[numbers])
    if missing.size:
      self._pictures[numbers[missing]] = self.draw(
        jax.tree.map(lambda leaf: leaf[missing], latents)
      )
      self._pictures.flush()  # write images before marking them as present
      self._known[numbers[missing]] = True
      self._known.flush()
    return self._pictures[numbers], latents

  def draw(self, latents: Latents) -> np.ndarray:
    """Renders latents, [N, side, side, 3] uint8."""
    count = latents.c.shape[0]
    size = _AT_ONCE * len(self._devices)
    pictures = []
    for first in range(0, count, size):
      rows = (first + np.arange(size)) % count  # one shape, compiled once
      part = shard(
        jax.tree.map(lambda leaf, rows=rows: leaf[rows], latents),
        num_devices=len(self._devices),
      )
      found = np.asarray(
        self._render(self._replicated, devices_lib.scatter(part, self._devices))
      )
      pictures.append(found.reshape(-1, *found.shape[2:]))
    return np.concatenate(pictures)[:count]


def _picture(generator: Network, latents: Latents, *, side: int) -> jax.Array:
  image = rendered(generator, latents.ws, latents.c, side)
  return jnp.clip(jnp.rint((image + 1) * 127.5), 0, 255).astype(jnp.uint8)


def _open(path: pathlib.Path, dtype: Any, shape: tuple[int, ...]) -> Any:
  """An array on disk, initially zeros; pages of zeros take no space."""
  mode = "r+" if path.exists() else "w+"
  return np.lib.format.open_memmap(path, mode=mode, dtype=dtype, shape=shape)


def from_uint8(pictures: Array) -> jax.Array:
  """Converts images to float32 in [-1, 1], as networks expect."""
  return jnp.asarray(pictures, jnp.float32) / 127.5 - 1


def key_of(
  config: EncoderTrainingConfig, stream: int, step: int
) -> chex.PRNGKey:
  """The PRNG key for a step, from one of several streams."""
  return jax.random.fold_in(
    jax.random.fold_in(jax.random.key(config.seed), 2**31 + stream), step
  )

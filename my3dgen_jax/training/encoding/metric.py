"""How visible a change of w is in images.

Some directions of W move half the face and some change nothing, and which ones
differs between generators. For a small change d of w, the mean squared change
of images is d^T M d, where M is the mean of J^T J over latents and cameras, and
J is the images' derivative. For u of independent standard normal numbers,
E[(J^T u)(J^T u)^T] = J^T J: one gradient per latent estimates M.

Source: the pull-back metric of a generator (Arvanitidis et al. 2018),
estimated like Hutchinson's trace estimator.
"""

from collections.abc import Sequence

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.config.encoder import EncoderTrainingConfig
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.training.encoding.samples import (
  draw_latents,
  key_of,
  Latents,
  rendered,
)
from my3dgen_jax.types import Array, Network

_SIDE = 64  # side of the images whose changes are measured, pixels
_AT_ONCE = 4  # latents per device
_STREAM = 1
_FIRST = 2**30  # number of the first latent, disjoint from training's


@flax.struct.dataclass
class WMetric:
  """The location of W, and the weight of its directions.

  Attributes:
    mean: [w_dim], the mean of W.
    scale: [], root mean square distance from the mean per dimension of W.
    factor: [rows, w_dim, w_dim], F with M = F F^T, scaled so that the mean of
      |(w - mean) F|^2 is 1.
  """

  mean: Array
  scale: Array
  factor: Array

  def squared(self, difference: Array) -> jax.Array:
    """Squared distance between latents, [N]; 1 is that from a w to the mean.

    Args:
      difference: [N, rows, w_dim], difference of the latents.
    """
    moved = jnp.einsum("nri,rij->nrj", difference, self.factor)
    return jnp.sum(jnp.square(moved), axis=(1, 2))


def estimate(
  generator: Network,
  config: EncoderTrainingConfig,
  rows: int,
  devices: Sequence[jax.Device],
  stop: StopRequest,
) -> WMetric:
  """Estimates the metric; the same on any devices, up to rounding.

  Args:
    generator: the generator with this W.
    config: number and distribution of the latents.
    rows: number of rows of ws.
    devices: the devices to use.
    stop: checked after every batch.

  Raises: Interrupted: by `stop`.
  """
  size = _AT_ONCE * len(devices)
  count = -(-config.metric_samples // size) * size
  gradients_of = devices_lib.spread(_gradients, devices=devices)
  everywhere = devices_lib.replicate(generator, devices)
  progress = Progress("metric of W", count, "latents")
  gradients, ws = [], []
  for first in range(0, count, size):
    numbers = _FIRST + first + np.arange(size)
    latents = draw_latents(generator, numbers, config=config, rows=rows)
    keys = jax.random.key_data(
      jax.random.split(key_of(config, _STREAM, first), size)
    )
    part = shard(
      jax.tree.map(np.asarray, (latents, keys)), num_devices=len(devices)
    )
    found = gradients_of(everywhere, *devices_lib.scatter(part, devices))
    gradients.append(np.asarray(found, np.float64).reshape(size, rows, -1))
    ws.append(np.asarray(latents.ws, np.float64))
    progress.update(first + size)
    stop.raise_if_wanted("stopped while measuring W; start again")
  return _metric(
    np.concatenate(gradients), np.concatenate(ws), config.metric_share
  )


def _gradients(
  generator: Network, latents: Latents, keys: chex.PRNGKey
) -> jax.Array:
  """The J^T u of each latent, [N, rows, w_dim]."""
  keys = jax.vmap(jax.random.wrap_key_data)(keys)

  def projected(ws):
    image = rendered(generator, ws, latents.c, _SIDE)
    noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
    return jnp.sum(image * noise)

  return jax.grad(projected)(latents.ws)


def _metric(gradients: np.ndarray, ws: np.ndarray, share: float) -> WMetric:
  """The metric from gradients and latents, [N, rows, w_dim] each."""
  count, rows, size = ws.shape
  mean = ws.mean(axis=(0, 1))
  away = ws - mean
  spread = np.einsum("nri,nrj->rij", away, away) / count
  found = np.einsum("nri,nrj->rij", gradients, gradients) / count
  shown = np.einsum("rij,rij->", found, spread)
  alike = np.broadcast_to(np.eye(size), found.shape)
  total = np.einsum("rij,rij->", alike, spread)
  found = share * found / shown + (1 - share) * alike / total
  return WMetric(
    mean=jnp.asarray(mean, jnp.float32),
    scale=jnp.asarray(np.sqrt(total / (rows * size)), jnp.float32),
    factor=jnp.asarray(np.linalg.cholesky(found), jnp.float32),
  )

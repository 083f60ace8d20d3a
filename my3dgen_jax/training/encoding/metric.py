"""How much a change of w shows in pictures.

Of W's directions some move half the face and some nothing at all, and which
ones is another matter in every generator. The mean squared change of pictures
for a small change d of w is d^T M d, with M the mean of J^T J over latents and
cameras, J the pictures' derivative. With u of independent normal numbers,
E[(J^T u)(J^T u)^T] = J^T J: one gradient for each latent estimates M.

Source: the pull-back metric of a generator (Arvanitidis et al. 2018),
estimated as Hutchinson estimates traces.
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

_SIDE = 64  # of the pictures whose changes count, pixels
_AT_ONCE = 4  # latents of each device
_STREAM = 1
_FIRST = 2**30  # number of the first latent: others than those of training


@flax.struct.dataclass
class WMetric:
  """Where W lies, and what matters in it.

  Attributes:
    mean: [w_dim], of W.
    scale: [], root of the mean squared distance from it in each of w_dim
      directions.
    factor: [rows, w_dim, w_dim], F with M = F F^T, so scaled that the mean of
      |(w - mean) F|^2 is 1.
  """

  mean: Array
  scale: Array
  factor: Array

  def squared(self, difference: Array) -> jax.Array:
    """How far latents are apart, [N]; 1: as far as the mean from any.

    Args:
      difference: [N, rows, w_dim].
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
  """Estimates the metric; the same numbers on any devices, to rounding.

  Args:
    generator: whose W it is.
    config: how many latents, and how they are distributed.
    rows: of ws.
    devices: that share the work.
    stop: looked at after every batch.

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
    stop.raise_if_wanted("stopped while W was measured; start again")
  return _metric(
    np.concatenate(gradients), np.concatenate(ws), config.metric_share
  )


def _gradients(
  generator: Network, latents: Latents, keys: chex.PRNGKey
) -> jax.Array:
  """[N, rows, w_dim], J^T u of each latent."""
  keys = jax.vmap(jax.random.wrap_key_data)(keys)

  def projected(ws):
    image = rendered(generator, ws, latents.c, _SIDE)
    noise = jax.vmap(lambda key: jax.random.normal(key, image.shape[1:]))(keys)
    return jnp.sum(image * noise)

  return jax.grad(projected)(latents.ws)


def _metric(gradients: np.ndarray, ws: np.ndarray, share: float) -> WMetric:
  """Of gradients and latents, [N, rows, w_dim] each."""
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

"""Projection of photos to latents: StyleGAN2's projector, for known cameras.

    statistics = w_statistics(key, generator, count=10_000)
    projector = Projector(config, devices)
    state = projector.init(generator, statistics, photos=4)
    for _ in range(500):
      state, losses = projector.step(generator, lpips, targets, state,
                                     statistics)

`training.anchors` does this for whole albums, with a cache.

Photos are fitted independently: a result depends neither on the other photos
in the batch nor on how they are spread over devices.

Source: Karras et al. 2020 (StyleGAN2), appendix D.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax.config import ConfigError, ProjectionConfig
from my3dgen_jax.jobs.devices import spread
from my3dgen_jax.losses import backbones, regularizers
from my3dgen_jax.losses.reconstruction import block_means, mean_squared_error
from my3dgen_jax.ops import cameras
from my3dgen_jax.tracing.programs import copier
from my3dgen_jax.training.photo_fits import Targets
from my3dgen_jax.types import Array, Network

_SAMPLES_AT_ONCE = 1000


class WStatistics(NamedTuple):
  """The location and spread of W.

  Attributes:
    mean: [w_dim], the mean of W.
    deviation: root mean square distance from the mean.
  """

  mean: jax.Array
  deviation: jax.Array


@flax.struct.dataclass
class ProjectionState:
  """What is optimized.

  Attributes:
    step: [N] int32, steps made; the same for all.
    w: [N, 1, w_dim] or [N, num_ws, w_dim].
    noise: maps [N, S, S] by their path in the generator's buffers.
    opt_state: the optimizer's state for both.
  """

  step: Array
  w: Array
  noise: dict[Any, Array]
  opt_state: Any


def w_statistics(
  key: chex.PRNGKey, generator: Network, *, count: int
) -> WStatistics:
  """The mean and the spread of W, for the average camera label.

  Args:
    key: the PRNG key.
    generator: its mapping network is used.
    count: number of samples.

  Returns: WStatistics.
  """
  config = generator.module.config
  size = min(count, _SAMPLES_AT_ONCE)

  @jax.jit
  def sample(generator, key, i):
    z = jax.random.normal(jax.random.fold_in(key, i), (size, config.z_dim))
    label = cameras.label(0.0, 0.0, config.rendering)[None]
    return generator(z, label, method="mapping")[:, 0]

  draws = [
    np.asarray(sample(generator, key, i)) for i in range(-(-count // size))
  ]
  w = np.concatenate(draws)[:count].astype(np.float64)
  mean = w.mean(axis=0)
  deviation = np.sqrt(np.sum((w - mean) ** 2) / count)
  return WStatistics(
    jnp.asarray(mean, jnp.float32), jnp.asarray(deviation, jnp.float32)
  )


def learning_rate(
  progress: chex.Numeric, config: ProjectionConfig
) -> jax.Array:
  """The learning rate at a fraction of the steps: warm-up, then cosine."""
  fall = jnp.minimum(1.0, (1 - progress) / config.ramp_down)
  return (
    config.learning_rate
    * (0.5 - 0.5 * jnp.cos(fall * jnp.pi))
    * jnp.minimum(1.0, progress / config.ramp_up)
  )


def w_noise(
  progress: chex.Numeric, config: ProjectionConfig, deviation: chex.Numeric
) -> jax.Array:
  """Standard deviation of the noise on w at a fraction of the steps."""
  left = jnp.maximum(0.0, 1 - progress / config.w_noise_ramp)
  return config.w_noise * deviation * jnp.square(left)


def check_sizes(
  config: ProjectionConfig, side: int, backbone: str | None, prefix: str
):
  """Checks that LPIPS can compare images at projection's size.

  Args:
    config: the projection's config.
    side: side of the generator's images, pixels.
    backbone: LPIPS's backbone, a key of `backbones.NETWORKS`; None: any.
    prefix: prefix of the config's fields in messages.

  Raises: ConfigError: names the field.
  """
  block = max(1, side // config.resolution)
  if side % block:
    raise ConfigError(
      f"{prefix}resolution: images of {side} pixels cannot be "
      f"averaged down to about {config.resolution}; choose a "
      "power of two"
    )
  if backbone is None:
    return
  network = backbones.NETWORKS[backbone]
  for name, pixels in (
    ("checkpoint", side),
    (f"{prefix}resolution", side // block),
  ):
    if pixels < network.smallest:
      raise ConfigError(
        f"{name}: LPIPS on {network.title} needs images of at least "
        f"{network.smallest} pixels, but these have {pixels}; raise it, or use "
        "another network"
      )


@functools.lru_cache(maxsize=8)
def projector(
  config: ProjectionConfig, devices: tuple[jax.Device, ...]
) -> "Projector":
  """The `Projector` for a config, cached: all albums share one compilation."""
  return Projector(config, devices)


class Projector:
  """Compiled projection for batches of one size.

  Attributes:
    config: schedule and weights.
    devices: the devices that share the photos.
  """

  def __init__(self, config: ProjectionConfig, devices: Sequence[jax.Device]):
    # Imported here because only optimization needs it.
    import optax  # pylint: disable=import-outside-toplevel

    self.config = config
    self.devices = tuple(devices)
    self._optimizer = optax.scale_by_adam(b1=0.9, b2=0.999, eps=1e-8)
    # One step per call: convolutions inside an XLA loop take 2.4 times as long
    # on a CPU, and on an accelerator a call costs little compared to a step.
    self._step = spread(self.step_on_device, devices=self.devices, donate=(3,))
    self._first_moments = jax.jit(jax.vmap(self._optimizer.init))

  def init(
    self, generator: Network, statistics: WStatistics, *, photos: int
  ) -> ProjectionState:
    """The state before the first step: the mean of W, the stored noise."""
    model = generator.module.config
    rows = 1 if self.config.space == "w" else model.num_ws
    mean = statistics.mean
    return self.state(
      generator, copier(mean).broadcast_to(mean, (photos, rows, model.w_dim))
    )

  def state(self, generator: Network, ws: Array) -> ProjectionState:
    """The state before the first step.

    Args:
      generator: the generator; its stored noise is the start if optimized.
      ws: [N, 1 or num_ws, w_dim], initial latents: one row for W, one per layer
        for W+.
    """
    model = generator.module.config
    rows = 1 if self.config.space == "w" else model.num_ws
    if ws.shape[1] > rows:
      ws = jnp.mean(ws, axis=1, keepdims=True)
    w = copier(ws).broadcast_to(ws, (ws.shape[0], rows, model.w_dim))
    photos = ws.shape[0]
    noise = {}
    if self.config.optimize_noise and self.config.steps:
      noise = {
        path: copier(leaf).broadcast_to(leaf, (photos,) + leaf.shape)
        for path, leaf in _noise_maps(generator.variables).items()
      }
    return ProjectionState(
      np.zeros(photos, np.int32), w, noise, self._first_moments((w, noise))
    )

  def step(
    self,
    generator: Network,
    lpips: Network,
    targets: Targets,
    state: ProjectionState,
    statistics: WStatistics,
  ) -> tuple[ProjectionState, jax.Array]:
    """Makes a step; all arrays have a leading axis of devices.

    Args:
      generator: replicated.
      lpips: replicated.
      targets: [D, N, ...].
      state: [D, N, ...]; its memory is donated.
      statistics: replicated.

    Returns: the state, and [D, N], the losses before the step.
    """
    return self._step(generator, lpips, targets, state, statistics)

  def step_on_device(
    self,
    generator: Network,
    lpips: Network,
    targets: Targets,
    state: ProjectionState,
    statistics: WStatistics,
  ) -> tuple[ProjectionState, jax.Array]:
    """`step` on one device, without the axis of devices."""
    config = self.config
    step = state.step[0]
    progress = step / config.steps
    if config.init == "encoder":
      # Away from both ends: with few steps, the first and the last count, too.
      progress = (step + 1) / (config.steps + 1)
    keys = jax.vmap(jax.random.wrap_key_data)(targets.key)
    pool = functools.partial(block_means, side=config.resolution)
    photo = pool(targets.image)
    mask = None if targets.mask is None else pool(targets.mask)

    def losses(parameters):
      w, noise = parameters
      scale = w_noise(progress, config, statistics.deviation)
      moved = w + scale * jax.vmap(
        lambda key: jax.random.normal(
          jax.random.fold_in(key, step), w.shape[1:]
        )
      )(keys)
      ws = jnp.broadcast_to(
        moved, (w.shape[0], generator.module.config.num_ws, w.shape[-1])
      )
      image = pool(
        _with_noise(generator, noise)(ws, targets.c, method="synthesis").image
      )
      loss = lpips(image, photo, mask=mask, method="to_photos")
      if config.mse_weight:
        loss += config.mse_weight * mean_squared_error(image, photo, mask)
      penalty = sum(map(regularizers.noise_autocorrelation, noise.values()))
      return jnp.sum(loss + config.noise_weight * penalty), loss

    parameters = state.w, state.noise
    gradients, loss = jax.grad(losses, has_aux=True)(parameters)
    # A separate optimizer per photo: the state is laid out by photo.
    updates, opt_state = jax.vmap(self._optimizer.update)(
      gradients, state.opt_state
    )
    rate = learning_rate(progress, config)
    w, noise = jax.tree.map(lambda p, u: p - rate * u, parameters, updates)
    noise = jax.tree.map(regularizers.normalized_noise, noise)
    return ProjectionState(state.step + 1, w, noise, opt_state), loss


def _noise_maps(variables: Any) -> dict[Any, jax.Array]:
  """The backbone's stored noise by path; rendering reads no other."""
  return {
    "/".join(path): leaf
    for path, leaf in flatten_dict(variables["buffers"]).items()
    if path[0] == "backbone" and path[-1] == "noise_const"
  }


def _with_noise(generator: Network, noise: dict[str, Any]) -> Network:
  """The generator with a noise map per photo instead of a shared one."""
  buffers = flatten_dict(generator.variables["buffers"])
  buffers.update({tuple(path.split("/")): leaf for path, leaf in noise.items()})
  return generator.replace(
    variables={**generator.variables, "buffers": unflatten_dict(buffers)}
  )

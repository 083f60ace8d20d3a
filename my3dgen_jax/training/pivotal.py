"""Pivotal tuning: changes the generator until it shows one photo exactly.

    tuner = PivotalTuner(config=PivotConfig(), generator=merged,
                         fingerprint=digest, lpips=lpips, lpips_fingerprint=other,
                         devices=devices)
    found = tuner.find(targets, names, stop)      # a `PivotResult` each

The photo's latent, its pivot, stays fixed. What is tuned is a small adapter on
top of the person's weights, or all weights as in the paper. Each device changes
its own copy of the generator.

Source: Roich et al. 2021 (PTI), section 3.2.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.config import GeneratorConfig, LoraConfig, PivotConfig
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.losses.reconstruction import mean_squared_error
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.photo_fits import PhotoFits, Targets
from my3dgen_jax.types import Array, Network


class PivotResult(NamedTuple):
  """The change of a generator that fits a photo.

  Attributes:
    trainable: the collection `lora`, or in mode "full" all weights but the
      mapping network's.
    steps: steps made.
    lpips: LPIPS before the last step; NaN if its weight is 0.
  """

  trainable: Any
  steps: int
  lpips: float


@flax.struct.dataclass
class PivotState:
  """What is optimized, each leaf [N, …].

  Attributes:
    step: int32, steps made; stops counting for a photo that is finished.
    trainable: see `PivotResult`; as one vector, see `state.ravel`.
    opt_state: the optimizer's state for it.
    lpips: LPIPS before the last step.
  """

  step: Array
  trainable: Any
  opt_state: Any
  lpips: Array


@dataclasses.dataclass(kw_only=True)
class PivotalTuner(PhotoFits):
  """Tunes a generator to photos, one at a time on each device.

  Attributes:
    config: the tuning's config.
    generator: a plain generator, i.e. with the person's adapter merged.
    fingerprint: text that identifies the generator's weights.
    lpips: the network that compares images; None if its weight is 0.
    lpips_fingerprint: text that identifies LPIPS's weights.
  """

  config: PivotConfig
  generator: Network
  fingerprint: str
  lpips: Network | None = None
  lpips_fingerprint: str = ""

  def find(
    self,
    targets: Targets,
    names: Sequence[str],
    stop: StopRequest,
    *,
    title: str = "tuning",
  ) -> list[PivotResult]:
    """The change of the generator for each photo.

    Args:
      targets: the photos with their pivots, `ws`; keys are not needed.
      names: names of the photos.
      stop: checked after each step.
      title: title of the progress.

    Returns: a PivotResult per photo, on the host.
    Raises: as `PhotoFits.fit`.
    """
    fetch = lambda rows: jax.tree.map(
      lambda leaf: np.asarray(leaf)[rows], targets
    )
    found = self.fit("photos", names, fetch, stop, title=title)
    result = []
    for one in found:
      trainable = unflatten_dict(
        {
          tuple(path.split("/")): leaf
          for path, leaf in one.items()
          if "/" in path
        }
      )
      if self.lora_config is not None:  # may be cached by an older version
        trainable = lora_lib.renamed(trainable)
      result.append(
        PivotResult(trainable, int(one["step"]), float(one["lpips"]))
      )
    return result

  def bent(self, trainable: Any) -> Network:
    """The generator as it was tuned to a photo."""
    return state_lib.join(
      self.generator.module.config, trainable, self._split[1], self.lora_config
    )

  @property
  def lora_config(self) -> LoraConfig | None:
    """The adapters' config, or None."""
    if self.config.mode == "full":
      return None
    return LoraConfig(rank=self.config.rank, alpha=float(self.config.rank))

  @property
  def batch_size(self) -> int:
    return len(self.devices)  # separate weights cannot share a batch

  def description(self) -> Any:
    return [
      self.settings(),
      self.generator.module.config.to_dict(),
      self.fingerprint,
      self.lpips_fingerprint,
    ]

  def init(self, targets: Targets) -> PivotState:
    return init_state(
      self._split[0], config=self.config, count=targets.image.shape[0]
    )

  def step(self, targets: Any, state: Any) -> tuple[Any, jax.Array]:
    return self._step(*self._networks, targets, state)

  def result(self, state: PivotState) -> dict[str, Any]:
    photos = [
      flatten_dict(state_lib.unravel(vector, self._split[0]))
      for vector in np.asarray(state.trainable)
    ]
    leaves = {
      "/".join(path): np.stack([photo[path] for photo in photos])
      for path in photos[0]
    }
    return {**leaves, "step": state.step, "lpips": state.lpips}

  def finished(self, state: Any) -> bool:
    return self.config.stop_lpips > 0 and bool(
      np.all(np.asarray(state.lpips) < self.config.stop_lpips)
    )

  @functools.cached_property
  def _split(self) -> tuple[Any, Any]:
    return state_lib.split(
      jax.random.key(self.config.seed),
      self.generator.module.config,
      self.generator.variables,
      self.lora_config,
    )

  @functools.cached_property
  def _networks(self) -> Any:
    return devices_lib.replicate((self._split[1], self.lpips), self.devices)

  @property
  def _step(self) -> Any:
    return _compiled_step(
      self.config,
      self.generator.module.config,
      self.lora_config,
      tuple(self.devices),
    )


def init_state(
  trainable: Any, *, config: PivotConfig, count: int
) -> PivotState:
  """The state of `count` photos before the first step.

  Args:
    trainable: the initial value for all of them, a tree.
    config: the tuning's config.
    count: number of photos.
  """
  vector = state_lib.ravel(trainable)
  copies = lambda tree: jax.tree.map(
    lambda leaf: jnp.broadcast_to(leaf, (count,) + jnp.shape(leaf)), tree
  )
  return PivotState(
    jnp.zeros(count, jnp.int32),
    copies(vector),
    copies(_optimizer(config).init(vector)),
    jnp.full(count, jnp.nan),
  )


def _optimizer(config: PivotConfig) -> Any:
  import optax  # pylint: disable=import-outside-toplevel

  return optax.adam(config.learning_rate)


@functools.lru_cache(maxsize=8)
def _compiled_step(
  config: PivotConfig,
  model: GeneratorConfig,
  lora_config: LoraConfig | None,
  devices: tuple[jax.Device, ...],
) -> Any:
  """The step; the same for all photos and people, so it is compiled once."""
  return devices_lib.spread(
    functools.partial(
      step_on_device, config=config, model=model, lora_config=lora_config
    ),
    devices=devices,
    donate=(3,),
  )


def step_on_device(
  frozen: Any,
  lpips: Network | None,
  targets: Targets,
  state: PivotState,
  *,
  config: PivotConfig,
  model: GeneratorConfig,
  lora_config: LoraConfig | None,
) -> tuple[PivotState, jax.Array]:
  """A step for one photo, which is all that a device works on.

  Args:
    frozen: the frozen part, see `state.split`.
    lpips: see `PivotalTuner`.
    targets: the photo, [1, …].
    state: [1, …].
    config: see `PivotalTuner`.
    model: the generator's config.
    lora_config: the adapter's config, or None.

  Returns: the state, and [1], the loss before the step.
  """
  import optax  # pylint: disable=import-outside-toplevel

  vector, opt_state = jax.tree.map(
    lambda leaf: leaf[0], (state.trainable, state.opt_state)
  )
  trainable = state_lib.unravel(
    vector, state_lib.abstract_trainable(model, lora_config)
  )

  def losses(trainable):
    generator = state_lib.join(model, trainable, frozen, lora_config)
    image = generator(targets.ws, targets.c, method="synthesis").image
    perceived = jnp.full(1, jnp.nan)
    total = jnp.zeros(1)
    if config.lpips_weight:
      perceived = lpips(
        image, targets.image, mask=targets.mask, method="to_photos"
      )
      total += config.lpips_weight * perceived
    if config.mse_weight:
      total += config.mse_weight * mean_squared_error(
        image, targets.image, targets.mask
      )
    return jnp.sum(total), (total, perceived)

  gradients, (loss, perceived) = jax.grad(losses, has_aux=True)(trainable)
  updates, opt_state = _optimizer(config).update(
    state_lib.ravel(gradients), opt_state, vector
  )
  vector = optax.apply_updates(vector, updates)
  new = PivotState(
    state.step + 1,
    *jax.tree.map(lambda leaf: leaf[None], (vector, opt_state)),
    perceived,
  )
  # A photo that is fitted well enough is left alone while others continue.
  done = (perceived[0] < config.stop_lpips) & (config.stop_lpips > 0)
  old = state.replace(lpips=perceived)
  return jax.tree.map(lambda a, b: jnp.where(done, a, b), old, new), loss

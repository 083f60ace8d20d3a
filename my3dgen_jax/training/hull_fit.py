"""Fits photos inside the personal hull: finds weights for the anchors.

    fit = HullFit(config=HullFitConfig(), hull=hull, generator=generator,
                  fingerprint=digest, lpips=lpips, lpips_fingerprint=other,
                  devices=devices)
    found = fit.find(targets, names, stop)          # .alpha, .offsets

The photo may be degraded: a differentiable function of images is then applied
to the generator's images, too, before they are compared.

Source: MyStyle, section 3.3; My3DGen's settings.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax import latents
from my3dgen_jax.config import HullFitConfig
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.losses.reconstruction import mean_squared_error
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.training.encoding import looking
from my3dgen_jax.training.photo_fits import PhotoFits, Targets
from my3dgen_jax.types import Array, Network


@dataclasses.dataclass(frozen=True)
class Degradation:
  """A model of how the photos were degraded.

  Attributes:
    name: unique name of the function; results are cached under it.
    apply: images [N, H, W, 3] in [-1, 1] to images of any size and number of
      channels; differentiable by JAX.
  """

  name: str
  apply: Callable[[Array], jax.Array]


@flax.struct.dataclass
class HullWeights:
  """Positions of photos in a hull.

  Attributes:
    alpha: [B, N], weights of the anchors.
    offsets: [B, num_ws, N], each layer's deviation from alpha; or None.
  """

  alpha: Array
  offsets: Array | None = None

  def latents(self, hull: latents.Hull) -> jax.Array:
    """ws, [B, num_ws, w_dim]."""
    return hull.latents(
      self.alpha if self.offsets is None else self.alpha[:, None] + self.offsets
    )


@flax.struct.dataclass
class HullFitState:
  """What is optimized.

  Attributes:
    step: [B] int32.
    raw: [B, N], see `latents.constrained`.
    offsets: [B, num_ws, N], or None in W.
    opt_state: the optimizer's state for both.
  """

  step: Array
  raw: Array
  offsets: Array | None
  opt_state: Any


@dataclasses.dataclass(kw_only=True)
class HullFit(PhotoFits):
  """Searches for photos in a hull.

  Attributes:
    config: the search's config.
    hull: the person's hull.
    generator: the frozen network.
    fingerprint: text that identifies the generator's weights and the anchors.
    lpips: the network that compares images; None if its weight is 0.
    lpips_fingerprint: text that identifies LPIPS's weights.
    degradation: how the photos were degraded; None: not at all.
    encoder: a Network for the initial weights if the config wants one; or None.
    encoder_fingerprint: text that identifies the encoder's weights.
  """

  config: HullFitConfig
  hull: latents.Hull
  generator: Network
  fingerprint: str
  lpips: Network | None = None
  lpips_fingerprint: str = ""
  degradation: Degradation | None = None
  encoder: Any = None
  encoder_fingerprint: str = ""

  def find(
    self,
    targets: Targets,
    names: Sequence[str],
    stop: StopRequest,
    *,
    title: str = "weights",
  ) -> HullWeights:
    """The weights of photos.

    Args:
      targets: the photos, degraded if there is a degradation; keys are not
        needed.
      names: names of the photos.
      stop: checked after each step.
      title: title of the progress.

    Returns: HullWeights, on the host.
    Raises: as `PhotoFits.fit`.
    """
    fetch = lambda rows: jax.tree.map(
      lambda leaf: np.asarray(leaf)[rows], targets
    )
    found = self.fit("photos", names, fetch, stop, title=title)
    return HullWeights(**jax.tree.map(lambda *leaves: np.stack(leaves), *found))

  def description(self) -> Any:
    return [
      self.settings(),
      self.generator.module.config.to_dict(),
      self.fingerprint,
      self.lpips_fingerprint,
      self.hull.beta,
      self.degradation and self.degradation.name,
    ] + [self.encoder_fingerprint] * (self.config.init == "encoder")

  def init(self, targets: Targets) -> HullFitState:
    count, size = targets.image.shape[0], self.hull.size
    raw = jnp.full((count, size), 1 / size)
    if self.config.init == "encoder":
      found = looking.encode_photos(
        self.encoder, self.generator, targets.image, targets.c, targets.mask
      )
      shape = (count, *self.hull.anchors.shape[1:])
      raw = self.hull.project(jnp.broadcast_to(found.ws, shape))
    offsets = None
    if self.config.space == "w+":
      offsets = jnp.zeros((count, self.hull.anchors.shape[1], size))
    return HullFitState(
      jnp.zeros(count, jnp.int32),
      raw,
      offsets,
      jax.vmap(_optimizer(self.config).init)((raw, offsets)),
    )

  def step(self, targets: Any, state: Any) -> tuple[Any, jax.Array]:
    return self._step(*self._networks, targets, state)

  def result(self, state: HullFitState) -> dict[str, Any]:
    alpha = latents.constrained(state.raw, self.hull.beta)
    return (
      {"alpha": alpha}
      if state.offsets is None
      else {"alpha": alpha, "offsets": state.offsets}
    )

  @functools.cached_property
  def _networks(self) -> Any:
    return devices_lib.replicate(
      (self.generator, self.lpips, self.hull), self.devices
    )

  @property
  def _step(self) -> Callable[..., tuple[HullFitState, jax.Array]]:
    # Steps do not depend on where they start.
    config = dataclasses.replace(self.config, init=None)
    return _compiled_step(config, self.degradation, tuple(self.devices))


def _optimizer(config: HullFitConfig) -> Any:
  import optax  # pylint: disable=import-outside-toplevel

  return optax.adam(config.learning_rate)


@functools.lru_cache(maxsize=8)
def _compiled_step(
  config: HullFitConfig,
  degradation: Degradation | None,
  devices: tuple[jax.Device, ...],
) -> Callable[..., tuple[HullFitState, jax.Array]]:
  """The step; the same for all photos and people, so it is compiled once."""
  return devices_lib.spread(
    functools.partial(step_on_device, config=config, degradation=degradation),
    devices=devices,
    donate=(4,),
  )


def step_on_device(
  generator: Network,
  lpips: Network | None,
  hull: latents.Hull,
  targets: Targets,
  state: HullFitState,
  *,
  config: HullFitConfig,
  degradation: Degradation | None,
) -> tuple[HullFitState, jax.Array]:
  """A step for one device's photos; see `HullFit` for the arguments.

  Returns: the state, and [B], the losses before the step.
  """
  side = generator.module.config.img_resolution
  distance = distance_to(targets.image, targets.mask, lpips, config, side)

  def losses(parameters):
    raw, offsets = parameters
    alpha = latents.constrained(raw, hull.beta)
    weights = HullWeights(alpha, offsets)
    image = generator(
      weights.latents(hull), targets.c, method="synthesis"
    ).image
    if degradation is not None:
      image = degradation.apply(image)
    loss = distance(image)
    total = loss
    if offsets is not None:
      total = total + config.offset_weight * latents.offset_penalty(
        alpha, offsets
      )
    return jnp.sum(total), loss

  parameters = state.raw, state.offsets
  gradients, loss = jax.grad(losses, has_aux=True)(parameters)
  updates, opt_state = jax.vmap(_optimizer(config).update)(
    gradients, state.opt_state
  )
  raw, offsets = jax.tree.map(jnp.add, parameters, updates)
  return HullFitState(state.step + 1, raw, offsets, opt_state), loss


def distance_to(
  photo: Array,
  mask: Array | None,
  lpips: Network | None,
  config: Any,
  side: int,
) -> Callable[[Array], jax.Array]:
  """The distance between images and photos: LPIPS and squared differences.

  Args:
    photo: [N, h, w, C], degraded or not; one channel means gray.
    mask: [N, h, w, 1] or None.
    lpips: the network, used if `config.lpips_weight` is > 0.
    config: has `lpips_weight` and `mse_weight`.
    side: smaller images are enlarged to this side for LPIPS, which was trained
      on images of a certain size, pixels.

  Returns: a function from images of the photos' shape to distances, [N].
  """

  def large(x):
    if x is None:
      return None
    if x.shape[-1] == 1 and x is not mask:
      x = jnp.broadcast_to(x, x.shape[:-1] + (3,))
    return x if x.shape[1] >= side else resize_bilinear(x, side, side)

  if config.lpips_weight:
    weight, enlarged = large(mask), large(photo)

  def distance(image):
    total = jnp.zeros(image.shape[0])
    if config.lpips_weight:
      total += config.lpips_weight * lpips(
        large(image), enlarged, mask=weight, method="to_photos"
      )
    if config.mse_weight:
      total += config.mse_weight * mean_squared_error(image, photo, mask)
    return total

  return distance

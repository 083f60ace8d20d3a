"""The encoder's loss: on the latent, and on its image."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from my3dgen_jax.config.encoder import EncoderTrainingConfig
from my3dgen_jax.losses.identity import identity_loss
from my3dgen_jax.losses.reconstruction import mean_squared_error
from my3dgen_jax.models.encoder import Encoder, Found, resized
from my3dgen_jax.training.encoding.augmentation import augmented, Photo
from my3dgen_jax.training.encoding.metric import WMetric
from my3dgen_jax.training.encoding.samples import from_uint8, rendered
from my3dgen_jax.types import Array, Network

_DOUBT_WEIGHT = 0.02  # small: its network cannot change the features it sees
_SMALLEST = 1e-4  # squared error below which the doubt does not matter


@flax.struct.dataclass
class EncoderBatch:
  """Images with their latents.

  Attributes:
    picture: [N, S, S, 3] uint8.
    ws: [N, rows, w_dim].
    c: [N, 25], the cameras that the images were rendered from.
    key: [N, 2] uint32, data of a PRNG key for each image in this step.
    before: [N, rows, w_dim], result of the first pass; None: train the first
      pass.
    render: [N, S, S, 3] uint8, the generator's image of `before`, from the
      camera that the photo's label states; given with `before`.
  """

  picture: Array
  ws: Array
  c: Array
  key: Array
  before: Any = None
  render: Any = None


def objective(
  params: Any,
  encoder: Encoder,
  metric: WMetric,
  generator: Any,
  batch: EncoderBatch,
  config: EncoderTrainingConfig,
  *,
  lpips: Network | None = None,
  identity: Network | None = None,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The mean loss of a batch, and its terms.

  Args:
    params: the encoder's parameters.
    encoder: the module.
    metric: the metric of W.
    generator: a Network, the generator of the images; needed if images are
      compared.
    batch: N images; with `before`, for a second pass.
    config: weights, augmentation.
    lpips: the network that compares images, or None.
    identity: the face recognition network, or None.

  Returns: a scalar, and the terms' unweighted means.
  """
  photo, clean = photos(batch, config)
  look = looking(encoder, params, metric)
  seen = look("seen", photo.image, photo.mask)
  loss, terms = _latent_loss(metric, look("look", seen, photo.c), batch, config)
  if batch.before is None:
    return loss, terms
  found = look("look", seen, photo.c, from_uint8(batch.render), batch.before)
  more, again = _latent_loss(metric, found, batch, config)
  terms |= {f"{name}_again": term for name, term in again.items()}
  loss += more
  if compares_pictures(config, lpips, identity):
    pictures = _picture_terms(
      generator, found.ws, batch.c, clean, config, lpips, identity
    )
    weights = {
      "mse": config.mse_weight,
      "lpips": config.lpips_weight,
      "identity": config.identity_weight,
    }
    loss += sum(weights[name] * one for name, one in pictures.items())
    terms |= pictures
  return loss, terms


def photos(
  batch: EncoderBatch, config: EncoderTrainingConfig
) -> tuple[Photo, jax.Array]:
  """The batch's photos, and the clean images that they were made from."""
  keys = jax.vmap(jax.random.wrap_key_data)(jnp.asarray(batch.key))
  clean = from_uint8(batch.picture)
  return augmented(keys, clean, batch.c, config), clean


def first_look(
  params: Any,
  encoder: Encoder,
  metric: WMetric,
  batch: EncoderBatch,
  config: EncoderTrainingConfig,
) -> tuple[jax.Array, jax.Array]:
  """The input of a second pass.

  Args:
    params: see `objective`.
    encoder: see `objective`.
    metric: see `objective`.
    batch: see `objective`.
    config: see `objective`.

  Returns: ws [N, rows, w_dim], and the cameras that the labels state, [N, 25].
  """
  photo, _ = photos(batch, config)
  look = looking(encoder, params, metric)
  found = look("look", look("seen", photo.image, photo.mask), photo.c)
  return jnp.asarray(found.ws), jnp.asarray(photo.c)


def compares_pictures(
  config: EncoderTrainingConfig, lpips: Any, identity: Any
) -> bool:
  """Whether any image loss has a weight and the network that it needs."""
  return bool(
    config.mse_weight
    or (lpips is not None and config.lpips_weight)
    or (identity is not None and config.identity_weight)
  )


def _picture_terms(
  generator: Network,
  ws: Array,
  c: Array,
  clean: Array,
  config: EncoderTrainingConfig,
  lpips: Network | None,
  identity: Network | None,
) -> dict[str, jax.Array]:
  """Differences between the latents' images and the targets, means by name.

  Args:
    generator: renders the images.
    ws: [N, rows, w_dim], the latents.
    c: [N, 25], camera labels.
    clean: [N, S, S, 3] in [-1, 1], the targets.
    config: terms of weight zero are left out.
    lpips: see `objective`.
    identity: see `objective`.
  """
  terms = {}
  image = rendered(generator, ws, c)
  small = resized(image, clean.shape[1])
  if config.mse_weight:
    terms["mse"] = mean_squared_error(small, clean)
  if lpips is not None and config.lpips_weight:
    terms["lpips"] = lpips(small, clean, method="to_photos")
  if identity is not None and config.identity_weight:
    embed = lambda x: identity.module.embed(identity.variables, x)
    terms["identity"] = identity_loss(
      embed(image), jax.lax.stop_gradient(embed(clean))
    )
  return {name: jnp.mean(one) for name, one in terms.items()}


def looking(encoder: Encoder, params: Any, metric: WMetric) -> Any:
  """The encoder's methods, with these parameters and W's statistics."""
  variables = {
    "params": params,
    "buffers": {"mean": metric.mean, "scale": metric.scale},
  }
  return lambda method, *arguments: encoder.apply(
    variables, *arguments, method=method
  )


def _latent_loss(
  metric: WMetric,
  found: Found,
  batch: EncoderBatch,
  config: EncoderTrainingConfig,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The losses of the latent and of the encoder's doubt."""
  squared = metric.squared(found.ws - batch.ws)
  # Logarithms: a doubt wrong by a factor is equally wrong at any level.
  true = jax.lax.stop_gradient(jnp.log(squared + _SMALLEST) / 2)
  doubt = jnp.mean(jnp.square(jnp.log(found.doubt) - true))
  terms = {"w": jnp.mean(squared), "doubt": doubt}
  return config.w_weight * terms["w"] + _DOUBT_WEIGHT * doubt, terms

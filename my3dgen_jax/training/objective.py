"""The tuning loss: equation 1 of My3DGen, and the optional terms."""

import flax.struct
import jax

from my3dgen_jax.config import LossConfig
from my3dgen_jax.losses import regularizers
from my3dgen_jax.losses.identity import identity_loss
from my3dgen_jax.losses.reconstruction import mean_squared_error
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import renderer
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.types import Array, Network, RenderOutput


@flax.struct.dataclass
class TuningBatch:
  """Photos with their anchors.

  Attributes:
    image: [N, H, W, 3] in [-1, 1].
    c: [N, 25], camera labels.
    ws: [N, num_ws, w_dim], anchors.
    key: [N, 2] uint32, data of a PRNG key for each photo in this step, so that
      its random numbers do not depend on the batch's layout.
    mask: [N, H, W, 1] in [0, 1], 1 where the loss is computed; None:
      everywhere.
    rate: [N], factor of this step's learning rate, the same for all; None: 1.
  """

  image: Array
  c: Array
  ws: Array
  key: Array
  mask: Array | None = None
  rate: Array | None = None


def objective(
  generator: Network,
  batch: TuningBatch,
  config: LossConfig,
  *,
  lpips: Network | None = None,
  identity: Network | None = None,
  stratified: bool = False,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """The loss of each photo, and its unweighted terms.

  Args:
    generator: the generator with the weights to tune.
    batch: N photos.
    config: weights of the terms.
    lpips: the network, needed if `config.needs_lpips`.
    identity: the network, needed if `config.needs_identity`.
    stratified: random depths along the rays, drawn from `batch.key`.

  Returns: [N], and [N] for each term, by name.
  Source: My3DGen, equation 1.
  """
  keys = jax.vmap(jax.random.wrap_key_data)(batch.key)
  planes = generator(batch.ws, method="planes")
  model = generator.module.config

  def render(c: Array) -> RenderOutput:
    sampling = None
    if stratified:
      sampling = jax.vmap(
        lambda key: renderer.draw_sampling(
          key, (model.neural_rendering_resolution**2,), model.rendering
        )
      )(keys)
    return generator(
      planes, batch.ws, c, sampling=sampling, method="render_planes"
    )

  output = render(batch.c)
  terms = reconstruction_terms(output, batch.image, batch.mask, config, lpips)
  if config.needs_identity:
    embed = lambda x: identity.module.embed(identity.variables, x)
    person = embed(output.image)
    if config.identity_weight:
      terms["identity"] = identity_loss(
        person, jax.lax.stop_gradient(embed(batch.image))
      )
    if config.symmetry_weight:
      mirrored = render(cameras.mirror(batch.c)).image
      terms["symmetry"] = identity_loss(person, embed(mirrored))
  if config.density_weight:

    def roughness(key, planes):
      return regularizers.density_roughness(
        jax.random.fold_in(key, 1),
        lambda points: generator(planes[None], points, method="query").sigma,
        points=config.density_points,
        distance=config.density_distance,
        box_warp=model.rendering.box_warp,
      )

    terms["density"] = jax.vmap(roughness)(keys, planes)
  weights = term_weights(config)
  return sum(weights[name] * term for name, term in terms.items()), terms


def term_weights(config: LossConfig) -> dict[str, float]:
  """The weight of each term that `objective` may return."""
  return {
    "lpips": config.lpips_weight,
    "mse": config.mse_weight,
    "lpips_raw": config.lpips_weight * config.raw_weight,
    "mse_raw": config.mse_weight * config.raw_weight,
    "identity": config.identity_weight,
    "symmetry": config.symmetry_weight,
    "density": config.density_weight,
  }


def reconstruction_terms(
  output: RenderOutput,
  image: Array,
  mask: Array | None,
  config: LossConfig,
  lpips: Network | None,
) -> dict[str, jax.Array]:
  """Equation 1's terms: for the image, and for image_raw at its own size.

  Args:
    output: the generator's output.
    image: [N, H, W, 3] in [-1, 1], photos.
    mask: [N, H, W, 1] or None.
    config: terms of weight zero are left out.
    lpips: see `objective`.

  Returns: [N] each.
  """
  terms = {}
  pairs = [("", output.image, image, mask)]
  if config.raw_weight:
    side = output.image_raw.shape[1]
    small = lambda x: None if x is None else resize_bilinear(x, side, side)
    pairs.append(("_raw", output.image_raw, small(image), small(mask)))
  for suffix, rendered, photo, weight in pairs:
    if config.lpips_weight:
      terms[f"lpips{suffix}"] = lpips(
        rendered, photo, mask=weight, method="to_photos"
      )
    if config.mse_weight:
      terms[f"mse{suffix}"] = mean_squared_error(rendered, photo, weight)
  return terms

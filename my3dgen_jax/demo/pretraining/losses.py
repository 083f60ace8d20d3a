"""Losses of the prior, on points in space and on pictures."""

import jax
import jax.numpy as jnp

from my3dgen_jax.demo import points, render
from my3dgen_jax.losses.reconstruction import block_means
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.types import Array, Network, RenderOutput

_DENSITY_SCALE = 10.0  # error of raw density above which the loss is linear


def point_loss(
  generator: Network, planes: Array, field: points.FieldPoints
) -> jax.Array:
  """Mean error of density and color at points."""
  found = generator(planes, field.points, method="query")
  error = jnp.abs(found.sigma[..., 0] - field.density) / _DENSITY_SCALE
  # Far inside and far outside, the exact value does not matter.
  density = jnp.mean(jnp.where(error < 1, jnp.square(error), 2 * error - 1))
  color = found.rgb[..., :3] * 2 - 1 - field.color
  visible = field.weight[..., None]
  return density + 4 * jnp.sum(jnp.abs(color) * visible) / (
    3 * jnp.maximum(jnp.sum(visible), 1)
  )


def image_loss(
  output: RenderOutput, rendering: render.Rendering, margin: float = 0
) -> jax.Array:
  """Error of pictures and depth: pixels, edges, and coarser versions.

  Args:
    output: the generator's output.
    rendering: the target.
    margin: share of the final image's side to ignore at each border.
  """
  photo = rendering.image
  small = resize_bilinear(photo, *output.image_raw.shape[1:3])
  border = int(margin * photo.shape[1])
  inside = slice(border, photo.shape[1] - border)
  total = _picture_distance(
    output.image[:, inside, inside], photo[:, inside, inside]
  )
  total += _picture_distance(output.image_raw, small)
  depth = resize_bilinear(rendering.depth, *output.image_depth.shape[1:3])
  return total + jnp.mean(jnp.abs(output.image_depth - depth))


def _picture_distance(x: Array, y: Array) -> jax.Array:
  """Charbonnier distance of pixels and edges, at three scales."""
  smooth = lambda difference: jnp.mean(jnp.sqrt(jnp.square(difference) + 1e-4))
  total = 0.5 * jnp.mean(jnp.square(x - y))
  for _ in range(3):
    difference = x - y
    total += smooth(difference)
    total += smooth(jnp.diff(difference, axis=1))
    total += smooth(jnp.diff(difference, axis=2))
    x, y = (block_means(image, image.shape[1] // 2) for image in (x, y))
  return total

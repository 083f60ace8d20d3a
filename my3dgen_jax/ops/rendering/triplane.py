"""The tri-plane radiance field: points to density and color features."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.errors import UserError
from my3dgen_jax.ops.activations import softplus
from my3dgen_jax.ops.rendering import grid_sample
from my3dgen_jax.types import Array, Decoder, DecoderWeights, RadianceSample


def fold_planes(planes: Array) -> jax.Array:
  """Prepares planes for `sample_planes`: folds three into two, mean included.

  A point (x, y, z) reads plane 0 at (x, y), plane 1 at (x, z) and plane 2 at
  (z, x): the last two see the same two axes (NVlabs/eg3d#67; the published
  weights were trained this way). Reading plane 2 at (z, x) is reading its
  transpose at (x, z), so the sum of plane 1 and that transpose serves both.

  Args:
    planes: [N, 3, S, S, C].

  Returns: [N, 2, S + 2, S + 2, C], with a ring of zeros.
  Raises: AssertionError unless there are three square planes.
  """
  chex.assert_rank(planes, 5)
  chex.assert_shape(planes, (None, 3, planes.shape[2], planes.shape[2], None))
  xz = planes[:, 1] + jnp.swapaxes(planes[:, 2], 1, 2)
  folded = jnp.stack([planes[:, 0], xz], axis=1) / 3
  return grid_sample.pad_for_sampling(folded)


def sample_planes(
  padded_planes: Array, points: Array, *, box_warp: float
) -> jax.Array:
  """Mean of the three planes' features at points, zero outside the box.

  Args:
    padded_planes: [2, S + 2, S + 2, C], one entry of `fold_planes`.
    points: [M, 3], world units; the box is +-box_warp / 2.
    box_warp: side of the box, world units.

  Returns: [M, C].
  Source: EG3D, section 3.
  """
  views = _views(points, box_warp)
  return grid_sample.sample_padded(
    padded_planes[0], *views[0]
  ) + grid_sample.sample_padded(padded_planes[1], *views[1])


def add_planes(
  padded_planes: Array, points: Array, values: Array, *, box_warp: float
) -> jax.Array:
  """Adds values at the points that `sample_planes` reads: its transpose.

  Given the cotangent of the sampled features, this accumulates the gradient
  of padded_planes.

  Args:
    padded_planes: [2, S + 2, S + 2, C] float32.
    points: [M, 3], world units.
    values: [M, C], in the dtype of the padded_planes that were read.
    box_warp: side of the box, world units.

  Returns: [2, S + 2, S + 2, C] float32.
  """
  _, height, width, channels = padded_planes.shape
  indices, weights = [], []
  for plane, view in enumerate(_views(points, box_warp)):
    for index, weight in grid_sample.taps(height, width, *view, values.dtype):
      indices.append(index + plane * height * width)
      weights.append(weight)
  # One scatter for all: XLA's CPU code prepares its updates on all cores.
  updates = jnp.stack(weights)[..., None].astype(jnp.float32) * values.astype(
    jnp.float32
  )
  flat = (
    padded_planes.reshape(-1, channels)
    .at[jnp.stack(indices)]
    .add(updates, mode="promise_in_bounds")
  )
  return flat.reshape(padded_planes.shape)


def _views(points, box_warp):
  """Coordinates (column, row) at which each of the folded planes is read."""
  x, y, z = jnp.moveaxis(points * (2 / box_warp), -1, 0)
  return (x, y), (x, z)


def decode(
  decoder: Decoder,
  features: Array,
  *,
  precision: lax.PrecisionLike | None = None,
) -> RadianceSample:
  """Maps plane features to density and color features.

  Args:
    decoder: weights of EG3D's decoder, or a callable that takes the features
      and returns a RadianceSample or (sigma, rgb).
    features: [M, P], in the dtype to multiply in; sums are float32.
    precision: matrix-product precision of EG3D's decoder.

  Returns: RadianceSample with sigma [M, 1] and rgb [M, C], float32.
  Raises: UserError: a custom decoder returns anything else.
  Source: EG3D, section 4.2; colors extend slightly beyond [0, 1] as in
    mip-NeRF.
  """
  if not isinstance(decoder, DecoderWeights):
    return _checked(decoder(jnp.asarray(features)), features.shape[:-1])

  def layer(x, kernel, bias):
    return (
      jnp.matmul(
        x.astype(features.dtype),
        kernel.astype(features.dtype),
        precision=precision,
        preferred_element_type=jnp.float32,
      )
      + bias
    )

  hidden = softplus(layer(features, decoder.kernel0, decoder.bias0))
  # Two products: later code reads density or color, and a CPU's vector units
  # need each contiguous, not every 33rd number.
  sigma, rgb = (
    layer(hidden, decoder.kernel1[:, part], decoder.bias1[part])
    for part in (slice(0, 1), slice(1, None))
  )
  return RadianceSample(sigma=sigma, rgb=jax.nn.sigmoid(rgb) * 1.002 - 0.001)


def _checked(found: Any, shape: tuple[int, ...]) -> RadianceSample:
  """A custom decoder's output, checked and in the form of EG3D's."""
  sigma, rgb = (
    (found.sigma, found.rgb) if isinstance(found, RadianceSample) else found
  )
  if jnp.shape(sigma) != (*shape, 1) or jnp.shape(rgb)[:-1] != shape:
    raise UserError(
      f"decoder: expected density {[*shape, 1]} and color {[*shape, 'C']}, got "
      f"{list(jnp.shape(sigma))} and {list(jnp.shape(rgb))}"
    )
  return RadianceSample(
    sigma=jnp.asarray(sigma, jnp.float32), rgb=jnp.asarray(rgb, jnp.float32)
  )


def query(
  padded_planes: Array,
  decoder: Decoder,
  points: Array,
  *,
  box_warp: float,
  precision: lax.PrecisionLike | None = None,
) -> RadianceSample:
  """`sample_planes`, then `decode`: points [M, 3] of one image."""
  features = sample_planes(padded_planes, points, box_warp=box_warp)
  return decode(decoder, features, precision=precision)

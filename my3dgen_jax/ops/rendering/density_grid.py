"""Density of a tri-plane field on a regular grid, without per-point sampling.

A grid is a product of three axes, and every plane sees two of them: a plane's
features at all grid points are its features at pairs of coordinates. So the
planes are sampled, and multiplied by the decoder's first layer, at N^2 places
for N^3 points; each point then needs only one sum over the hidden features.
On a CPU this is twice as fast as sampling each point for the demo's prior, and
better still for larger decoders.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.ops.activations import softplus
from my3dgen_jax.ops.rendering import grid_sample
from my3dgen_jax.types import Array, DecoderWeights


def density(
  padded_planes: Array,
  decoder: DecoderWeights,
  x: Array,
  y: Array,
  z: Array,
  *,
  box_warp: float,
  precision: lax.PrecisionLike | None = None,
) -> jax.Array:
  """Raw density at all (x, y, z), equal to that of `triplane.query`.

  Args:
    padded_planes: [2, S + 2, S + 2, C], one entry of `triplane.fold_planes`.
    decoder: the field's decoder weights.
    x: [X], world units; the box is +-box_warp / 2.
    y: [Y], world units.
    z: [Z], world units.
    box_warp: side of the box, world units.
    precision: matrix-product precision, see `jax.lax.Precision`.

  Returns: sigma, [X, Y, Z] float32, before the renderer's softplus.
  Raises: AssertionError on a rank mismatch.
  Source: EG3D, sections 3 and 4.2.
  """
  chex.assert_rank([padded_planes, x, y, z], [4, 1, 1, 1])

  def hidden(table, column, row):
    """A plane's contribution to the hidden features: [hidden, X, Y or Z]."""
    shape = (column.size, row.size)
    places = jnp.broadcast_arrays(
      column[:, None] * (2 / box_warp), row[None] * (2 / box_warp)
    )
    features = grid_sample.sample_padded(
      table, *(place.ravel() for place in places)
    )
    layer = jnp.matmul(
      features.astype(jnp.float32), decoder.kernel0, precision=precision
    )
    return jnp.moveaxis(layer.reshape(shape + (-1,)), -1, 0)

  xy = hidden(padded_planes[0], x, y) + decoder.bias0[:, None, None]
  xz = hidden(padded_planes[1], x, z)
  kernel = decoder.kernel1[:, 0]

  # A loop over the few features, with long rows of points, vectorizes.
  def add(i, sigma):
    return sigma + kernel[i] * softplus(xy[i][:, :, None] + xz[i][:, None])

  return lax.fori_loop(
    0,
    kernel.size,
    add,
    jnp.full((x.size, y.size, z.size), decoder.bias1[0], jnp.float32),
  )

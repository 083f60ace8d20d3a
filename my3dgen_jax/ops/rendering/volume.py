"""Quadrature for volume rendering: depths, weights, sums along rays.

Every function works on the last axis, with any number of leading axes.
"""

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.ops.activations import softplus
from my3dgen_jax.tracing.platforms import either
from my3dgen_jax.types import Array

_LEAST = 1e-20  # small, but its logarithm is finite


def stratified_depths(
  ray_start: chex.Numeric,
  ray_end: chex.Numeric,
  count: int,
  jitter: Array | None = None,
) -> jax.Array:
  """Evenly spaced depths, each moved within its step by the jitter.

  Args:
    ray_start: [...], distance of the first depth.
    ray_end: [...], distance of the last depth (before jitter).
    count: D, samples per ray.
    jitter: [..., D] in [0, 1), or None for no jitter.

  Returns: [..., D], increasing.
  """
  start, end = (
    jnp.asarray(v, jnp.float32)[..., None] for v in (ray_start, ray_end)
  )
  step = (end - start) / (count - 1)
  fraction = jnp.arange(count, dtype=jnp.float32) / (count - 1)
  # Interpolated from both ends, so that the last is exactly the end.
  depths = start * (1 - fraction) + end * fraction
  return depths if jitter is None else depths + jitter * step


def midpoints(values: Array) -> jax.Array:
  """Means of neighbors, [..., D] -> [..., D - 1]."""
  return (values[..., :-1] + values[..., 1:]) / 2


def interval_weights(depths: Array, sigma: Array) -> jax.Array:
  """The share of the ray's light that comes from each interval.

  Args:
    depths: [..., D], increasing.
    sigma: [..., D], raw density at those depths.

  Returns: [..., D - 1] in [0, 1], with a sum of at most 1.
  Source: NeRF, equation 3; EG3D's softplus with a shift of one.
  """
  density = softplus(midpoints(sigma) - 1)
  alpha = 1 - jnp.exp(-density * jnp.diff(depths, axis=-1))
  # Not `by_platform`: its gradient would scan once more on a CPU.
  return alpha * either(1 - alpha + 1e-10, cpu=_scanned, default=_summed)


def _scanned(x):
  """The product of all entries before each one, along the last axis."""
  passed = jnp.cumprod(x, axis=-1)
  return jnp.concatenate(
    [jnp.ones_like(passed[..., :1]), passed[..., :-1]], axis=-1
  )


def _summed(x):
  """`_scanned` in two operations; a scan takes some twenty, over all rays."""
  # XLA folds 1 + 1e-10 into the constant 1, so a factor of an opaque interval
  # can be zero here.
  logarithms = jnp.log(jnp.maximum(x, _LEAST))
  places = jnp.arange(x.shape[-1])
  return jnp.exp(
    jnp.sum(
      jnp.where(places < places[:, None], logarithms[..., None, :], 0.0),
      axis=-1,
    )
  )


def importance_depths(depths: Array, weights: Array, u: Array) -> jax.Array:
  """Depths drawn where the coarse pass saw something.

  The weights are widened (a maximum, then a mean of neighbors) and raised
  by 0.01, so that no region is missed for good. No gradient passes.

  Args:
    depths: [..., D], depths of the coarse pass, increasing.
    weights: [..., D - 1], weights of its intervals.
    u: [..., F] quantiles in [0, 1], increasing.

  Returns: [..., F], increasing.
  Source: mip-NeRF, section 3.1; NeRF, section 5.2.
  """
  weights = lax.stop_gradient(weights)
  edge = jnp.zeros_like(weights[..., :1])  # weights are never below zero
  widest = jnp.maximum(
    jnp.concatenate([edge, weights], axis=-1),
    jnp.concatenate([weights, edge], axis=-1),
  )
  weights = midpoints(widest) + 0.01

  bins = lax.stop_gradient(midpoints(depths))
  inner = weights[..., 1:-1] + 1e-5
  pdf = inner / jnp.sum(inner, axis=-1, keepdims=True)
  cdf = jnp.concatenate(
    [jnp.zeros_like(pdf[..., :1]), jnp.cumsum(pdf, axis=-1)], axis=-1
  )
  # A search that compares with every entry: there are few, and it vectorizes.
  count = jnp.sum(cdf[..., None, :] <= u[..., :, None], axis=-1)
  below = jnp.maximum(count - 1, 0)
  above = jnp.minimum(count, cdf.shape[-1] - 1)
  take = lambda values, index: jnp.take_along_axis(values, index, axis=-1)
  cdf_below, bin_below = take(cdf, below), take(bins, below)
  cdf_above, bin_above = take(cdf, above), take(bins, above)
  width = cdf_above - cdf_below
  fraction = (u - cdf_below) / jnp.where(width < 1e-5, 1, width)
  # Rounding must not move a sample past its bin: the result stays sorted.
  return jnp.minimum(bin_below + fraction * (bin_above - bin_below), bin_above)


def merge_order(first: Array, second: Array) -> tuple[jax.Array, jax.Array]:
  """How to merge two increasing sequences into one.

  Comparing all pairs is several times faster than sorting, which no backend
  vectorises for short rows.

  Args:
    first: [..., D], increasing.
    second: [..., F], increasing.

  Returns: two integer arrays [..., D + F] for their concatenation: `order`
    (which entry comes at each place) and `place` (the place of each entry).
  """
  num_first, num_second = first.shape[-1], second.shape[-1]
  rank_first = jnp.arange(num_first) + jnp.sum(
    second[..., None, :] < first[..., :, None], axis=-1
  )
  rank_second = jnp.arange(num_second) + jnp.sum(
    first[..., None, :] <= second[..., :, None], axis=-1
  )
  places = jnp.arange(num_first + num_second)
  # How many of the first sequence come before each place, and at it.
  before = jnp.sum(rank_first[..., None, :] < places[:, None], axis=-1)
  here = jnp.any(rank_first[..., None, :] == places[:, None], axis=-1)
  order = jnp.where(here, before, num_first + places - before)
  return order, jnp.concatenate([rank_first, rank_second], axis=-1)


def sample_coefficients(weights: Array) -> jax.Array:
  """Each sample's coefficient: sum_k w_k (c_k + c_{k+1}) / 2, collected by c.

  Args:
    weights: [..., D - 1], weights of the intervals.

  Returns: [..., D].
  """
  edge = jnp.zeros_like(weights[..., :1])
  return (
    jnp.concatenate([edge, weights], axis=-1)
    + jnp.concatenate([weights, edge], axis=-1)
  ) / 2


def expected_depth(depths: Array, weights: Array) -> jax.Array:
  """The mean depth under the weights.

  Args:
    depths: [..., D], increasing.
    weights: [..., D - 1], weights of the intervals.

  Returns: [...]; infinity for a ray that meets no density.
  """
  total = jnp.sum(weights, axis=-1)
  covered = total > 0
  # A division by zero, even if not selected, would make the gradient NaN.
  mean = jnp.sum(weights * midpoints(depths), axis=-1) / jnp.where(
    covered, total, 1
  )
  return jnp.where(covered, mean, jnp.inf)

"""The two-pass volume renderer over a tri-plane field, in chunks of rays.

Chunks bound the memory (the features of an image's points would together take
gigabytes) and, on a CPU, keep a chunk's arrays in cache, which makes rendering
several times faster.

The gradient is written by hand (`_render_image_backward`): only the depths of
each ray's samples are kept, and everything else is recomputed, one chunk at a
time. With the depths known, the backward pass needs one pass along the rays
where the forward pass took two.
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.ops.rendering import rays as rays_lib
from my3dgen_jax.ops.rendering import triplane, volume
from my3dgen_jax.tracing import derivatives
from my3dgen_jax.tracing.platforms import is_symbolic
from my3dgen_jax.types import (
  Array,
  Decoder,
  RadianceSample,
  Rays,
  RaySampling,
  VolumeRendering,
)

ACCELERATOR_CHUNK = 16384  # rays that fill an accelerator


def default_chunk() -> int:
  """Rays per chunk: what fits a CPU's cache, or fills an accelerator."""
  return 256 if jax.default_backend() == "cpu" else ACCELERATOR_CHUNK


def _split(arguments: Any, chunk: int, fill: str = "edge") -> Any:
  """Cuts the leading axis into evenly filled chunks.

  Args:
    arguments: pytree of arrays [M, ...].
    chunk: R, the largest chunk.
    fill: padding of the last chunk: "edge" repeats the last entry, "constant"
      adds zeros.

  Returns: pytree of arrays [pieces, R, ...].
  """
  count = jax.tree.leaves(arguments)[0].shape[0]
  pieces = -(-count // chunk)
  size = -(-count // pieces)
  missing = pieces * size - count

  def split(array):
    if missing:
      array = jnp.pad(
        array, [(0, missing)] + [(0, 0)] * (array.ndim - 1), mode=fill
      )
    return array.reshape((pieces, size) + array.shape[1:])

  return jax.tree.map(split, arguments)


def _join(chunks: Any, count: int) -> Any:
  """Undoes `_split`: [pieces, R, ...] to [M, ...], where M is `count`."""
  return jax.tree.map(
    lambda array: array.reshape((-1,) + array.shape[2:])[:count], chunks
  )


def _map_chunks(
  function: Callable[..., Any], arguments: Any, chunk: int
) -> Any:
  """Maps over the leading axis in chunks.

  Args:
    function: takes and returns pytrees of arrays with a leading axis [R].
    arguments: pytree of arrays [M, ...].
    chunk: R, the largest chunk.

  Returns: pytree of arrays [M, ...].
  """
  count = jax.tree.leaves(arguments)[0].shape[0]
  return _join(lax.map(function, _split(arguments, chunk)), count)


def _map_images(
  function: Callable[..., Any], padded_planes: Array, arguments: Any
) -> Any:
  """Maps `function(tables_i, arguments_i)` over all images at once.

  The axis stays a plain batch axis, so that images sharded over devices are
  rendered where they are. A single entry of padded_planes serves all images.
  """
  if padded_planes.shape[0] != 1:
    return jax.vmap(function)(padded_planes, arguments)
  if jax.tree.leaves(arguments)[0].shape[0] != 1:
    return jax.vmap(functools.partial(function, padded_planes[0]))(arguments)
  # XLA's CPU code is much slower with a batch axis of size one than without.
  result = function(padded_planes[0], jax.tree.map(lambda x: x[0], arguments))
  return jax.tree.map(lambda x: x[None], result)


def _chunk(config: RenderConfig, num_images: int) -> int:
  """Rays of each image per chunk; all images' chunks share the memory.

  An exported program's batch size is not known: it gets the chunk for one
  image, so its memory grows with the batch.
  """
  if is_symbolic(num_images):
    num_images = 1
  return max(1, (config.ray_chunk or default_chunk()) // max(1, num_images))


@derivatives.entry
def render_rays(
  padded_planes: Array,
  decoder: Decoder,
  rays: Rays,
  *,
  config: RenderConfig,
  sampling: RaySampling | None = None,
  precision: lax.PrecisionLike | None = None,
) -> VolumeRendering:
  """Integrates the field along rays: a coarse pass, then a fine one.

  Args:
    padded_planes: [P, 2, S + 2, S + 2, C] from `triplane.fold_planes`; P is N,
      or 1 for one field seen from all N cameras.
    decoder: the field's decoder: EG3D's, or any callable, see
      `triplane.decode`. The gradient of a decoder that is a pytree of arrays
      (`jax.tree_util.Partial(function, params)`, `types.Network`) is as fast
      as that of EG3D's; a function that closes over arrays is differentiated
      by JAX.
    rays: N x M rays.
    config: sample counts, depth range, box, background, chunk.
    sampling: random numbers for stratified sampling; None: no jitter and
      evenly spaced quantiles.
    precision: matrix-product precision of the decoder.

  Returns: VolumeRendering, float32.
  Source: NeRF, section 5; EG3D, section 4.2. A ray that meets no density gets
    the largest sampled depth of its image (in EG3D, of the whole batch).
  """
  chex.assert_equal_shape([rays.origins, rays.directions])
  num_images, num_rays, _ = rays.origins.shape
  if config.ray_start == "auto":
    start, end = rays_lib.box_limits(rays, config.box_warp)
  else:
    start = jnp.full((num_images, num_rays), config.ray_start, jnp.float32)
    end = jnp.full((num_images, num_rays), config.ray_end, jnp.float32)
  coarse_depths = volume.stratified_depths(
    start,
    end,
    config.depth_resolution,
    None if sampling is None else sampling.jitter,
  )
  # The fine pass takes quantiles in order; a set of samples has no order.
  u = None if sampling is None else jnp.sort(sampling.importance, axis=-1)

  chunk = _chunk(config, num_images)
  # A hand-written gradient sees only the arrays it is given.
  is_closed = all(
    isinstance(leaf, (jax.Array, np.ndarray))
    for leaf in jax.tree.leaves(decoder)
  )
  with derivatives.automatic(not is_closed):
    rendering = _map_images(
      lambda padded_planes, arguments: _render_image(
        config, chunk, precision, padded_planes, decoder, *arguments
      ),
      padded_planes,
      (rays, coarse_depths, u),
    )
  nearest = jnp.min(coarse_depths[..., 0], axis=1)[:, None, None]
  farthest = jnp.max(coarse_depths[..., -1], axis=1)[:, None, None]
  return rendering.replace(depth=jnp.clip(rendering.depth, nearest, farthest))


@functools.partial(derivatives.custom_vjp, nondiff_argnums=(0, 1, 2))
def _render_image(
  config: RenderConfig,
  chunk: int,
  precision: lax.PrecisionLike | None,
  padded_planes: jax.Array,
  decoder: Decoder,
  rays: Rays,
  depths: jax.Array,
  u: jax.Array | None,
) -> VolumeRendering:
  """Renders the rays of one image, `chunk` of them at a time.

  Args:
    config: see `render_rays`.
    chunk: R, rays at a time.
    precision: matrix-product precision of the decoder.
    padded_planes: [2, S + 2, S + 2, C].
    decoder: the field's decoder.
    rays: Rays, [M, 3] each.
    depths: [M, D], depths of the coarse pass.
    u: [M, F] quantiles of the fine pass, increasing; None: evenly spaced.

  Returns: VolumeRendering, [M, ...]; its depth may be infinite.
  """
  return _render_image_forward(
    config, chunk, precision, padded_planes, decoder, rays, depths, u
  )[0]


def _render_image_forward(
  config, chunk, precision, padded_planes, decoder, rays, depths, u
):
  """`_render_image`, and the residuals of its gradient."""

  def render_chunk(arguments):
    rays, depths, u = arguments

    def query(depths):
      samples = triplane.query(
        padded_planes,
        decoder,
        _points(rays, depths),
        box_warp=config.box_warp,
        precision=precision,
      )
      return _along_rays(samples, depths)

    return _two_passes(query, depths, u, config)

  rendering, depths, place = _map_chunks(
    # JAX's own derivative would keep the samples of all chunks.
    jax.checkpoint(render_chunk)
    if derivatives.is_automatic()
    else render_chunk,
    (rays, depths, u),
    chunk,
  )
  return rendering, (padded_planes, decoder, rays, depths, place)


def _render_image_backward(config, chunk, precision, residuals, cotangent):
  """The gradient of `_render_image`, chunk by chunk.

  Gradients that are not used, usually those of the rays, are written here
  all the same; XLA drops them.
  """
  padded_planes, decoder, rays, depths, place = residuals

  def sample(points):
    return triplane.sample_planes(
      padded_planes, points, box_warp=config.box_warp
    )

  def march(decoder, features, depths):
    samples = triplane.decode(decoder, features, precision=precision)
    return _one_pass(_along_rays(samples, depths), depths, config)

  def step(totals, arguments):
    cotangent, (rays, depths, place) = arguments
    points, points_vjp = jax.vjp(_points, rays, depths)
    features, sample_vjp = jax.vjp(sample, points)
    _, march_vjp = jax.vjp(march, decoder, features, depths)
    of_decoder, of_features, of_depths = march_vjp(cotangent)
    of_rays, of_depths_by_points = points_vjp(*sample_vjp(of_features))
    of_depths += of_depths_by_points
    if place is not None:  # no gradient passes through fine depths
      of_depths = jnp.take_along_axis(of_depths, place, axis=-1)
    # All chunks add to one array: the planes are far larger than a chunk.
    of_planes = triplane.add_planes(
      totals[0], points, of_features, box_warp=config.box_warp
    )
    of_decoder = jax.tree.map(jnp.add, totals[1], of_decoder)
    return (of_planes, of_decoder), (of_rays, of_depths)

  zeros = jax.tree.map(
    lambda x: jnp.zeros(x.shape, jnp.float32), (padded_planes, decoder)
  )
  # The padding of the last chunk consists of real rays: they must not count.
  (of_planes, of_decoder), per_ray = lax.scan(
    step,
    derivatives.varying_like(zeros, (residuals, cotangent)),
    (
      _split(cotangent, chunk, fill="constant"),
      _split((rays, depths, place), chunk),
    ),
  )
  of_rays, of_depths = _join(per_ray, depths.shape[0])
  return (
    of_planes.astype(padded_planes.dtype),
    of_decoder,
    of_rays,
    of_depths,
    None,
  )


_render_image.defvjp(_render_image_forward, _render_image_backward)


def _points(rays: Rays, depths: jax.Array) -> jax.Array:
  """Points [R * D, 3] at depths [R, D] along R rays."""
  points = rays.origins[:, None] + depths[..., None] * rays.directions[:, None]
  return points.reshape(-1, 3)


def _along_rays(samples: RadianceSample, depths: jax.Array) -> RadianceSample:
  """Reshapes samples [R * D, ...] from `_points` to [R, D, ...]."""
  return jax.tree.map(lambda x: x.reshape(depths.shape + x.shape[-1:]), samples)


def _one_pass(
  samples: RadianceSample, depths: jax.Array, config: RenderConfig
) -> VolumeRendering:
  """Renders R rays from samples [R, D, ...] at increasing depths [R, D]."""
  weights = volume.interval_weights(depths, samples.sigma[..., 0])
  color = _weighted_sum(volume.sample_coefficients(weights), samples.rgb)
  return _finish(color, depths, weights, config)


def _two_passes(
  query: Callable[[jax.Array], RadianceSample],
  depths: jax.Array,
  u: jax.Array | None,
  config: RenderConfig,
) -> tuple[VolumeRendering, jax.Array, jax.Array | None]:
  """Renders R rays; the fine pass samples where the coarse one saw density.

  Args:
    query: gives the radiance at depths, [R, D] to [R, D, ...].
    depths: [R, D], depths of the coarse pass.
    u: see `_render_image`.
    config: sample counts; the fine pass may have none.

  Returns: VolumeRendering; the depths of all samples, [R, D + F], increasing;
  and the places of the coarse ones, [R, D], or None without a fine pass.
  """
  coarse, fine = depths.shape[-1], config.depth_resolution_importance
  samples = query(depths)
  if not fine:
    return _one_pass(samples, depths, config), depths, None
  sigma = samples.sigma[..., 0]
  weights = volume.interval_weights(depths, sigma)
  if u is None:
    u = jnp.broadcast_to(
      jnp.linspace(0.0, 1.0, fine, dtype=jnp.float32),
      depths.shape[:-1] + (fine,),
    )
  fine_depths = volume.importance_depths(depths, weights, u)
  fine_samples = query(fine_depths)
  # Only depth and density are sorted; the many color channels stay where they
  # are, and each sample's coefficient is moved to its color.
  order, place = volume.merge_order(depths, fine_depths)
  join = lambda *parts: jnp.take_along_axis(
    jnp.concatenate(parts, axis=-1), order, axis=-1
  )
  depths = join(depths, fine_depths)
  weights = volume.interval_weights(
    depths, join(sigma, fine_samples.sigma[..., 0])
  )
  coefficients = jnp.take_along_axis(
    volume.sample_coefficients(weights), place, axis=-1
  )
  color = _weighted_sum(
    coefficients[..., :coarse], samples.rgb
  ) + _weighted_sum(coefficients[..., coarse:], fine_samples.rgb)
  return _finish(color, depths, weights, config), depths, place[..., :coarse]


def _finish(
  color: jax.Array, depths: jax.Array, weights: jax.Array, config: RenderConfig
) -> VolumeRendering:
  """Adds the background to colors [R, C], and the sums known from weights."""
  opacity = jnp.sum(weights, axis=-1, keepdims=True)
  if config.white_back:
    color = color + 1 - opacity
  return VolumeRendering(
    features=color * 2 - 1,
    depth=volume.expected_depth(depths, weights)[..., None],
    opacity=opacity,
  )


def _weighted_sum(weights: jax.Array, values: jax.Array) -> jax.Array:
  """Sums [R, D] x [R, D, C] over D; a fused loop beats tiny products."""
  return jnp.sum(weights[..., None] * values, axis=-2)


@derivatives.entry
def query_points(
  padded_planes: Array,
  decoder: Decoder,
  points: Array,
  *,
  config: RenderConfig,
  precision: lax.PrecisionLike | None = None,
) -> RadianceSample:
  """Density and color features at given points.

  Args:
    padded_planes: [P, 2, S + 2, S + 2, C] from `triplane.fold_planes`, P is N
      or 1.
    decoder: the field's decoder.
    points: [N, M, 3], world units.
    config: the box, and the chunk: as many points at a time as that many
      rays have in one pass.
    precision: matrix-product precision of the decoder.

  Returns: RadianceSample, [N, M, ...], float32.
  """
  chunk = _chunk(config, points.shape[0]) * config.depth_resolution

  def query_image(padded_planes, points):
    return _map_chunks(
      lambda p: triplane.query(
        padded_planes, decoder, p, box_warp=config.box_warp, precision=precision
      ),
      points,
      chunk,
    )

  return _map_images(query_image, padded_planes, points)


@derivatives.entry
def draw_sampling(
  key: chex.PRNGKey, shape: tuple[int, int], config: RenderConfig
) -> RaySampling:
  """Random numbers for stratified sampling of N x M rays, `shape`."""
  jitter_key, importance_key = jax.random.split(key)
  return RaySampling(
    jitter=jax.random.uniform(
      jitter_key, shape + (config.depth_resolution,), jnp.float32
    ),
    importance=jax.random.uniform(
      importance_key, shape + (config.depth_resolution_importance,), jnp.float32
    ),
  )

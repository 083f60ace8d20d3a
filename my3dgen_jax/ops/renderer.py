"""The two-pass volume renderer over a tri-plane field, in chunks of rays.

Chunks bound the memory (features of all points of an image at once would
take gigabytes) and, on a CPU, keep a chunk's arrays in cache, which is worth
a factor of several.
"""

import functools
from typing import Any, Callable, Optional, Tuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.ops import rays as rays_lib
from my3dgen_jax.ops import triplane, volume
from my3dgen_jax.types import (DecoderWeights, RadianceSample, Rays,
                               RaySampling, VolumeRendering)


def default_chunk() -> int:
  """Rays at a time: what stays in a CPU's cache, or fills an accelerator."""
  return 256 if jax.default_backend() == "cpu" else 16384


def _map_chunks(function: Callable[..., Any], arguments: Any,
                chunk: int) -> Any:
  """Maps over the leading axis in chunks.

  Args:
    function: takes and returns pytrees of arrays with a leading axis [R].
    arguments: pytree of arrays [M, ...].
    chunk: R at most; the last chunk is filled up by repeating the last entry.

  Returns: pytree of arrays [M, ...].
  """
  count = jax.tree.leaves(arguments)[0].shape[0]
  pieces = -(-count // chunk)
  size = -(-count // pieces)  # evenly filled
  missing = pieces * size - count

  def split(array):
    if missing:
      array = jnp.concatenate(
          [array, jnp.broadcast_to(array[-1:], (missing,) + array.shape[1:])])
    return array.reshape((pieces, size) + array.shape[1:])

  mapped = lax.map(function, jax.tree.map(split, arguments))
  return jax.tree.map(
      lambda array: array.reshape((-1,) + array.shape[2:])[:count], mapped)


def _map_images(function: Callable[..., Any], tables: chex.Array,
                arguments: Any) -> Any:
  """Maps `function(tables_i, arguments_i)` over images, all at once.

  The axis stays a plain batch axis, so that images sharded over devices are
  rendered where they are. One set of tables serves all images where there is
  only one.
  """
  if tables.shape[0] > 1:
    return jax.vmap(function)(tables, arguments)
  if jax.tree.leaves(arguments)[0].shape[0] != 1:
    return jax.vmap(functools.partial(function, tables[0]))(arguments)
  # XLA's CPU code is much slower with a batch axis of one than without.
  result = function(tables[0], jax.tree.map(lambda x: x[0], arguments))
  return jax.tree.map(lambda x: x[None], result)


def _chunk(config: RenderConfig, num_images: int) -> int:
  """Rays of each image at a time; those of all images share the memory."""
  return max(1, (config.ray_chunk or default_chunk()) // max(1, num_images))


def render_rays(tables: chex.Array, decoder: DecoderWeights, rays: Rays, *,
                config: RenderConfig,
                sampling: Optional[RaySampling] = None,
                precision: Optional[lax.PrecisionLike] = None
                ) -> VolumeRendering:
  """Integrates the field along rays: a coarse pass, then a fine one.

  Args:
    tables: [P, 2, S + 2, S + 2, C] from `triplane.fold_planes`; P is N, or 1
      for one field seen from all N cameras.
    decoder: of the field.
    rays: N times M of them.
    config: sampling counts, depth range, box, background, chunk.
    sampling: random numbers of stratified sampling; None: no jitter and
      evenly spaced quantiles.
    precision: of the decoder's products.

  Returns: VolumeRendering, float32.
  Source: NeRF, section 5; EG3D, section 4.2. A ray that nothing covers has
    the largest sampled depth of its image (in EG3D of the whole batch).
  """
  chex.assert_equal_shape([rays.origins, rays.directions])
  num_images, num_rays, _ = rays.origins.shape
  fine = config.depth_resolution_importance
  if config.ray_start == "auto":
    start, end = rays_lib.box_limits(rays, config.box_warp)
  else:
    start = jnp.full((num_images, num_rays), config.ray_start, jnp.float32)
    end = jnp.full((num_images, num_rays), config.ray_end, jnp.float32)
  coarse_depths = volume.stratified_depths(
      start, end, config.depth_resolution,
      None if sampling is None else sampling.jitter)
  # The fine pass takes quantiles in order; a set of samples has none.
  u = None if sampling is None else jnp.sort(sampling.importance, axis=-1)

  def render_chunk(tables, arguments):
    origins, directions, depths, u = arguments

    def query(depths):
      points = (origins[:, None] + depths[..., None] * directions[:, None])
      samples = triplane.query(tables, decoder, points.reshape(-1, 3),
                               box_warp=config.box_warp, precision=precision)
      return jax.tree.map(
          lambda x: x.reshape(depths.shape + x.shape[-1:]), samples)

    return _two_passes(query, depths, u, fine, config.white_back)

  def render_image(tables, arguments):
    return _map_chunks(lambda a: render_chunk(tables, a), arguments,
                       _chunk(config, num_images))

  rendering = _map_images(
      render_image, tables,
      (rays.origins, rays.directions, coarse_depths, u))
  nearest = jnp.min(coarse_depths[..., 0], axis=1)[:, None, None]
  farthest = jnp.max(coarse_depths[..., -1], axis=1)[:, None, None]
  return rendering.replace(
      depth=jnp.clip(rendering.depth, nearest, farthest))


def _two_passes(query: Callable[[jax.Array], RadianceSample],
                depths: jax.Array, u: Optional[jax.Array], fine: int,
                white_back: bool) -> VolumeRendering:
  """Renders R rays whose radiance at depths [R, D] `query` gives."""
  samples = query(depths)
  sigma = samples.sigma[..., 0]
  weights = volume.interval_weights(depths, sigma)
  if fine:
    if u is None:
      u = jnp.broadcast_to(jnp.linspace(0.0, 1.0, fine),
                           depths.shape[:-1] + (fine,))
    fine_depths = volume.importance_depths(depths, weights, u)
    fine_samples = query(fine_depths)
    # Only depth and density are brought in order; the many colour channels
    # stay where they are, and each sample's coefficient comes to them.
    order, rank = volume.merge_order(depths, fine_depths)
    join = lambda *parts: volume.permute(
        jnp.concatenate(parts, axis=-1), order, rank)
    depths = join(depths, fine_depths)
    weights = volume.interval_weights(
        depths, join(sigma, fine_samples.sigma[..., 0]))
    coefficients = volume.permute(volume.sample_coefficients(weights), rank,
                                  order)
    split = samples.rgb.shape[-2]
    color = (_weighted_sum(coefficients[..., :split], samples.rgb)
             + _weighted_sum(coefficients[..., split:], fine_samples.rgb))
  else:
    color = _weighted_sum(volume.sample_coefficients(weights), samples.rgb)
  opacity = jnp.sum(weights, axis=-1, keepdims=True)
  if white_back:
    color = color + 1 - opacity
  return VolumeRendering(
      features=color * 2 - 1,
      depth=volume.expected_depth(depths, weights)[..., None],
      opacity=opacity)


def _weighted_sum(weights: jax.Array, values: jax.Array) -> jax.Array:
  """Sums [R, D] x [R, D, C] over D; a fused loop beats tiny products."""
  return jnp.sum(weights[..., None] * values, axis=-2)


def query_points(tables: chex.Array, decoder: DecoderWeights,
                 points: chex.Array, *, config: RenderConfig,
                 precision: Optional[lax.PrecisionLike] = None
                 ) -> RadianceSample:
  """Density and colour features at any points.

  Args:
    tables: [P, 2, S + 2, S + 2, C] from `triplane.fold_planes`, P is N or 1.
    decoder: of the field.
    points: [N, M, 3], world units.
    config: the box, and the chunk: as many points at a time as that many
      rays have in one pass.
    precision: of the decoder's products.

  Returns: RadianceSample, [N, M, ...], float32.
  """
  chunk = _chunk(config, points.shape[0]) * config.depth_resolution

  def query_image(tables, points):
    return _map_chunks(
        lambda p: triplane.query(tables, decoder, p, box_warp=config.box_warp,
                                 precision=precision), points, chunk)

  return _map_images(query_image, tables, points)


def draw_sampling(key: chex.PRNGKey, shape: Tuple[int, int],
                  config: RenderConfig) -> RaySampling:
  """Random numbers for stratified sampling of N x M rays (`shape`)."""
  jitter_key, importance_key = jax.random.split(key)
  return RaySampling(
      jitter=jax.random.uniform(
          jitter_key, shape + (config.depth_resolution,)),
      importance=jax.random.uniform(
          importance_key, shape + (config.depth_resolution_importance,)))

"""The renderer's gradient, written by hand, against plain autodiff."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from jax import lax

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.ops.rendering import rays as rays_lib
from my3dgen_jax.ops.rendering import renderer, triplane, volume
from my3dgen_jax.types import DecoderWeights, Rays, VolumeRendering

CONFIG = RenderConfig(
  depth_resolution=6,
  depth_resolution_importance=5,
  ray_start=0.4,
  ray_end=1.9,
  ray_chunk=4,
)
NUM_RAYS, SIZE, CHANNELS, HIDDEN, COLORS = 7, 6, 3, 5, 4


def draw_scene(num_images=1, num_fields=None, seed=0):
  """(planes, decoder, rays): rays through a box of side 1, some beside it."""
  rng = np.random.default_rng(seed)
  draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
  origins = jnp.array([0, 0, 1.2]) + 0.1 * draw(num_images, NUM_RAYS, 3)
  directions = jnp.array([0, 0, -1.0]) + 0.3 * draw(num_images, NUM_RAYS, 3)
  directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)
  planes = 3 * draw(num_fields or num_images, 3, SIZE, SIZE, CHANNELS)
  decoder = DecoderWeights(
    draw(CHANNELS, HIDDEN),
    draw(HIDDEN),
    draw(HIDDEN, 1 + COLORS),
    draw(1 + COLORS).at[0].add(2),
  )  # half opaque
  return planes, decoder, Rays(origins=origins, directions=directions)


def render(planes, decoder, rays, *, config, sampling=None, dtype=jnp.float32):
  return renderer.render_rays(
    triplane.fold_planes(planes).astype(dtype),
    decoder,
    rays,
    config=config,
    sampling=sampling,
  )


def plain_query(planes, decoder, points, box_warp):
  """Three look-ups; every pixel weighted by its hat function."""
  centres = (jnp.arange(SIZE) + 0.5) * (box_warp / SIZE) - box_warp / 2
  hats = jnp.maximum(
    0, 1 - jnp.abs(points[..., None] - centres) * (SIZE / box_warp)
  )
  x, y, z = jnp.moveaxis(hats, -2, 0)
  features = (
    sum(
      jnp.einsum("...r,...c,rck->...k", row, column, plane)
      for plane, column, row in zip(planes, (x, x, z), (y, z, x))
    )
    / 3
  )
  hidden = jax.nn.softplus(features @ decoder.kernel0 + decoder.bias0)
  out = hidden @ decoder.kernel1 + decoder.bias1
  return out[..., 0], jax.nn.sigmoid(out[..., 1:]) * 1.002 - 0.001


def plain_ray(planes, decoder, origin, direction, coarse, u, config):
  """One ray as the papers have it: query, sort, march."""
  query = lambda depths: plain_query(
    planes, decoder, origin + depths[:, None] * direction, config.box_warp
  )

  def march(depths, sigma):
    density = jax.nn.softplus((sigma[1:] + sigma[:-1]) / 2 - 1)
    alpha = 1 - jnp.exp(-density * jnp.diff(depths))
    passed, weights = 1.0, []
    for share in alpha:
      weights.append(share * passed)
      passed = passed * (1 - share + 1e-10)
    return jnp.stack(weights)

  depths = coarse
  if config.depth_resolution_importance:
    weights = march(coarse, query(coarse)[0])
    fine = lax.stop_gradient(volume.importance_depths(coarse, weights, u))
    depths = jnp.concatenate([coarse, fine])
    depths = depths[jnp.argsort(depths)]
  sigma, rgb = query(depths)
  weights = march(depths, sigma)
  opacity = jnp.sum(weights)
  color = weights @ (rgb[1:] + rgb[:-1]) / 2
  if config.white_back:
    color += 1 - opacity
  depth = weights @ (depths[1:] + depths[:-1]) / 2 / opacity
  return VolumeRendering(
    features=2 * color - 1, depth=depth[None], opacity=opacity[None]
  )


def plain_render(planes, decoder, rays, *, config, sampling=None):
  """`render`, all at once and left to autodiff."""
  shape = rays.origins.shape[:2]
  start, end = config.ray_start, config.ray_end
  if start == "auto":
    start, end = rays_lib.box_limits(rays, config.box_warp)
  steps = jnp.broadcast_to(
    jnp.arange(config.depth_resolution), shape + (config.depth_resolution,)
  )
  u = jnp.broadcast_to(
    jnp.linspace(0, 1, config.depth_resolution_importance),
    shape + (config.depth_resolution_importance,),
  )
  if sampling is not None:
    steps, u = steps + sampling.jitter, jnp.sort(sampling.importance, axis=-1)
  column = lambda limit: jnp.broadcast_to(limit, shape)[..., None]
  coarse = column(start) + steps * (
    (column(end) - column(start)) / (config.depth_resolution - 1)
  )
  of_rays = jax.vmap(plain_ray, (None, None, 0, 0, 0, 0, None))
  planes = jnp.broadcast_to(planes, shape[:1] + planes.shape[1:])
  out = jax.vmap(of_rays, (0, None, 0, 0, 0, 0, None))(
    planes, decoder, rays.origins, rays.directions, coarse, u, config
  )
  limits = coarse.min((1, 2))[:, None, None], coarse.max((1, 2))[:, None, None]
  return out.replace(depth=jnp.clip(out.depth, *limits))


def weighted_sum(rendering):
  """A number that depends on every output in a different way."""
  # All weights are positive: sums that cancel would magnify rounding.
  weigh = lambda x: (1.5 + jnp.cos(jnp.arange(x.size))).reshape(x.shape)
  return sum(jnp.sum(weigh(x) * x) for x in jax.tree.leaves(rendering))


def render_and_grad(function, scene, **fixed):
  """What a function renders, and the gradients of its `weighted_sum`."""

  def loss(*scene):
    rendering = function(*scene, **fixed)
    return weighted_sum(rendering), rendering

  gradients, rendering = jax.jit(jax.grad(loss, (0, 1, 2), has_aux=True))(
    *scene
  )
  return rendering, gradients


def assert_trees_close(actual, expected, tolerance=1e-5):
  """Errors are relative to the largest entry of each array."""

  def compare(path, actual, expected):
    np.testing.assert_allclose(
      np.asarray(actual, np.float32),
      expected,
      rtol=0,
      atol=tolerance * float(jnp.abs(expected).max()),
      err_msg=jax.tree_util.keystr(path),
    )

  jax.tree_util.tree_map_with_path(compare, actual, expected)


def change(**changes):
  return dataclasses.replace(CONFIG, **changes)


class GradientTest(parameterized.TestCase):
  @parameterized.named_parameters(
    ("plain", CONFIG),
    ("coarse_only", change(depth_resolution_importance=0)),
    ("white_back_small_box", change(white_back=True, box_warp=0.6)),
    ("two_images_stratified", CONFIG, 2, None, True),
    (
      "one_field_three_cameras",
      change(ray_start="auto", ray_end="auto"),
      3,
      1,
      True,
    ),
  )
  def test_matches_autodiff(
    self, config, num_images=1, num_fields=None, stratified=False
  ):
    scene = draw_scene(num_images, num_fields)
    sampling = (
      renderer.draw_sampling(jax.random.key(0), (num_images, NUM_RAYS), config)
      if stratified
      else None
    )
    fixed = dict(config=config, sampling=sampling)
    assert_trees_close(
      render_and_grad(render, scene, **fixed),
      render_and_grad(plain_render, scene, **fixed),
      # The derivative of where slanted rays enter the box magnifies the
      # rounding of both (by float64, of plain_render more).
      tolerance=3e-5 if config.ray_start == "auto" else 1e-5,
    )

  def test_does_not_depend_on_the_chunk(self):
    expected = render_and_grad(render, draw_scene(), config=CONFIG)
    for chunk in (1, 100):
      actual = render_and_grad(
        render, draw_scene(), config=change(ray_chunk=chunk)
      )
      assert_trees_close(actual, expected, tolerance=2e-6)

  def test_through_vmap_and_checkpoint(self):
    scenes = [draw_scene(2, seed=seed) for seed in range(2)]
    gradient = jax.jit(
      jax.grad(
        lambda *scene: weighted_sum(render(*scene, config=CONFIG)), (0, 1, 2)
      )
    )
    expected = [gradient(*scene) for scene in scenes]
    stack = lambda *x: jnp.stack(x)

    @jax.checkpoint
    def loss(*scenes):
      return jnp.sum(
        jax.vmap(lambda *scene: weighted_sum(render(*scene, config=CONFIG)))(
          *scenes
        )
      )

    actual = jax.jit(jax.grad(loss, (0, 1, 2)))(*jax.tree.map(stack, *scenes))
    assert_trees_close(actual, jax.tree.map(stack, *expected))

  def test_bfloat16_tables(self):
    """Near float32's gradient, and summed up in float32.

    Many equal rays add up to as much as one: in bfloat16, whose numbers have
    eight bits, a sum of 500 equal terms would stop growing at half of it.
    """
    planes, decoder, rays = draw_scene()
    planes = planes.astype(jnp.bfloat16).astype(jnp.float32)
    padded_planes = triplane.fold_planes(planes).astype(jnp.bfloat16)
    config = change(ray_chunk=1, depth_resolution_importance=0)

    def gradient(padded_planes, rays):
      return jax.jit(
        jax.grad(
          lambda padded_planes: jnp.mean(
            jnp.square(
              renderer.render_rays(
                padded_planes, decoder, rays, config=config
              ).features
            )
          )
        )
      )(padded_planes)

    actual = gradient(padded_planes, rays)
    self.assertEqual(actual.dtype, jnp.bfloat16)
    assert_trees_close(
      actual, gradient(padded_planes.astype(jnp.float32), rays), tolerance=0.02
    )
    one = jax.tree.map(lambda x: x[:, :1], rays)
    many = jax.tree.map(lambda x: jnp.repeat(x, 500, axis=1), one)
    assert_trees_close(
      gradient(padded_planes, many),
      gradient(padded_planes, one).astype(jnp.float32),
      tolerance=0.01,
    )

  def test_is_finite_where_there_is_nothing(self):
    planes, decoder, rays = draw_scene()
    away = rays.replace(directions=-rays.directions)
    empty = decoder.replace(bias1=decoder.bias1.at[0].set(-1e6))
    auto = change(ray_start="auto", ray_end="auto")
    for scene, config in (
      ((planes, decoder, away), auto),
      ((planes, empty, rays), CONFIG),
    ):
      for leaf in jax.tree.leaves(
        render_and_grad(render, scene, config=config)
      ):
        self.assertTrue(np.isfinite(leaf).all())


if __name__ == "__main__":
  absltest.main()

"""Splats against a plain loop over pixels and splats, and their gradients."""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import splats as ops

SIDE = 16


def camera(yaw=0.2, pitch=0.1):
  return np.asarray(
    cameras.pack_label(
      cameras.look_at(yaw, pitch, (0.0, 0.0, 0.0), 2.7),
      cameras.intrinsics_from_focal(4.2647),
    )
  )


def some(count=40, seed=0):
  rng = np.random.default_rng(seed)
  draw = lambda low, high, *shape: rng.uniform(low, high, shape).astype(
    np.float32
  )
  return ops.Splats(
    means=draw(-0.25, 0.25, count, 3),
    log_scales=np.log(draw(0.01, 0.06, count, 3)),
    quaternions=rng.standard_normal((count, 4)).astype(np.float32),
    logits=draw(-2, 3, count),
    colors=draw(0, 1, count, 3),
  )


def plain(splats, c, side):
  """The paper's equations, a pixel and a splat at a time, in float64."""
  cam2world = c[:16].reshape(4, 4).astype(np.float64)
  lens = c[16:].reshape(3, 3).astype(np.float64)
  world2cam = np.linalg.inv(cam2world)[:3]
  ellipses = []
  for mean, log_scale, q, logit, color in zip(
    *(
      np.asarray(getattr(splats, name), np.float64)
      for name in ("means", "log_scales", "quaternions", "logits", "colors")
    )
  ):
    w, x, y, z = q / np.linalg.norm(q)
    # The quaternion's product q v q*, for each axis.
    turn = np.array(
      [
        [
          w * w + x * x - y * y - z * z,
          2 * (x * y - w * z),
          2 * (x * z + w * y),
        ],
        [
          2 * (x * y + w * z),
          w * w - x * x + y * y - z * z,
          2 * (y * z - w * x),
        ],
        [
          2 * (x * z - w * y),
          2 * (y * z + w * x),
          w * w - x * x - y * y + z * z,
        ],
      ]
    )
    covariance = turn @ np.diag(np.exp(2 * log_scale)) @ turn.T
    x, y, z = world2cam[:, :3] @ mean + world2cam[:, 3]
    f = side * lens[0, 0]
    jacobian = np.array([[f / z, 0, -f * x / z**2], [0, f / z, -f * y / z**2]])
    across = jacobian @ world2cam[:, :3]
    flat = across @ covariance @ across.T + ops.LOW_PASS * np.eye(2)
    center = side * (lens @ [x, y, z])[:2] / z
    ellipses.append(
      (z, center, np.linalg.inv(flat), 1 / (1 + np.exp(-logit)), color)
    )
  picture, empty = np.zeros((side, side, 3)), np.ones((side, side, 1))
  for row, column in np.ndindex(side, side):
    for _, center, inverse, opacity, color in sorted(
      ellipses, key=lambda one: one[0]
    ):
      away = np.array([column + 0.5, row + 0.5]) - center
      alpha = min(opacity * np.exp(-0.5 * away @ inverse @ away), 0.99)
      if alpha >= 1 / 255:
        picture[row, column] += empty[row, column] * alpha * color
        empty[row, column] *= 1 - alpha
  return picture, empty


class SplatsTest(absltest.TestCase):
  def test_against_a_plain_loop(self):
    splats, c = some(), camera()
    wanted = plain(splats, c, SIDE)
    for found, true in zip(ops.render(splats, c, SIDE), wanted):
      np.testing.assert_allclose(found, true, atol=2e-5)
    self.assertLess(wanted[1].min(), 0.1)  # they hide each other

  def test_where_they_are(self):
    """x to the right, y up: the camera at the front sees it so."""
    splats = some(1).replace(
      means=np.array([[0.1, 0.2, 0.0]], np.float32),
      log_scales=np.full((1, 3), np.log(0.01), np.float32),
    )
    picture, _ = ops.render(splats, camera(0.0, 0.0), 64)
    row, column = np.unravel_index(
      np.argmax(np.asarray(picture).sum(-1)), (64, 64)
    )
    self.assertAlmostEqual(column + 0.5, 32 + 64 * 4.2647 * 0.1 / 2.7, delta=1)
    self.assertAlmostEqual(row + 0.5, 32 - 64 * 4.2647 * 0.2 / 2.7, delta=1)

  # What is cut off as invisible would make the differences jump.
  @mock.patch.object(ops, "_LEAST_ALPHA", 1e-7)
  def test_gradient(self):
    """Against differences, in every kind of number."""
    splats, c = some(12), camera()
    weights = np.random.default_rng(1).standard_normal((SIDE, SIDE, 3))
    lists = ops.bin_splats(
      ops.project(splats, c, SIDE), splats.logits, SIDE, 16
    )
    tiles = jnp.arange(len(lists.indices))

    @jax.jit
    def loss(splats):
      color, through = ops.composite(
        splats, ops.project(splats, c, SIDE), lists.indices, tiles, SIDE
      )
      return jnp.sum(ops.to_tiles(weights) * (color + through[..., None] * 0.3))

    splats = jax.tree.map(jnp.asarray, splats)
    gradient = jax.grad(loss)(splats)
    rng = np.random.default_rng(2)
    for name in vars(splats):
      values = getattr(splats, name)
      way = rng.standard_normal(values.shape).astype(np.float32)
      step = 1e-3 if name != "means" else 1e-4
      ends = [
        float(loss(splats.replace(**{name: values + sign * step * way})))
        for sign in (1, -1)
      ]
      np.testing.assert_allclose(
        np.sum(getattr(gradient, name) * way),
        (ends[0] - ends[1]) / (2 * step),
        rtol=0.03,
        atol=0.02,
        err_msg=name,
      )
    self.assertTrue(
      all(np.isfinite(one).all() for one in jax.tree.leaves(gradient))
    )

  def test_lists(self):
    """Front to back; the nearest stay where there are too many."""
    splats, c = some(60), camera()
    projected = ops.project(splats, c, SIDE)
    long = ops.bin_splats(projected, splats.logits, SIDE, 64)
    short = ops.bin_splats(projected, splats.logits, SIDE, 8)
    self.assertEqual(long.hidden, 0)
    self.assertEqual(short.hidden, (long.indices[:, 8:] < 60).sum())
    np.testing.assert_array_equal(short.indices, long.indices[:, :8])
    for row in long.indices:
      found = np.asarray(projected.depth)[row[row < 60]]
      self.assertTrue((np.diff(found) >= 0).all())

  def test_what_is_not_seen(self):
    """Behind the camera, beside the picture, or invisible."""
    splats = some(3).replace(
      means=np.array([[0, 0, 5], [9, 0, 0], [0, 0, 0]], np.float32),
      logits=np.array([3, 3, -9], np.float32),
    )
    picture, empty = ops.render(splats, camera(0.0, 0.0), SIDE)
    np.testing.assert_array_equal(picture, np.zeros((SIDE, SIDE, 3)))
    np.testing.assert_array_equal(empty, np.ones((SIDE, SIDE, 1)))

  def test_tiles_and_back(self):
    image = np.random.default_rng(0).uniform(size=(24, 24, 3))
    np.testing.assert_array_equal(
      ops.from_tiles(ops.to_tiles(image), 24), image
    )


if __name__ == "__main__":
  absltest.main()

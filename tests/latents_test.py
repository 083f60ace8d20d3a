"""The personal hull, against an exact solver and by its definition."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from my3dgen_jax import latents
from my3dgen_jax.errors import UserError


def problem(seed, anchors, width, far):
  """Anchors [N, 1, width] about somewhere, latents [4, 1, width]."""
  rng = np.random.default_rng(seed)
  rows = rng.normal(size=(anchors, 1, width)) + 3 * rng.normal(size=width)
  w = rows.mean(0) + far * rng.normal(size=(4, 1, width))
  return rows.astype(np.float32), w.astype(np.float32)


def exact(rows, w, beta):
  """The same by Lawson and Hanson's active sets, in float64.

  With gamma = alpha + beta >= 0; the sum is one more row, of great weight.
  """
  rows, w = rows[:, 0].astype(np.float64), w[0].astype(np.float64)
  great = 1e5 * np.abs(rows).max()
  gamma, _ = optimize.nnls(
    np.vstack([rows.T, np.full((1, len(rows)), great)]),
    np.append(w + beta * rows.sum(0), great * (1 + len(rows) * beta)),
    maxiter=10_000,
  )
  return gamma - beta


class ProjectTest(parameterized.TestCase):
  @parameterized.product(
    size=((5, 3), (30, 20), (50, 128), (40, 16)),
    far=(0.05, 0.5, 3.0),
    beta=(0.0, 0.02),
  )
  def test_as_low_as_an_exact_solver(self, size, far, beta):
    rows, w = problem(0, *size, far)
    alpha = np.asarray(latents.Hull.of(rows, beta).project(w))
    np.testing.assert_allclose(alpha.sum(axis=1), 1, atol=1e-6)
    self.assertGreaterEqual(alpha.min(), -beta - 1e-6)
    objective = lambda one, i: (
      0.5
      * np.sum(
        (one.astype(np.float64) @ rows[:, 0].astype(np.float64) - w[i, 0]) ** 2
      )
    )
    for i in range(len(w)):
      best = objective(exact(rows, w[i], beta), i)
      start = objective(np.full(len(rows), 1 / len(rows)), i)
      self.assertLess(objective(alpha[i], i) - best, 1e-4 * start)

  def test_what_is_inside_stays(self):
    hull = latents.Hull.of(problem(1, 12, 40, 1.0)[0], 0.02)
    alpha = hull.sample(jax.random.key(0), 5)
    np.testing.assert_allclose(
      hull.project(hull.latents(alpha)), alpha, atol=2e-3
    )

  def test_one_anchor(self):
    hull = latents.Hull.of(np.ones((1, 2, 3)), 0.1)
    np.testing.assert_allclose(hull.project(np.zeros((2, 2, 3))), 1)


class HullTest(parameterized.TestCase):
  def hull(self, beta=0.02):
    rng = np.random.default_rng(2)
    return latents.Hull.of(rng.normal(size=(10, 4, 16)), beta)

  def test_samples_are_means_of_a_few(self):
    hull = self.hull()
    alpha = np.asarray(hull.sample(jax.random.key(0), 200))
    np.testing.assert_allclose(alpha.sum(axis=1), 1, atol=1e-6)
    self.assertGreaterEqual(alpha.min(), 0)
    self.assertEqual(set((alpha > 0).sum(axis=1)), {3})
    self.assertGreater(alpha.any(axis=0).mean(), 0.99)  # all take part

  def test_layers_may_have_their_own(self):
    hull = self.hull()
    alpha = hull.sample(jax.random.key(0), 3)
    same = jnp.broadcast_to(alpha[:, None], (3, 4, 10))
    np.testing.assert_allclose(
      hull.latents(same), hull.latents(alpha), atol=1e-6
    )

  def test_directions_inside_and_outside_the_span(self):
    hull = self.hull()
    along = np.asarray(hull.anchors[0] - hull.anchors[1])
    found = hull.coordinates(along)
    self.assertAlmostEqual(float(found.cosine), 1, places=4)
    self.assertAlmostEqual(float(found.gamma.sum()), 0, places=5)
    np.testing.assert_allclose(
      jnp.einsum("n,nld->ld", found.gamma, hull.anchors), along, atol=1e-4
    )
    rows = np.asarray(hull.anchors).reshape(10, -1)
    rows = rows - rows.mean(0)
    outside = np.linalg.svd(rows)[2][-1].reshape(4, 16)
    self.assertLess(float(hull.coordinates(outside).cosine), 1e-3)
    half = hull.coordinates(outside + along / np.linalg.norm(along))
    self.assertAlmostEqual(float(half.cosine), 0.5**0.5, places=3)

  @parameterized.parameters(*latents.EDGES)
  def test_edges(self, edge):
    hull = self.hull()
    alpha = hull.sample(jax.random.key(0), 3)
    gamma = hull.coordinates(hull.anchors[0] - hull.anchors[1]).gamma
    low, high = hull.reach(alpha, gamma)
    inside = hull.edit(alpha, gamma, 0.5 * high, edge)
    np.testing.assert_allclose(
      inside, alpha + 0.5 * high[:, None] * gamma, atol=1e-6
    )
    for strength in (3 * high, 3 * low):
      moved = np.asarray(hull.edit(alpha, gamma, strength, edge))
      np.testing.assert_allclose(moved.sum(axis=1), 1, atol=1e-5)
      if edge == "continue":
        self.assertLess(moved.min(), -hull.beta - 1e-3)
      else:
        self.assertGreaterEqual(moved.min(), -hull.beta - 1e-6)
    if edge == "stop":
      np.testing.assert_allclose(
        hull.edit(alpha, gamma, 3 * high, edge),
        alpha + high[:, None] * gamma,
        atol=1e-6,
      )

  def test_bad_input(self):
    hull = self.hull()
    for pattern, call in (
      ("beta", lambda: latents.Hull.of(hull.anchors, -0.1)),
      ("anchors", lambda: latents.Hull.of(np.zeros((3, 4)))),
      ("alpha", lambda: hull.latents(np.zeros((2, 9)))),
      ("ws", lambda: hull.project(np.zeros((2, 4, 15)))),
      ("direction", lambda: hull.coordinates(np.zeros(16))),
      ("edge", lambda: hull.edit(np.zeros((1, 10)), np.zeros(10), 1.0, "jump")),
    ):
      with self.assertRaisesRegex(UserError, f"^{pattern}"):
        call()


class ConstrainedTest(parameterized.TestCase):
  @settings(max_examples=50, deadline=None)
  @given(
    st.integers(0, 2**31),
    st.sampled_from([0.0, 0.02, 0.5]),
    st.sampled_from([0.01, 1.0, 100.0]),
  )
  def test_is_in_the_hull(self, seed, beta, size):
    raw = size * np.random.default_rng(seed).normal(size=(3, 7))
    alpha = np.asarray(latents.constrained(raw.astype(np.float32), beta))
    np.testing.assert_allclose(alpha.sum(axis=1), 1, atol=1e-5)
    self.assertGreaterEqual(alpha.min(), -beta - 1e-6)

  def test_weights_stay_about_what_they_are(self):
    alpha = np.full((1, 5), 0.2, np.float32)
    np.testing.assert_allclose(
      latents.constrained(alpha, 0.02), alpha, atol=1e-6
    )

  def test_offsets_cost_and_have_slopes(self):
    alpha = np.full((2, 3), 1 / 3, np.float32)
    zero = np.zeros((2, 5, 3), np.float32)
    np.testing.assert_allclose(
      latents.offset_penalty(alpha, zero), 0, atol=1e-6
    )
    one = zero.copy()
    one[0, 1] = [0.3, -0.3, 0]
    one[1, 4] = [0.3, -0.3, 0]  # of the last layers, lengths do not count
    np.testing.assert_allclose(
      latents.offset_penalty(alpha, one), [0.3 * 2**0.5, 0], atol=1e-5
    )
    slope = jax.grad(lambda x: latents.offset_penalty(alpha, x).sum())(zero)
    self.assertTrue(np.isfinite(slope).all())


class BetweenTest(parameterized.TestCase):
  @parameterized.parameters(True, False)
  def test_ends_and_equal_ends(self, spherical):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 16)).astype(np.float32)
    t = np.linspace(0, 1, 5)
    way = np.asarray(latents.between(x, y, t, spherical=spherical))
    np.testing.assert_array_equal(way[[0, -1]], [x, y])
    flat = latents.between(x, x, t, spherical=spherical)
    np.testing.assert_allclose(flat, np.broadcast_to(x, (5, 4, 16)), atol=1e-6)

  def test_spherical_keeps_the_length(self):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 16)).astype(np.float32)
    centre = rng.normal(size=16).astype(np.float32)
    y = centre + (y - centre) * (
      np.linalg.norm(x - centre, axis=-1, keepdims=True)
      / np.linalg.norm(y - centre, axis=-1, keepdims=True)
    )
    way = latents.between(
      x, y, np.linspace(0, 1, 7), spherical=True, centre=centre
    )
    length = np.linalg.norm(way - centre, axis=-1)
    np.testing.assert_allclose(
      length, np.broadcast_to(length[0], (7, 4)), rtol=1e-5
    )


if __name__ == "__main__":
  absltest.main()

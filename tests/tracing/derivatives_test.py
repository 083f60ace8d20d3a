"""Derivatives in all directions and orders, and what is said where not."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import Generator, latents, lora, LoraConfig
from my3dgen_jax.demo import shipped
from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import dists, identity, lpips
from my3dgen_jax.tracing import derivatives, platforms
from my3dgen_jax.types import Network
from tests.support import classifiers, golden
from tests.support.tiny import random_variables, TINY

LORA = LoraConfig(rank=2)
ANY = dataclasses.replace(TINY, differentiation="any")


class GeneratorTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    rng = np.random.default_rng(0)
    draw = lambda leaf: jnp.asarray(
      0.1 * rng.standard_normal(leaf.shape), jnp.float32
    )
    cls.base = random_variables()
    tree = lora.init(jax.random.key(0), TINY, LORA)
    tree = jax.tree.map(lambda leaf: leaf + draw(leaf), tree)
    cls.at = tree, jnp.asarray(golden.draw("ws", (1, TINY.num_ws, TINY.w_dim)))
    cls.along = jax.tree.map(draw, cls.at)
    cls.c = golden.two_cameras()[:1]

  @classmethod
  def loss(cls, config, at):
    tree, ws = at
    out = Generator(config, LORA).apply(
      lora.merge_collections(cls.base, tree), ws, cls.c, method="synthesis"
    )
    return jnp.mean(out.image**2) + jnp.mean(out.image_raw**2)

  @classmethod
  @functools.cache
  def value_and_gradient(cls, config):
    """Of `loss` at a point; one program for all tests."""
    return jax.jit(jax.value_and_grad(functools.partial(cls.loss, config)))

  def slope(self, gradient):
    """The derivative along the direction, by the gradient."""
    return sum(
      jnp.vdot(a, b)
      for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(self.along))
    )

  @parameterized.parameters(False, True)
  def test_forward_mode(self, both_ways):
    if both_ways:
      platforms.trace_for_cpu_alone(False)
      self.addCleanup(platforms.trace_for_cpu_alone)
      jax.clear_caches()
    right, gradient = self.value_and_gradient(TINY)(self.at)
    value, tangent = jax.jit(
      lambda at, along: jax.jvp(
        functools.partial(self.loss, ANY), (at,), (along,)
      )
    )(self.at, self.along)
    self.assertAlmostEqual(
      float(tangent), float(self.slope(gradient)), delta=1e-4 * abs(tangent)
    )
    self.assertAlmostEqual(float(value), float(right), places=5)

  def test_any_gives_the_same_gradient(self):
    right, found = (
      self.value_and_gradient(config)(self.at)[1] for config in (TINY, ANY)
    )
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(right)):
      np.testing.assert_allclose(
        mine, other, rtol=1e-3, atol=1e-5 * jnp.abs(other).max() + 1e-9
      )

  def test_second_order(self):
    """Reverse over reverse by the rules; forward over reverse without."""
    along = jax.jit(
      jax.grad(
        lambda at: self.slope(jax.grad(functools.partial(self.loss, TINY))(at))
      )
    )(self.at)
    _, other = jax.jit(
      lambda at: jax.jvp(
        jax.grad(functools.partial(self.loss, ANY)), (at,), (self.along,)
      )
    )(self.at)
    for mine, right in zip(jax.tree.leaves(along), jax.tree.leaves(other)):
      np.testing.assert_allclose(
        mine, right, rtol=1e-2, atol=1e-4 * jnp.abs(right).max() + 1e-8
      )
    # And by differences, which know of no rule.
    step = 1e-3
    moved = [
      self.value_and_gradient(TINY)(
        jax.tree.map(lambda x, v: x + sign * step * v, self.at, self.along)
      )[1]
      for sign in (1, -1)
    ]
    by_differences = (self.slope(moved[0]) - self.slope(moved[1])) / (2 * step)
    self.assertAlmostEqual(
      float(self.slope(along)),
      float(by_differences),
      delta=2e-3 * abs(by_differences),
    )

  def test_error_names_the_remedy(self):
    with self.assertRaisesRegex(UserError, "differentiation='any'"):
      jax.jvp(functools.partial(self.loss, TINY), (self.at,), (self.along,))

  def test_config(self):
    self.assertEqual(TINY.to_dict().get("differentiation"), None)
    self.assertEqual(type(ANY).from_dict(ANY.to_dict()), ANY)
    with self.assertRaisesRegex(UserError, "^differentiation: "):
      dataclasses.replace(TINY, differentiation="forward").validate()


class LossesTest(parameterized.TestCase):
  @parameterized.parameters("lpips", "to_photos", "dists", "identity")
  def test_forward_mode(self, name):
    rng = np.random.default_rng(0)
    x, y, along = (
      jnp.asarray(rng.uniform(-1, 1, (1, 31, 31, 3)), jnp.float32)
      for _ in range(3)
    )
    if name == "dists":
      network = Network(classifiers.dists_variables(), dists.Dists())
      loss = lambda network, x: jnp.sum(network(x, y))
    elif name == "identity":
      network = identity.load_identity(shipped.IDENTITY)
      loss = lambda network, x: jnp.sum(
        network.module.embed(network.variables, x)[:, ::2]
      )
    else:
      network = Network(classifiers.lpips_variables("alex"), lpips.Lpips())
      method = "__call__" if name == "lpips" else name
      loss = lambda network, x: jnp.sum(network(x, y, method=method))
    gradient = lambda: jax.jit(jax.grad(loss, argnums=1))(network, x)
    found = gradient()
    with derivatives.automatic():
      _, tangent = jax.jvp(
        functools.partial(jax.jit(loss), network), (x,), (along,)
      )
    right = float(jnp.vdot(found, along))
    self.assertAlmostEqual(float(tangent), right, delta=1e-3 * abs(right))
    # The rules are back.
    np.testing.assert_array_equal(gradient(), found)


class HullTest(parameterized.TestCase):
  """Projections are differentiated by what holds at the solution."""

  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(1)
    draw = lambda *shape: jnp.asarray(rng.standard_normal(shape), jnp.float32)
    self.anchors, self.ws = draw(5, 3, 4), draw(2, 3, 4)
    self.along = draw(5, 3, 4), draw(2, 3, 4), jnp.float32(0.3)
    self.weights = draw(2, 5)

  def score(self, anchors, ws, beta):
    return jnp.vdot(self.weights, latents.Hull.of(anchors, beta).project(ws))

  @parameterized.parameters(0.02, 0.3)
  def test_all_directions_agree(self, beta):
    at = self.anchors, self.ws, jnp.float32(beta)
    gradient = jax.jit(jax.grad(self.score, argnums=(0, 1, 2)))(*at)
    backward = sum(map(jnp.vdot, gradient, self.along))
    _, forward = jax.jit(lambda *at: jax.jvp(self.score, at, self.along))(*at)
    moved = [
      self.score(*(x + sign * 1e-3 * v for x, v in zip(at, self.along)))
      for sign in (1, -1)
    ]
    by_differences = float(moved[0] - moved[1]) / 2e-3
    alpha = latents.Hull.of(*at[::2]).project(self.ws)
    self.assertTrue((alpha < -beta + 1e-5).any())  # some weights are held
    for found in (backward, forward):
      self.assertAlmostEqual(
        float(found), by_differences, delta=0.02 * abs(by_differences) + 1e-3
      )

  def test_beta_may_be_traced(self):
    project = jax.jit(
      lambda beta: latents.Hull.of(self.anchors, beta).project(self.ws)
    )
    for beta in (0.0, 0.1):
      np.testing.assert_allclose(
        project(beta),
        latents.Hull.of(self.anchors, beta).project(self.ws),
        atol=1e-5,
      )
    with self.assertRaisesRegex(UserError, "beta: expected a number in"):
      latents.Hull.of(self.anchors, 1.5)


if __name__ == "__main__":
  absltest.main()

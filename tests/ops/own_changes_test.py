"""Stacks of adapters share their kernels, with the same numbers and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.ops import modulated_conv
from my3dgen_jax.tracing import derivatives
from my3dgen_jax.types import LowRank

_PEOPLE, _COUNT, _IN, _OUT = 3, 2, 5, 7
_GROUPS = r"(feature|batch)_group_count = [2-9]"


def _relative(found, expected):
  return max(
    float(jnp.abs(x - y).max() / (jnp.abs(y).max() + 1e-9))
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected))
  )


class OwnChangesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    rng = np.random.default_rng(0)
    normal = lambda *shape: jnp.asarray(
      rng.standard_normal(shape).astype(np.float32)
    )
    self.base = normal(3, 3, _IN, _OUT)
    self.own = (
      normal(_PEOPLE, _COUNT, 6, 6, _IN),
      normal(_PEOPLE, _COUNT, _IN),
      normal(_PEOPLE, 3, 3, _IN, 2),
      normal(_PEOPLE, 2, _OUT),
    )

  def layer(self, up, base, x, styles, a, b):
    kernel = base + jnp.einsum("uvir,ro->uvio", a, b)
    change = LowRank(a=a, b=b)
    y = modulated_conv.modulated_conv2d(
      x, kernel, styles, up=up, demodulate=False, base=base, low_rank=change
    )
    scale = modulated_conv.own_demodulation(kernel, styles, base, change)
    return y * scale[:, None, None, :]

  def each(self, function, *arguments):
    one = jax.jit(function)
    rows = [one(*(x[i] for x in arguments)) for i in range(_PEOPLE)]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *rows)

  @parameterized.parameters(1, 2)
  def test_values(self, up):
    layer = functools.partial(self.layer, up, self.base)
    found = jax.jit(jax.vmap(layer))(*self.own)
    self.assertLess(_relative(found, self.each(layer, *self.own)), 2e-6)

  @parameterized.parameters(1, 2)
  def test_gradients_of_each(self, up):
    loss = lambda base, *own: jnp.sum(jnp.sin(self.layer(up, base, *own)))
    gradient = jax.grad(loss, argnums=(0, 1, 2, 3, 4))
    within = functools.partial(gradient, self.base)
    found = jax.jit(jax.vmap(within))(*self.own)
    self.assertLess(_relative(found, self.each(within, *self.own)), 1e-5)

  @parameterized.parameters(1, 2)
  def test_gradients_of_the_sum(self, up):
    """The other way round; what is shared gets the sum of all."""
    loss = lambda base, *own: jnp.sum(jnp.sin(self.layer(up, base, *own)))
    total = lambda base, *own: jnp.sum(
      jax.vmap(functools.partial(loss, base))(*own)
    )
    of_base, *of_own = jax.jit(jax.grad(total, argnums=(0, 1, 2, 3, 4)))(
      self.base, *self.own
    )
    wanted_base, *wanted = self.each(
      functools.partial(jax.grad(loss, argnums=(0, 1, 2, 3, 4)), self.base),
      *self.own,
    )
    self.assertLess(_relative(of_own, wanted), 1e-5)
    self.assertLess(_relative(of_base, wanted_base.sum(0)), 1e-5)

  @parameterized.parameters("cpu", "cuda")
  def test_no_kernel_of_each_s_own(self, platform):
    for up in (1, 2):
      layer = functools.partial(self.layer, up, self.base)
      text = (
        jax.jit(jax.vmap(layer))
        .trace(*self.own)
        .lower(lowering_platforms=(platform,))
        .as_text()
      )
      self.assertIn("convolution", text)
      self.assertNotRegex(text, _GROUPS)
    one_each = jax.vmap(
      lambda x, kernel: jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
      )
    )
    text = jax.jit(one_each).lower(
      self.own[0], jnp.zeros((_PEOPLE, 3, 3, _IN, _OUT))
    )
    self.assertRegex(text.as_text(), _GROUPS)  # so the test can fail

  def test_other_stacks(self):
    """Of bases, or of photos of one person: as `jax.vmap` does it."""
    bases = jnp.stack([self.base, 2 * self.base, -self.base])
    layer = functools.partial(self.layer, 1)
    found = jax.jit(jax.vmap(layer))(bases, *self.own)
    self.assertLess(_relative(found, self.each(layer, bases, *self.own)), 2e-6)
    x, styles, a, b = self.own
    layer = lambda x, styles: self.layer(1, self.base, x, styles, a[0], b[0])
    self.assertLess(
      _relative(jax.vmap(layer)(x, styles), self.each(layer, x, styles)), 2e-6
    )

  def test_stacks_of_adapters_for_one_photo(self):
    x, styles, a, b = self.own
    layer = lambda a, b: self.layer(2, self.base, x[0], styles[0], a, b)
    self.assertLess(
      _relative(jax.jit(jax.vmap(layer))(a, b), self.each(layer, a, b)), 2e-6
    )

  def test_traced_for_one_before(self):
    """JAX then knows of no stack: the numbers are right all the same."""
    layer = jax.jit(functools.partial(self.layer, 1, self.base))
    found = jax.vmap(layer)(*self.own)
    self.assertLess(_relative(found, self.each(layer, *self.own)), 2e-6)

  def test_alone_nothing_is_added(self):
    """The program of one person is what it was."""
    layer = functools.partial(self.layer, 1, self.base)
    text = str(
      jax.make_jaxpr(jax.grad(lambda *x: jnp.sum(layer(*x))))(
        *(x[0] for x in self.own)
      )
    )
    self.assertNotIn("custom_vmap", text)
    stacked = str(jax.make_jaxpr(lambda *x: jax.vmap(layer)(*x))(*self.own))
    self.assertNotIn("custom_vmap", stacked)  # the rule is in its place

  def test_a_stack_on_each_of_several_devices(self):
    """Their `jax.vmap` has kernels of its own, the people's has none."""
    layer = functools.partial(self.layer, 1)
    people = jax.vmap(layer, (None, 0, 0, 0, 0))
    both = jax.tree.map(lambda x: jnp.stack([x] * 2), (self.base, *self.own))
    text = jax.jit(jax.vmap(people)).lower(*both).as_text()
    self.assertIn("feature_group_count = 2", text)
    self.assertNotIn(f"feature_group_count = {2 * _PEOPLE}", text)

  def test_nested(self):
    twice = tuple(jnp.stack([x, x[::-1]]) for x in self.own)
    layer = functools.partial(self.layer, 1, self.base)
    found = jax.jit(jax.vmap(jax.vmap(layer)))(*twice)
    expected = jnp.stack(
      [self.each(layer, *(x[i] for x in twice)) for i in range(2)]
    )
    self.assertLess(_relative(found, expected), 2e-6)

  def test_second_derivatives_and_forwards(self):
    x, styles, a, b = (x[0] for x in self.own)
    loss = lambda a: jnp.sum(jnp.sin(self.layer(1, self.base, x, styles, a, b)))
    length = lambda a: jnp.sum(jnp.square(jax.grad(loss)(a)))
    found, gradient = jax.jit(
      lambda a: (jax.grad(length)(a), jax.grad(loss)(a))
    )(a)
    with derivatives.automatic():
      expected = jax.jit(jax.grad(length))(a)
      _, tangent = jax.jvp(loss, (a,), (jnp.ones_like(a),))
    self.assertLess(_relative(found, expected), 1e-4)
    self.assertLess(_relative(tangent, jnp.sum(gradient)), 1e-4)
    stacked = jax.jit(jax.vmap(jax.grad(length)))(jnp.stack([a, 2 * a]))
    self.assertLess(_relative(stacked[0], found), 1e-4)


if __name__ == "__main__":
  absltest.main()

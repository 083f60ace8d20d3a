"""What a GPU computes is what a CPU computes: both ways, values, gradients.

A program that is lowered for CUDA holds nothing of CUDA yet, so it can be
compiled for the CPU that the tests run on.
"""

import dataclasses
import functools
from unittest import mock

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from jax import export

from my3dgen_jax import Generator, lora, LoraConfig
from my3dgen_jax.losses import backbones
from my3dgen_jax.models.generator import init_variables
from my3dgen_jax.ops import convolution, low_rank, upfirdn2d
from my3dgen_jax.ops.rendering import volume
from my3dgen_jax.tracing import platforms
from my3dgen_jax.tracing.platforms import by_platform
from my3dgen_jax.types import LowRank
from tests.support import albums, golden
from tests.support.tiny import TINY

pytestmark = pytest.mark.usefixtures("both_ways")

# Wider than what a CPU leaves to XLA, so that its own rules are used.
WIDE = dataclasses.replace(
  TINY,
  backbone=dataclasses.replace(
    TINY.backbone, channel_base=TINY.backbone.resolution * 72, channel_max=72
  ),
)


def as_on_a_gpu(function):
  """The function, lowered for CUDA and run here."""

  def run(*arguments):
    exported = export.export(
      jax.jit(function),
      platforms=("cuda",),
      disabled_checks=[export.DisabledSafetyCheck.platform()],
    )(*arguments)
    return jax.jit(exported.call)(*arguments)

  return run


class ByPlatformTest(absltest.TestCase):
  def test_each_platform_has_its_own(self):
    """And its own gradient; this shows that `as_on_a_gpu` is one."""
    function = by_platform(cpu=lambda x: 2 * x, default=lambda x: 3 * x)
    self.assertEqual(jax.value_and_grad(function)(1.0), (2, 2))
    self.assertEqual(as_on_a_gpu(jax.value_and_grad(function))(1.0), (3, 3))

  def test_where_the_backend_is_no_cpu(self):
    """The CPU's way is not even traced, of values and of gradients."""

    def never(x):
      raise AssertionError(x)

    function = by_platform(
      cpu=never, default=lambda x: 3 * x**2, recompute=True
    )
    with mock.patch.object(jax, "default_backend", return_value="cuda"):
      value, gradient = jax.value_and_grad(function)(2.0)
    self.assertEqual((value, gradient), (12, 12))


class ForEachTest(parameterized.TestCase):
  @parameterized.parameters(2**20, 12)
  def test_alike_ones_go_together(self, most):
    """Each gets what is its own, whatever is stacked: values, gradients."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    items = [
      {"x": draw(3, size), "y": draw(size, width)}
      for size, width in ((2, 5), (4, 5), (2, 5), (2, 4), (2, 5))
    ]

    def function(item):
      return jnp.tanh(item["x"] @ item["y"]), item["x"][0]

    def loss(run, items):
      return sum(
        jnp.sum(jnp.cos(i * first)) + jnp.sum(second)
        for i, (first, second) in enumerate(run(items))
      )

    self.enter_context(mock.patch.object(platforms, "_MOST_STACKED", most))
    many = platforms.together(function)
    grouped = jax.value_and_grad(functools.partial(loss, many))(items)
    single = jax.value_and_grad(
      functools.partial(loss, platforms.one_by_one(function))
    )(items)
    chex.assert_trees_all_close(grouped, single, rtol=1e-5, atol=1e-6)
    text = jax.jit(many).lower(items).as_text()
    self.assertEqual(text.count("stablehlo.tanh"), 3 if most > 12 else 5)

  def test_each_platform_has_its_own(self):
    function = platforms.for_each(cpu=lambda x: 2 * x, default=lambda x: 3 * x)
    loss = lambda xs: sum(jnp.sum(x) for x in function(xs))
    items = [jnp.ones(2), jnp.ones(2), jnp.ones(3)]
    for run, factor in ((jax.jit, 2), (as_on_a_gpu, 3)):
      value, gradients = run(jax.value_and_grad(loss))(items)
      self.assertEqual(value, 7 * factor)
      for gradient in gradients:
        np.testing.assert_array_equal(gradient, factor)


class BothWaysTest(parameterized.TestCase):
  @parameterized.product(size=(2, 3), ceil=(False, True), side=(8, 9))
  def test_max_pool(self, size, ceil, side):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, side, side + 1, 3)).astype(np.float32)
    weights = np.arange(2 * 6 * 6 * 3, dtype=np.float32).reshape(2, 6, 6, 3)

    def loss(x):
      pooled = backbones.max_pool(x, backbones.MaxPool(size, ceil))
      return jnp.sum(
        pooled * weights[:, : pooled.shape[1], : pooled.shape[2]]
      ), pooled

    gradient = jax.value_and_grad(loss, has_aux=True)
    chex.assert_trees_all_close(
      jax.jit(gradient)(x), as_on_a_gpu(gradient)(x), rtol=1e-6
    )

  @parameterized.parameters(1, 2, 48)
  def test_interval_weights(self, samples):
    """Also of rays that are blocked, whose products are below 1e-38."""
    rng = np.random.default_rng(0)
    depths = np.cumsum(0.1 + rng.random((4, samples + 1)), axis=-1).astype(
      np.float32
    )
    sigma = (5 * rng.standard_normal(depths.shape)).astype(np.float32)
    sigma[0], sigma[1] = 1e6, -1e6

    def loss(depths, sigma):
      weights = volume.interval_weights(depths, sigma)
      return jnp.sum(weights * np.arange(1, samples + 1)), weights

    gradient = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
    here, there = (
      run(gradient)(depths, sigma) for run in (jax.jit, as_on_a_gpu)
    )
    chex.assert_trees_all_close(here, there, rtol=1e-4, atol=1e-5)
    chex.assert_tree_all_finite(there)


class ConvolutionTest(parameterized.TestCase):
  @parameterized.product(up=(1, 2), pairs=(False, True))
  def test_gradients(self, up, pairs):
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    x, base = draw(2, 6, 5, 70), draw(3, 3, 70, 66)
    a, b = draw(3, 3, 70, 3), draw(3, 66)
    weights = draw(2, 6 * up, 5 * up, 66)
    convolve = upfirdn2d.conv_up2 if up == 2 else convolution.conv2d

    def loss(x, base, a, b):
      if not pairs:
        return jnp.sum(jnp.square(convolve(x, base) - weights))
      change = LowRank(a=a, b=b)
      return jnp.sum(
        jnp.square(
          weights
          - convolve(
            x, low_rank.added(base, change), base=base, low_rank=change
          )
        )
      )

    gradient = jax.value_and_grad(
      loss, argnums=(0, 1, 2, 3)[: 4 if pairs else 2]
    )
    here, there = (
      run(x, base, a, b) for run in (jax.jit(gradient), as_on_a_gpu(gradient))
    )
    for mine, right in zip(jax.tree.leaves(here), jax.tree.leaves(there)):
      self.assertLess(golden.relative_error(mine, right), 5e-6)


class GeneratorTest(parameterized.TestCase):
  @parameterized.parameters(1, 3)
  def test_image_and_gradients(self, rank):
    """A whole generator with an adapter: rank 3 takes products, not sums."""
    config = LoraConfig(rank=rank, alpha=0.5)
    base = init_variables(jax.random.key(0), WIDE)
    person = lora.init(jax.random.key(1), WIDE, config)
    person = jax.tree.map(
      lambda leaf: (
        leaf + 0.05 * jax.random.normal(jax.random.key(2), leaf.shape)
      ),
      person,
    )
    ws = jax.random.normal(jax.random.key(3), (2, WIDE.num_ws, WIDE.w_dim))
    c = jnp.asarray(albums.labels(2))

    def loss(person, params, ws):
      out = Generator(WIDE, config).apply(
        {**base, "params": params, "lora": person}, ws, c, method="synthesis"
      )
      return (
        jnp.mean(jnp.square(out.image)) + jnp.mean(jnp.square(out.image_raw))
      ), out

    gradient = jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)
    here, there = (
      run(person, base["params"], ws)
      for run in (jax.jit(gradient), as_on_a_gpu(gradient))
    )
    for (path, right), mine in zip(
      jax.tree_util.tree_leaves_with_path(here),
      jax.tree.leaves(there),
      strict=True,
    ):
      self.assertLess(
        np.abs(mine - right).max(),
        1e-4 * np.abs(right).max() + 1e-9,
        jax.tree_util.keystr(path),
      )


if __name__ == "__main__":
  absltest.main()

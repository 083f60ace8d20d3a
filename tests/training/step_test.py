"""One step of tuning: devices and parts agree, NaN changes nothing."""

import dataclasses
import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.config import LoraConfig, LossConfig, TuningConfig
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.objective import TuningBatch
from my3dgen_jax.training.step import make_step
from tests.support import albums
from tests.support.tiny import random_variables, TINY

LORA = LoraConfig()
TUNING = TuningConfig(batch_size=4)
# LPIPS cannot look at images as small as these.
LOSS = LossConfig(lpips_weight=0.0)


def photos(seed=0):
  rng = np.random.default_rng(seed)
  side = TINY.img_resolution
  return TuningBatch(
    image=rng.uniform(-1, 1, (4, side, side, 3)).astype(np.float32),
    c=albums.labels(4),
    ws=rng.standard_normal((4, TINY.num_ws, 4)).astype(np.float32),
    key=np.arange(8, dtype=np.uint32).reshape(4, 2),
  )


class Runner:
  """A compiled step and a fresh state."""

  def __init__(
    self,
    num_devices=1,
    accumulation=1,
    lora_config=LORA,
    dtype="float32",
    tuning=TUNING,
  ):
    config = dataclasses.replace(TINY, dtype=dtype)
    self.devices = devices_lib.local_devices(num_devices)
    self.accumulation = accumulation
    self.base = random_variables()
    trainable, frozen = state_lib.split(
      jax.random.key(0), config, self.base, lora_config
    )
    self.start = jax.tree.map(
      np.asarray,
      state_lib.unravelled(state_lib.init_state(trainable, tuning), trainable),
    )
    self.frozen = devices_lib.replicate(frozen, self.devices)
    self.step = make_step(config, tuning, LOSS, lora_config, self.devices)

  def run(self, *batches):
    state = devices_lib.replicate(state_lib.ravelled(self.start), self.devices)
    metrics = None
    for batch in batches:
      batch = devices_lib.scatter(
        shard(
          batch, num_devices=len(self.devices), accumulation=self.accumulation
        ),
        self.devices,
      )
      state, metrics = self.step(state, self.frozen, {}, batch)
    return (
      state_lib.unravelled(devices_lib.first(state), self.start.trainable),
      devices_lib.first(metrics),
    )


runner = functools.cache(Runner)


def is_unused(path):
  """EG3D's super-resolution has noise strengths, and renders without."""
  return path[0].key == "superresolution" and (
    path[-1].key.removesuffix("_offset") == "noise_strength"
  )


class StepTest(parameterized.TestCase):
  @parameterized.parameters((2, 1), (4, 1), (1, 2))
  def test_devices_and_parts_agree(self, num_devices, accumulation):
    batches = [photos(seed) for seed in range(3)]
    one, one_metrics = runner().run(*batches)
    many, many_metrics = runner(num_devices, accumulation).run(*batches)
    chex.assert_trees_all_close(many.trainable, one.trainable, atol=2e-5)
    chex.assert_trees_all_close(many_metrics, one_metrics, rtol=1e-5)
    moved = jax.tree.map(
      lambda a, b: np.abs(a - b).max(), one.trainable, runner().start.trainable
    )
    self.assertGreater(max(jax.tree.leaves(moved)), 1e-3)

  def test_not_finite_changes_nothing(self):
    batch = photos()
    bad = batch.replace(image=np.full_like(batch.image, np.nan))
    state, metrics = runner().run(batch, bad)
    good, _ = runner().run(batch)
    self.assertFalse(metrics["finite"])
    chex.assert_trees_all_equal(state, good)
    self.assertEqual(int(state.step), 1)

  def test_the_average_is_of_the_steps(self):
    """Weighted as its decay rate says; what is tuned is as without it."""
    averaged = runner(tuning=dataclasses.replace(TUNING, average=0.3))
    batches = [photos(seed) for seed in range(3)]
    expected = runner().start.trainable
    for made in range(3):
      plain, _ = runner().run(*batches[: made + 1])
      state, _ = averaged.run(*batches[: made + 1])
      chex.assert_trees_all_close(state.trainable, plain.trainable, atol=1e-6)
      decay = min(0.3, (made + 1) / (made + 10))
      expected = jax.tree.map(
        lambda old, new, decay=decay: decay * old + (1 - decay) * new,
        expected,
        plain.trainable,
      )
      chex.assert_trees_all_close(state.result, expected, atol=1e-6)
    chex.assert_trees_all_equal(plain.result, plain.trainable)
    bad = batches[0].replace(image=np.full_like(batches[0].image, np.nan))
    left, metrics = averaged.run(*batches, bad)
    self.assertFalse(metrics["finite"])
    chex.assert_trees_all_equal(left, state)

  def test_bfloat16_computes_nearly_the_same(self):
    _, exact = runner().run(photos())
    state, metrics = runner(dtype="bfloat16").run(photos())
    self.assertTrue(metrics["finite"])
    np.testing.assert_allclose(metrics["loss"], exact["loss"], rtol=0.02)
    np.testing.assert_allclose(metrics["gradient"], exact["gradient"], rtol=0.1)
    for leaf in jax.tree.leaves(state.trainable):
      self.assertEqual(leaf.dtype, np.float32)

  def test_params_are_left_alone(self):
    before = jax.tree.map(np.array, runner().base)
    runner().run(photos())
    chex.assert_trees_all_equal(devices_lib.first(runner().frozen), before)

  def test_everything_personal_gets_a_gradient(self):
    state, _ = runner().run(photos(), photos(1))
    for (path, leaf), old in zip(
      jax.tree_util.tree_leaves_with_path(state.trainable),
      jax.tree.leaves(runner().start.trainable),
    ):
      if not is_unused(path):
        self.assertTrue((leaf != old).any(), jax.tree_util.keystr(path))

  def test_full_tuning_moves_all_but_the_mapping(self):
    full = runner(1, 1, None)
    state, metrics = full.run(photos())
    self.assertTrue(metrics["finite"])
    self.assertNotIn("mapping", state.trainable["backbone"])
    for path, leaf in jax.tree_util.tree_leaves_with_path(
      jax.tree.map(
        lambda a, b: np.abs(a - b).max(), state.trainable, full.start.trainable
      )
    ):
      if not is_unused(path):
        self.assertGreater(leaf, 0, jax.tree_util.keystr(path))
    joined = state_lib.join(
      TINY, state.trainable, devices_lib.first(full.frozen), None
    )
    chex.assert_trees_all_equal_shapes(joined.variables, full.base)


class VectorTest(parameterized.TestCase):
  @parameterized.parameters(LORA, None)
  def test_trees_and_vectors(self, lora_config):
    """A state is the same numbers in both forms, moments too."""
    trainable, _ = state_lib.split(
      jax.random.key(0), TINY, random_variables(), lora_config
    )
    chex.assert_trees_all_equal_shapes_and_dtypes(
      trainable, state_lib.abstract_trainable(TINY, lora_config)
    )
    vectors = state_lib.init_state(trainable, TUNING)
    self.assertEqual(vectors.trainable.shape, (state_lib.numbers(trainable),))
    vectors = vectors.replace(
      opt_state=jax.tree.map(
        lambda leaf: leaf + 1 + jnp.arange(leaf.size).reshape(leaf.shape),
        vectors.opt_state,
      )
    )
    trees = state_lib.unravelled(vectors, trainable)
    chex.assert_trees_all_equal(trees.trainable, trainable)
    chex.assert_trees_all_equal_shapes(trees.opt_state[0].mu, trainable)
    # As one optimises trees by hand, and as earlier versions kept them.
    chex.assert_trees_all_equal_shapes(
      trees.opt_state, state_lib.optimizer(TUNING).init(trainable)
    )
    chex.assert_trees_all_equal(state_lib.ravelled(trees), vectors)


class OptimizerTest(absltest.TestCase):
  def test_lazy_correction(self):
    """4 of 5 steps: rate 0.002, decay 0.99^0.8."""
    trainable = {"a": jnp.ones(1)}
    optimizer = state_lib.optimizer(TuningConfig())
    opt_state = optimizer.init(trainable)
    updates, opt_state = optimizer.update({"a": jnp.full(1, 2.0)}, opt_state)
    self.assertAlmostEqual(float(updates["a"][0]), -0.002, places=7)
    self.assertAlmostEqual(
      float(opt_state[0].nu["a"][0]), 4 * (1 - 0.99**0.8), places=6
    )

  def test_without(self):
    optimizer = state_lib.optimizer(TuningConfig(lazy_interval=0))
    trainable = {"a": jnp.ones(1)}
    updates, _ = optimizer.update(
      {"a": jnp.full(1, 2.0)}, optimizer.init(trainable)
    )
    self.assertAlmostEqual(float(updates["a"][0]), -0.0025, places=7)

  def test_falling_rate(self):
    """A short rise, the rate itself, and nearly nothing at the last step."""
    config = TuningConfig(decay="cosine", steps=40)
    shares = [state_lib.rate_share(config, step) for step in range(40)]
    np.testing.assert_allclose(shares[:3], [1 / 3, 2 / 3, 1])
    self.assertTrue(np.all(np.diff(shares[2:]) < 0))
    self.assertBetween(shares[-1], 1e-4, 0.01)
    self.assertIsNone(state_lib.rate_share(TuningConfig(), 3))

  def test_a_step_uses_its_rate(self):
    batch = photos()
    vector = lambda state: np.asarray(state_lib.ravel(state.trainable))
    start = vector(runner().start)
    whole, half = (
      vector(runner().run(one)[0]) - start
      for one in (batch, batch.replace(rate=np.full(len(batch.c), 0.5)))
    )
    self.assertGreater(np.abs(whole).max(), 1e-4)
    np.testing.assert_allclose(half, 0.5 * whole, atol=1e-6)


if __name__ == "__main__":
  absltest.main()

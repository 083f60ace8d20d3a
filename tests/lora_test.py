"""Adapters: counts, no change at first, merging, gradients, files."""

import dataclasses
import os
import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from absl.testing import absltest, parameterized
from flax.traverse_util import flatten_dict

from my3dgen_jax import Generator, lora, LoraConfig, preset
from my3dgen_jax.apps import describe
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models import adapter
from my3dgen_jax.ops import convolution, low_rank, upfirdn2d
from my3dgen_jax.types import LowRank
from tests.support import golden, programs
from tests.support.tiny import program, random_variables, TINY

LAYOUTS = ("kernel", "rank", "original")


def scrambled(tree, seed=0, size=0.1):
  """The tree with other numbers everywhere, as after training."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: jnp.asarray(
      leaf + size * rng.standard_normal(leaf.shape), jnp.float32
    ),
    tree,
  )


class CountTest(parameterized.TestCase):
  @parameterized.parameters(
    (1, "kernel", 240_030, 219_174),
    (4, "kernel", 897_552, 876_696),
    (16, "kernel", 3_527_640, 3_506_784),
    (1, "rank", 91_110 + 20_856, 91_110),
    (1, "original", 140_262 + 20_856, 140_262),
  )
  def test_of_the_ffhq_generator(self, rank, layout, total, pairs):
    tree = lora.abstract(
      preset("ffhqrebalanced512-128"), LoraConfig(rank=rank, conv_rank=layout)
    )
    self.assertEqual(lora.count(tree), (total, pairs))


class AdapterTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.base = random_variables()
    cls.ws = golden.draw("tiny.ws", (2, TINY.num_ws, TINY.w_dim))
    cls.c = golden.two_cameras()
    cls.plain = cls.render(cls.base)

  @classmethod
  def render(cls, variables, config=None):
    return program("synthesis", TINY, config)(variables, cls.ws, cls.c)

  @parameterized.parameters(
    (layout, rank) for layout, rank in zip(LAYOUTS, (1, 3, 2))
  )
  def test_starts_as_no_change(self, layout, rank):
    config = LoraConfig(rank=rank, alpha=2.0, conv_rank=layout)
    fresh = lora.init(jax.random.key(1), TINY, config)
    out = self.render(lora.merge_collections(self.base, fresh), config)
    chex.assert_trees_all_equal(out, self.plain)
    chex.assert_trees_all_equal(
      lora.merge_into_params(self.base, fresh, config)["params"],
      self.base["params"],
    )

  @parameterized.parameters(*LAYOUTS)
  def test_numbers_of_each_variable_are_its_own_keys(self, layout):
    """In few programs, and traced: as if each had been drawn by itself."""
    config, key = LoraConfig(rank=5, conv_rank=layout), jax.random.key(7)
    lora.init(key, TINY, LoraConfig(rank=6, conv_rank=layout))
    with programs.compiled() as compiled:
      found = lora.init(key, TINY, config)
    self.assertLessEqual(len(compiled), 1)
    traced = jax.jit(lambda key: lora.init(key, TINY, config))(key)
    chex.assert_trees_all_equal(found, traced)
    leaves = flatten_dict(found)
    self.assertNotEmpty([path for path in leaves if path[-1] == "lora_a"])
    for one, (path, leaf) in zip(
      jax.random.split(key, len(leaves)), leaves.items()
    ):
      self.assertIsInstance(leaf, jax.Array)
      np.testing.assert_array_equal(
        leaf, adapter.initial_value(one, path[-1], leaf.shape)
      )

  @parameterized.product(layout=LAYOUTS)
  def test_merged_equals_unmerged(self, layout):
    config = LoraConfig(rank=2, alpha=4.0, conv_rank=layout)
    tuned = scrambled(lora.init(jax.random.key(1), TINY, config))
    out = self.render(lora.merge_collections(self.base, tuned), config)
    merged = self.render(lora.merge_into_params(self.base, tuned, config))
    for name in ("image", "image_raw", "image_depth"):
      self.assertLess(
        golden.relative_error(getattr(merged, name), getattr(out, name)), 1e-5
      )
    self.assertGreater(golden.relative_error(out.image, self.plain.image), 0.01)

  def test_initial_values(self):
    config = LoraConfig(rank=2)
    fresh = lora.init(jax.random.key(1), TINY, config)
    layer = fresh["backbone"]["synthesis"]["b8"]["conv0"]
    a = np.asarray(layer["lora_a"])
    self.assertEqual(a.shape, (3, 3, 4, 6))
    self.assertLessEqual(np.abs(a).max(), 1 / 6)  # fan in 3 * 3 * 4
    self.assertGreater(np.abs(a).max(), 0.9 / 6)
    for path, leaf in jax.tree_util.tree_leaves_with_path(fresh):
      if "lora_a" not in str(path):
        self.assertFalse(np.asarray(leaf).any())
    self.assertEqual(set(fresh), {"backbone", "superresolution", "decoder"})
    self.assertEqual(set(fresh["backbone"]), {"synthesis"})

  def test_targets(self):
    config = LoraConfig(targets=("superresolution/block1/.*",))
    fresh = lora.init(jax.random.key(1), TINY, config)
    self.assertEqual(set(fresh), {"superresolution"})
    self.assertEqual(set(fresh["superresolution"]), {"block1"})
    out = self.render(
      lora.merge_collections(self.base, scrambled(fresh)), config
    )
    np.testing.assert_array_equal(out.image_raw, self.plain.image_raw)
    self.assertGreater(np.abs(out.image - self.plain.image).max(), 1e-3)
    with self.assertRaisesRegex(UserError, "lora.targets: .* match no layer"):
      lora.init(jax.random.key(1), TINY, LoraConfig(targets=("nose",)))

  @parameterized.parameters(
    (dict(rank=0), "lora.rank"),
    (dict(alpha=-1.0), "lora.alpha"),
    (dict(conv_rank="k"), "lora.conv_rank"),
    (dict(targets=("(",)), "lora.targets"),
    (dict(targets=("a", 3)), "lora.targets"),
  )
  def test_bad_settings(self, changes, field):
    with self.assertRaisesRegex(UserError, f"^{field}: "):
      LoraConfig(**changes).validate()

  @parameterized.product(layout=("kernel", "original"))
  def test_gradients_equal_those_through_the_merged_weights(self, layout):
    config = LoraConfig(rank=2, conv_rank=layout)
    tuned = scrambled(lora.init(jax.random.key(1), TINY, config))
    score = lambda out: jnp.sum(out.image**2) + jnp.sum(out.image_raw**2)

    def direct(tree):
      return score(
        Generator(TINY, config).apply(
          lora.merge_collections(self.base, tree),
          self.ws,
          self.c,
          method="synthesis",
        )
      )

    def merged(tree):
      return score(
        Generator(TINY).apply(
          lora.merge_into_params(self.base, tree, config),
          self.ws,
          self.c,
          method="synthesis",
        )
      )

    actual, expected = (jax.jit(jax.grad(f))(tuned) for f in (direct, merged))
    for (path, a), b in zip(
      jax.tree_util.tree_leaves_with_path(actual), jax.tree.leaves(expected)
    ):
      np.testing.assert_allclose(
        a,
        b,
        rtol=1e-3,
        atol=1e-4 * float(jnp.abs(b).max()) + 1e-6,
        err_msg=str(path),
      )

  def test_relative_change_of_a_known_change(self):
    config = LoraConfig(rank=1)
    fresh = lora.init(jax.random.key(1), TINY, config)
    changes = lora.relative_change(self.base["params"], fresh, config)
    self.assertEqual(
      set(changes),
      {
        "backbone/synthesis/b4",
        "backbone/synthesis/b8",
        "superresolution/block0",
        "superresolution/block1",
        "decoder",
      },
    )
    self.assertEqual(set(changes.values()), {0.0})
    kernel = self.base["params"]["decoder"]["fc0"]["kernel"]
    fresh["decoder"]["fc0"]["kernel_offset"] = 0.5 * kernel
    changes = lora.relative_change(self.base["params"], fresh, config)
    self.assertAlmostEqual(changes["decoder"], 25.0, places=4)  # of 50 and 0

  def test_average_is_of_the_changes(self):
    configs = [LoraConfig(rank=1, alpha=3.0), LoraConfig(rank=2)]
    tuned = [
      scrambled(lora.init(jax.random.key(i), TINY, config), seed=i)
      for i, config in enumerate(configs)
    ]
    pairs = list(zip(tuned, configs))
    both, config = lora.interpolate(*pairs, 0.25)
    self.assertEqual(config.rank, 3)
    params = self.base["params"]
    first, second, mixed = (
      lora.kernel_changes(params, *pair) for pair in (*pairs, (both, config))
    )
    for path, change in mixed.items():
      np.testing.assert_allclose(
        change, 0.75 * first[path] + 0.25 * second[path], atol=1e-5
      )
    bias = lambda tree: tree["decoder"]["fc0"]["bias_offset"]
    np.testing.assert_allclose(
      bias(both), 0.75 * bias(tuned[0]) + 0.25 * bias(tuned[1]), atol=1e-6
    )
    with self.assertRaisesRegex(UserError, "conv_rank and targets"):
      lora.average(
        [
          pairs[0],
          (tuned[1], dataclasses.replace(configs[1], conv_rank="rank")),
        ]
      )

  def test_split_and_merge_are_inverse(self):
    tree = {"a": 1}
    variables = lora.merge_collections(self.base, tree)
    self.assertEqual(set(variables), {"params", "buffers", "lora"})
    self.assertEqual(lora.split_collections(variables), (self.base, tree))


class LowRankConvolutionTest(parameterized.TestCase):
  @parameterized.product(up=(1, 2), wide=(False, True))
  def test_gradients_equal_the_merged_kernels(self, up, wide):
    """Wide and narrow layers take different ways on a CPU."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(np.float32)
    inputs, outputs = (70, 66) if wide else (5, 7)
    x, kernel = draw(2, 6, 5, inputs), draw(3, 3, inputs, outputs)
    a, b = draw(3, 3, inputs, 2), draw(2, outputs)
    weights = draw(2, 6 * up, 5 * up, outputs)
    convolve = upfirdn2d.conv_up2 if up == 2 else convolution.conv2d

    def direct(x, kernel, a, b):
      change = LowRank(a=a, b=b)
      return jnp.sum(
        weights
        * convolve(
          x, low_rank.added(kernel, change), base=kernel, low_rank=change
        )
      )

    def reference(x, kernel, a, b):
      kernel = kernel + a @ b
      if up == 2:  # by the definition, with XLA's own gradients
        y = jax.lax.conv_general_dilated(
          x,
          kernel[::-1, ::-1],
          (1, 1),
          ((2, 2), (2, 2)),
          lhs_dilation=(2, 2),
          dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )
        taps = jnp.array([1.0, 3, 3, 1]) / 4
        y = sum(
          taps[i]
          * taps[j]
          * jnp.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))[
            :, i : i + 12, j : j + 10
          ]
          for i in range(4)
          for j in range(4)
        )
      else:
        y = jax.lax.conv_general_dilated(
          x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
      return jnp.sum(weights * y)

    actual, expected = (
      jax.jit(jax.grad(f, argnums=(0, 1, 2, 3)))(x, kernel, a, b)
      for f in (direct, reference)
    )
    for mine, right in zip(actual, expected):
      self.assertLess(golden.relative_error(mine, right), 1e-5)


class FileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.path = self.folder / "adapter.safetensors"
    self.config = LoraConfig(rank=2, alpha=0.5)
    self.lora = scrambled(lora.init(jax.random.key(1), TINY, self.config))

  def save(self, **options):
    lora.save(self.path, self.lora, self.config, **options)

  def test_round_trip(self):
    self.save(metadata={"base_sha256": "abc"})
    loaded = lora.load(self.path, TINY)
    chex.assert_trees_all_equal(loaded.lora, self.lora)
    self.assertEqual(loaded.config, self.config)
    self.assertEqual(loaded.metadata, {"base_sha256": "abc", "format": "2"})
    self.assertEqual(os.listdir(self.folder), ["adapter.safetensors"])

  def test_float16_halves_it(self):
    self.save()
    size = self.path.stat().st_size
    self.save(dtype="float16")
    numbers = lora.count(self.lora).total
    saved = size - self.path.stat().st_size  # the header is padded to 8
    self.assertBetween(saved - 2 * numbers, 0, 64)
    chex.assert_trees_all_close(
      lora.load(self.path).lora, self.lora, rtol=1e-3, atol=1e-6
    )

  def test_what_cannot_be_saved(self):
    self.save()
    self.lora["decoder"]["fc0"]["bias_offset"] += 1e6
    with self.assertRaisesRegex(
      UserError, "decoder/fc0/bias_offset holds NaN, or"
    ):
      self.save(dtype="float16")
    self.lora["decoder"]["fc0"]["bias_offset"] *= np.nan
    with self.assertRaisesRegex(UserError, "decoder/fc0/bias_offset holds NaN"):
      self.save()
    lora.load(self.path, TINY)  # the old one is still there

  def test_what_cannot_be_loaded(self):
    def refused(message, config=None):
      with self.assertRaisesRegex(CheckpointError, message) as caught:
        lora.load(self.path, config)
      self.assertStartsWith(str(caught.exception), str(self.path))
      self.assertNotIn("\n", str(caught.exception))

    refused("No such file|cannot be read")
    self.path.write_bytes(b"garbage" * 99)
    refused("cannot be read as an adapter")
    self.save()
    refused(
      r"lora_a is \[.*\], expected \[", dataclasses.replace(TINY, w_dim=5)
    )
    data = self.path.read_bytes()
    self.path.write_bytes(data[:-5])
    refused("cannot be read as an adapter")
    self.path.write_bytes(data.replace(b'"lora"', b'"loro"'))
    refused("has lost its metadata with rank, layout and alpha: copy")

  def test_metadata_that_were_lost(self):
    self.save()
    known = lora.load(self.path, TINY)
    safetensors.numpy.save_file(
      safetensors.numpy.load_file(self.path), self.path
    )
    with self.assertRaisesRegex(CheckpointError, "has lost its metadata"):
      lora.load(self.path, TINY)
    found = lora.load(self.path, TINY, lora_config=known.config)
    self.assertEqual(found.config, known.config)
    chex.assert_trees_all_equal(found.lora, known.lora)

  @parameterized.parameters(
    ("base_model.model.down.to_q.lora_A.weight", "PEFT"),
    ("lora_unet_down_proj.lora_down.weight", "kohya"),
    ("backbone.synthesis.b4.conv1.lora_A", "PyTorch's names"),
    ("weight", "LoRA settings"),
  )
  def test_files_of_other_tools(self, name, message):
    safetensors.numpy.save_file({name: np.zeros((4, 64), "f4")}, self.path)
    for read in (lora.load, describe.describe_adapter):
      with self.assertRaisesRegex(CheckpointError, message):
        read(self.path)


if __name__ == "__main__":
  absltest.main()

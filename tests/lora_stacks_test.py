"""Stacks of adapters: in a batch, over devices, in a file."""

import pathlib
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax import Generator, lora, LoraConfig
from my3dgen_jax.errors import CheckpointError, UserError
from tests.support import albums
from tests.support.tiny import random_variables, TINY

CONFIG = LoraConfig()
PEOPLE = ("ann", "bob")


def tuned(seed):
  """An adapter that changes something."""
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: (
      leaf + 0.1 * rng.standard_normal(leaf.shape).astype(np.float32)
    ),
    lora.init(jax.random.key(seed), TINY, CONFIG),
  )


class StacksTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.people = [tuned(seed) for seed in range(2)]
    cls.stack = lora.stack(cls.people)
    cls.base = random_variables()
    rng = np.random.default_rng(0)
    ws = rng.standard_normal((2, 1, TINY.num_ws, TINY.w_dim))
    cls.ws = jnp.asarray(ws, jnp.float32)
    cls.c = jnp.asarray(albums.labels(2))[:, None]

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "people.safetensors"

  def image(self, adapter, ws, c):
    return (
      Generator(TINY, CONFIG)
      .apply(
        lora.merge_collections(self.base, adapter), ws, c, method="synthesis"
      )
      .image
    )

  def test_back_and_forth(self):
    chex.assert_trees_all_equal(lora.unstack(self.stack), self.people)

  def test_everybody_is_somebody_else_on_every_device(self):
    """`jax.vmap` in `jax.shard_map`; gradients share kernels, too."""
    mesh = jax.sharding.Mesh(jax.devices()[:2], ("people",))
    spec = jax.sharding.PartitionSpec("people")

    def of_all(stack, ws, c):
      return jax.vmap(self.image)(stack, ws, c)

    spread = jax.jit(
      jax.shard_map(of_all, mesh=mesh, in_specs=spec, out_specs=spec)
    )
    # Two people on each device.
    twice = lambda tree: jax.tree.map(lambda x: jnp.concatenate([x, x]), tree)
    arguments = twice((self.stack, self.ws, self.c))
    found = spread(*arguments)
    image = jax.jit(self.image)
    wanted = jnp.stack(
      [image(one, self.ws[i], self.c[i]) for i, one in enumerate(self.people)]
    )
    np.testing.assert_allclose(found, twice(wanted), atol=2e-5)
    # Compiling it would take longer than all the rest of this file.
    loss = lambda *arguments: jnp.mean(jnp.square(spread(*arguments)))
    text = jax.jit(jax.grad(loss)).lower(*arguments).as_text()
    self.assertIn("stablehlo.convolution", text)
    self.assertNotRegex(text, "feature_group_count = (?!1 )")

  def test_files(self):
    for dtype, tolerance in (("float32", 0), ("float16", 1e-3)):
      lora.save(self.path, self.stack, CONFIG, people=PEOPLE, dtype=dtype)
      loaded = lora.load(self.path, TINY, many=True)
      self.assertEqual(loaded.people, PEOPLE)
      self.assertEqual(loaded.config, CONFIG)
      chex.assert_trees_all_close(
        loaded.lora, self.stack, rtol=tolerance, atol=tolerance
      )

  def test_one_is_not_many(self):
    lora.save(self.path, self.stack, CONFIG, people=PEOPLE)
    with self.assertRaisesRegex(CheckpointError, "people.*many=True"):
      lora.load(self.path, TINY)
    lora.save(self.path, self.people[0], CONFIG)
    with self.assertRaisesRegex(CheckpointError, "contains one adapter, but"):
      lora.load(self.path, TINY, many=True)
    for people, pattern in (
      (("ann",), "1 names for a stack of 2 people"),
      (("ann", "bob", "cleo"), "3 names for a stack of 2"),
    ):
      with self.assertRaisesRegex(UserError, pattern):
        lora.save(self.path, self.stack, CONFIG, people=people)
    with self.assertRaisesRegex(UserError, "a stack needs one of"):
      lora.save(self.path, self.stack, CONFIG, people=PEOPLE, dtype="int8")
    narrow = {
      name: leaf if name[-1].startswith("lora_") else leaf[..., None]
      for name, leaf in flatten_dict(self.stack).items()
    }
    lora.save(self.path, unflatten_dict(narrow), CONFIG, people=PEOPLE)
    with self.assertRaisesRegex(CheckpointError, "does not fit the generator"):
      lora.load(self.path, TINY, many=True)


class RefusedTest(absltest.TestCase):
  def test_what_is_no_stack(self):
    one, other = (
      lora.init(jax.random.key(0), TINY, LoraConfig(rank=rank))
      for rank in (1, 2)
    )
    for people, reason in (
      ([], "^people: expected at least one adapter"),
      (
        [one, other],
        r"^people\[1\]: .*lora_a is .*, but people\[0\] has .*; stack adapters "
        "of one LoraConfig",
      ),
    ):
      with self.assertRaisesRegex(UserError, reason):
        lora.stack(people)
    for tree in ({"a": np.zeros(2), "b": np.zeros(3)}, {"a": np.float32(0)}):
      with self.assertRaisesRegex(UserError, "^lora: is not a stack: "):
        lora.unstack(tree)


class HalvesTest(absltest.TestCase):
  def test_half_of_a_pair(self):
    """Whoever reads without a generator hears of it, too."""
    whole = flatten_dict(lora.init(jax.random.key(0), TINY, CONFIG))
    name = next(name for name in whole if name[-1] == "lora_b")
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "adapter.safetensors"
      for leaves in (
        {key: leaf for key, leaf in whole.items() if key != name},
        {**whole, name: whole[name][:0]},
        {**whole, name: jnp.concatenate([whole[name]] * 2)},
      ):
        lora.save(path, unflatten_dict(leaves), CONFIG)
        with self.assertRaisesRegex(CheckpointError, "is half of a pair"):
          lora.load(path)


if __name__ == "__main__":
  absltest.main()

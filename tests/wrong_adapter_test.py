"""An adapter that a generator would not use as it was meant is an error."""

import dataclasses
import pathlib
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax import Generator, lora, LoraConfig, preset
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models import adapter
from my3dgen_jax.models.checkpoint import weights_digest
from tests.support import golden
from tests.support.tiny import random_variables, TINY

OWN = LoraConfig(rank=2, alpha=4.0)
OLD_ADAPTER = golden.FOLDER / "old_run" / "run" / "adapter.safetensors"


def _changed(change):
  """A function of flat adapters as one of nested ones."""
  return lambda tree: unflatten_dict(change(flatten_dict(tree)))


def _renamed(leaves):
  return {
    (*path[:-1], path[-1].removesuffix("_offset")): leaf
    for path, leaf in leaves.items()
  }


# What was done to the adapter or to the config, and what the error says.
WRONG = {
  "no_config": (lambda tree: tree, None, "has no LoraConfig and would ignore"),
  "rank": (lambda tree: tree, LoraConfig(rank=1), "it has rank 2, not 1"),
  "layout": (
    lambda tree: tree,
    LoraConfig(rank=2, conv_rank="rank"),
    "it has the layout 'kernel', not 'rank'",
  ),
  "rank_and_layout": (
    lambda tree: tree,
    LoraConfig(rank=1, conv_rank="original"),
    "it has rank 2, not 1, and the layout 'kernel'",
  ),
  "stacked": (
    lambda tree: jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), tree),
    OWN,
    "3 stacked adapters need jax.vmap",
  ),
  "half": (
    lambda tree: {"backbone": tree["backbone"]},
    OWN,
    "a part of the adapter is missing",
  ),
  "half_a_pair": (
    _changed(
      lambda leaves: {p: x for p, x in leaves.items() if "b" != p[-1][-1]}
    ),
    OWN,
    "a part of the adapter is missing",
  ),
  "targets": (
    lambda tree: tree,
    dataclasses.replace(OWN, targets=("decoder/.*",)),
    "no layer uses that part",
  ),
  "more": (
    lambda tree: {**tree, "hat": {"lora_a": jnp.zeros(3)}},
    OWN,
    "hat/lora_a is .3., expected nothing: no layer uses that part",
  ),
  "another_base": (
    lambda tree: lora.init(
      jax.random.key(0), dataclasses.replace(TINY, w_dim=5), OWN
    ),
    OWN,
    "belongs to another base",
  ),
  "empty": (lambda tree: {}, OWN, "the adapter is empty"),
  "old_names": (
    _changed(_renamed),
    OWN,
    "names from before format 2; lora.renamed",
  ),
}


class WrongAdapterTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.base = random_variables()
    cls.ws = golden.draw("tiny.ws", (1, TINY.num_ws, TINY.w_dim))
    cls.c = golden.two_cameras()[:1]
    cls.lora = lora.init(jax.random.key(1), TINY, OWN)

  def shapes(self, variables, config):
    """Of the images; nothing is compiled."""
    return jax.eval_shape(
      lambda variables: Generator(TINY, config).apply(
        variables, self.ws, self.c, method="synthesis"
      ),
      variables,
    )

  @parameterized.named_parameters((name, *case) for name, case in WRONG.items())
  def test_module_refuses(self, change, config, message):
    variables = lora.merge_collections(self.base, change(self.lora))
    with self.assertRaisesRegex(UserError, f"^lora: .*{message}") as caught:
      self.shapes(variables, config)
    self.assertNotIn("\n", str(caught.exception))

  @parameterized.named_parameters(
    (name, *case) for name, case in WRONG.items() if name != "no_config"
  )
  def test_merging_refuses(self, change, config, message):
    with self.assertRaisesRegex(UserError, f"^lora: .*{message}"):
      lora.merge_into_params(self.base, change(self.lora), config)

  def test_every_method_refuses(self):
    variables = lora.merge_collections(self.base, self.lora)
    planes = jnp.zeros((1, 3, 8, 8, 4))
    for method, arguments in {
      "mapping": (jnp.zeros((1, 4)), self.c),
      "planes": (self.ws,),
      "render_planes": (planes, self.ws, self.c),
      "query": (planes, jnp.zeros((1, 2, 3))),
      "density_grid": (planes, *[jnp.zeros(2)] * 3),
    }.items():
      with self.assertRaisesRegex(UserError, "has no LoraConfig"):
        Generator(TINY).apply(variables, *arguments, method=method)

  def test_none_at_all(self):
    with self.assertRaisesRegex(
      UserError, "lora: .* is missing: .* no adapter"
    ):
      self.shapes(self.base, OWN)
    # Nothing personal is asked for.
    Generator(TINY, OWN).apply(
      self.base, jnp.zeros((1, 4)), self.c, method="mapping"
    )

  def test_what_fits(self):
    self.shapes(lora.merge_collections(self.base, self.lora), OWN)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), self.lora)
    out = jax.eval_shape(
      jax.vmap(
        lambda tree: Generator(TINY, OWN).apply(
          lora.merge_collections(self.base, tree),
          self.ws,
          self.c,
          method="synthesis",
        )
      ),
      stacked,
    )
    self.assertEqual(out.image.shape, (3, 1, 16, 16, 3))

  @parameterized.product(
    layout=("kernel", "rank", "original"),
    targets=(
      LoraConfig().targets,
      ("superresolution/.*/affine", "decoder/fc1"),
    ),
  )
  def test_expected_shapes_are_the_modules_own(self, layout, targets):
    config = LoraConfig(rank=3, conv_rank=layout, targets=targets)
    expected = adapter.expected_shapes(self.base["params"], config)
    own = flatten_dict(lora.abstract(TINY, config))
    self.assertEqual(expected, {path: leaf.shape for path, leaf in own.items()})


class PersonalTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.base = random_variables()
    self.lora = lora.init(jax.random.key(1), TINY, OWN)

  def test_takes_the_adapters_own_settings(self):
    for first in (Generator(TINY), Generator(TINY, LoraConfig())):
      generator, variables = lora.personal(first, self.base, (self.lora, OWN))
      self.assertEqual((generator.config, generator.lora), (TINY, OWN))
      self.assertIs(variables["lora"], self.lora)
    other, _ = lora.personal(
      generator,
      variables,
      (lora.init(jax.random.key(1), TINY, LoraConfig()), LoraConfig()),
    )
    self.assertEqual(other.lora, LoraConfig())

  def test_other_weights(self):
    digest = weights_digest(self.base)
    loaded = lora.Loaded(self.lora, OWN, {"base_sha256": digest})
    lora.personal(Generator(TINY), self.base, loaded)
    other = random_variables(seed=1)
    with self.assertRaisesRegex(UserError, "made for weights with SHA-256"):
      lora.personal(Generator(TINY), other, loaded)
    lora.personal(Generator(TINY), other, (self.lora, OWN))
    # Converted weights are the caller's.
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), other)
    lora.personal(Generator(TINY), half, loaded)

  def test_does_not_fit(self):
    with self.assertRaisesRegex(UserError, "it has rank 2, not 1"):
      lora.personal(Generator(TINY), self.base, (self.lora, LoraConfig()))


class FormatTest(absltest.TestCase):
  def test_format_1_is_read(self):
    """The very numbers, under today's names, with the same fingerprint."""
    from safetensors.numpy import load_file

    old = load_file(OLD_ADAPTER)
    self.assertIn("decoder/fc0/bias", old)
    loaded = lora.load(OLD_ADAPTER)
    self.assertEqual(loaded.metadata["format"], "1")
    new = flatten_dict(loaded.lora, sep="/")
    self.assertLen(new, len(old))
    for name, leaf in new.items():
      np.testing.assert_array_equal(leaf, old[name.removesuffix("_offset")])
    before = unflatten_dict({tuple(k.split("/")): v for k, v in old.items()})
    self.assertEqual(lora.fingerprint(loaded.lora), weights_digest(before))
    self.assertEqual(lora.fingerprint(before), weights_digest(before))

  def test_newer_format(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    path = pathlib.Path(folder.name) / "new.safetensors"
    tree = lora.init(jax.random.key(1), TINY, OWN)
    lora.save(path, tree, OWN)
    self.assertEqual(lora.load(path).metadata["format"], "2")
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"format":"2"', b'"format":"9"'))
    with self.assertRaisesRegex(CheckpointError, "format '9'.*upgrade"):
      lora.load(path)

  def test_paths_with_equal_names(self):
    """Of parameters and adapter there are none: NNX keeps them together."""
    own = set(flatten_dict(lora.abstract(preset("ffhq512-64"), OWN)))
    params = set(flatten_dict(random_variables()["params"]))
    self.assertEmpty({path[-1] for path in own} & {path[-1] for path in params})


if __name__ == "__main__":
  absltest.main()

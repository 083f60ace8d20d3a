"""The regressor of smile and age: its values, its files."""

import functools
import os
import pathlib
import tempfile

import chex
import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo import attributes
from my3dgen_jax.errors import CheckpointError, UserError
from tests.support import golden


@functools.cache
def trained():
  """Of a regressor of five numbers."""
  images = np.zeros((1, 128, 128, 3), np.float32)
  return jax.jit(attributes.Regressor(5).init)(jax.random.key(0), images)[
    "params"
  ]


@functools.cache
def images():
  return np.tanh(golden.draw("attributes", (2, 128, 128, 3)))


class AttributesTest(absltest.TestCase):
  def test_are_the_first_outputs_of_training(self):
    variables = attributes.of_training(trained())
    found = jax.jit(attributes.Attributes().apply)(variables, images())
    logits = jax.jit(attributes.Regressor(5).apply)(
      {"params": trained()}, images()
    )
    self.assertEqual(tuple(found), ("age", "smile"))
    for i, name in enumerate(attributes.NAMES):
      np.testing.assert_allclose(
        found[name], jax.nn.sigmoid(logits[:, i]), rtol=1e-4
      )

  def test_larger_photos_are_averaged(self):
    variables = attributes.of_training(trained())
    large = images().repeat(2, axis=1).repeat(2, axis=2)
    apply = jax.jit(attributes.Attributes().apply)
    chex.assert_trees_all_close(
      apply(variables, images()), apply(variables, large), rtol=1e-4
    )

  def test_refuses_other_arrays(self):
    variables = attributes.of_training(trained())
    for wrong in (images()[0], images()[..., :1], images() * np.nan):
      with self.assertRaisesRegex(UserError, "^images: "):
        attributes.Attributes().apply(variables, wrong)


class FilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name) / "attributes"
    self.variables = attributes.of_training(trained())

  def test_round_trip(self):
    attributes.save_attributes(
      self.folder, self.variables, source={"demo": {"seed": 1}}
    )
    loaded = attributes.load_attributes(self.folder)
    chex.assert_trees_all_equal(loaded.variables, self.variables)
    found = loaded(images())
    self.assertEqual(found["smile"].shape, (2,))
    self.assertLess(
      os.path.getsize(self.folder / "weights.safetensors"), 600_000
    )

  def test_existing_folder_is_kept_unless_told(self):
    attributes.save_attributes(self.folder, self.variables)
    with self.assertRaises(FileExistsError):
      attributes.save_attributes(self.folder, self.variables)
    attributes.save_attributes(self.folder, self.variables, overwrite=True)

  def test_missing(self):
    with self.assertRaisesRegex(CheckpointError, "train_demo_networks"):
      attributes.load_attributes(self.folder)

  def test_other_variables(self):
    with self.assertRaisesRegex(CheckpointError, "regressor/last"):
      attributes.save_attributes(
        self.folder, {"params": {"regressor": trained()}}
      )


if __name__ == "__main__":
  absltest.main()

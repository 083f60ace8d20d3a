"""Tests of the DISTS converter: what it makes, and what it refuses."""

import chex
import numpy as np
import safetensors
from absl.testing import absltest, parameterized

from converters import dists_to_flax
from my3dgen_jax.losses.dists import Dists, load_dists, WEIGHTS_FILE
from tests.support import classifiers, golden
from tests.support import official_files as files
from tests.support.converters import ConverterCase, ROOT

_RELEASED = ROOT.parent / "shared" / "data" / "weights" / "dists"


def backbone():
  """VGG-16 as torchvision publishes it, its last layers cut short."""
  return {
    **classifiers.backbone("vgg"),
    "classifier.6.weight": np.ones((2, 3), np.float32),
    "classifier.6.bias": np.ones(2, np.float32),
  }


class DistsToFlaxTest(ConverterCase):
  converter = dists_to_flax
  OUTPUT = "dists"

  def setUp(self):
    super().setUp()
    self.backbone = self.folder / "vgg16.pth"
    self.weights = self.folder / "weights.pt"

  def write(self, *, in_backbone=None, in_weights=None, write=files.zip_file):
    for path, tensors, changes in (
      (self.backbone, backbone(), in_backbone),
      (self.weights, classifiers.dists_weights(), in_weights),
    ):
      path.write_bytes(
        write(
          {
            name: tensor
            for name, tensor in {**tensors, **(changes or {})}.items()
            if tensor is not None
          }
        )
      )

  def convert(self, **options):
    dists_to_flax.convert(
      str(self.backbone),
      str(self.weights),
      str(self.output),
      **{"log": lambda line: None, **options},
    )

  def flags(self):
    return [
      f"--backbone_file={self.backbone}",
      f"--weight_file={self.weights}",
      f"--output={self.output}",
    ]

  @parameterized.parameters(
    files.zip_file, files.legacy_file, files.plain_pickle
  )
  def test_formats(self, write):
    self.write(write=write)
    self.convert()
    network = load_dists(self.output)
    module, variables = network.module, network.variables
    self.assertEqual(module, Dists())
    chex.assert_trees_all_equal(variables, classifiers.dists_variables())

  def test_provenance(self):
    self.write()
    self.convert()
    with safetensors.safe_open(self.output / WEIGHTS_FILE, "numpy") as file:
      source = file.metadata()["source"]
    for text in ("vgg16.pth", "weights.pt", "sha256", "zip"):
      self.assertIn(text, source)

  @parameterized.named_parameters(
    (
      "missing",
      {"features.28.bias": None},
      "do not fit VGG-16: 1 missing: features.28.bias",
    ),
    (
      "extra",
      {"features.1.scale": np.ones(1, np.float32)},
      "1 not part of the model: features.1.scale",
    ),
    (
      "shape",
      {"features.0.bias": np.ones(3, np.float32)},
      "features.0.bias [3] (expected [64])",
    ),
    (
      "nan",
      {"features.0.bias": np.full(64, np.nan, np.float32)},
      "features.0.bias holds NaN",
    ),
  )
  def test_backbone(self, changes, reason):
    self.write(in_backbone=changes)
    self.assert_refused(self.backbone, reason)

  @parameterized.named_parameters(
    ("missing", {"beta": None}, "do not fit DISTS: 1 missing: beta"),
    (
      "extra",
      {"gamma": np.ones(1, np.float32)},
      "1 not part of the model: gamma",
    ),
    (
      "shape",
      {"beta": np.ones(1475, np.float32)},
      "beta [1475] (expected [1, 1475, 1, 1])",
    ),
    ("integers", {"beta": np.ones((1, 1475, 1, 1), np.int64)}, "beta is int64"),
    (
      "negative",
      {"beta": np.full((1, 1475, 1, 1), -1, np.float32)},
      "alpha and beta: expected numbers >= 0",
    ),
    (
      "zero",
      {
        name: np.zeros((1, 1475, 1, 1), np.float32)
        for name in ("alpha", "beta")
      },
      "not all of them 0",
    ),
  )
  def test_weights(self, changes, reason):
    self.write(in_weights=changes)
    self.assert_refused(self.weights, reason)

  def test_files_in_each_others_place(self):
    self.write()
    self.backbone, self.weights = self.weights, self.backbone
    self.assert_refused(self.weights, "do not fit DISTS", "alpha, beta")

  def test_files(self):
    self.assert_refused(self.weights, "No such file")
    for name in ("weights", "backbone"):
      self.write()
      self.assert_damage_refused(getattr(self, name))

  def test_existing_output(self):
    self.write()
    self.assert_overwrites_when_asked_alone()

  def test_command(self):
    self.write()
    self.assert_bad_flags(
      (self.flags()[1:], "--backbone_file is missing"),
      ([*self.flags(), "extra"], "unexpected argument"),
    )
    code, text = self.main(*self.flags())
    self.assertEqual(code, 0, text)
    self.assertIn(f"{self.output}: DISTS on VGG-16, 14,717,638 numbers", text)

  def test_script(self):
    self.assert_runs_as_script("--weight_file")

  def test_released_weights(self):
    """The published file itself, which the repository has as numbers."""
    path = _RELEASED / "weights.pt"
    if not path.is_file():
      self.skipTest(f"{path} is not here")
    self.write()
    self.weights = path
    self.convert()
    variables = load_dists(self.output).variables
    for name, expected in golden.load("dists_weights").items():
      np.testing.assert_array_equal(variables["params"][name], expected)


if __name__ == "__main__":
  absltest.main()

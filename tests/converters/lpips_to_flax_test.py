"""Tests of the LPIPS converter: what it makes, and what it refuses."""

import pathlib

import chex
import numpy as np
import safetensors
from absl.testing import absltest, parameterized

from converters import lpips_to_flax
from my3dgen_jax.losses.backbones import PUBLISHED
from my3dgen_jax.losses.lpips import load_lpips, WEIGHTS_FILE
from tests.support import classifiers
from tests.support import official_files as files
from tests.support.converters import ConverterCase, ROOT

_RELEASED = ROOT.parent / "shared" / "data" / "weights" / "lpips_v0.1"


def backbone(net):
  """A classifier as torchvision publishes it, its last layers cut short."""
  return {
    **classifiers.backbone(net),
    "classifier.1.weight": np.ones((2, 3), np.float32),
    "classifier.1.bias": np.ones(2, np.float32),
  }


class LpipsToFlaxTest(ConverterCase):
  converter = lpips_to_flax
  OUTPUT = "lpips"

  def setUp(self):
    super().setUp()
    self.paths = {
      name: str(self.folder / f"{name}.pth") for name in ("backbone", "linear")
    }

  def write(
    self, *, backbone_tensors=None, linear_tensors=None, write=files.zip_file
  ):
    for name, tensors, default in (
      ("backbone", backbone_tensors, backbone("alex")),
      ("linear", linear_tensors, classifiers.linear("alex")),
    ):
      pathlib.Path(self.paths[name]).write_bytes(
        write(default if tensors is None else tensors)
      )

  def convert(self, **options):
    return lpips_to_flax.convert(
      self.paths["backbone"],
      self.paths["linear"],
      str(self.output),
      **{"log": lambda line: None, **options},
    )

  def flags(self):
    return [
      f"--backbone_file={self.paths['backbone']}",
      f"--linear_file={self.paths['linear']}",
      f"--output={self.output}",
    ]

  @parameterized.parameters(*PUBLISHED)
  def test_every_network(self, net):
    self.write(
      backbone_tensors=backbone(net), linear_tensors=classifiers.linear(net)
    )
    self.assertEqual(self.convert(), net)
    network = load_lpips(self.output)
    module, variables = network.module, network.variables
    self.assertEqual(module.backbone, net)
    chex.assert_trees_all_equal(variables, classifiers.lpips_variables(net))

  @parameterized.parameters(files.legacy_file, files.plain_pickle)
  def test_other_formats(self, write):
    self.write(write=write)
    self.convert(net="alex")
    variables = load_lpips(self.output).variables
    chex.assert_trees_all_equal(variables, classifiers.lpips_variables("alex"))

  def test_provenance(self):
    self.write()
    self.convert()
    with safetensors.safe_open(self.output / WEIGHTS_FILE, "numpy") as file:
      source = file.metadata()["source"]
    for text in ("backbone.pth", "linear.pth", "sha256", "zip"):
      self.assertIn(text, source)

  def test_network_is_of_the_linear_weights(self):
    self.write(backbone_tensors=backbone("squeeze"))
    self.assert_refused(
      self.paths["backbone"],
      "do not fit AlexNet",
      "missing: ",
      "not part of the model: ",
    )
    self.write(linear_tensors=classifiers.linear("vgg"))
    self.assert_refused(
      self.paths["linear"],
      "do not fit AlexNet",
      "lin1.model.1.weight [1, 128, 1, 1] (expected [1, 192, 1, 1])",
      net="alex",
    )

  def test_files_in_each_others_place(self):
    self.write(
      linear_tensors=backbone("alex"),
      backbone_tensors=classifiers.linear("alex"),
    )
    self.assert_refused(
      self.paths["linear"], "does not contain the linear weights of LPIPS 0.1"
    )

  @parameterized.named_parameters(
    ("missing", {"features.3.bias": None}, "1 missing: features.3.bias"),
    (
      "extra",
      {"features.1.scale": np.ones(1, np.float32)},
      "1 not part of the model: features.1.scale",
    ),
    (
      "shape",
      {"features.3.bias": np.ones(3, np.float32)},
      "features.3.bias [3] (expected [192])",
    ),
    (
      "integers",
      {"features.3.bias": np.ones(192, np.int64)},
      "features.3.bias is int64",
    ),
    (
      "nan",
      {"features.3.bias": np.full(192, np.nan, np.float32)},
      "features.3.bias holds NaN",
    ),
  )
  def test_tensors(self, changes, reason):
    tensors = {
      name: tensor
      for name, tensor in {**backbone("alex"), **changes}.items()
      if tensor is not None
    }
    self.write(backbone_tensors=tensors)
    self.assert_refused(self.paths["backbone"], reason)

  def test_files(self):
    for path in self.paths.values():
      self.write()
      self.assert_damage_refused(pathlib.Path(path))

  def test_existing_output(self):
    self.write()
    self.assert_overwrites_when_asked_alone()
    (self.output / "thesis.tex").write_text("")
    code, text = self.main(*self.flags(), "--overwrite")
    self.assertEqual(code, 1)
    self.assertIn("contains thesis.tex", text)

  def test_command(self):
    self.write()
    self.assert_bad_flags(
      (self.flags()[1:], "--backbone_file is missing"),
      ([*self.flags(), "--net=resnet"], "should be one of"),
      ([*self.flags(), "extra"], "unexpected argument"),
    )
    code, text = self.main(*self.flags(), "--net=alex")
    self.assertEqual(code, 0, text)
    self.assertIn("LPIPS 0.1 on AlexNet, 2,470,848 numbers", text)

  def test_script(self):
    self.assert_runs_as_script("--backbone_file")

  @parameterized.parameters(*PUBLISHED)
  def test_released_linear_weights(self, net):
    """The published files themselves, which the repository has as numbers."""
    path = _RELEASED / f"{net}.pth"
    if not path.is_file():
      self.skipTest(f"{path} is not here")
    self.write(backbone_tensors=backbone(net))
    self.paths["linear"] = str(path)
    self.assertEqual(self.convert(), net)
    variables = load_lpips(self.output).variables
    chex.assert_trees_all_equal(variables, classifiers.lpips_variables(net))


if __name__ == "__main__":
  absltest.main()

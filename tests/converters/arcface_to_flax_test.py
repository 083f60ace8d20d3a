"""Tests of the ArcFace converter: what it makes, and what it refuses."""

from unittest import mock

import chex
import numpy as np
import safetensors
from absl.testing import absltest, parameterized

from converters import arcface_to_flax, torch_writer
from my3dgen_jax.losses.identity import (
  Identity,
  load_identity,
  NETWORKS,
  WEIGHTS_FILE,
)
from tests.support import faces, golden
from tests.support import official_files as files
from tests.support.converters import ConverterCase


class ArcfaceCase(ConverterCase):
  converter = arcface_to_flax
  OUTPUT = "face"

  def setUp(self):
    super().setUp()
    self.path = self.folder / "model_ir_se50.pth"

  def flags(self):
    return [f"--weight_file={self.path}", f"--output={self.output}"]


class OfficialFileTest(ArcfaceCase):
  @parameterized.parameters(*arcface_to_flax.NETWORKS)
  def test_names_and_shapes(self, network):
    expected = arcface_to_flax.expected_tensors(network)
    self.assertEqual(
      {name: want.shape for name, want in expected.items()},
      {
        name: shape
        for name, shape in golden.shapes(network).items()
        if not name.endswith("num_batches_tracked")
      },
    )

  def test_whole_network(self):
    with self.path.open("wb") as file:
      torch_writer.write_state_dict(
        file,
        {
          name: array
          for name, array in faces.ir_se50_state_dict().items()
          if array.ndim
        },
      )
    lines = []
    self.assertEqual(
      arcface_to_flax.convert(
        str(self.path), str(self.output), log=lines.append
      ),
      "ir_se50",
    )
    self.assertEqual(lines, [f"{self.output}: IR-SE-50, 43,797,696 parameters"])
    variables = load_identity(self.output).variables
    chex.assert_trees_all_equal(variables, faces.ir_se50())


class MobileFaceNetTest(ArcfaceCase):
  """Its file, told by its names; what is refused is refused as below."""

  def write(self, changes=None):
    tensors = {**faces.mobilefacenet_state_dict(), **(changes or {})}
    self.path.write_bytes(
      files.legacy_file(
        {name: tensor for name, tensor in tensors.items() if tensor is not None}
      )
    )

  def convert(self, **options):
    lines = []
    found = arcface_to_flax.convert(
      str(self.path), str(self.output), log=lines.append, **options
    )
    return found, lines

  def test_whole_network(self):
    self.write()
    self.assertEqual(
      self.convert(),
      ("mobilefacenet", [f"{self.output}: MobileFaceNet, 999,936 parameters"]),
    )
    network = load_identity(self.output)
    wrapper, variables = network.module, network.variables
    self.assertEqual(wrapper, Identity("mobilefacenet"))
    chex.assert_trees_all_equal(
      variables,
      faces.variables(faces.mobilefacenet_state_dict(), "mobilefacenet"),
    )

  def test_layouts(self):
    """A kernel of each kind, by its meaning."""
    self.write()
    self.convert(network="mobilefacenet")
    tensors = faces.mobilefacenet_state_dict()
    variables = load_identity(self.output).variables
    block = {
      part: variables["params"][f"block5_{part}"]["kernel"]
      for part in ("expand", "depthwise", "project")
    }
    self.assertEqual(
      block["expand"][0, 0, 7, 9],
      tensors["features.5.conv.0.0.weight"][9, 7, 0, 0],
    )
    self.assertEqual(
      block["depthwise"][2, 1, 0, 9],
      tensors["features.5.conv.1.0.weight"][9, 0, 2, 1],
    )
    self.assertEqual(
      block["project"][0, 0, 9, 7],
      tensors["features.5.conv.2.weight"][7, 9, 0, 0],
    )
    np.testing.assert_array_equal(
      variables["batch_stats"]["input_pointwise"]["norm"]["var"],
      tensors["dw_conv.bn2.running_var"],
    )

  @parameterized.named_parameters(
    (
      "missing",
      {"gdconv.depthwise.weight": None},
      {},
      "do not fit MobileFaceNet: 1 missing: gdconv.depthwise.weight",
    ),
    (
      "extra",
      {"fc.weight": np.ones(1, np.float32)},
      {},
      "1 not part of the model: fc.weight",
    ),
    (
      "shape",
      {"conv3.weight": np.ones((128, 512), np.float32)},
      {},
      "conv3.weight [128, 512] (expected [128, 512, 1, 1])",
    ),
    ("other", {}, {"network": "ir_se50"}, "do not fit IR-SE-50"),
  )
  def test_refused(self, changes, options, reason):
    self.write(changes)
    self.assert_refused(self.path, reason, **options)


class SmallFileTest(ArcfaceCase):
  def setUp(self):
    super().setUp()
    self.enterContext(mock.patch.dict(NETWORKS, {"ir_se50": faces.TINY}))

  def write(self, changes=None, write=files.zip_file):
    tensors = {**faces.tiny_state_dict(), **(changes or {})}
    self.path.write_bytes(
      write(
        {name: tensor for name, tensor in tensors.items() if tensor is not None}
      )
    )

  def convert(self, **options):
    arcface_to_flax.convert(
      str(self.path), str(self.output), **{"log": lambda line: None, **options}
    )

  @parameterized.parameters(
    files.zip_file, files.legacy_file, files.plain_pickle
  )
  def test_formats(self, write):
    self.write(write=write)
    self.convert()
    variables = load_identity(self.output).variables
    chex.assert_trees_all_equal(
      variables, faces.variables(faces.tiny_state_dict())
    )

  def test_linear_layer_is_flattened_channels_first(self):
    self.write()
    self.convert()
    variables = load_identity(self.output).variables
    x = golden.draw("features", (28, 28, 32))
    expected = faces.tiny_state_dict()["output_layer.3.weight"] @ (
      x.transpose(2, 0, 1).reshape(-1)
    )
    np.testing.assert_allclose(
      np.einsum("hwc,hwcf->f", x, variables["params"]["linear"]["kernel"]),
      expected,
      rtol=1e-4,
      atol=1e-4,
    )

  def test_provenance(self):
    self.write()
    self.convert()
    with safetensors.safe_open(self.output / WEIGHTS_FILE, "numpy") as file:
      source = file.metadata()["source"]
    for text in ("model_ir_se50.pth", "sha256", "zip"):
      self.assertIn(text, source)

  @parameterized.named_parameters(
    (
      "missing",
      {"body.1.res_layer.2.weight": None},
      "1 missing: body.1.res_layer.2.weight",
    ),
    (
      "statistics",
      {"output_layer.4.running_var": None},
      "1 missing: output_layer.4.running_var",
    ),
    (
      "extra",
      {"classifier.weight": np.ones(1, np.float32)},
      "1 not part of the model: classifier.weight",
    ),
    (
      "shape",
      {"input_layer.2.weight": np.ones(3, np.float32)},
      "input_layer.2.weight [3] (expected [16])",
    ),
    (
      "integers",
      {"input_layer.2.weight": np.ones(16, np.int64)},
      "input_layer.2.weight is int64",
    ),
    (
      "nan",
      {"input_layer.2.weight": np.full(16, np.nan, np.float32)},
      "input_layer.2.weight holds NaN",
    ),
    ("most", dict.fromkeys(golden.shapes("ir_se50")), "do not fit IR-SE-50"),
  )
  def test_tensors(self, changes, reason):
    self.write(changes)
    self.assert_refused(self.path, reason)

  def test_other_networks(self):
    for tensors, found in (
      ({}, "no tensors"),
      ({"alpha": np.ones(1, np.float32)}, "alpha"),
    ):
      self.write({**dict.fromkeys(faces.tiny_state_dict()), **tensors})
      self.assert_refused(
        self.path,
        "does not contain the weights of IR-SE-50 or "
        f"MobileFaceNet; it has {found}",
      )

  def test_files(self):
    self.write()
    self.assert_damage_refused(self.path)

  def test_existing_output(self):
    self.write()
    self.assert_overwrites_when_asked_alone()

  def test_command(self):
    self.write()
    self.assert_bad_flags(
      (self.flags()[1:], "--weight_file is missing"),
      ([*self.flags(), "--network=resnet"], "should be one of"),
      ([*self.flags(), "extra"], "unexpected argument"),
    )
    self.assertEqual(self.main(*self.flags(), "--network=ir_se50")[0], 0)

  def test_script(self):
    self.assert_runs_as_script("--weight_file")


if __name__ == "__main__":
  absltest.main()

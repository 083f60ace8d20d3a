"""The registry: what is there, what is missing, what it measures."""

import dataclasses
import importlib.util
import pathlib
import re
import tempfile
from unittest import mock

import flax.linen as nn
import jax
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.losses import dists, identity, lpips, metrics
from my3dgen_jax.losses.metrics import METRICS
from tests.support import classifiers, faces, golden

_ROOT = pathlib.Path(__file__).parents[2]
_HAS_DM_PIX = importlib.util.find_spec("dm_pix") is not None


def pictures():
  """Two images, and two that differ a little from them."""
  x = np.tanh(golden.draw("metrics", (2, 64, 64, 3)))
  return x, np.clip(x + 0.05 * golden.draw("noise", x.shape), -1, 1)


class EntriesTest(parameterized.TestCase):
  def test_names(self):
    self.assertContainsSubset(
      (
        "lpips_alex",
        "lpips_vgg",
        "lpips_squeeze",
        "dists",
        "ir_se50",
        "mobilefacenet",
        "psnr",
        "ssim",
      ),
      METRICS,
    )
    # Every network has an entry.
    self.assertContainsSubset(identity.NETWORKS, METRICS)
    self.assertContainsSubset(
      [f"lpips_{backbone}" for backbone in lpips.BACKBONES], METRICS
    )

  @parameterized.parameters(*METRICS)
  def test_entry(self, name):
    metric = METRICS[name]
    self.assertIn(metric.better, (1, -1))
    self.assertTrue(metric.title)
    if metric.weights and metric.weights.converter:
      # The flags are those of the converter.
      text = (_ROOT / metric.weights.converter).read_text()
      for flag in metric.weights.files:
        self.assertIn(f'"{flag}"', text)
    elif metric.weights:
      for file in metric.weights.files.values():
        self.assertTrue((_ROOT / file.name / "weights.safetensors").is_file())

  def test_directions(self):
    """The nearer image is the better one, whichever way the number goes."""
    x, near = pictures()
    far = -x
    for name in METRICS:
      with self.subTest(name):
        if name == "ssim" and not _HAS_DM_PIX:
          self.skipTest('DM PIX is not installed (pip install ".[test]")')
        if name in ("lpips_vgg", "lpips_squeeze", "ir_se50"):
          continue  # the same code as their neighbours', and slow
        network = self.network(name)
        measure = jax.jit(METRICS[name].measure)
        gain = METRICS[name].better * (
          measure(network, x, near) - measure(network, x, far)
        )
        self.assertEqual(gain.shape, (2,))
        self.assertGreater(gain.min(), 0)

  def network(self, name):
    weights = METRICS[name].weights
    if weights is None:
      return None
    if not weights.converter:
      return weights.load(_ROOT / weights.files["folder"].name)
    module, variables = {
      "lpips_alex": lambda: (
        lpips.Lpips("alex"),
        classifiers.lpips_variables("alex"),
      ),
      "dists": lambda: (dists.Dists(), classifiers.dists_variables()),
      "mobilefacenet": lambda: (
        identity.Identity("mobilefacenet"),
        faces.variables(faces.mobilefacenet_state_dict(), "mobilefacenet"),
      ),
    }[name]()
    return metrics.Network(jax.device_put(variables), module)


class MissingTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.parent = pathlib.Path(folder.name)

  def test_nothing(self):
    self.assertIsNone(metrics.missing(["psnr"], {}))
    self.assertIsNone(
      metrics.missing(
        ["ir_se_small"],
        {"ir_se_small": _ROOT / "my3dgen_jax/demo/weights/identity"},
      )
    )

  @parameterized.parameters(
    (
      "lpips_vgg",
      "vgg16-397923af.pth (download.pytorch.org",
      "vgg.pth (github.com/richzhang/PerceptualSimilarity",
      "python converters/lpips_to_flax.py --backbone_file vgg16-397923af.pth "
      "--linear_file vgg.pth --output checkpoints/lpips_vgg",
    ),
    (
      "dists",
      "vgg16-397923af.pth",
      "weights.pt (github.com/dingkeyan93/",
      "python converters/dists_to_flax.py --backbone_file vgg16-397923af.pth "
      "--weight_file weights.pt --output checkpoints/dists",
    ),
    (
      "ir_se50",
      "model_ir_se50.pth (github.com/TreB1eN/",
      "python converters/arcface_to_flax.py --weight_file model_ir_se50.pth "
      "--output checkpoints/ir_se50",
    ),
    (
      "mobilefacenet",
      "mobilefacenet.pt (github.com/foamliu/MobileFaceNet",
      "--weight_file mobilefacenet.pt --output checkpoints/mobilefacenet",
    ),
  )
  def test_file_place_and_command(self, name, *parts):
    text = str(metrics.missing([name, "psnr"], {}))
    self.assertStartsWith(text, f"{name}: no folder of weights is given")
    for part in parts:
      self.assertIn(part, text)
    self.assertNotIn("\n", text)
    self.assertNotIn("psnr", text)

  def test_given_folder(self):
    folder = self.parent / "my weights"
    text = str(metrics.missing(["dists"], {"dists": folder}))
    self.assertStartsWith(text, f"dists: {folder} holds no weights.safetensor")
    self.assertEndsWith(text, f"--output '{folder}'")

  def test_one_error_for_all(self):
    names = ("lpips_alex", "dists", "mobilefacenet")
    with self.assertRaises(UserError) as caught:
      metrics.load(names, {})
    self.assertEqual(
      re.findall(r"(\w+): no folder", str(caught.exception)), list(names)
    )

  def test_library(self):
    entry = dataclasses.replace(METRICS["ssim"], library="no_such_module")
    with mock.patch.dict(METRICS, {"ssim": entry}):
      self.assertRegex(
        str(metrics.missing(["ssim"], {})),
        "^ssim: the module "
        r'no_such_module is missing; run pip install "my3dgen-jax\[evaluate\]"$',
      )

  def test_unknown(self):
    with self.assertRaisesRegex(
      UserError, "^metrics: expected some of lpips_.*ssim, got 'fid'$"
    ):
      metrics.missing(["psnr", "fid"], {})


class LoadTest(absltest.TestCase):
  def test_loaded(self):
    folder = _ROOT / "my3dgen_jax" / "demo" / "weights" / "lpips"
    networks = metrics.load(["lpips_small", "psnr"], {"lpips_small": folder})
    self.assertIsNone(networks["psnr"])
    x, near = pictures()
    network = lpips.load_lpips(folder)
    module, variables = network.module, network.variables
    np.testing.assert_allclose(
      METRICS["lpips_small"].measure(networks["lpips_small"], x, near),
      module.apply(variables, x, near),
      rtol=1e-5,
    )

  def test_another_network(self):
    folder = _ROOT / "my3dgen_jax" / "demo" / "weights"
    for name, kind, found in (
      ("lpips_alex", "lpips", "small"),
      ("mobilefacenet", "identity", "ir_se_small"),
    ):
      with self.assertRaisesRegex(
        CheckpointError, f"{kind}: contains {found}, expected "
      ):
        metrics.load([name], {name: folder / kind})

  def test_another_identity_network_is_an_entry(self):
    class Means(nn.Module):
      dtype: str = "float32"
      precision: str = "highest"

      @nn.compact
      def __call__(self, x):
        return x.mean(axis=(1, 2)) * self.param(
          "scale", nn.initializers.ones, (3,)
        )

    entry = identity.Network("Means", Means, 8)
    with mock.patch.dict(identity.NETWORKS, {"means": entry}):
      # pylint: disable=protected-access
      with mock.patch.dict(
        METRICS,
        {
          "means": metrics._identity(
            "means",
            "converters/arcface_to_flax.py",
            weight_file=metrics.File("means.pt", "nowhere"),
          )
        },
      ):
        with tempfile.TemporaryDirectory() as folder:
          path = pathlib.Path(folder) / "means"
          identity.save_identity(
            path, "means", {"params": {"scale": np.ones(3, np.float32)}}
          )
          networks = metrics.load(["means"], {"means": path})
        x, _ = pictures()
        np.testing.assert_allclose(
          METRICS["means"].measure(networks["means"], x, 0.5 * x), 1, rtol=1e-5
        )


if __name__ == "__main__":
  absltest.main()

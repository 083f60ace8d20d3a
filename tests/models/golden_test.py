"""The generator against the original's tensors, piece by piece and whole."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl.testing import absltest, parameterized

from converters import names
from my3dgen_jax import config as config_lib
from my3dgen_jax import types
from my3dgen_jax.models import superresolution
from my3dgen_jax.models.generator import abstract_variables, Generator
from tests.support import golden

pytestmark = pytest.mark.numbers


def nchw(images):
  return np.asarray(images).transpose(0, 3, 1, 2)


def apply(config, **fixed):
  """A jitted method of a generator: f(variables, *arrays)."""
  return jax.jit(functools.partial(Generator(config).apply, **fixed))


class SmallGeneratorTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.file = golden.load("small_generator")
    cls.config = golden.small_config()
    cls.variables = jax.device_put(golden.small_variables())
    cls.z = golden.draw("input.z", (2, 512))
    cls.c = cls.file["c"]
    cls.ws = apply(cls.config, method="mapping")(cls.variables, cls.z, cls.c)

  def assert_close(self, actual, key):
    golden.assert_close(
      actual, self.file[key], golden.IMAGES, f"small_generator: {key}"
    )

  def test_mapping(self):
    for row in range(14):
      self.assert_close(self.ws[:, row], "ws")
    truncated = apply(
      self.config, method="mapping", truncation_psi=0.7, truncation_cutoff=14
    )(self.variables, self.z, self.c)
    self.assert_close(truncated, "ws_trunc")

  def test_truncation_cutoff_and_traced_psi(self):
    mapping = apply(self.config, method="mapping", truncation_cutoff=5)
    cut = mapping(
      self.variables, self.z, self.c, truncation_psi=jnp.float32(0.7)
    )
    np.testing.assert_allclose(
      cut[:, :5], self.file["ws_trunc"][:, :5], atol=1e-4
    )
    np.testing.assert_array_equal(cut[:, 5:], self.ws[:, 5:])

  @parameterized.parameters(
    ("const", "planes_sub"), ("none", "planes_none_sub")
  )
  def test_planes(self, noise_mode, key):
    planes = apply(self.config, method="planes", noise_mode=noise_mode)(
      self.variables, self.ws
    )
    planes = (
      np.asarray(planes).transpose(0, 1, 4, 2, 3).reshape(2, 96, 256, 256)
    )
    self.assert_close(planes[:, :, ::16, ::16], key)
    if noise_mode == "const":
      self.assert_close(planes.mean((2, 3)), "planes_mean")

  @parameterized.parameters("", "det_")
  def test_images(self, prefix):
    sampling = types.RaySampling(
      jitter=self.file["jitter"][..., 0], importance=self.file["importance_u"]
    )
    out = apply(
      self.config, method="synthesis", neural_rendering_resolution=32
    )(self.variables, self.ws, self.c, sampling=None if prefix else sampling)
    self.assert_close(nchw(out.image)[:, :, ::4, ::4], f"{prefix}image")
    self.assert_close(nchw(out.image_raw), f"{prefix}image_raw")
    self.assert_close(nchw(out.image_depth), f"{prefix}image_depth")

  def test_query(self):
    planes = apply(self.config, method="planes")(self.variables, self.ws)
    samples = apply(self.config, method="query")(
      self.variables, planes, self.file["points"]
    )
    self.assert_close(samples.sigma, "sigma")
    self.assert_close(samples.rgb, "rgb")


def image_loss(variables, ws, c, target):
  out = Generator(golden.small_config()).apply(
    variables, ws, c, neural_rendering_resolution=16, method="synthesis"
  )
  loss = jnp.mean((out.image_raw - target) ** 2) + 0.1 * jnp.mean(out.image**2)
  return loss, out


class GradientsTest(parameterized.TestCase):
  def test_of_latents_and_parameters(self):
    file = golden.load("small_generator_grads")
    variables, c = golden.small_variables(), golden.two_cameras()
    ws = apply(golden.small_config(), method="mapping")(
      variables, golden.draw("input.z", (2, 512)), c
    )
    target = golden.to_nhwc(golden.draw("input.target", (2, 3, 16, 16)))
    leaves = names.flatten(variables)
    checked = {
      names.flax_path(name): name
      for name in sorted(file)
      if name not in ("loss", "ws")
    }
    self.assertLen(checked, 8)

    def loss(some, ws, leaves, c, target):
      return image_loss(names.unflatten({**leaves, **some}), ws, c, target)[0]

    value, (of_some, of_ws) = jax.jit(jax.value_and_grad(loss, (0, 1)))(
      {place: leaves[place] for place in checked}, ws, leaves, c, target
    )
    label = "small_generator_grads: {}".format
    golden.assert_close(value, file["loss"], golden.IMAGES, label("loss"))
    golden.assert_close(of_ws.sum(1), file["ws"], golden.GRADIENTS, label("ws"))
    for place, name in checked.items():
      with self.subTest(name):
        actual = names.to_torch(place, np.asarray(of_some[place]))
        golden.assert_close(actual, file[name], golden.GRADIENTS, label(name))

  def test_of_fourteen_different_rows(self):
    file = golden.load("small_generator_wplus")
    ws = 0.5 * golden.draw("input.wplus", (1, 14, 512))
    target = golden.to_nhwc(golden.draw("input.target", (2, 3, 16, 16))[:1])
    (loss, out), gradient = jax.jit(
      jax.value_and_grad(image_loss, 1, has_aux=True)
    )(golden.small_variables(), ws, golden.two_cameras()[:1], target)
    for actual, key in (
      (nchw(out.image)[:, :, ::4, ::4], "image"),
      (nchw(out.image_raw), "image_raw"),
      (nchw(out.image_depth), "depth"),
      (loss, "loss"),
    ):
      golden.assert_close(
        actual, file[key], golden.IMAGES, f"small_generator_wplus: {key}"
      )
    for row in range(14):
      golden.assert_close(
        gradient[:, row],
        file["ws_grad"][:, row],
        golden.GRADIENTS,
        f"small_generator_wplus: ws_grad of row {row}",
      )


class SuperresolutionTest(parameterized.TestCase):
  def run_module(self, module, features, **changes):
    config = config_lib.GeneratorConfig(
      superresolution=dataclasses.replace(
        config_lib.SUPERRESOLUTION_MODULES[module], **changes
      )
    )
    prefix = "superresolution."
    shapes = {
      names.torch_name(place).removeprefix(prefix): names.torch_shape(
        place, leaf.shape
      )
      for place, leaf in names.flatten(abstract_variables(config)).items()
      if place.path[0] == "superresolution"
    }
    variables = golden.variables(shapes, prefix=f"{module}.")
    ws = np.repeat(golden.draw("input.sr.w", (1, 512))[:, None], 14, axis=1)
    features = golden.to_nhwc(features)
    image, raw = jax.jit(superresolution.Superresolution(config).apply)(
      variables, features[..., :3], features, ws
    )
    stride = image.shape[1] // 64
    return nchw(image)[:, :, ::stride, ::stride], nchw(raw)

  @parameterized.product(
    module=tuple(config_lib.SUPERRESOLUTION_MODULES), resolution=(64, 96, 128)
  )
  def test_matches_original(self, module, resolution):
    actual, _ = self.run_module(
      module,
      golden.draw(f"input.sr.{resolution}", (1, 32, resolution, resolution)),
    )
    name, key = f"sr_{module}", f"out{resolution}"
    golden.assert_close(
      actual, golden.load(name)[key], golden.IMAGES, f"{name}: {key}"
    )

  @parameterized.parameters((256.0, "out_fp16res4"), (None, "out_fp16res0"))
  def test_clamp(self, clamp, key):
    features = golden.draw("input.sr.128", (1, 32, 128, 128)) * 1000
    actual, _ = self.run_module(
      "SuperresolutionHybrid8XDC", features, clamp=clamp
    )
    golden.assert_close(
      actual, golden.load("sr_clamp")[key], golden.IMAGES, f"sr_clamp: {key}"
    )

  @parameterized.product(
    module=tuple(config_lib.SUPERRESOLUTION_MODULES), resolution=(64, 128)
  )
  def test_raw_image_is_what_the_original_returns(self, module, resolution):
    features = golden.draw(
      f"input.sr.{resolution}", (1, 32, resolution, resolution)
    )
    _, raw = self.run_module(module, features)
    file = golden.load("sr_raw_in_place")
    key = f"{module}.rgb{resolution}_after"
    if key in file:
      golden.assert_close(
        raw[:, :, ::2, ::2], file[key], golden.IMAGES, f"sr_raw_in_place: {key}"
      )
      _, raw = self.run_module(module, features, raw_in_place=False)
    np.testing.assert_array_equal(raw, features[:, :3])


class PublishedConfigurationsTest(parameterized.TestCase):
  @parameterized.parameters(
    ("ffhq512", "ffhqrebalanced512-128", 128),
    ("afhq512", "afhqcats512-128", 64),
  )
  def test_end_to_end(self, name, preset, resolution):
    file = golden.load(name)
    config = config_lib.preset(preset)
    variables = jax.device_put(golden.variables(golden.shapes(name)))
    ws = apply(
      config, method="mapping", truncation_psi=0.7, truncation_cutoff=14
    )(variables, golden.draw("input.z", (1, 512)), file["c"])
    golden.assert_close(ws[:, 0], file["w"], golden.IMAGES, f"{name}: w")
    out = apply(
      config, method="synthesis", neural_rendering_resolution=resolution
    )(variables, ws, file["c"])
    for key, actual, tolerance in (
      ("image", nchw(out.image)[:, :, ::4, ::4], golden.IMAGES),
      ("image_raw", nchw(out.image_raw), golden.STORED_IN_FLOAT16),
      ("depth", nchw(out.image_depth)[:, :, ::2, ::2], golden.IMAGES),
    ):
      golden.assert_close(actual, file[key], tolerance, f"{name}: {key}")


if __name__ == "__main__":
  absltest.main()

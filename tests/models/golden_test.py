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
from tests.support.tiny import program

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
    # In two programs, which other tests take, too.
    planes = program("planes", self.config)(self.variables, self.ws)
    out = program("render_planes", self.config, neural_rendering_resolution=32)(
      self.variables,
      planes,
      self.ws,
      self.c,
      sampling=None if prefix else sampling,
    )
    self.assert_close(nchw(out.image)[:, :, ::4, ::4], f"{prefix}image")
    self.assert_close(nchw(out.image_raw), f"{prefix}image_raw")
    self.assert_close(nchw(out.image_depth), f"{prefix}image_depth")

  def test_query(self):
    planes = program("planes", self.config)(self.variables, self.ws)
    samples = apply(self.config, method="query")(
      self.variables, planes, self.file["points"]
    )
    self.assert_close(samples.sigma, "sigma")
    self.assert_close(samples.rgb, "rgb")


@jax.jit
@functools.partial(jax.value_and_grad, argnums=(0, 1), has_aux=True)
def loss_and_gradients(some, ws, leaves, c, target):
  """The loss of two images, by some of the parameters and by ws."""
  out = Generator(golden.small_config()).apply(
    names.unflatten({**leaves, **some}),
    ws,
    c,
    neural_rendering_resolution=16,
    method="synthesis",
  )
  loss = jnp.mean((out.image_raw - target) ** 2) + 0.1 * jnp.mean(out.image**2)
  return loss, out


class GradientsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.variables = golden.small_variables()
    cls.leaves = names.flatten(cls.variables)
    cls.checked = {
      names.flax_path(name): name
      for name in sorted(golden.load("small_generator_grads"))
      if name not in ("loss", "ws")
    }
    cls.some = {place: cls.leaves[place] for place in cls.checked}
    cls.c = golden.two_cameras()
    cls.target = golden.to_nhwc(golden.draw("input.target", (2, 3, 16, 16)))

  def test_of_latents_and_parameters(self):
    file = golden.load("small_generator_grads")
    self.assertLen(self.checked, 8)
    ws = apply(golden.small_config(), method="mapping")(
      self.variables, golden.draw("input.z", (2, 512)), self.c
    )
    (value, _), (of_some, of_ws) = loss_and_gradients(
      self.some, ws, self.leaves, self.c, self.target
    )
    label = "small_generator_grads: {}".format
    golden.assert_close(value, file["loss"], golden.IMAGES, label("loss"))
    golden.assert_close(of_ws.sum(1), file["ws"], golden.GRADIENTS, label("ws"))
    for place, name in self.checked.items():
      with self.subTest(name):
        actual = names.to_torch(place, np.asarray(of_some[place]))
        golden.assert_close(actual, file[name], golden.GRADIENTS, label(name))

  def test_of_fourteen_different_rows(self):
    file = golden.load("small_generator_wplus")
    # The same image twice: the same loss.
    twice = lambda x: np.repeat(x[:1], 2, axis=0)
    (loss, out), (_, gradient) = loss_and_gradients(
      self.some,
      twice(0.5 * golden.draw("input.wplus", (1, 14, 512))),
      self.leaves,
      twice(self.c),
      twice(self.target),
    )
    for actual, key in (
      (nchw(out.image)[:1, :, ::4, ::4], "image"),
      (nchw(out.image_raw)[:1], "image_raw"),
      (nchw(out.image_depth)[:1], "depth"),
      (loss, "loss"),
    ):
      golden.assert_close(
        actual, file[key], golden.IMAGES, f"small_generator_wplus: {key}"
      )
    gradient = gradient.sum(0, keepdims=True)
    for row in range(14):
      golden.assert_close(
        gradient[:, row],
        file["ws_grad"][:, row],
        golden.GRADIENTS,
        f"small_generator_wplus: ws_grad of row {row}",
      )


@functools.cache
def superresolved(module, resolution, scale=1, **changes):
  """Image, at most 64 x 64 pixels of it, and raw image, [1, 3, H, W]."""
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
  features = golden.to_nhwc(superresolution_input(resolution) * scale)
  image, raw = jax.jit(superresolution.Superresolution(config).apply)(
    variables, features[..., :3], features, ws
  )
  stride = image.shape[1] // 64
  return nchw(image)[:, :, ::stride, ::stride], nchw(raw)


def superresolution_input(resolution):
  return golden.draw(f"input.sr.{resolution}", (1, 32, resolution, resolution))


class SuperresolutionTest(parameterized.TestCase):
  @parameterized.product(
    module=tuple(config_lib.SUPERRESOLUTION_MODULES), resolution=(64, 96, 128)
  )
  def test_matches_original(self, module, resolution):
    actual, _ = superresolved(module, resolution)
    name, key = f"sr_{module}", f"out{resolution}"
    golden.assert_close(
      actual, golden.load(name)[key], golden.IMAGES, f"{name}: {key}"
    )

  @parameterized.parameters((256.0, "out_fp16res4"), (None, "out_fp16res0"))
  def test_clamp(self, clamp, key):
    actual, _ = superresolved(
      "SuperresolutionHybrid8XDC", 128, scale=1000, clamp=clamp
    )
    golden.assert_close(
      actual, golden.load("sr_clamp")[key], golden.IMAGES, f"sr_clamp: {key}"
    )

  @parameterized.product(
    module=tuple(config_lib.SUPERRESOLUTION_MODULES), resolution=(64, 128)
  )
  def test_raw_image_is_what_the_original_returns(self, module, resolution):
    _, raw = superresolved(module, resolution)
    file = golden.load("sr_raw_in_place")
    key = f"{module}.rgb{resolution}_after"
    if key in file:
      golden.assert_close(
        raw[:, :, ::2, ::2], file[key], golden.IMAGES, f"sr_raw_in_place: {key}"
      )
      _, raw = superresolved(module, resolution, raw_in_place=False)
    np.testing.assert_array_equal(raw, superresolution_input(resolution)[:, :3])


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

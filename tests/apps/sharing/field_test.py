"""A field's bytes are the generator's field, and its grid skips nothing."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.apps.sharing import field as field_lib
from my3dgen_jax.config import preset, RenderConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays as rays_lib
from tests.support import person, shader

LIMITS = {"yaw": 0.6, "pitch": 0.35, "focal": cameras.FACE_FOCAL}
SIZE = 16  # pixels of pictures


@functools.cache
def network():
  return person.make(4).true


@functools.cache
def made():
  """The field of two latents."""
  return field_lib.make_field(
    network(), person.make(4).ws[:2], ["one", "two"], **LIMITS
  )


@jax.jit
def _raw(one, ws, c):
  out = one(ws, c, neural_rendering_resolution=SIZE, method="synthesis")
  return out.image_raw[0]


class QuantizedTest(parameterized.TestCase):
  def test_half_a_step_at_most_and_zero_is_exact(self):
    rng = np.random.default_rng(0)
    folded = rng.normal([0, 5, -3, 0], [1, 2, 0.1, 0], (2, 2, 6, 6, 4))
    values, scale, zero = field_lib.quantized(folded)
    self.assertEqual(values.dtype, np.uint8)
    error = np.abs((values - zero) * scale - folded)
    # The range's ends move by the zero's rounding.
    np.testing.assert_array_less(error, 1.01 * scale * np.ones_like(error))
    np.testing.assert_array_equal(zero, np.rint(zero))
    np.testing.assert_array_less(-1, zero)
    np.testing.assert_array_less(zero, 256)
    _, _, zero = field_lib.quantized(np.abs(folded))
    np.testing.assert_array_equal(zero, 0)


class SkipsTest(parameterized.TestCase):
  def test_nothing_is_skipped(self):
    """Cells within the distance that a cell tells are empty."""
    cells = field_lib.CELLS
    sigma = np.full((2 * cells,) * 3, -20.0)
    sigma[80:90, 60:62, 40] = 10
    sigma[10, 100, 100] = 2  # haze
    skips = field_lib._skips(sigma)
    self.assertEqual(skips.shape, (cells,) * 3 + (2,))
    rng = np.random.default_rng(1)
    for which, least in ((0, -5), (1, 3)):
      full = np.argwhere(sigma > least) // 2
      for cell in rng.integers(0, cells, (300, 3)):
        nearest = np.abs(full - cell).max(axis=1).min()
        away = skips[(*cell, which)]
        # One less: what lies between two cells' points belongs to both.
        self.assertEqual(away, max(nearest - 1, 0))

  def test_an_empty_field(self):
    skips = field_lib._skips(np.full((2 * field_lib.CELLS,) * 3, -20.0))
    np.testing.assert_array_equal(skips, 255)

  @parameterized.parameters(
    RenderConfig(),
    RenderConfig(avg_camera_pivot=(0.0, 0.0, -0.06)),
    preset("shapenetcars128-64").rendering,
  )
  def test_rays_stay_in_reach(self, config):
    reach = field_lib.reach_of(config, **LIMITS)
    angles = np.random.default_rng(0).uniform(-1, 1, (2, 50))
    c = cameras.label(0.6 * angles[0], 0.35 * angles[1], config)
    rays = rays_lib.generate_rays(*cameras.unpack_label(c), 8)
    for depth in (config.ray_start, config.ray_end):
      points = rays.origins + depth * rays.directions
      self.assertLessEqual(np.abs(points).max(), reach)


class FieldTest(parameterized.TestCase):
  def test_radiance_at_points(self):
    """The shader's numbers are those of `Generator.query`."""
    ws, field = person.make(4).ws, made()
    points = np.random.default_rng(2).uniform(-0.6, 0.6, (1, 400, 3))
    for stop in range(2):
      wanted = network()(
        frames.planes_of(network(), ws[stop : stop + 1]),
        jnp.asarray(points, jnp.float32),
        method="query",
      )
      found = shader.radiance(field, stop, points[0], 1.0)
      spread = np.std(wanted.sigma)
      self.assertLess(
        np.sqrt(np.mean((found[:, 3] - wanted.sigma[0, :, 0]) ** 2)),
        0.01 * spread,
      )
      np.testing.assert_allclose(
        found[:, :3], wanted.rgb[0, :, :3], atol=0.03, rtol=0
      )

  @parameterized.parameters(False, True)
  def test_pictures(self, auto):
    """Marched by the shader's steps, it is what the renderer shows."""
    one, config = network(), network().module.config
    changes = {"depth_resolution": 32, "depth_resolution_importance": 32}
    if auto:
      changes |= {"ray_start": "auto", "ray_end": "auto", "white_back": True}
    rendering = dataclasses.replace(config.rendering, **changes)
    module = one.module.clone(
      config=dataclasses.replace(config, rendering=rendering)
    )
    one, ws = one.replace(module=module), person.make(4).ws[:1]
    field = made()
    if auto:
      field = dataclasses.replace(
        field,
        reach=0.5,
        skips=np.zeros_like(field.skips[:1]),  # nothing is known to be empty
      )
    c = render.about_front(one, person.make(4).c[0], [0.5 - auto], 0.1)
    wanted = _raw(one, ws, c)
    for least, quality in (
      (38, {"pace": 1.05 / 96}),
      (30, {"pace": 1.05 / 48, "fade": 4.0, "dark": 0.03}),
    ):
      shown = shader.draw(field, rendering, c[0], SIZE, **quality)
      error = np.mean((shown - np.clip(wanted + 1, 0, 2) / 2) ** 2)
      self.assertGreater(-10 * np.log10(error), least)

  def test_what_does_not_fit_a_browser(self):
    config = person.MODEL
    for changes, text in (
      ({"img_channels": 1}, "img_channels: "),
      (
        {"decoder": dataclasses.replace(config.decoder, hidden_features=4096)},
        "decoder.hidden_features: ",
      ),
      (
        {"backbone": dataclasses.replace(config.backbone, resolution=4096)},
        "backbone.resolution: ",
      ),
    ):
      with self.assertRaisesRegex(UserError, text):
        field_lib.check_fits(dataclasses.replace(config, **changes))
    for name in ("ffhqrebalanced512-128", "shapenetcars128-64"):
      field_lib.check_fits(preset(name))

  def test_gigantic_latents(self):
    ws = np.full_like(person.make(4).ws[:1], 3e38)
    with self.assertRaisesRegex(UserError, "Face 1: its planes hold numbers"):
      field_lib.make_field(network(), ws, ["Face 1"], **LIMITS)


if __name__ == "__main__":
  absltest.main()

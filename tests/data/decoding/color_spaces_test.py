"""Colors of other spaces, by numbers that standards and others publish."""

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.data.decoding import color_spaces
from my3dgen_jax.errors import UserError

BT709, BT2020, DISPLAY_P3 = 1, 9, 12
SRGB, PQ, HLG = 13, 16, 18


def patch(color, dtype=np.uint8):
  return np.full((300, 2, 3), color, dtype)


class ColorSpacesTest(parameterized.TestCase):
  def converted(self, color, dtype=np.uint8, **codes):
    pixels = color_spaces.of_codes(**codes).to_srgb(patch(color, dtype))
    self.assertEqual((pixels.dtype, pixels.shape), (np.uint8, (300, 2, 3)))
    self.assertTrue((pixels == pixels[0, 0]).all())
    return pixels[0, 0].tolist()

  def test_srgb_stays(self):
    for primaries in (1, 2, 5, 6):
      for transfer in (1, 2, 6, 13):
        self.assertIsNone(
          color_spaces.of_codes(primaries=primaries, transfer=transfer)
        )

  @parameterized.parameters(
    # CSS Color 4: sRGB's red, green and blue in Display P3.
    (DISPLAY_P3, (234, 51, 35), (255, 0, 0)),
    (DISPLAY_P3, (117, 251, 76), (0, 255, 0)),
    (DISPLAY_P3, (0, 0, 245), (0, 0, 255)),
    (DISPLAY_P3, (128, 128, 128), (128, 128, 128)),
    # ITU-R BT.2087's matrix on sRGB's red (0.6274, 0.0691, 0.0164) in light.
    (BT2020, (207, 75, 34), (255, 0, 0)),
  )
  def test_wide_colors(self, primaries, wide, narrow):
    got = self.converted(wide, primaries=primaries, transfer=SRGB)
    # Near black one step of the wide space is several of sRGB.
    np.testing.assert_allclose(got, narrow, atol=6)

  @parameterized.parameters(
    # ITU-R BT.2408, table 1: 58 % of PQ and 75 % of HLG are 203 cd/m2, 38 %
    # of both are what a grey card reflects: 26 cd/m2.
    (PQ, 0.381, 26 / 203),
    (HLG, 0.378, 26 / 203),
    (PQ, 0.5081, 100 / 203),  # SMPTE ST 2084: 100 cd/m2
    (PQ, 0.0, 0.0),
    (HLG, 0.0, 0.0),
  )
  def test_light_of_hdr_below_the_knee(self, transfer, signal, light):
    code = round(0xFFFF * signal)
    expected = 255 * (
      1.055 * light ** (1 / 2.4) - 0.055 if light > 0.0031308 else 12.92 * light
    )
    for primaries in (BT709, BT2020):
      got = self.converted(
        code, np.uint16, primaries=primaries, transfer=transfer
      )
      np.testing.assert_allclose(got, expected, atol=2)

  @parameterized.parameters((PQ, 0.5807, 0.7519), (HLG, 0.75, 1.0))
  def test_highlights_bend_into_white(self, transfer, white, peak):
    levels = [
      self.converted(
        round(0xFFFF * min(1, x)), np.uint16, primaries=9, transfer=transfer
      )[0]
      for x in (white, (white + peak) / 2, peak, 1.0)
    ]
    self.assertBetween(levels[0], 225, 245)  # SDR's white leaves room
    self.assertGreater(levels[1], levels[0])
    self.assertEqual(levels[2:], [255, 255])

  def test_tone_mapping_keeps_hues_and_shadows(self):
    light = np.random.default_rng(0).uniform(0, 4, (99, 3)).astype(np.float32)
    mapped = color_spaces.tone_mapped(light)
    self.assertLessEqual(mapped.max(), 1)
    share = mapped / light
    np.testing.assert_allclose(share, share[:, :1].repeat(3, 1), rtol=1e-5)
    dark = light / 6
    np.testing.assert_array_equal(color_spaces.tone_mapped(dark), dark)

  def test_powers(self):
    space = color_spaces.ColorSpace(gamma=1.0)
    self.assertEqual(space.to_srgb(patch(55))[0, 0, 0], 128)
    self.assertEqual(
      self.converted(55, primaries=BT709, transfer=color_spaces.LINEAR)[0], 128
    )

  def test_what_nobody_could_show(self):
    for transfer in (9, 10, 200):
      with self.assertRaisesRegex(UserError, f"transfer function {transfer}"):
        color_spaces.of_codes(primaries=1, transfer=transfer)


if __name__ == "__main__":
  absltest.main()

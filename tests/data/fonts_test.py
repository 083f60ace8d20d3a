"""Fonts that have the letters of file names."""

import pathlib
from unittest import mock

import matplotlib
from absl.testing import absltest, parameterized
from PIL import ImageFont

from my3dgen_jax.data import fonts

# Comes with matplotlib, and has many scripts.
_DEJAVU = str(
  pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
)


class FontsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    for cached in (fonts._all, fonts._count):
      cached.cache_clear()
      self.addCleanup(cached.cache_clear)

  def test_own_where_it_will_do(self):
    self.assertIs(fonts.font_for("photo001.png", 12), fonts._own(12))

  @parameterized.parameters("Фото", "φωτογραφία", "صورة")
  def test_one_of_the_system_s(self, text):
    with mock.patch.object(fonts, "_FONTS", ("no such font.ttf", _DEJAVU)):
      found = fonts.font_for(text, 12)
      self.assertEqual(fonts._count(found, text), len(text))
      self.assertIs(found, fonts.font_for(text + " 1.png", 12))
    if fonts._count(fonts._own(12), text) < len(text):
      self.assertIsInstance(found, ImageFont.FreeTypeFont)
      self.assertEqual(found.path, _DEJAVU)

  def test_none_has_it(self):
    with mock.patch.object(fonts, "_FONTS", (_DEJAVU,)):
      self.assertIs(fonts.font_for("太郎", 12), fonts._own(12))


if __name__ == "__main__":
  absltest.main()

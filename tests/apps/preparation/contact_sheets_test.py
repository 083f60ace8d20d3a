"""Sheets of many photos."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest
from PIL import Image

from my3dgen_jax.apps.preparation import contact_sheets
from my3dgen_jax.apps.preparation.contact_sheets import Tile


class ContactSheetsTest(absltest.TestCase):
  def test_sheet(self):
    red = np.zeros((300, 100, 3), np.uint8)
    red[..., 0] = 250
    tiles = [
      Tile(red, "name", "text"),
      Tile(None, "a/very/long/name" * 9, "many words " * 99, "darkred"),
    ]
    sheet = contact_sheets.sheet(tiles * 5)
    self.assertEqual(sheet.shape, (2 * 206 + 4, 8 * 164 + 4, 3))
    # The photo keeps its shape, in the tile's middle.
    np.testing.assert_array_equal(sheet[84, 84], (250, 0, 0))
    np.testing.assert_array_equal(sheet[84, 20], sheet[84, 248])
    # Below there is text, of that colour, and none in the next row's photo.
    below = sheet[168:208, 168:328].astype(int)
    self.assertTrue((below[..., 0] > below[..., 1] + 90).any())
    np.testing.assert_array_equal(sheet[290, 84], (250, 0, 0))

  def test_small_photos_make_the_same_sheet(self):
    generator = np.random.default_rng(0)
    large, little = (
      generator.integers(0, 256, (side, 90, 3), np.uint8) for side in (400, 50)
    )
    small = contact_sheets.small(large)
    self.assertEqual(small.shape, (160, 36, 3))
    np.testing.assert_array_equal(contact_sheets.small(little), little)
    np.testing.assert_array_equal(
      contact_sheets.sheet([Tile(large, "name")]),
      contact_sheets.sheet([Tile(small, "name")]),
    )

  def test_pages(self):
    with tempfile.TemporaryDirectory() as folder:
      tiles = [Tile(None, str(i)) for i in range(241)]
      self.assertEqual(
        contact_sheets.write(folder, "kept", tiles), ["kept.png", "kept_2.png"]
      )
      with Image.open(pathlib.Path(folder) / "kept_2.png") as second:
        self.assertEqual(second.width, 164 + 4)
      self.assertEqual(contact_sheets.write(folder, "none", []), [])


if __name__ == "__main__":
  absltest.main()

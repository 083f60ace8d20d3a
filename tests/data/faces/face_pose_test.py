"""Cameras from landmarks: of heads that are known, and of EG3D's crops."""

import importlib.util
import pathlib
from unittest import mock

import numpy as np
import pytest
from absl.testing import absltest, parameterized
from PIL import Image
from scipy.spatial import transform

from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.faces import (
  face_align,
  face_pose,
  landmarks,
  mediapipe_models,
)
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras

SIZE = 512
CROPS = pathlib.Path(__file__).parents[4] / "shared" / "data" / "eg3d_crops"


def label_of(yaw, pitch, roll=0.0):
  """A camera that looks at the head, as EG3D's labels do; degrees."""
  look = np.asarray(
    cameras.look_at(np.radians(yaw), np.radians(pitch), (0.0, 0.0, 0.2), 2.7),
    np.float64,
  )
  look[:3, :3] = (
    look[:3, :3]
    @ transform.Rotation.from_euler("z", roll, degrees=True).as_matrix()
  )
  return np.asarray(
    cameras.pack_label(look, cameras.intrinsics_from_focal(cameras.FACE_FOCAL)),
    np.float64,
  )


def seen(points, c, *, noise=0.0):
  """What the camera c sees of world points: pixels and depth, [M, 3]."""
  world2cam = np.linalg.inv(c[:16].reshape(4, 4))
  there = points @ world2cam[:3, :3].T + world2cam[:3, 3]
  pixels = SIZE * (cameras.FACE_FOCAL * there[:, :2] / there[:, 2:] + 0.5)
  # The mesh's depth is that of a parallel projection, from anywhere.
  scale = SIZE * cameras.FACE_FOCAL / there[:, 2].mean()
  result = np.concatenate([pixels, 31 + scale * there[:, 2:]], axis=1)
  return result + noise * np.random.default_rng(0).normal(size=result.shape)


def degrees(a, b):
  """The angle between two labels' rotations."""
  between = a[:16].reshape(4, 4)[:3, :3].T @ b[:16].reshape(4, 4)[:3, :3]
  return np.degrees(transform.Rotation.from_matrix(between).magnitude())


def distance(a, b):
  return np.linalg.norm(
    a[:16].reshape(4, 4)[:3, 3] - b[:16].reshape(4, 4)[:3, 3]
  )


VIEWS = ((0, 0, 0), (25, -10, 5), (-40, 15, -20), (65, 0, 30))


class KnownHeadsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.domain = face_pose.people()

  @parameterized.parameters(*VIEWS)
  def test_mesh(self, *view):
    c = label_of(*view)
    points = seen(self.domain.dense.points, c)
    found = face_pose.label(Face(points[:5, :2], dense=points), size=SIZE)
    self.assertEqual((found.shape, found.dtype), ((25,), np.float32))
    # The nodding that is expected, none, and the scale of the depth, which
    # is that of the head's mean distance, leave a few tenths.
    self.assertLess(degrees(found, c), 0.5)
    self.assertLess(distance(found, c), 0.03)
    cameras.check_label(found[None])
    np.testing.assert_allclose(found[16:], c[16:], atol=1e-6)

  @parameterized.parameters(*VIEWS)
  def test_five_points(self, *view):
    c = label_of(*view)
    points = seen(self.domain.points.points, c)[:, :2]
    found = face_pose.label(Face(points), size=SIZE)
    # Where points say little, a head is thought to nod less.
    self.assertLess(degrees(found, c), 1 + abs(view[1]) / 4)

  def test_noise(self):
    """One pixel a point, as the mesh has."""
    c = label_of(20, 5, 3)
    points = seen(self.domain.dense.points, c, noise=1.0)
    found = face_pose.label(Face(points[:5, :2], dense=points), size=SIZE)
    self.assertLess(degrees(found, c), 1)

  def test_wrong_depth_counts_half(self):
    c = label_of(20, 0)
    points = seen(self.domain.dense.points, c)
    points[:, 2] += 0.2 * (points[:, 0] - points[:, 0].mean())
    face = Face(points[:5, :2], dense=points)
    # By itself the depth would say 11 degrees, as much as it is bent.
    self.assertBetween(degrees(face_pose.label(face, size=SIZE), c), 1, 9)
    with mock.patch.object(face_pose, "_DEPTH_DOUBT", 1e6):
      self.assertLess(degrees(face_pose.label(face, size=SIZE), c), 0.1)

  @parameterized.parameters(*VIEWS)
  def test_mirrored_points_give_the_mirrored_label(self, *view):
    points = seen(self.domain.dense.points, label_of(*view), noise=3.0)
    mirror = landmarks.mean_mesh().mirror
    other = points[mirror] * [-1, 1, 1] + [SIZE, 0, 0]
    five = landmarks.points_of_mesh(points)[:, :2]
    other_five = landmarks.points_of_mesh(other)[:, :2]
    for a, b in (
      (Face(five, dense=points), Face(other_five, dense=other)),
      (Face(five), Face(other_five)),
    ):
      expected = np.asarray(cameras.mirror(face_pose.label(a, size=SIZE)))
      found = face_pose.label(b, size=SIZE)
      self.assertLess(degrees(found, expected), 0.05)
      self.assertLess(distance(found, expected), 0.01)

  def test_size_of_the_crop_does_not_matter(self):
    points = seen(self.domain.dense.points, label_of(20, -5))
    a = face_pose.label(Face(points[:5, :2], dense=points), size=SIZE)
    b = face_pose.label(Face(points[:5, :2], dense=points / 4), size=SIZE // 4)
    np.testing.assert_allclose(a, b, atol=1e-4)

  def test_radius(self):
    c = label_of(30, 10)
    points = seen(self.domain.dense.points, c)
    pose = face_pose.head_pose(points, self.domain.dense, size=SIZE)
    for radius in (2.7, 2.0):
      position = face_pose.camera(pose, radius=radius)[:3, 3]
      self.assertAlmostEqual(np.linalg.norm(position), radius)

  def test_other_heads(self):
    """A domain of nine points, as cats have."""
    rng = np.random.default_rng(0)
    shape = face_pose.HeadShape(
      0.1 * rng.normal(size=(9, 3)), np.full((9, 2), 0.01)
    )
    domain = face_pose.Domain(framing=None, points=shape)
    c = label_of(-15, 5)
    found = face_pose.label(
      Face(seen(shape.points, c)[:, :2]), size=SIZE, domain=domain
    )
    self.assertLess(degrees(found, c), 1)

  @parameterized.parameters(
    (np.zeros((4, 2)), r"expected 5 points, \[5, 2\] or \[5, 3\]"),
    (np.full((5, 2), np.inf), "NaN or infinity"),
    (np.full((5, 2), 100.0), "in the same place"),
  )
  def test_no_head(self, points, message):
    with self.assertRaisesRegex(UserError, message):
      face_pose.label(Face(points), size=SIZE)


class PlacedTest(absltest.TestCase):
  def test_placed(self):
    shape = face_pose.HeadShape(np.eye(3), np.ones((3, 2)))
    placed = shape.placed(tilt_degrees=90, unit=2.0, up=10.0, forward=20.0)
    # Nodded up by a right angle: what was forward is up.
    np.testing.assert_allclose(
      placed.points, [[2, 10, 20], [0, 10, 18], [0, 12, 20]], atol=1e-12
    )
    np.testing.assert_array_equal(placed.deviation, np.full((3, 2), 2.0))


@pytest.mark.skipif(
  importlib.util.find_spec("mediapipe") is None,
  reason="MediaPipe is not installed",
)
@pytest.mark.skipif(not CROPS.is_dir(), reason="needs ../shared/data")
class RealTest(absltest.TestCase):
  def test_labels_of_eg3d(self):
    """The bars of issue 7.

    The four numbers of `people` are fitted to these crops, all of them;
    benchmarks/prepare_accuracy.py leaves out each that it checks, and finds
    2.2 and 5.4 degrees, 0.09 and 0.8 %.
    """
    detect = mediapipe_models.face_detector()
    turns, positions, moves, mirrored = [], [], [], []
    for name, c in dataset_json.read(CROPS / "dataset.json").items():
      crop = np.asarray(Image.open(CROPS / name).convert("RGB"))
      face = detect(crop)[0]
      found = face_pose.label(face, size=SIZE)
      turns.append(degrees(found, c))
      positions.append(distance(found, c))
      aligned = face_align.align(face.points).to_crop(face.points)
      moves.append(np.linalg.norm(aligned - face.points, axis=1).mean())
      other = face_pose.label(detect(crop[:, ::-1])[0], size=SIZE)
      mirrored.append(degrees(np.asarray(cameras.mirror(found)), other))
    self.assertLess(np.median(turns), 3.5)
    self.assertLess(np.percentile(turns, 90), 7)
    self.assertLess(np.median(positions), 0.17)
    self.assertLess(np.median(moves) / SIZE, 0.03)
    self.assertLess(max(mirrored), 2)


if __name__ == "__main__":
  absltest.main()

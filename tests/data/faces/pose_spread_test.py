"""Poses that are far apart, and poses that stand for all."""

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.data.faces import pose_spread
from my3dgen_jax.ops import cameras
from tests.support import dotted_faces


class AnglesTest(parameterized.TestCase):
  @parameterized.parameters((0, 0), (30, 0), (-70, 10), (0, -25))
  def test_yaw_and_pitch(self, yaw, pitch):
    c = dotted_faces.label(yaw, pitch)
    np.testing.assert_allclose(
      pose_spread.angles(c), (yaw, pitch, 0), atol=1e-3
    )
    np.testing.assert_allclose(
      pose_spread.angles(cameras.mirror(c)), (-yaw, pitch, 0), atol=1e-3
    )

  def test_signs(self):
    look_at = lambda yaw, pitch: pose_spread.angles(
      cameras.pack_label(
        cameras.look_at(yaw, pitch, radius=2.7),
        cameras.intrinsics_from_focal(4.0),
      )
    )
    self.assertGreater(look_at(0.3, 0.0)[0], 15)
    self.assertGreater(look_at(0.0, -0.3)[1], 10)  # from above

  def test_roll(self):
    for turn in (20.0, -35.0):
      # Turned counter-clockwise, the camera sees the head turn clockwise.
      radians = np.radians(-turn)
      c = dotted_faces.label(10).astype(np.float64)
      pose = c[:16].reshape(4, 4).copy()
      pose[:3, :3] = pose[:3, :3] @ [
        [np.cos(radians), -np.sin(radians), 0],
        [np.sin(radians), np.cos(radians), 0],
        [0, 0, 1],
      ]
      c[:16] = pose.ravel()
      self.assertAlmostEqual(pose_spread.angles(c)[2], turn, delta=0.5)
      left, right = dotted_faces.points_of(c)[:2]
      seen = np.degrees(np.arctan2(*(right - left)[::-1]))
      self.assertAlmostEqual(seen, turn, delta=1.5)


class ChoiceTest(parameterized.TestCase):
  def test_farthest(self):
    poses = np.array([[0.0, 0], [1, 0], [30, 0], [-40, 0], [0, 20], [29, 0]])
    even = np.ones(6)
    even[0] = 1.01  # to begin with
    self.assertEqual(pose_spread.farthest(poses, even, 4), [0, 3, 2, 4])
    self.assertEqual(
      sorted(pose_spread.farthest(poses, even, 9)), list(range(6))
    )
    self.assertEqual(pose_spread.farthest(poses, even, 0), [])

  def test_farthest_prefers_sharp_ones(self):
    poses = np.array([[0.0, 0], [30, 0], [28, 0], [29, 0]])
    chosen = pose_spread.farthest(poses, np.array([1, 0.2, 0.9, 0.5]), 2)
    self.assertEqual(chosen, [0, 2])

  def test_all_the_same_pose(self):
    chosen = pose_spread.farthest(
      np.zeros((4, 2)), np.array([0.1, 0.4, 0.2, 0.3]), 3
    )
    self.assertEqual(chosen, [1, 3, 2])

  @parameterized.parameters(1, 2, 3, 5, 12)
  def test_representative(self, count):
    generator = np.random.default_rng(0)
    poses = generator.normal(size=(60, 2)) * [20, 6]
    chosen = pose_spread.representative(poses, count)
    self.assertLen(set(chosen), count)
    self.assertEqual(chosen, sorted(chosen))
    # Their mean is near the mean of all: five random ones are off by 9.
    if count > 1:
      off = poses[chosen].mean(axis=0) - poses.mean(axis=0)
      self.assertLess(np.linalg.norm(off), 5)
    # Nobody is far from all of them, as would be beside the extremes.
    nearest = np.linalg.norm(poses[:, None] - poses[chosen], axis=-1).min(1)
    self.assertLess(np.median(nearest), 25 / count**0.5)

  def test_representative_of_few(self):
    self.assertEqual(pose_spread.representative(np.zeros((3, 2)), 3), [0, 1, 2])
    self.assertEqual(pose_spread.representative(np.zeros((0, 2)), 0), [])


if __name__ == "__main__":
  absltest.main()

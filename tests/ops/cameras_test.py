"""Cameras: against the original's labels, and the laws they must obey."""

import jax
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays
from tests.support import golden

ANGLES = st.floats(-1.25, 1.25, width=32)
PIVOTS = st.tuples(*[st.floats(-0.5, 0.5, width=32)] * 3)


def label(yaw=0.0, pitch=0.0, pivot=(0.0, 0.0, 0.2), radius=2.7):
  return np.asarray(
    cameras.pack_label(
      cameras.look_at(yaw, pitch, pivot, radius),
      cameras.intrinsics_from_focal(4.2647),
    )
  )[None]


class CamerasTest(parameterized.TestCase):
  def test_look_at_matches_original(self):
    file = golden.load("camera")
    actual = cameras.pack_label(
      cameras.look_at(
        file["yaw"], file["pitch"], file["pivot"], file["radius"]
      ),
      cameras.intrinsics_from_focal(4.2647),
    )
    golden.assert_close(actual, file["label"], golden.OPS, "camera: label")

  def test_intrinsics_from_fov_match_original(self):
    file = golden.load("camera")
    golden.assert_close(
      cameras.intrinsics_from_fov(file["fov"]),
      file["intrinsics_fov"],
      golden.OPS,
      "camera: intrinsics_fov",
    )

  @settings(deadline=None, max_examples=50)
  @given(
    yaw=ANGLES, pitch=ANGLES, pivot=PIVOTS, radius=st.floats(1, 4, width=32)
  )
  def test_look_at_is_a_rigid_camera_that_looks_at_the_pivot(
    self, yaw, pitch, pivot, radius
  ):
    cam2world = np.asarray(cameras.look_at(yaw, pitch, pivot, radius))
    rotation, origin = cam2world[:3, :3], cam2world[:3, 3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-5)
    self.assertGreater(np.linalg.det(rotation), 0)
    self.assertAlmostEqual(np.linalg.norm(origin), radius, places=4)
    to_pivot = np.asarray(pivot) - origin
    np.testing.assert_allclose(
      rotation[:, 2], to_pivot / np.linalg.norm(to_pivot), atol=1e-5
    )
    self.assertLess(rotation[1, 1], 0)  # y of the image points down

  def test_offsets_broadcast(self):
    grid = cameras.look_at(np.zeros((3, 1)), np.zeros(2), (0, 0, 0.2), 2.7)
    self.assertEqual(grid.shape, (3, 2, 4, 4))

  def test_pack_and_unpack_are_inverse(self):
    c = golden.two_cameras()
    np.testing.assert_array_equal(
      cameras.pack_label(*cameras.unpack_label(c)), c
    )

  def test_pack_broadcasts_intrinsics(self):
    cam2world, intrinsics = cameras.unpack_label(golden.two_cameras())
    self.assertEqual(
      cameras.pack_label(cam2world, intrinsics[0]).shape, (2, 25)
    )

  @settings(deadline=None, max_examples=25)
  @given(yaw=ANGLES, pitch=ANGLES)
  def test_mirror(self, yaw, pitch):
    c = label(yaw, pitch)
    np.testing.assert_array_equal(cameras.mirror(cameras.mirror(c)), c)
    # A camera seen in the mirror is the camera on the other side.
    np.testing.assert_allclose(cameras.mirror(c), label(-yaw, pitch), atol=1e-6)
    cameras.check_label(cameras.mirror(c))

  @parameterized.named_parameters(
    ("24 numbers", lambda c: c[:, :24], r"c: expected shape \[N, 25\]"),
    ("no batch", lambda c: c[0], r"c: expected shape \[N, 25\]"),
    ("nan", lambda c: c * np.nan, "c: holds NaN"),
    (
      "sheared",
      lambda c: c + np.eye(1, 25, 1, dtype=np.float32),
      "cam2world is not a rigid camera",
    ),
    (
      "mirrored",
      lambda c: c * np.where(np.arange(25) % 4, 1, -1),
      "cam2world is not a rigid camera",
    ),
    (
      "bottom row",
      lambda c: c + np.eye(1, 25, 12, dtype=np.float32),
      "bottom row of cam2world",
    ),
    (
      "focal",
      lambda c: c * np.where(np.arange(25) == 16, -1, 1),
      "positive focal lengths",
    ),
  )
  def test_bad_label_is_named(self, spoil, message):
    with self.assertRaisesRegex(UserError, message):
      cameras.check_label(spoil(label()))

  def test_values_are_not_looked_at_while_tracing(self):
    jax.jit(cameras.check_label)(label() * np.nan)


class RaysTest(parameterized.TestCase):
  def test_match_original(self):
    file = golden.load("small_generator")
    actual = rays.generate_rays(*cameras.unpack_label(file["c"]), 8)
    golden.assert_close(
      actual.origins, file["rays_o8"], golden.OPS, "small_generator: rays_o8"
    )
    golden.assert_close(
      actual.directions, file["rays_d8"], golden.OPS, "small_generator: rays_d8"
    )

  def test_middle_ray_is_the_optical_axis(self):
    c = label(0.3, -0.2)
    actual = rays.generate_rays(*cameras.unpack_label(c), 5)
    np.testing.assert_allclose(
      actual.directions[0, 12], cameras.unpack_label(c)[0][0, :3, 2], atol=1e-6
    )

  def test_box_limits(self):
    c = label(0.3, 0.2)
    actual = rays.generate_rays(*cameras.unpack_label(c), 9)
    near, far = rays.box_limits(actual, 0.5)
    points = lambda t: actual.origins + t[..., None] * actual.directions
    inside = (np.abs(points((near + far) / 2)) < 0.25).all(-1)
    self.assertTrue(inside.any())
    self.assertFalse(inside.all())
    for t in (near, far):  # entry and exit lie on the surface
      np.testing.assert_allclose(
        np.abs(points(t)).max(-1)[inside], 0.25, atol=1e-5
      )
    missed = ~inside
    self.assertEqual(np.unique(near[missed]), near[inside].min())
    self.assertEqual(np.unique(far[missed]), near[inside].max())

  def test_box_limits_without_a_hit(self):
    c = label(pivot=(0.0, 0.0, 5.0))  # looks away from the box
    actual = rays.generate_rays(*cameras.unpack_label(c), 4)
    actual = actual.replace(origins=actual.origins + 9.0)
    near, far = rays.box_limits(actual, 0.1)
    self.assertFalse(np.asarray(near).any() or np.asarray(far).any())


if __name__ == "__main__":
  absltest.main()

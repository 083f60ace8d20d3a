"""Cameras of a viewer."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.viewer import orbits
from my3dgen_jax.apps.viewer.orbits import Limits, Orbit
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras

CONFIG = RenderConfig()
WIDE = Limits(math.pi / 2, math.pi / 4)


def pose(azimuth, height, far, moved=(0, 0, 0)):
  pivot = np.array(CONFIG.avg_camera_pivot) + moved
  return pivot + far * np.array(
    [
      math.cos(height) * math.sin(azimuth),
      math.sin(height),
      math.cos(height) * math.cos(azimuth),
    ]
  ), pivot


class CamerasTest(parameterized.TestCase):
  def test_front_is_the_average_camera(self):
    position, look_at = orbits.pose_of_orbit(Orbit(), CONFIG)
    np.testing.assert_allclose(position, [0, 0, 2.7])
    np.testing.assert_allclose(look_at, CONFIG.avg_camera_pivot)
    orbit = orbits.orbit_of_pose(position, look_at, CONFIG, Limits())
    self.assertEqual(orbit, Orbit())
    np.testing.assert_allclose(
      orbits.label_of_orbit(orbit, CONFIG),
      render.view_labels(CONFIG, [0.0], [0.0])[0],
      atol=1e-6,
    )

  @parameterized.parameters(
    (0.3, 0.1, 1.0), (-0.2, -0.15, 2.0), (0.05, 0.2, 0.7)
  )
  def test_pose_and_back(self, yaw, pitch, zoom):
    orbit = Orbit(yaw, pitch, zoom)
    found = orbits.orbit_of_pose(
      *orbits.pose_of_orbit(orbit, CONFIG), CONFIG, WIDE
    )
    self.assertTrue(orbits.same_orbit(found, orbit), found)

  def test_camera_to_the_right_and_above(self):
    position, look_at = pose(0.4, 0.3, orbits.distance(CONFIG))
    orbit = orbits.orbit_of_pose(position, look_at, CONFIG, WIDE)
    # As `cameras.look_at` has it: + is towards +x, and from below.
    self.assertGreater(orbit.yaw, 0.1)
    self.assertLess(orbit.pitch, -0.1)
    cam2world, _ = cameras.unpack_label(orbits.label_of_orbit(orbit, CONFIG))
    self.assertGreater(cam2world[0, 3], 0.3)
    self.assertGreater(cam2world[1, 3], 0.3)
    cameras.check_label(orbits.label_of_orbit(orbit, CONFIG)[None])

  def test_coming_nearer_is_a_longer_lens(self):
    far = orbits.distance(CONFIG)
    label = lambda away: orbits.label_of_orbit(
      orbits.orbit_of_pose(*pose(0, 0, away), CONFIG, WIDE), CONFIG
    )
    near, usual = label(far / 2), label(far)
    np.testing.assert_allclose(near[:16], usual[:16], atol=1e-6)
    np.testing.assert_allclose(near[[16, 20]], 2 * usual[[16, 20]], rtol=1e-5)
    low, high = orbits.zoom_distances(CONFIG)
    for beyond, end in ((low / 9, low), (high * 9, high)):
      np.testing.assert_allclose(label(beyond), label(end), atol=1e-5)

  def test_moving_sideways_moves_the_picture(self):
    """By as much as in a browser, whose window is as high as the picture."""
    far = orbits.distance(CONFIG)
    orbit = orbits.orbit_of_pose(*pose(0, 0, far, (0.1, 0.05, 0)), CONFIG, WIDE)
    span = 2 * far * math.tan(orbits.field_of_view() / 2)
    # The camera goes right and up: the face goes left and down.
    np.testing.assert_allclose(
      orbit.shift, [-0.1 / span, 0.05 / span], rtol=1e-6
    )
    _, intrinsics = cameras.unpack_label(orbits.label_of_orbit(orbit, CONFIG))
    np.testing.assert_allclose(
      intrinsics[:2, 2], 0.5 + np.array(orbit.shift), rtol=1e-6
    )

  def test_limits_are_soft(self):
    angles = np.linspace(-4, 4, 801)
    soft = np.array([orbits.soft_limit(x, 0.6) for x in angles])
    self.assertLessEqual(np.abs(soft).max(), 0.6)
    slope = np.diff(soft) / np.diff(angles)
    self.assertGreaterEqual(slope.min(), 0)
    self.assertLessEqual(slope.max(), 1 + 1e-6)
    np.testing.assert_allclose(orbits.soft_limit(0.3, 0.6), 0.3)

  def test_camera_comes_back_from_where_nothing_changes(self):
    limits = Limits(0.6, 0.35)
    far = orbits.distance(CONFIG)
    self.assertIsNone(orbits.rested_pose(*pose(0.8, 0.2, far), CONFIG, limits))
    moved = (0.1, 0, 0)
    lost = pose(3.0, 1.4, far / 2, moved)
    found = orbits.rested_pose(*lost, CONFIG, limits)
    before = orbits.orbit_of_pose(*lost, CONFIG, limits)
    after = orbits.orbit_of_pose(*found, CONFIG, limits)
    np.testing.assert_allclose(
      [after.yaw, after.pitch, after.zoom],
      [before.yaw, before.pitch, before.zoom],
      atol=0.01,
    )
    np.testing.assert_allclose(found[1] - CONFIG.avg_camera_pivot, moved)
    self.assertIsNone(orbits.rested_pose(*found, CONFIG, limits))

  def test_photos_camera(self):
    c = render.view_labels(CONFIG, [0.25], [-0.1], 2 * cameras.FACE_FOCAL)[0]
    orbit = orbits.orbit_of_label(c, CONFIG)
    # The orbit is about the point looked at, the label's about the origin.
    np.testing.assert_allclose(
      [orbit.yaw, orbit.pitch], [0.25, -0.1], atol=0.05
    )
    self.assertAlmostEqual(orbit.zoom, 2, places=4)

  def test_limits_are_checked(self):
    with self.assertRaisesRegex(UserError, "yaw"):
      Limits(float("nan"), 0.1).validate()


if __name__ == "__main__":
  absltest.main()

"""What a viewer's controls and mouse mean."""

import dataclasses
import math
from unittest import mock

from absl.testing import absltest, parameterized
import numpy as np

from my3dgen_jax.apps import edit
from my3dgen_jax.apps.rendering import render, stations
from my3dgen_jax.apps.viewer import scene
from my3dgen_jax.apps.viewer.scene import Choice, Limits, Orbit
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from tests.support import persons

CONFIG = RenderConfig()
WIDE = Limits(math.pi / 2, math.pi / 4)


def pose(azimuth, height, far, moved=(0, 0, 0)):
  pivot = np.array(CONFIG.avg_camera_pivot) + moved
  return pivot + far * np.array([
      math.cos(height) * math.sin(azimuth), math.sin(height),
      math.cos(height) * math.cos(azimuth)]), pivot


class CamerasTest(parameterized.TestCase):

  def test_front_is_the_average_camera(self):
    position, look_at = scene.pose_of_orbit(Orbit(), CONFIG)
    np.testing.assert_allclose(position, [0, 0, 2.7])
    np.testing.assert_allclose(look_at, CONFIG.avg_camera_pivot)
    orbit = scene.orbit_of_pose(position, look_at, CONFIG, Limits())
    self.assertEqual(orbit, Orbit())
    np.testing.assert_allclose(
        scene.label_of_orbit(orbit, CONFIG),
        render.view_labels(CONFIG, [0.0], [0.0])[0], atol=1e-6)

  @parameterized.parameters((0.3, 0.1, 1.0), (-0.2, -0.15, 2.0),
                            (0.05, 0.2, 0.7))
  def test_pose_and_back(self, yaw, pitch, zoom):
    orbit = Orbit(yaw, pitch, zoom)
    found = scene.orbit_of_pose(
        *scene.pose_of_orbit(orbit, CONFIG), CONFIG, WIDE)
    self.assertTrue(scene.same_orbit(found, orbit), found)

  def test_camera_to_the_right_and_above(self):
    position, look_at = pose(0.4, 0.3, scene.distance(CONFIG))
    orbit = scene.orbit_of_pose(position, look_at, CONFIG, WIDE)
    # As `cameras.look_at` has it: + is towards +x, and from below.
    self.assertGreater(orbit.yaw, 0.1)
    self.assertLess(orbit.pitch, -0.1)
    cam2world, _ = cameras.unpack_label(
        scene.label_of_orbit(orbit, CONFIG))
    self.assertGreater(cam2world[0, 3], 0.3)
    self.assertGreater(cam2world[1, 3], 0.3)
    cameras.check_label(scene.label_of_orbit(orbit, CONFIG)[None])

  def test_coming_nearer_is_a_longer_lens(self):
    far = scene.distance(CONFIG)
    label = lambda away: scene.label_of_orbit(
        scene.orbit_of_pose(*pose(0, 0, away), CONFIG, WIDE), CONFIG)
    near, usual = label(far / 2), label(far)
    np.testing.assert_allclose(near[:16], usual[:16], atol=1e-6)
    np.testing.assert_allclose(near[[16, 20]], 2 * usual[[16, 20]], rtol=1e-5)
    low, high = scene.zoom_distances(CONFIG)
    for beyond, end in ((low / 9, low), (high * 9, high)):
      np.testing.assert_allclose(label(beyond), label(end), atol=1e-5)

  def test_moving_sideways_moves_the_picture(self):
    """By as much as in a browser, whose window is as high as the picture."""
    far = scene.distance(CONFIG)
    orbit = scene.orbit_of_pose(*pose(0, 0, far, (0.1, 0.05, 0)),
                                       CONFIG, WIDE)
    span = 2 * far * math.tan(scene.field_of_view() / 2)
    # The camera goes right and up: the face goes left and down.
    np.testing.assert_allclose(orbit.shift, [-0.1 / span, 0.05 / span],
                               rtol=1e-6)
    _, intrinsics = cameras.unpack_label(
        scene.label_of_orbit(orbit, CONFIG))
    np.testing.assert_allclose(intrinsics[:2, 2], 0.5 + np.array(orbit.shift),
                               rtol=1e-6)

  def test_limits_are_soft(self):
    angles = np.linspace(-4, 4, 801)
    soft = np.array([scene.soft_limit(x, 0.6) for x in angles])
    self.assertLessEqual(np.abs(soft).max(), 0.6)
    slope = np.diff(soft) / np.diff(angles)
    self.assertGreaterEqual(slope.min(), 0)
    self.assertLessEqual(slope.max(), 1 + 1e-6)
    np.testing.assert_allclose(scene.soft_limit(0.3, 0.6), 0.3)

  def test_camera_comes_back_from_where_nothing_changes(self):
    limits = Limits(0.6, 0.35)
    far = scene.distance(CONFIG)
    self.assertIsNone(scene.rested_pose(*pose(0.8, 0.2, far), CONFIG,
                                               limits))
    moved = (0.1, 0, 0)
    lost = pose(3.0, 1.4, far / 2, moved)
    found = scene.rested_pose(*lost, CONFIG, limits)
    before = scene.orbit_of_pose(*lost, CONFIG, limits)
    after = scene.orbit_of_pose(*found, CONFIG, limits)
    np.testing.assert_allclose([after.yaw, after.pitch, after.zoom],
                               [before.yaw, before.pitch, before.zoom],
                               atol=0.01)
    np.testing.assert_allclose(found[1] - CONFIG.avg_camera_pivot, moved)
    self.assertIsNone(scene.rested_pose(*found, CONFIG, limits))

  def test_photos_camera(self):
    c = render.view_labels(CONFIG, [0.25], [-0.1], 2 * cameras.FACE_FOCAL)[0]
    orbit = scene.orbit_of_label(c, CONFIG)
    # The orbit is about the point looked at, the label's about the origin.
    np.testing.assert_allclose([orbit.yaw, orbit.pitch], [0.25, -0.1],
                               atol=0.05)
    self.assertAlmostEqual(orbit.zoom, 2, places=4)

  def test_limits_are_checked(self):
    with self.assertRaisesRegex(UserError, "yaw"):
      Limits(float("nan"), 0.1).validate()


class FacesTest(parameterized.TestCase):

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.person = persons.tiny_person(4)
    cls.ws = np.asarray(cls.person.anchors.ws)
    cls.mean = scene.mean_of(cls.person)

  def latents(self, steps=None, sampled=None, person=None, **options):
    return scene.latents_of(
        person or self.person, Choice(**options), steps or {}, mean=self.mean,
        sampled=sampled or {})

  def test_a_photo_is_its_anchor(self):
    np.testing.assert_allclose(
        self.latents(start="a photo", first="photo02.png"), self.ws[2],
        atol=1e-6)

  def test_files_are_no_photos(self):
    """A browser may send any text; it must not read files here."""
    for options in (dict(start="a photo", first="one.npz"),
                    dict(start="between two", first="photo00.png",
                         second="one.npz"),
                    dict(start="a mix", weights=(("one.npz", 1.0),))):
      with mock.patch.object(stations, "read_npz") as read:
        with self.assertRaisesRegex(UserError, "none called 'one.npz'"):
          self.latents(**options)
      read.assert_not_called()

  def test_between_two(self):
    ws = self.latents(start="between two", first="photo00.png",
                      second="photo01.png", way=0.25)
    np.testing.assert_allclose(ws, 0.75 * self.ws[0] + 0.25 * self.ws[1],
                               atol=1e-5)

  def test_a_mix_is_barycentric(self):
    ws = self.latents(start="a mix", weights=(
        ("photo00.png", 1.0), ("photo01.png", 0.5), ("photo00.png", 0.5)))
    np.testing.assert_allclose(ws, (3 * self.ws[0] + self.ws[1]) / 4,
                               atol=1e-5)
    with self.assertRaisesRegex(UserError, "at least one"):
      self.latents(start="a mix")
    np.testing.assert_allclose(scene.barycentric([0, 0, -1]), 1 / 3)

  def test_truncation_goes_to_the_mean_face(self):
    photo = dict(start="a photo", first="photo00.png")
    np.testing.assert_allclose(
        self.latents(truncation=0.0, **photo),
        np.repeat(self.mean[None], len(self.ws[0]), axis=0), atol=1e-6)
    np.testing.assert_allclose(
        self.latents(truncation=0.5, **photo),
        (self.ws[0] + self.mean) / 2, atol=1e-6)
    np.testing.assert_array_equal(self.latents(truncation=0.0, **photo),
                                  self.latents(start="the mean face"))

  def test_a_seed(self):
    w = np.arange(self.ws.shape[-1], dtype=np.float32)
    ws = self.latents(start="a seed", seed=7, sampled={7: w})
    np.testing.assert_allclose(ws, np.repeat(w[None], len(ws), axis=0))

  @parameterized.parameters(True, False)
  def test_edits_are_those_of_the_edit_command(self, within):
    vector = np.random.default_rng(0).standard_normal(
        self.ws.shape[-1]).astype(np.float32)
    smile = Direction("smile", vector / np.linalg.norm(vector), spread=0.7)
    steps = scene.edit_steps(self.person, [smile], within=within)
    ws = self.latents(steps, start="a photo", first="photo01.png",
                      edits=(("smile", 2.0),))
    config = edit.EditConfig(apply="alpha" if within else "w")
    start, = edit.find_starts(self.person, ["photo01.png"], config)
    wanted, _ = edit.edited_latents(self.person, start, smile, [2 * 0.7],
                                    apply=config.apply)
    np.testing.assert_allclose(ws, wanted[0], atol=1e-5)
    self.assertGreater(np.abs(ws - self.ws[1]).max(), 0.01)

  def test_a_bare_base_has_no_photos(self):
    bare = dataclasses.replace(self.person, anchors=None)
    self.assertEqual(list(scene.starts_of(bare)),
                     ["the mean face", "a seed"])
    with self.assertRaisesRegex(UserError, "no photos"):
      self.latents(person=bare, start="a photo", first="photo00.png")
    steps = scene.edit_steps(bare, [
        Direction("x", np.ones(8, np.float32), spread=1.0)], within=True)
    np.testing.assert_allclose(steps["x"], 1.0)

  def test_description_tells_what_counts(self):
    self.assertEqual(
        scene.describe(Choice(
            start="a mix", first="unused.png", weights=(("a", 3.0),
                                                        ("b", 1.0)),
            edits=(("smile", 1.0), ("age", 0.0)), truncation=0.5)),
        {"start": "a mix", "weights": "a 0.750, b 0.250",
         "truncation_psi": "0.500", "edit smile": "+1.00"})


class PicturesTest(parameterized.TestCase):

  @parameterized.parameters((900, 600), (600, 900), (600, 600), (0, 0))
  def test_framed(self, width, height):
    picture = np.random.default_rng(0).integers(
        0, 255, (32, 32, 3)).astype(np.uint8)
    frame = scene.framed(picture, width, height)
    longer = 32 * max(width, height, 1) // max(min(width, height), 1)
    self.assertEqual(sorted(frame.shape[:2]), [32, longer])
    top, left = ((extent - 32) // 2 for extent in frame.shape[:2])
    np.testing.assert_array_equal(frame[top:top + 32, left:left + 32],
                                  picture)
    self.assertEqual(frame.shape[1] >= frame.shape[0], width >= height)

  @parameterized.parameters((10**9, 1), (1, 10**9))
  def test_windows_that_are_none_need_little_memory(self, width, height):
    frame = scene.framed(np.zeros((32, 32, 3), np.uint8), width,
                                height)
    self.assertEqual(sorted(frame.shape[:2]), [32, 8 * 32])

  def test_levels_get_coarser(self):
    levels = scene.levels_of(self.person_config())
    self.assertEqual(levels[0], (32, "image"))
    self.assertLen(set(levels), len(levels))
    self.assertEqual(levels[-1][1], "raw")

  def person_config(self):
    return persons.tiny_person(2).generator.module.config


if __name__ == "__main__":
  absltest.main()

"""Ways between anchors: their latents, weights, cameras, and their files."""

import dataclasses
import json
import os
import pathlib
import signal
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps import interpolate as app
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.data import images, provenance
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.ops import cameras
from tests.support import albums, person
from tests.support.persons import tiny_person, with_identity

COUNT = 4
PIVOT = (0.0, 0.0, 0.2)
SMALL = app.InterpolateConfig(frames=5, strip=3, video=".gif")


class PathTest(parameterized.TestCase):
  def find(self, names, one=None, **changes):
    one = one or tiny_person(COUNT)
    return app.find_path(
      one,
      app.find_photo_latents(one, names),
      dataclasses.replace(SMALL, **changes),
    )

  @parameterized.product(spherical=(False, True), camera=app.CAMERAS)
  def test_ends_are_exact_and_all_is_valid(self, spherical, camera):
    one = tiny_person(COUNT)
    path = self.find(
      ["photo01", "2", "photo00.png"], spherical=spherical, camera=camera
    )
    np.testing.assert_allclose(path.t, np.arange(9) / 4)
    for frame, anchor in ((0, 1), (4, 2), (8, 0)):
      np.testing.assert_array_equal(path.ws[frame], one.anchors.ws[anchor])
      weights = np.broadcast_to(np.eye(COUNT)[anchor], path.alpha[frame].shape)
      np.testing.assert_array_equal(path.alpha[frame], weights)
      if camera == "photos":
        np.testing.assert_array_equal(path.c[frame], one.anchors.c[anchor])
    self.assertEqual(path.c.shape, (9, 25))
    cameras.check_label(path.c)
    if camera in ("front", "first"):
      np.testing.assert_array_equal(path.c, np.tile(path.c[:1], (9, 1)))
    np.testing.assert_allclose(path.alpha.sum(axis=-1), 1, atol=1e-5)
    self.assertEqual(path.alpha.ndim, 3 if spherical else 2)
    np.testing.assert_allclose(
      one.hull(0.0).latents(path.alpha), path.ws, atol=1e-4
    )

  def test_straight_ways_are_even(self):
    path = self.find(["0", "3"])
    steps = np.diff(path.ws, axis=0)
    np.testing.assert_allclose(steps, np.tile(steps[:1], (4, 1, 1)), atol=1e-5)

  def test_spherical_ways_keep_their_distance(self):
    """From the mean of the anchors, evenly from one's to the other's."""
    one = tiny_person(COUNT)
    path = self.find(["0", "1"], spherical=True)
    away = np.linalg.norm(path.ws - one.anchors.ws.mean(axis=0), axis=-1)
    np.testing.assert_allclose(
      away, np.linspace(away[0], away[-1], 5), rtol=1e-4
    )
    self.assertGreater(np.abs(path.ws - self.find(["0", "1"]).ws).max(), 0.01)

  @parameterized.parameters(False, True)
  def test_equal_anchors_go_nowhere(self, spherical):
    path = self.find(
      ["photo02", "photo02"], spherical=spherical, camera="photos"
    )
    for array in (path.ws, path.c):
      np.testing.assert_allclose(
        array, np.broadcast_to(array[:1], array.shape), atol=1e-5
      )
    np.testing.assert_allclose(path.alpha.sum(axis=-1), 1, atol=1e-5)

  def test_default_is_first_and_last(self):
    stations = app.find_photo_latents(tiny_person(COUNT))
    self.assertEqual(
      [station.name for station in stations], ["photo00.png", "photo03.png"]
    )

  def test_orbit_is_closed(self):
    path = self.find(["0", "1"], camera="orbit")
    front = self.find(["0", "1"])
    np.testing.assert_allclose(path.c[0], front.c[0], atol=1e-6)
    self.assertGreater(np.abs(path.c - front.c).max(), 0.1)


class CamerasBetweenTest(absltest.TestCase):
  def test_the_face_stays_in_place(self):
    """The pivot in the middle, at the same distance; level stays level."""
    c = render.label_about_front(
      person.MODEL.rendering,
      albums.labels(1)[0],
      np.float32([0.35, -0.35]),
      np.float32([0.2, 0.2]),
    )
    middle = person.MODEL.rendering.avg_camera_pivot
    found = app.cameras_between(*np.asarray(c), np.linspace(0, 1, 9), middle)
    cameras.check_label(found)
    poses, _ = map(np.asarray, cameras.unpack_label(found))
    away = np.asarray(middle) - poses[:, :3, 3]
    distance = np.linalg.norm(away, axis=-1)
    np.testing.assert_allclose(distance, distance[0], rtol=1e-5)
    np.testing.assert_allclose(
      away / distance[:, None], poses[:, :3, 2], atol=1e-5
    )
    np.testing.assert_allclose(poses[:, 1, 0], 0, atol=1e-5)

  def test_lens_and_distance_change_evenly(self):
    poses = cameras.look_at(
      np.float32([0.3, -0.2]), 0.1, PIVOT, np.float32([2.0, 3.0])
    )
    c = np.asarray(
      cameras.pack_label(
        poses, cameras.intrinsics_from_focal(np.float32([4.0, 5.0]))
      )
    )
    found = app.cameras_between(*c, np.float32([0, 0.5, 1]), PIVOT)
    np.testing.assert_array_equal(found[[0, 2]], c)
    poses, lenses = map(np.asarray, cameras.unpack_label(found))
    distance = np.linalg.norm(poses[:, :3, 3] - PIVOT, axis=-1)
    self.assertAlmostEqual(distance[1], distance[[0, 2]].mean(), places=4)
    self.assertAlmostEqual(lenses[1, 0, 0], 4.5, places=5)


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.out = self.folder / "out"

  def write(self, one=None, names=("0", "1"), **changes):
    return app.write_interpolation(
      one or tiny_person(COUNT),
      dataclasses.replace(SMALL, **changes),
      self.out,
      names=names,
      log=lambda line: None,
    )

  def latent_file(self, name="new.npz", **changes):
    made = person.make(COUNT)
    arrays = {"ws": made.ws[0] + 1, "c": made.c[0], **changes}
    np.savez(
      self.folder / name,
      **{key: value for key, value in arrays.items() if value is not None},
    )
    return str(self.folder / name)

  def test_what_is_written(self):
    one = with_identity(
      tiny_person(COUNT), albums.make(self.folder / "album", count=2, size=64)
    )
    summary = self.write(
      one, names=["photo00", "photo02", "1"], camera="photos", batch_size=2
    )
    self.assertCountEqual(
      os.listdir(self.out),
      ["video.gif", "strip.png", "path.npz", "summary.json"],
    )
    for name in ("video.gif", "strip.png"):
      origin = provenance.read_origin(self.out / name)
      self.assertEqual(
        (origin.task, origin.adapter, origin.base),
        ("interpolate", "0123456789abcdef", "fedcba9876543210"),
      )
      self.assertIn(
        ("anchors", "photo00.png, photo02.png, photo01.png"), origin.details
      )
    with Image.open(self.out / "strip.png") as strip:
      self.assertEqual(strip.width, 3 * 64)
      strip = np.asarray(strip)[-64:]
    # The strip's ends and middle are the anchors from their own cameras.
    made = person.make(COUNT)
    for column, photo in enumerate((0, 2, 1)):
      np.testing.assert_allclose(
        strip[:, 64 * column : 64 * (column + 1)].astype(int),
        images.to_uint8(made.photos[photo]).astype(int),
        atol=1,
      )
    self.assertEqual(
      json.loads((self.out / "summary.json").read_text()), summary
    )
    found = summary["id_sim"]
    self.assertLen(found["list"], 9)
    self.assertAlmostEqual(found["mean"], np.mean(found["list"]))
    self.assertEqual(found["min"], min(found["list"]))
    with np.load(self.out / "path.npz") as file:
      self.assertEqual(
        {key: file[key].shape for key in file.files},
        {
          "t": (9,),
          "ws": (9, person.MODEL.num_ws, 8),
          "c": (9, 25),
          "alpha": (9, COUNT),
        },
      )

  def test_latents_of_invert(self):
    """Their weights are kept where they are of the same anchors."""
    one = tiny_person(COUNT)
    alpha = np.float32([0.5, 0.25, 0.25, 0])
    inside = self.latent_file(
      ws=np.asarray(one.hull(0.0).latents(alpha[None]))[0], alpha=alpha
    )
    others = self.latent_file("others.npz", alpha=alpha)
    plain = self.latent_file("plain.npz")
    stations = app.find_photo_latents(one, [inside, others, plain, "0"])
    np.testing.assert_array_equal(stations[0].alpha, alpha)
    self.assertIsNone(stations[1].alpha)
    self.assertIsNone(stations[2].alpha)
    self.assertIsNone(app.find_path(one, stations, SMALL).alpha)
    path = app.find_path(one, [stations[0], stations[3]], SMALL)
    np.testing.assert_allclose(path.alpha.sum(axis=-1), 1, atol=1e-6)
    # A bare base has only such, and its circles go about w_avg.
    bare = dataclasses.replace(one, anchors=None)
    stations = app.find_photo_latents(bare, [inside, plain])
    path = app.find_path(
      bare, stations, dataclasses.replace(SMALL, spherical=True)
    )
    np.testing.assert_array_equal(path.ws[-1], stations[1].ws)
    self.assertIsNone(path.alpha)

  def test_folders_are_not_told(self):
    """Files are shown by their own names, which may come twice."""
    (self.folder / "more").mkdir()
    names = [self.latent_file("new.npz"), self.latent_file("more/new.npz")]
    summary = self.write(names=[*names, "1"], frames=2)
    self.assertEqual(summary["anchors"], ["new", "new", "photo01.png"])
    for name in ("video.gif", "strip.png"):
      self.assertIn(
        ("anchors", "new, new, photo01.png"),
        provenance.read_origin(self.out / name).details,
      )

  def test_weights_of_layers(self):
    one = tiny_person(COUNT)
    layers = np.tile(np.float32([0.5, 0.5, 0, 0]), (person.MODEL.num_ws, 1))
    layers[0] = [0, 0, 1, 0]
    inside = self.latent_file(
      ws=np.asarray(one.hull(0.0).latents(layers[None]))[0], alpha=layers
    )
    for spherical in (False, True):
      stations = app.find_photo_latents(one, ["1", inside, "0", "2"])
      path = app.find_path(
        one, stations, dataclasses.replace(SMALL, spherical=spherical)
      )
      self.assertEqual(path.alpha.shape, (13, person.MODEL.num_ws, COUNT))
      np.testing.assert_allclose(
        one.hull(0.0).latents(path.alpha), path.ws, atol=1e-4
      )

  def test_stopped_leaves_nothing(self):
    class Stop(interrupts.StopRequest):
      """Wants to stop at once."""

      def raise_if_wanted(self, message):
        raise Interrupted(signal.SIGTERM, message)

    with mock.patch.object(interrupts, "StopRequest", Stop):
      with self.assertRaisesRegex(Interrupted, "frame 0 of 5; the same"):
        self.write()
    self.assertEmpty(os.listdir(self.out))

  @parameterized.parameters(
    (["0"], "anchors: a path needs at least two, got 0"),
    ([], "anchors: a path needs at least two, got none"),
    (
      ["0", "photo9"],
      "anchors: unknown photo 'photo9': runs/tiny has "
      "photo00.png, .*end in .npz",
    ),
    (["0", "4"], "anchors: unknown photo '4'"),
    (["0", "/nowhere/x.npz"], "/nowhere/x.npz: missing"),
  )
  def test_bad_anchors(self, names, pattern):
    with self.assertRaisesRegex(UserError, pattern) as caught:
      self.write(names=names)
    self.assertNotIn("\n", str(caught.exception))
    self.assertFalse(self.out.exists())

  @parameterized.parameters(
    ({"ws": None}, "new.npz: has no ws; .*my3dgen invert"),
    ({"ws": np.zeros((3, 8))}, r"new.npz: ws: expected shape \[\d+, 8\]"),
    ({"ws": np.full((person.MODEL.num_ws, 8), np.nan)}, "new.npz: ws: .*NaN"),
    ({"base": "another"}, "/.*/new.npz: is a latent of another base"),
    ({"c": np.zeros(25)}, r"new.npz: c\[0\]: cam2world is not a rigid"),
  )
  def test_bad_files(self, changes, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      self.write(names=["0", self.latent_file(**changes)])
    self.assertFalse(self.out.exists())

  def test_bare_checkpoint(self):
    bare = dataclasses.replace(tiny_person(COUNT), anchors=None)
    with self.assertRaisesRegex(UserError, "bare checkpoint.*--anchors.*--run"):
      self.write(bare, names=None)
    with self.assertRaisesRegex(UserError, "'0': runs/tiny is a bare check"):
      self.write(bare)

  @parameterized.parameters(
    ({"frames": 1}, "frames: "),
    ({"strip": 0}, "strip: "),
    ({"camera": "side"}, "camera: .*front, first, photos, orbit"),
    ({"video": ".avi"}, "video: "),
    ({"batch_size": 0}, "batch_size: "),
    ({"yaw": float("nan")}, "yaw: "),
    ({"pitch": 2.0}, "pitch: "),
    ({"fps": 0.0}, "fps: "),
    ({"fps": 60.0}, "video.gif: fps must lie in"),
  )
  def test_bad_settings(self, changes, pattern):
    with self.assertRaisesRegex(UserError, pattern):
      self.write(**changes)
    self.assertFalse(self.out.exists() and os.listdir(self.out))


if __name__ == "__main__":
  absltest.main()

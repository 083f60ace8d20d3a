"""Folders of pictures and videos of scenes."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import signal
import tempfile
from unittest import mock

import imageio_ffmpeg
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.rendering import frames as frames_lib
from my3dgen_jax.apps.rendering import output, render, scenes, shots
from my3dgen_jax.data import images, provenance
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from tests.support import albums, person
from tests.support.persons import tiny_person

COUNT = 4
MODEL = person.MODEL
SIZE = MODEL.img_resolution
RAW = MODEL.neural_rendering_resolution
SMALL = shots.RenderFilesConfig(frames=3, kinds=("raw",))


def still(one, name="1"):
  return scenes.stills(one, scenes.find(one, [name]))


def decoded(path):
  """Frames of an MP4, uint8."""
  reader = imageio_ffmpeg.read_frames(path)
  width, height = next(reader)["size"]
  return [
    np.frombuffer(frame, np.uint8).reshape(height, width, 3) for frame in reader
  ]


def psnr(a, b):
  error = np.square(np.subtract(a, b, dtype=float)).mean()
  return 10 * np.log10(255**2 / max(error, 1e-9))


def brightness(picture):
  return (
    picture
    if picture.ndim == 2
    else picture @ np.float32([0.2126, 0.7152, 0.0722])
  )


class ShotsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.one = tiny_person(COUNT)

  def find(self, scene, **changes):
    return shots.find_shots(
      MODEL.rendering, scene, dataclasses.replace(SMALL, **changes).validate()
    )

  def test_grid(self):
    (scene,) = still(self.one)
    (shot,) = self.find(scene, yaws=(-0.1, 0.2), pitches=(0.0, 0.1))
    self.assertEqual(shot.frames[1], "photo01_yaw+0.20_pitch+0.00")
    expected = render.about_front(
      self.one.generator,
      scene.c[0],
      [-0.1, 0.2, -0.1, 0.2],
      np.array([0, 0, 0.1, 0.1]),
    )
    np.testing.assert_allclose(shot.c, expected, atol=1e-6)
    (shot,) = self.find(scene)
    self.assertLen(shot.c, 3)

  def test_sweeps(self):
    (scene,) = still(self.one)
    (shot,) = self.find(scene, camera="yaw", frames=5)
    np.testing.assert_allclose(
      shot.c,
      render.about_front(
        self.one.generator, scene.c[0], np.linspace(-0.35, 0.35, 5), 0.0
      ),
      atol=1e-6,
    )
    self.assertEqual(shot.frames[4], "photo01_yaw_0004")
    (shot,) = self.find(scene, camera="pitch", pitches=(0.2, -0.1), yaws=(0.3,))
    np.testing.assert_allclose(
      shot.c,
      render.about_front(
        self.one.generator, scene.c[0], [0.3] * 3, np.array([0.2, 0.05, -0.1])
      ),
      atol=1e-6,
    )

  def test_orbit(self):
    (scene,) = still(self.one)
    (shot,) = self.find(scene, camera="orbit", frames=8, yaws=(0.2,))
    np.testing.assert_array_equal(
      shot.c,
      render.orbit(
        self.one.generator, scene.c[0], frames=8, yaw=0.2, pitch=0.25
      ),
    )

  def test_own_and_focal(self):
    (scene,) = still(self.one)
    (shot,) = self.find(scene, camera="own")
    np.testing.assert_array_equal(shot.c, scene.c)
    self.assertEqual(shot.frames, ["photo01_own"])
    (shot,) = self.find(scene, camera="yaw", focal=3.0)
    np.testing.assert_array_equal(shot.c[:, [16, 20]], 3.0)

  def test_files(self):
    (scene,) = still(self.one)
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "dolly.json"
      path.write_text(json.dumps({"keys": [{"yaw": 0.1}, {"focal": 5}]}))
      (shot,) = self.find(scene, camera=str(path), focal=3.0)
      path.write_text(json.dumps(albums.labels(2).tolist()))
      (frames,) = self.find(scene, camera=str(path))
      way = scenes.way(
        self.one, scenes.find(self.one, ["0", "1"]), frames=3, spherical=False
      )
      with self.assertRaisesRegex(
        UserError, "dolly.json has 2 cameras, but the video 3 frames"
      ):
        self.find(way, camera=str(path))
    self.assertEqual(shot.frames[0], "photo01_dolly_0000")
    self.assertAlmostEqual(shot.c[0, 16], 3.0)
    self.assertAlmostEqual(shot.c[2, 16], 5.0)
    np.testing.assert_array_equal(frames.c, albums.labels(2))

  def test_ways(self):
    """As many cameras as latents; a grid has a shot for each view."""
    way = scenes.way(
      self.one, scenes.find(self.one, ["0", "1"]), frames=4, spherical=False
    )
    (shot,) = self.find(way, camera="own")
    np.testing.assert_array_equal(shot.c, way.c)
    self.assertEqual(shot.frames[3], "photo00_to_photo01_own_0003")
    (shot,) = self.find(way, camera="orbit", frames=99)
    self.assertLen(shot.c, 4)
    found = self.find(way, yaws=(-0.1, 0.1))
    self.assertEqual(
      [shot.name for shot in found],
      [
        "photo00_to_photo01_yaw-0.10_pitch+0.00",
        "photo00_to_photo01_yaw+0.10_pitch+0.00",
      ],
    )
    for shot in found:
      np.testing.assert_array_equal(shot.c, np.repeat(shot.c[:1], 4, axis=0))

  @parameterized.parameters(
    ({"camera": ""}, "camera: expected one of grid, orbit"),
    ({"camera": "own", "yaws": (0.1,)}, "yaw, pitch: cameras of 'own'"),
    ({"camera": "x.json", "pitches": (0.1,)}, "yaw, pitch: cameras of"),
    ({"camera": "own", "focal": 3.0}, "focal: "),
    ({"camera": "orbit", "yaws": (0.1, 0.2)}, "yaw: camera orbit takes one"),
    ({"camera": "yaw", "yaws": (0.1, 0.2, 0.3)}, "yaw: .*takes two numbers"),
    ({"camera": "yaw", "yaws": (0.1,)}, "yaw: a sweep goes from one angle"),
    ({"camera": "pitch", "yaws": (0.1, 0.2)}, "yaw: camera pitch takes one"),
    ({"camera": "/nowhere.json"}, "/nowhere.json: cannot be read"),
    ({"yaws": (4.0,)}, "yaw: "),
    ({"pitches": (-2.0,)}, "pitch: "),
    ({"yaws": (0.1, 0.1)}, "two views are the same"),
    ({"frames": 0}, "frames: "),
    ({"format": ".avi"}, "format: "),
    ({"kinds": ("colour",)}, "kinds: "),
    ({"fps": 0.0}, "fps: "),
    ({"side": -1}, "side: "),
    ({"crf": 52}, "crf: "),
    ({"focal": 0.0}, "focal: "),
  )
  def test_bad_settings(self, changes, pattern):
    with tempfile.TemporaryDirectory() as folder:
      out = pathlib.Path(folder) / "out"
      with self.assertRaisesRegex(UserError, pattern):
        output.write(
          self.one, still(self.one), dataclasses.replace(SMALL, **changes), out
        )
      self.assertFalse(out.exists())


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.out = pathlib.Path(folder.name) / "out"
    self.one = tiny_person(COUNT)
    self.lines = []

  def write(self, found, **changes):
    output.write(
      self.one,
      found,
      dataclasses.replace(SMALL, **changes),
      self.out,
      log=self.lines.append,
    )

  def read(self, name):
    with Image.open(self.out / name) as image:
      return np.asarray(image)

  def test_own_camera_shows_the_photo(self):
    self.write(still(self.one), camera="own", kinds=("image", "normals"))
    self.assertCountEqual(
      os.listdir(self.out), ["photo01_own_image.png", "photo01_own_normals.png"]
    )
    np.testing.assert_allclose(
      self.read("photo01_own_image.png").astype(int),
      images.to_uint8(person.make(COUNT).photos[1]).astype(int),
      atol=1,
    )
    origin = provenance.read_origin(self.out / "photo01_own_normals.png")
    self.assertEqual(
      (origin.task, origin.adapter, origin.base),
      ("render", "0123456789abcdef", "fedcba9876543210"),
    )
    self.assertIn(("latent", "photo01"), origin.details)
    self.assertIn(("view", "own"), origin.details)
    self.assertEqual(self.lines, [f"photo01 (1 of 1): 1 frames in {self.out}"])

  def test_video_is_the_pictures(self):
    """MP4 keeps what the PNGs have, up to its compression; all kinds."""
    found = still(tiny_person(COUNT, raw=32))
    self.write(found, camera="orbit", kinds=frames_lib.KINDS, grid=True)
    self.write(found, camera="orbit", kinds=frames_lib.KINDS, format=".mp4")
    names = [
      f"photo01_orbit_{i:04d}_{kind}.png"
      for i in range(3)
      for kind in frames_lib.KINDS
    ]
    names += [f"grid_{kind}.png" for kind in frames_lib.KINDS]
    names += [f"photo01_orbit_{kind}.mp4" for kind in frames_lib.KINDS]
    self.assertCountEqual(os.listdir(self.out), names)
    for kind in frames_lib.KINDS:
      frames = decoded(self.out / f"photo01_orbit_{kind}.mp4")
      self.assertLen(frames, 3)
      pictures = [
        self.read(f"photo01_orbit_{i:04d}_{kind}.png") for i in range(3)
      ]
      for i, frame in enumerate(frames):
        # Brightness: colors have half the resolution in videos.
        like = [
          psnr(brightness(frame), brightness(picture)) for picture in pictures
        ]
        self.assertGreater(like[i], 38, kind)
        self.assertLess(max(like[:i] + like[i + 1 :]), like[i] - 3, kind)
      np.testing.assert_array_equal(
        self.read(f"grid_{kind}.png"), np.concatenate(pictures, axis=1)
      )

  def test_depth_has_one_scale(self):
    found = still(self.one)
    self.write(found, kinds=("depth",), camera="yaw")
    shown = np.stack(
      [self.read(f"photo01_yaw_{i:04d}_depth.png") for i in range(3)]
    )
    self.assertEqual((shown.min(), shown.max()), (0, 255))
    self.assertTrue(any(np.ptp(one) < 255 for one in shown))

  def test_compared_with_titles(self):
    base = person.make(COUNT).base
    self.write(
      [scenes.compared(scene, base) for scene in still(self.one)],
      camera="own",
      kinds=("image", "depth"),
    )
    picture = self.read("photo01_compared_own_image.png")
    # Pictures of 64 pixels are shown twice as large, for the titles.
    side = 2 * SIZE
    self.assertEqual(picture.shape[1], 2 * side)
    self.assertGreater(picture.shape[0], side)
    self.assertEqual(np.ptp(picture[:4]), 0)  # the margin above the titles
    title = picture[:-side]
    for half in (title[:, :side], title[:, side:]):
      self.assertGreater(np.ptp(half), 200)
    for column, network in enumerate((base, self.one.generator)):
      expected = images.to_uint8(
        render.synthesize(
          network, self.one.anchors.ws[1:2], self.one.anchors.c[1:2]
        ).image[0]
      ).astype(int)
      shown = picture[-side::2, column * side : (column + 1) * side : 2]
      np.testing.assert_allclose(shown.astype(int), expected, atol=1)
    self.assertEqual(
      self.read("photo01_compared_own_depth.png").shape[1:], (256, 3)
    )
    self.assertIn(
      ("compare", "pretrained, personalized"),
      provenance.read_origin(
        self.out / "photo01_compared_own_image.png"
      ).details,
    )

  def test_edits_of_both(self):
    strip = scenes.edits(
      self.one,
      scenes.find(self.one, ["1"]),
      Direction("smile", np.eye(MODEL.w_dim, dtype=np.float32)[0]),
      EditConfig(strengths=(-1.0, 0.0, 1.0), unit="w"),
    )
    self.write(
      [scenes.compared(scene, person.make(COUNT).base) for scene in strip],
      camera="yaw",
      format=".gif",
      side=32,
    )
    with Image.open(self.out / "photo01_smile_compared_yaw_raw.gif") as video:
      self.assertEqual(video.n_frames, 3)
      self.assertEqual(video.width, 3 * 32)
      self.assertGreater(video.height, 2 * 32)

  def test_way_video(self):
    way = scenes.way(
      self.one, scenes.find(self.one, ["0", "2"]), frames=3, spherical=False
    )
    self.write([way], camera="own", format=".webp", grid=True, kinds=("image",))
    self.assertCountEqual(
      os.listdir(self.out),
      ["photo00_to_photo02_own_image.webp", "grid_image.png"],
    )
    strip = self.read("grid_image.png").astype(int)
    photos = images.to_uint8(person.make(COUNT).photos).astype(int)
    np.testing.assert_allclose(strip[:, :SIZE], photos[0], atol=1)
    np.testing.assert_allclose(strip[:, -SIZE:], photos[2], atol=1)

  def test_long_ways_have_short_strips(self):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
      self.write(
        still(self.one), camera="yaw", frames=20, grid=True, kinds=("raw",)
      )
    self.assertIn("20 of 20 (100 %)", said.getvalue())
    self.assertEqual(self.read("grid_raw.png").shape, (RAW, 9 * RAW, 3))
    np.testing.assert_array_equal(
      self.read("grid_raw.png")[:, -RAW:], self.read("photo01_yaw_0019_raw.png")
    )

  @parameterized.parameters(".mp4", ".png")
  def test_stopped_leaves_whole_files(self, suffix):
    class Stop(interrupts.StopRequest):
      """Wants to stop before the third frame."""

      calls = 0

      def raise_if_wanted(self, message):
        self.calls += 1
        if self.calls == 3:
          raise Interrupted(signal.SIGTERM, message)

    with mock.patch.object(interrupts, "StopRequest", Stop):
      with self.assertRaisesRegex(Interrupted, "frame 2 of 3 of photo01"):
        self.write(
          still(self.one), camera="yaw", format=suffix, kinds=("raw", "image")
        )
    left = os.listdir(self.out)
    if suffix == ".mp4":
      self.assertEmpty(left)
    self.assertLess(len(left), 3)
    for name in left:
      self.assertEqual(self.read(name).shape, (RAW, RAW, 3))

  def test_no_ffmpeg_is_told_before_the_work(self):
    with mock.patch.object(
      provenance, "check_video", side_effect=UserError("no ffmpeg")
    ):
      with self.assertRaisesRegex(UserError, "no ffmpeg"):
        self.write(still(self.one), format=".mp4")
    self.assertFalse(self.out.exists())


if __name__ == "__main__":
  absltest.main()

"""Folders of all kinds of photos, and the albums that come of them."""

import collections
import csv
import dataclasses
import json
import os
import pathlib
import re
import signal
import struct
import tempfile
import zlib
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps.preparation import by_hand, look_workers, looks
from my3dgen_jax.apps.preparation import prepare as app
from my3dgen_jax.apps.preparation.records import short
from my3dgen_jax.data import (
  album_files,
  dataset_json,
  photo_files,
  video_frames,
)
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.faces import mediapipe_models, pose_spread, upright
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Network
from tests.support import dotted_faces

SIZE = 64
# The crop of the average camera lies here in a photo of 320 x 240.
CORNER, SIDE = (110, 60), 128


def degrees_between(a, b):
  """The angle between the rotations of two labels."""
  first, second = (np.asarray(c)[:16].reshape(4, 4)[:3, :3] for c in (a, b))
  return np.degrees(
    np.arccos(np.clip((np.trace(first.T @ second) - 1) / 2, -1, 1))
  )


class PrepareTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.photos, self.out = self.folder / "photos", self.folder / "out"
    self.photos.mkdir()
    self.config = app.PrepareConfig(
      photos=str(self.photos),
      out=str(self.out),
      size=SIZE,
      workers=1,
      test=0,
      reference=0,
    )
    self.told = []

  def photo(self, name, *faces, **options):
    faces = faces or ((dotted_faces.label(0), CORNER, SIDE),)
    options.setdefault("seed", zlib.crc32(name.encode()))
    pixels = dotted_faces.photo(*faces, **options)
    dotted_faces.save(self.photos, name, pixels)
    return pixels

  def prepare(
    self, make_detector=dotted_faces.detector, *, mark=None, **changes
  ):
    self.told = []
    return app.prepare(
      dataclasses.replace(self.config, **changes),
      make_detector=make_detector,
      mark=mark or self.fail,
      log=self.told.append,
    )

  def report(self):
    with open(self.out / "report.csv", encoding="utf-8") as file:
      return {row["file"]: row for row in csv.DictReader(file)}

  def album(self, **options):
    return open_album(self.out / "album", img_resolution=SIZE, **options)

  def assert_alike(self, c, wanted):
    """The crop's middle may be another point of the photo, 12 % off."""
    self.assertLess(degrees_between(c, wanted), 1.7)
    self.assertAlmostEqual(
      pose_spread.angles(c)[0], pose_spread.angles(wanted)[0], delta=0.5
    )

  @parameterized.parameters((0, 0), (25, 0), (-40, 0), (10, 8))
  def test_camera_and_crop(self, yaw, pitch):
    c = dotted_faces.label(yaw, pitch)
    self.photo("me.png", (c, CORNER, SIDE))
    self.prepare()
    (item,) = self.album(min_photos=1)
    np.testing.assert_allclose(item.c[16:], c[16:])
    self.assertAlmostEqual(np.linalg.norm(item.c[3:12:4]), 2.7, places=4)
    self.assertTrue((item.mask == 1).all())
    # The dots lie where the label says: 2 pixels of 64 (a face of average
    # shape, seen from the side, is not quite where an affine camera sees it).
    pixels = np.asarray(Image.open(self.out / "album" / "me.png"))
    for i, (x, y) in enumerate(dotted_faces.points_of(item.c) * SIZE):
      there = pixels[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].astype(
        int
      )
      off = np.abs(there - (255, 20 * i, 0)).sum(axis=-1).min()
      self.assertLess(off, 90)
    row = self.report()["me.png"]
    self.assertAlmostEqual(float(row["yaw"]), yaw, delta=0.5)
    # Five points do not tell a nod from a long face, so it is played down.
    self.assertAlmostEqual(
      float(row["pitch"]), pitch, delta=0.5 + abs(pitch) / 3
    )
    self.assertEqual(
      (row["status"], row["part"], row["faces"]), ("kept", "train", "1")
    )

  def test_mirrored_photo_has_the_mirrored_label(self):
    c = dotted_faces.label(20, 5)
    self.photo("me.png", (c, CORNER, SIDE))
    mirrored = (
      np.asarray(cameras.mirror(c)),
      (320 - CORNER[0] - SIDE, CORNER[1]),
      SIDE,
    )
    self.photo("other.png", mirrored)
    self.prepare()
    first, second = self.album().c
    self.assertLess(degrees_between(cameras.mirror(first), second), 0.2)

  def test_mirrored_copies(self):
    # The face touches the right border: there the crop is filled up.
    for i in range(8):
      self.photo(f"{i}.png", (dotted_faces.label(8 * i - 28), (222, 60), 128))
    self.prepare(mirror=True, test=2, reference=1)
    album = self.album()
    album.verify()
    items = {album_files.stem(item.name): item for item in album}
    parts = {
      name: row["part"]
      for name, row in ((row["name"], row) for row in self.report().values())
    }
    self.assertEqual(
      collections.Counter(parts.values()),
      {"train": 5, "test": 2, "reference": 1},
    )
    self.assertEqual(
      set(items),
      set(parts)
      | {f"{name}_mirrored" for name, part in parts.items() if part == "train"},
    )
    for name, part in parts.items():
      self.assertEqual(items[name].mask[0, -1], 0)
      self.assertEqual(items[name].mask[0, 0], 1)
      if part == "train":
        item, other = items[name], items[f"{name}_mirrored"]
        np.testing.assert_array_equal(other.image, item.image[:, ::-1])
        np.testing.assert_array_equal(other.mask, item.mask[:, ::-1])
        np.testing.assert_allclose(other.c, cameras.mirror(item.c))

  def test_split(self):
    for i in range(12):
      self.photo(f"{i:02}.png", (dotted_faces.label(5 * i - 30), CORNER, SIDE))
    self.prepare(test=0.25, reference=2)
    folder = self.out / "album"
    split = self.album().split(
      test=folder / "test.txt", reference=folder / "reference.txt"
    )
    self.assertEqual([len(part) for part in split], [7, 3, 2])
    self.assertLen({name for part in split for name in part.names}, 12)
    # One of each third of the poses, sorted by name.
    self.assertEqual(
      [int(name[:2]) // 4 for name in split.test.names], [0, 1, 2]
    )

  def test_too_few_to_split(self):
    for i in range(3):
      self.photo(f"{i}.png")
    self.prepare(test=0.1, reference=0.1)
    self.assertFalse((self.out / "album" / "test.txt").exists())
    self.prepare(test=1, reference=1, overwrite=True)
    self.assertFalse((self.out / "album" / "test.txt").exists())
    self.assertIn("too few", " ".join(self.told))

  def test_what_checks_set_aside(self):
    here = (dotted_faces.label(0), CORNER, SIDE)
    good = self.photo("good.png")
    self.photo("nobody.png", (here[0], (400, 400), SIDE))
    self.photo("grey.png", (here[0], (60, 20), 200), grey=True, radius=1.6)
    self.photo("tiny.png", (here[0], CORNER, 20))
    self.photo("far out.png", (here[0], (-42, -46), SIDE))
    self.photo("cut.png", (here[0], (250, 60), SIDE))
    dotted_faces.save(
      self.photos,
      "blurred.png",
      dotted_faces.blurred(self.photo("blurred.png"), 3.0),
    )
    dotted_faces.save(self.photos, "again.png", dotted_faces.blurred(good, 0.5))
    self.prepare()
    reasons = {name: row["reason"] for name, row in self.report().items()}
    for name, pattern in (
      ("good.png", "^$"),
      ("nobody.png", "no face"),
      ("grey.png", "^gray: "),
      ("tiny.png", "^tiny: 2. pixels"),
      ("far out.png", "^only [34].%"),
      ("cut.png", "no face"),
      ("blurred.png", "^blurred: 0"),
      ("again.png", "looks like good.png"),
    ):
      self.assertRegex(reasons[name], pattern, name)
    self.assertEqual(self.album(min_photos=1).names, ("good.png",))
    crops = set(os.listdir(self.out / "set_aside"))
    self.assertEqual(
      crops,
      {
        "again.png",
        "grey.png",
        "tiny.png",
        "blurred.png",
        "far_out.png",
        "far_out_mask.png",
        "dataset.json",
      },
    )
    for name in ("kept.png", "set_aside.png"):
      Image.open(self.out / name).load()
    self.assertLen(list(self.photos.iterdir()), 8)  # nothing is lost
    # Which flag decided, and which value would have kept the face.
    told = "\n".join(self.told)
    for line in (
      r"set aside 1: blurred \(--min_sharpness\)",
      r"set aside 1: gray \(--min_color\)",
      r"set aside 1: tiny, 2. to 2. pixels \(--min_scale=0.3\d? takes them\)",
      r"set_aside.png; --keep=NAME,NAME --overwrite keeps those you want",
    ):
      self.assertRegex(told, line)
    scale = re.search(r"--min_scale=([\d.]+)", told)[1]
    self.prepare(min_scale=float(scale), min_sharpness=0, overwrite=True)
    self.assertEqual(self.report()["tiny.png"]["status"], "kept")

    self.prepare(keep=("grey.png", "again"), overwrite=True)
    self.assertEqual(self.album().names, ("again.png", "good.png", "grey.png"))
    with self.assertRaisesRegex(UserError, "keep: .*'gone'"):
      self.prepare(keep=("gone",), overwrite=True)

  def test_face_whose_landmarks_are_outside(self):
    self.photo("me.png")
    far = {
      "me.png": [
        [x - 200, y]
        for x, y in dotted_faces.points_of(dotted_faces.label(0)) * SIDE
        + CORNER
      ]
    }
    path = self.folder / "points.json"
    path.write_text(json.dumps(far), encoding="utf-8")
    with self.assertRaisesRegex(UserError, "no photo is left"):
      self.prepare(detections=str(path))
    self.assertEqual(
      self.report()["me.png"]["reason"], "the photo cuts the face off"
    )

  def test_broken_photos_are_told_and_the_rest_goes_on(self):
    self.photo("good.png")
    (self.photos / "text.jpg").write_text("no photo")
    (self.photos / "empty.jpg").write_bytes(b"")
    Image.fromarray(self.photo("x.png")).save(self.photos / "cut.jpg")
    data = (self.photos / "cut.jpg").read_bytes()
    (self.photos / "cut.jpg").write_bytes(data[: len(data) // 2])
    (self.photos / "x.png").unlink()
    (self.photos / "gone.jpg").symlink_to(self.folder / "nowhere.jpg")
    os.mkfifo(self.photos / "pipe.jpg")
    bomb = (self.photos / "good.png").read_bytes()
    header = struct.pack(">4sII5s", b"IHDR", 20_000, 20_000, b"\x08\2\0\0\0")
    (self.photos / "bomb.png").write_bytes(
      bomb[:12] + header + struct.pack(">I", zlib.crc32(header)) + bomb[33:]
    )
    odd = self.photo("odd.png")
    odd[0, 0] = dotted_faces.RAISES
    dotted_faces.save(self.photos, "odd.png", odd)
    Image.new("RGB", (1, 1)).save(self.photos / "dot.png")
    (self.photos / "notes.txt").write_text("")
    self.prepare()
    reasons = {name: row["reason"] for name, row in self.report().items()}
    for name, pattern in (
      ("good.png", "^$"),
      ("text.jpg", "not a photo"),
      ("empty.jpg", "empty"),
      ("cut.jpg", "is truncated"),
      ("gone.jpg", "regular file"),
      ("pipe.jpg", "regular file"),
      ("bomb.png", "too many pixels"),
      ("odd.png", "RuntimeError: cannot look at this"),
      ("dot.png", "no face"),
    ):
      self.assertRegex(reasons.pop(name), pattern)
    self.assertEmpty(reasons)
    self.assertIn("1 other files", " ".join(self.told))
    self.assertEqual(self.album(min_photos=1).names, ("good.png",))

  def test_nothing_to_do(self):
    with self.assertRaisesRegex(UserError, "has no photos"):
      self.prepare()
    self.assertFalse(self.out.exists())
    with self.assertRaisesRegex(UserError, "no such folder"):
      self.prepare(photos=str(self.folder / "gone"))
    (self.photos / "text.jpg").write_text("no photo")
    with self.assertRaisesRegex(UserError, "no photo is left.*report.csv"):
      self.prepare()
    self.assertRegex(self.report()["text.jpg"]["reason"], "not a photo")
    self.assertFalse((self.out / "album").exists())

  @parameterized.parameters(
    {"photos": ""},
    {"out": ""},
    {"size": 0},
    {"min_inside": 2.0},
    {"duplicate": -1.0},
    {"test": 1.5},
    {"frames": 0},
    {"workers": -1},
    {"domain": "dog"},
    {"identity": "network", "domain": "cat"},
  )
  def test_settings(self, **changes):
    with self.assertRaisesRegex(UserError, f"^{next(iter(changes))}: "):
      self.prepare(**changes)

  def test_album_is_not_overwritten_unasked(self):
    self.photo("me.png")
    self.prepare()
    (self.out / "album" / "me_latent.npy").write_bytes(b"mine")
    with self.assertRaisesRegex(UserError, "already has an album; --overwrite"):
      self.prepare()
    (self.photos / "me.png").rename(self.photos / "you.png")
    self.prepare(overwrite=True)
    self.assertEqual(self.album(min_photos=1).names, ("you.png",))
    with self.assertRaisesRegex(UserError, "no photo is left"):
      self.prepare(overwrite=True, min_sharpness=1)
    self.assertEqual(self.album(min_photos=1).names, ("you.png",))

  def test_folder_of_others_is_left_alone(self):
    self.photo("me.png")
    self.out.mkdir()
    (self.out / "report.csv").write_text("mine")
    with self.assertRaisesRegex(UserError, "out: has other files"):
      self.prepare()
    self.assertEqual(os.listdir(self.out), ["report.csv"])

  def test_album_among_the_photos(self):
    self.photo("me.png")
    self.photo("big.png", size=(400, 300))
    for overwrite in (False, True):
      self.prepare(out=str(self.photos / "album"), overwrite=overwrite)
      self.assertIn("2 of 2 kept", " ".join(self.told))

  def test_names(self):
    names = [
      "a/me.png",
      "b/me.png",
      "b_me.png",
      "me_mask.png",
      "%&.png",
      "Zoë & I.png",
      "x_mirrored.png",
      "A_ME.png",
    ]
    for name in names:
      self.photo(name)
    self.prepare(duplicate=1.0)
    album = self.album()
    self.assertLen(album, len(names))
    self.assertTrue(all(photo.mask is None for photo in album.photos))
    self.assertEqual(
      set(album.names),
      {
        "A_ME.png",
        "a_me_2.png",
        "b_me.png",
        "b_me_2.png",
        "me_mask_.png",
        "photo.png",
        "Zoë_I.png",
        "x_mirrored_.png",
      },
    )

  def test_long_names(self):
    # 255 bytes are what file systems allow; cut within a character of three.
    for folder in "ab":
      self.photo(f"{folder * 200}/{'語' * 70}_mask.png")
    self.prepare(duplicate=1.0, mirror=True)
    names = self.album().names
    self.assertLen(names, 4)
    for name in names:
      self.assertLessEqual(len(name.encode()), 170)
      self.assertRegex(name, "^[0-9a-f]{8}_語+_mask_(_mirrored)?.png$")
    self.assertRegex(short("語" * 60), "^[0-9a-f]{8}_語{47}$")
    self.assertEqual(short("a" * 150), "a" * 150)

  def test_long_name_of_a_video(self):
    (self.photos / ("語" * 80 + ".mp4")).write_bytes(b"video")
    frame = video_frames.Frame(0.0, dotted_faces.photo())
    with mock.patch.object(video_frames, "candidates", return_value=[frame]):
      with self.assertRaisesRegex(UserError, "no photo is left"):
        self.prepare()
    self.assertEqual(
      [row["reason"] for row in self.report().values()], ["no face was found"]
    )

  def test_names_that_are_no_utf8(self):
    name = os.fsdecode(b"Zo\xeb.png")
    self.photo("me.png")
    try:
      (self.photos / "me.png").rename(self.photos / name)
    except OSError:
      self.skipTest("the file system allows UTF-8 alone")
    (self.photos / os.fsdecode(b"\xeb.jpg")).write_text("no photo")
    records = self.prepare(keep=(name,))
    self.assertEqual(records[0].path.name, name)
    self.assertEqual(
      {file: row["status"] for file, row in self.report().items()},
      {"Zo\ufffd.png": "kept", "\ufffd.jpg": "set aside"},
    )
    "".join(self.told).encode()
    # Said lines, too, though the folder's own name is no UTF-8.
    self.prepare(out=str(self.folder / os.fsdecode(b"\xeb")))
    self.assertIn("/\ufffd/album", "".join(self.told).encode().decode())

  def test_nothing_but_pixels_is_carried(self):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "secret maker", 3
    upside_down = self.photo("me.png")[::-1, ::-1]
    Image.fromarray(np.ascontiguousarray(upside_down)).save(
      self.photos / "me.png", exif=exif
    )
    self.prepare()
    data = (self.out / "album" / "me.png").read_bytes()
    self.assertNotIn(b"secret", data)
    self.assertEmpty(Image.open(self.out / "album" / "me.png").info)

  # Landmarks that are given.

  def given(self, name="me.png", domain="face"):
    c = dotted_faces.label(15)
    self.photo(name, (c, CORNER, SIDE), domain=domain)
    return dotted_faces.points_of(c, domain) * SIDE + CORNER, c

  def no_detector(self):
    self.fail("landmarks were given")

  @parameterized.parameters("folder", "json", "path")
  def test_given_landmarks(self, kind):
    points, c = self.given("a/me.png")
    place = self.folder / "given"
    if kind == "folder":
      place.mkdir()
      np.savetxt(place / "me.txt", points)
    else:
      name = "me.png" if kind == "json" else "a/me.png"
      place.write_text(json.dumps({name: points.tolist()}), encoding="utf-8")
    self.photo("unknown.png")
    self.prepare(self.no_detector, detections=str(place))
    (item,) = self.album(min_photos=1)
    self.assert_alike(item.c, c)
    self.assertIn("no landmarks", self.report()["unknown.png"]["reason"])
    # What was found can be given again.
    self.prepare(
      self.no_detector,
      overwrite=True,
      detections=str(self.out / "landmarks.json"),
    )
    np.testing.assert_allclose(
      self.album(min_photos=1).c, item.c[None], atol=1e-3
    )

  def test_given_landmarks_of_photos_with_one_name(self):
    points, _ = self.given("a/me.png")
    for name in ("b/me.png", "b/you.png", "c/me.jpg.png"):
      self.given(name)
    place = self.folder / "given.json"

    def reasons(*names):
      place.write_text(json.dumps({name: points.tolist() for name in names}))
      self.prepare(
        self.no_detector,
        detections=str(place),
        overwrite=True,
        keep=("me.png", "b/you.png"),
      )
      return {name: row["reason"] for name, row in self.report().items()}

    found = reasons("me.png", "you.png", "b_me")
    self.assertRegex(found["a/me.png"], "'me.png' may be those of b/me.png")
    # Its name in the album is no other's, nor is this name.
    self.assertEqual((found["b/me.png"], found["b/you.png"]), ("", ""))
    self.assertIn("no landmarks", found["c/me.jpg.png"])
    # A whole path is one photo's, though another has that name.
    self.given("me.png")
    found = reasons("me.png", "b/me.png", "you")
    self.assertEqual((found["me.png"], found["b/me.png"]), ("", ""))
    self.assertRegex(found["a/me.png"], "'me.png' may be those of me.png")

  def test_photos_without_faces_are_in_the_landmarks(self):
    self.photo("a/me.png")
    self.photo("b/me.png", (dotted_faces.label(0), (400, 400), SIDE))
    (self.photos / "c.jpg").write_text("no photo")
    for detections in ("", str(self.out / "landmarks.json")):
      self.prepare(detections=detections, overwrite=True)
      self.assertEqual(self.report()["b/me.png"]["reason"], "no face was found")
      found = json.loads((self.out / "landmarks.json").read_text())
      self.assertEqual(
        {name: len(faces) for name, faces in found.items()},
        {"a/me.png": 1, "b/me.png": 0},
      )

  def test_given_landmarks_of_a_photo_decoded_smaller(self):
    points, c = self.given()
    image = Image.open(self.photos / "me.png")
    image.save(self.photos / "me.jpg", quality=95)
    (self.photos / "me.png").unlink()
    place = self.folder / "given.json"
    place.write_text(json.dumps({"me.jpg": points.tolist()}))
    with mock.patch.object(photo_files, "MAX_PIXELS", 320 * 240 // 4):
      self.prepare(self.no_detector, detections=str(place), min_sharpness=0)
    (item,) = self.album(min_photos=1)
    self.assert_alike(item.c, c)
    again = json.loads((self.out / "landmarks.json").read_text())
    np.testing.assert_allclose(again["me.jpg"][0]["points"], points, atol=0.01)

  def test_a_missing_detector_is_said_before_videos_are_read(self):
    (self.photos / "me.mp4").write_bytes(b"not a video")
    with mock.patch.object(
      mediapipe_models, "check", side_effect=UserError("no MediaPipe")
    ):
      with self.assertRaisesRegex(UserError, "no MediaPipe"):
        self.prepare(mediapipe_models.face_detector)
    self.assertEqual(self.told, [])

  @parameterized.parameters(1, 2, 3)
  def test_a_photo_that_lies_or_stands_on_its_head(self, quarters):
    """The crop, its label and its mask are those of the upright photo."""
    c = dotted_faces.label(20, 5)
    pixels = self.photo("me.png", (c, CORNER, SIDE))
    self.prepare(out=str(self.folder / "right"))
    (wanted,) = open_album(
      self.folder / "right" / "album", img_resolution=SIZE, min_photos=1
    )
    dotted_faces.save(self.photos, "me.png", upright.turned(pixels, quarters))
    self.prepare()
    (item,) = self.album(min_photos=1)
    np.testing.assert_allclose(item.c, wanted.c, atol=1e-5)
    np.testing.assert_allclose(item.image, wanted.image, atol=0.03)
    row = self.report()["me.png"]
    self.assertEqual(row["turned"], str(360 - 90 * quarters))
    self.assertLess(abs(float(row["roll"])), 5)
    self.assertTrue(
      any("turned 1 sideways or upside-down" in line for line in self.told)
    )
    # What is told of the landmarks lies in the file's pixels, and is enough.
    told = json.loads((self.out / "landmarks.json").read_text())
    (face,) = dotted_faces.find(upright.turned(pixels, quarters))
    np.testing.assert_allclose(
      told["me.png"][0]["points"], face.points, atol=0.01
    )
    self.prepare(
      self.no_detector,
      detections=str(self.out / "landmarks.json"),
      out=str(self.folder / "again"),
    )
    (again,) = open_album(
      self.folder / "again" / "album", img_resolution=SIZE, min_photos=1
    )
    np.testing.assert_allclose(again.c, wanted.c, atol=1e-3)

  def test_heads_that_lean(self):
    right = dotted_faces.label(0)
    leaning = np.array(right)
    turn = np.radians(30)
    roll = np.eye(4)
    roll[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    leaning[:16] = (leaning[:16].reshape(4, 4) @ roll).ravel()
    self.photo("right.png", (right, CORNER, SIDE))
    self.photo("leaning.png", (leaning, CORNER, SIDE))
    self.prepare()
    self.assertLen(self.album(min_photos=1).names, 2)
    self.prepare(max_roll=20, overwrite=True)
    self.assertRegex(
      self.report()["leaning.png"]["reason"],
      r"^tilted: (29|30|31) degrees \(max_roll 20\)$",
    )
    self.prepare(max_roll=20, overwrite=True, keep=("leaning",))
    self.assertLen(self.album(min_photos=1).names, 2)

  def test_landmarks_that_cannot_be_used(self):
    self.photo("me.png")
    with self.assertRaisesRegex(UserError, "gone: no such"):
      self.prepare(detections=str(self.folder / "gone"))
    place = self.folder / "given.json"
    place.write_text('{"me.png": [[1, 2]]}')
    with self.assertRaisesRegex(UserError, "no photo is left"):
      self.prepare(detections=str(place))
    self.assertRegex(
      self.report()["me.png"]["reason"],
      "bad landmarks: .*given.json: 'me.png': points: expected",
    )
    place.write_text(json.dumps({"me.png": [[5, 5]] * 5}))
    with self.assertRaisesRegex(UserError, "no photo is left"):
      self.prepare(detections=str(place))
    self.assertIn("in the same place", self.report()["me.png"]["reason"])

  @parameterized.parameters("beside", "folder", "json")
  def test_cats(self, kind):
    points, c = self.given("cat.png", domain="cat")
    text = "9 " + " ".join(f"{x:.2f}" for x in points.ravel())
    detections = self.folder / "given"
    if kind == "beside":
      (self.photos / "cat.png.cat").write_text(text)
      detections = ""
    elif kind == "folder":
      detections.mkdir()
      (detections / "cat.png.cat").write_text(text)
    else:
      detections.write_text(json.dumps({"cat.png": points.tolist()}))
    self.prepare(self.no_detector, domain="cat", detections=str(detections))
    (item,) = self.album(min_photos=1)
    self.assert_alike(item.c, c)

  # Landmarks that are marked.

  def marker(self, faces):
    """In place of the page: marks what it is told, skips the others."""
    self.asked = []

    def mark(marks, stop, *, detect, log):
      self.asked.append([item.name for item in marks.items])
      for item in marks.items:
        points = faces.get(item.name)
        marks.set(item.name, None if points is None else Face(points))

    return mark

  def test_cats_are_marked(self):
    points, c = self.given("cat.png", domain="cat")
    self.photo("none.png")
    mark = self.marker({"cat.png": points})
    self.prepare(self.no_detector, domain="cat", mark=mark)
    self.assertEqual(self.asked, [["cat.png", "none.png"]])
    (item,) = self.album(min_photos=1)
    self.assert_alike(item.c, c)
    self.assertIn("skipped while marking", self.report()["none.png"]["reason"])
    # The page does not ask for what it knows; and the file is what
    # --detections takes.
    self.prepare(self.no_detector, domain="cat", mark=mark, overwrite=True)
    self.assertLen(self.asked, 1)
    marks = self.out / "cat_marks.json"
    other = self.folder / "elsewhere.json"
    marks.rename(other)
    self.prepare(
      self.no_detector,
      domain="cat",
      mark=self.fail,
      overwrite=True,
      detections=str(other),
    )
    (item,) = self.album(min_photos=1)
    self.assert_alike(item.c, c)

  def test_cats_of_which_some_have_landmarks(self):
    points, _ = self.given("cat.png", domain="cat")
    self.given("other.png", domain="cat")
    text = "9 " + " ".join(f"{x:.2f}" for x in points.ravel())
    (self.photos / "cat.png.cat").write_text(text)
    self.prepare(self.no_detector, domain="cat", mark=self.fail)
    self.assertLen(self.album(min_photos=1), 1)
    mark = self.marker({"other.png": points})
    self.prepare_marking(mark, domain="cat")
    self.assertEqual(self.asked, [["other.png"]])
    self.assertLen(self.album(min_photos=1), 2)

  def prepare_marking(self, mark, **changes):
    """With --mark."""
    config = dataclasses.replace(
      self.config, mark=True, overwrite=True, duplicate=1.0, **changes
    )
    return app.prepare(
      config,
      make_detector=dotted_faces.detector,
      mark=mark,
      log=self.told.append,
    )

  def test_people_who_were_not_found_are_marked(self):
    self.photo("found.png")
    c = dotted_faces.label(15)
    pixels = dotted_faces.photo((c, CORNER, SIDE), seed=5)
    # Without colors the detector of these tests sees nobody.
    dotted_faces.save(self.photos, "missed.png", 255 - pixels)
    points = dotted_faces.points_of(c) * SIDE + CORNER
    self.prepare(mark=self.fail)
    self.assertIn("no face", self.report()["missed.png"]["reason"])
    mark = self.marker({"missed.png": points})
    self.prepare_marking(mark, min_sharpness=0.0)
    self.assertEqual(self.asked, [["missed.png"]])
    album = {item.name: item for item in self.album(min_photos=1)}
    self.assertCountEqual(album, ["found.png", "missed.png"])
    self.assertLess(degrees_between(album["missed.png"].c, c), 6)
    # Later runs know it without asking.
    self.prepare(mark=self.fail, overwrite=True, min_sharpness=0.0)
    self.assertLen(self.album(min_photos=1), 2)

  def test_a_hint_where_photos_show_cats(self):
    for i in range(3):
      dotted_faces.save(
        self.photos, f"{i}.png", np.full((240, 320, 3), 90 + i, np.uint8)
      )
    for boxes, hinted in (([(0, 0, 9, 9)], True), ([], False)):
      with mock.patch.object(
        by_hand.cat_detector, "find_cats", return_value=boxes
      ):
        with self.assertRaisesRegex(UserError, "no photo is left"):
          self.prepare()
      said = [line for line in self.told if "--domain=cat" in line]
      self.assertLen(said, hinted)

  def test_no_hint_where_people_were_found(self):
    self.photo("me.png")
    self.photo("also.png")
    with mock.patch.object(by_hand.cat_detector, "find_cats") as find:
      self.prepare(duplicate=1.0)
    find.assert_not_called()

  # Other people.

  def test_other_people(self):
    left = (dotted_faces.label(5), (10, 60), 128)
    right = (dotted_faces.label(-5), (170, 60), 140)
    mine, other, third = (30, 90, 240), (240, 90, 30), (40, 240, 40)
    for i in range(3):  # two people in every photo, mine is the smaller face
      pixels = self.photo(f"{i}.png", left, right)
      pixels = dotted_faces.tinted(pixels, left, mine)
      dotted_faces.save(
        self.photos,
        f"{i}.png",
        dotted_faces.tinted(pixels, right, (other, third, other)[i]),
      )
    pixels = self.photo("stranger.png", left)
    dotted_faces.save(
      self.photos, "stranger.png", dotted_faces.tinted(pixels, left, third)
    )
    with mock.patch.object(
      identity_lib,
      "load_identity",
      return_value=Network(None, dotted_faces.Identity()),
    ):
      self.prepare(identity="network")
    rows = self.report()
    for i in range(3):
      self.assertEqual(rows[f"{i}.png"]["status"], "kept")
      self.assertAlmostEqual(float(rows[f"{i}.png"]["yaw"]), 5, delta=0.5)
      self.assertEqual(rows[f"{i}.png"]["faces"], "2")
      self.assertGreater(float(rows[f"{i}.png"]["similarity"]), 0.9)
    self.assertIn("another person", rows["stranger.png"]["reason"])
    self.assertIn("3 photos show several", " ".join(self.told))
    self.assertNotIn("another person is in", " ".join(self.told))

    self.prepare(overwrite=True)  # without a network
    self.assertIn("not checked", " ".join(self.told))
    rows = self.report()
    self.assertEqual(rows["stranger.png"]["status"], "kept")
    self.assertAlmostEqual(float(rows["0.png"]["yaw"]), -5, delta=0.5)

  def test_two_people_in_every_photo(self):
    left = (dotted_faces.label(5), (10, 60), 128)
    right = (dotted_faces.label(-5), (170, 60), 140)
    for i in range(2):
      pixels = self.photo(f"{i}.png", left, right)
      for face, colour in ((left, (30, 90, 240)), (right, (240, 90, 30))):
        pixels = dotted_faces.tinted(pixels, face, colour)
      dotted_faces.save(self.photos, f"{i}.png", pixels)
    with mock.patch.object(
      identity_lib,
      "load_identity",
      return_value=Network(None, dotted_faces.Identity()),
    ):
      self.prepare(identity="network", duplicate=1.0)
    self.assertIn(
      "another person is in 2 photos, the album's in 2", " ".join(self.told)
    )
    for row in self.report().values():  # the larger face
      self.assertAlmostEqual(float(row["yaw"]), -5, delta=0.5)

  # Stopping, and going on.

  def test_goes_on(self):
    for i in range(4):
      self.photo(f"{i}.png")
    calls = []

    def counting():
      return lambda image: calls.append(1) or dotted_faces.find(image)

    class Stop(interrupts.StopRequest):
      """Wants to stop after two photos."""

      def raise_if_wanted(self, message):
        if len(calls) == 2 and "looking" in message:
          raise Interrupted(signal.SIGTERM, message)

    with mock.patch.object(interrupts, "StopRequest", Stop):
      with self.assertRaisesRegex(Interrupted, "the same command resumes"):
        self.prepare(counting)
    self.assertFalse((self.out / "album").exists())
    self.assertLen(calls, 2)
    # A kill may leave half a file, and what was being written.
    cache = self.out / "unfinished" / "looks"
    kept = sorted(cache.glob("*.npz"))
    kept[0].write_bytes(kept[0].read_bytes()[:100])
    (cache / ".unfinished-x.tmp").write_bytes(b"")
    (self.out / "unfinished" / "result" / "album").mkdir(parents=True)
    (self.out / "unfinished" / "old").mkdir()
    self.prepare(counting)
    self.assertLen(calls, 5)
    self.assertLen(self.album(), 4)
    # Other limits need no other look; another size does.
    self.prepare(counting, overwrite=True, min_sharpness=0.1)
    self.assertLen(calls, 5)
    self.prepare(counting, overwrite=True, size=32)
    self.assertLen(calls, 9)

  def test_what_was_not_read_is_tried_again(self):
    self.photo("0.png")
    self.photo("1.png", (dotted_faces.label(0), (400, 400), SIDE))
    calls = []

    def failing():
      def find(image):
        calls.append(1)
        if len(calls) == 1:
          raise MemoryError
        return dotted_faces.find(image)

      return find

    with self.assertRaisesRegex(UserError, "no photo is left"):
      self.prepare(failing)
    self.assertIn("not enough memory", self.report()["0.png"]["reason"])
    self.prepare(failing)
    self.assertEqual(self.report()["0.png"]["status"], "kept")
    # That there is no face, in none of four ways up, is remembered, as faces
    # are.
    self.assertLen(calls, 1 + 4 + 1)
    self.assertEqual(self.report()["1.png"]["reason"], "no face was found")

  def looks(self, **options):
    looking = looks.Looking(
      self.folder / "looks", SIZE, "face", dotted_faces.detector
    )
    tasks = [looks.Task(path) for path in sorted(self.photos.iterdir())]
    # pylint: disable-next=protected-access
    with mock.patch.dict(
      look_workers._WORKER,
      looking=looking,
      error=None,
      detector=dotted_faces.find,
    ):
      return look_workers.look_at_all(
        tasks,
        looking,
        stop=interrupts.StopRequest(),
        done=lambda *args: None,
        **options,
      )

  def test_pools_that_break_between_photos(self):
    yaws = [0, 10, 20, 30, 40]
    for i, yaw in enumerate(yaws):
      self.photo(f"{i}.png", (dotted_faces.label(yaw), CORNER, SIDE))

    class Pool:
      """Takes one photo; from the second pool on looks at it."""

      pools = 0

      def __init__(self):
        Pool.pools += 1
        self.number, self.taken = Pool.pools, 0

      def submit(self, function, *args):
        self.taken += 1
        if self.taken > 1:
          raise BrokenProcessPool()
        future = futures.Future()
        if self.number > 1:
          future.set_result(function(*args))
        return future

      def shutdown(self, **_):
        pass

    with mock.patch.object(look_workers, "_pool", lambda *_: Pool()):
      found = self.looks(workers=2)
    self.assertEqual([look.reason for look in found], [""] * len(yaws))
    np.testing.assert_allclose(
      [pose_spread.angles(look.faces[0].label)[0] for look in found],
      yaws,
      atol=0.5,
    )

  def test_lost_photos_are_told(self):
    for i in range(2):
      self.photo(f"{i}.png", (dotted_faces.label(10 * i), CORNER, SIDE))
    with mock.patch.object(
      look_workers, "_in_this_process", return_value=iter(())
    ):
      self.assertEqual(
        [look.reason for look in self.looks(workers=1)],
        ["was lost while being processed"] * 2,
      )

  def test_processes(self):
    self.photo("0.png", (dotted_faces.label(20), CORNER, SIDE))
    pixels = self.photo("1.png")
    pixels[0, 0] = dotted_faces.ENDS_THE_PROCESS
    dotted_faces.save(self.photos, "1.png", pixels)
    self.prepare(workers=2)
    self.assertIn("kills the process", self.report()["1.png"]["reason"])
    labels = dataset_json.read(self.out / "album" / "dataset.json")
    self.assert_alike(labels["0.png"], dotted_faces.label(20))

  def test_what_is_missing_in_a_process_is_said(self):
    self.photo("0.png")
    looking = looks.Looking(self.out, SIZE, "face", dotted_faces.missing)
    with self.assertRaisesRegex(UserError, "no detector here"):
      look_workers.look_at_all(
        [looks.Task(self.photos / "0.png")],
        looking,
        workers=2,
        stop=interrupts.StopRequest(),
        done=lambda *args: None,
      )

  # Videos.

  def test_video(self):
    imageio_ffmpeg = _imageio_ffmpeg(self)
    video = imageio_ffmpeg.write_frames(
      str(self.photos / "me.mp4"),
      (320, 240),
      fps=10,
      macro_block_size=16,
      output_params=["-crf", "1", "-pix_fmt", "yuv444p"],
    )
    video.send(None)
    yaws = [0, 0, 0, 0, 10, 20, 30, 0, 0, 0]
    for i, yaw in enumerate(yaws):
      video.send(
        dotted_faces.photo((dotted_faces.label(yaw), CORNER, SIDE), seed=i)
      )
    video.close()
    (self.photos / "broken.mp4").write_bytes(b"not a video" * 99)

    def find(image):
      # A video's colours are not exact.
      exact = image.astype(int)
      dots = exact[..., 0] > 235
      exact[dots] = np.rint(exact[dots] / 20) * 20
      exact[dots, 0] = 255
      return dotted_faces.find(exact)

    records = self.prepare(lambda: find, frames=3)
    kept = [record for record in records if record.kept]
    self.assertLen(kept, 3)
    self.assertEqual(kept[0].file[:8], "me.mp4 a")
    found = sorted(record.angles[0] for record in kept)
    self.assertAlmostEqual(found[0], 0, delta=3)
    self.assertAlmostEqual(found[2], 30, delta=3)
    rows = self.report()
    self.assertIn("not a video", rows["broken.mp4"]["reason"])
    self.assertIn(
      "other frames show this pose", [row["reason"] for row in rows.values()]
    )
    self.assertLen(self.album(), 3)
    with mock.patch.object(
      video_frames, "candidates", side_effect=AssertionError("not remembered")
    ):
      (self.photos / "broken.mp4").unlink()
      self.prepare(lambda: find, frames=3, overwrite=True)


def _imageio_ffmpeg(case):
  try:
    import imageio_ffmpeg  # pylint: disable=import-outside-toplevel
  except ImportError:
    case.skipTest("imageio-ffmpeg is not installed")
  return imageio_ffmpeg


class CacheTest(absltest.TestCase):
  def test_key_is_of_content_and_settings(self):
    with tempfile.TemporaryDirectory() as folder:
      path = dotted_faces.save(folder, "a.png", dotted_faces.photo())
      other = dotted_faces.save(folder, "b.png", dotted_faces.photo(seed=1))
      looking = looks.Looking(
        pathlib.Path(folder), 64, "face", dotted_faces.detector
      )
      key = lambda path, faces=None, **changes: looks.key_of(
        looks.Task(path, faces), dataclasses.replace(looking, **changes)
      )
      faces = dotted_faces.find(
        dotted_faces.photo((dotted_faces.label(0), CORNER, SIDE))
      )
      self.assertLen(
        {
          key(path),
          key(other),
          key(path, size=32),
          key(path, make_detector=dotted_faces.missing),
          key(path, faces),
          key(path, []),
          key(path, domain="cat"),
        },
        7,
      )
      path.rename(path.with_name("c.png"))
      self.assertEqual(
        key(path.with_name("c.png"), faces),
        key(path.with_name("c.png"), list(faces)),
      )


if __name__ == "__main__":
  absltest.main()

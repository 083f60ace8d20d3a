"""Albums: what they hold, how they divide, and what is wrong with bad ones."""

import io
import json
import os
import pathlib
import stat
import tempfile
import unittest
import zipfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from my3dgen_jax.data import album as album_module
from my3dgen_jax.data import album_files, dataset_json, images, photo_selection
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.album_files import AlbumError
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.errors import UserError
from tests.support import albums

CROPS = pathlib.Path(__file__).parents[3] / "shared" / "data" / "eg3d_crops"
NUM_WS, W_DIM = 6, 8


class AlbumTestCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.root = pathlib.Path(folder.name)
    self.folder = self.root / "obama"

  def assert_refused(self, message, path=None, *, verify=False, **options):
    """Opening fails with one line that matches."""
    with self.assertRaisesRegex(UserError, message) as caught:
      album = open_album(path or self.folder, **options)
      if verify:
        album.verify()
    self.assertNotIn("\n", str(caught.exception))
    self.assertLess(len(str(caught.exception)), 320)


class ContentTest(AlbumTestCase):
  @parameterized.parameters(".png", ".jpg", ".jpeg", ".webp", ".PNG", ".JPG")
  def test_items(self, extension):
    albums.make(self.folder, extension=extension)
    album = open_album(self.folder, img_resolution=16)
    album.verify()
    self.assertLen(album, 4)
    self.assertEqual(album.img_resolution, 16)
    self.assertEqual(album.names, albums.names(4, extension=extension))
    np.testing.assert_array_equal(album.c, albums.labels(4))
    for i, item in enumerate(album):
      self.assertEqual(item.name, album.names[i])
      np.testing.assert_array_equal(item.c, albums.labels(4)[i])
      np.testing.assert_array_equal(item.mask, np.ones((16, 16, 1)))
      self.assertIsNone(item.ws)
      for array in (item.image, item.mask, item.c):
        self.assertEqual(array.dtype, np.float32)
      decoded = np.asarray(Image.open(self.folder / item.name))
      np.testing.assert_array_equal(images.to_uint8(item.image), decoded)
    self.assertAlmostEqual(album[0].image.min(), -1, delta=0.05)
    self.assertAlmostEqual(album[0].image.max(), 1, delta=0.05)
    with self.assertRaises(IndexError):
      album[4]  # pylint: disable=pointless-statement
    with self.assertRaises(TypeError):
      album[:2]  # pylint: disable=pointless-statement

  @parameterized.parameters(
    "photo01_mask.PNG", "photo01_mask.jpg", "photo01_Mask.webp"
  )
  def test_masks_of_other_endings(self, name):
    albums.make(self.folder)
    Image.new("L", (16, 16), 255).save(self.folder / name, lossless=True)
    album = open_album(self.folder)
    self.assertLen(album, 4)
    self.assertEqual(
      [photo.mask is not None for photo in album.photos],
      [False, True, False, False],
    )

  @parameterized.parameters("_latent.npz", "_projected_w.npz")
  def test_latents_as_projectors_write_them(self, suffix):
    albums.make(self.folder)
    w = np.random.default_rng(0).normal(size=(1, NUM_WS, W_DIM))
    np.savez(self.folder / f"photo01{suffix}", w=w)
    album = open_album(self.folder, num_ws=NUM_WS, w_dim=W_DIM)
    np.testing.assert_array_equal(album[1].ws, w[0].astype(np.float32))
    self.assertIsNone(album[0].ws)

  @parameterized.parameters(
    ("/data/me/{}",), ("C:\\Users\\me\\{}",), ("/home/00/{}",)
  )
  def test_labels_by_the_path_of_another_machine(self, form):
    albums.make(self.folder)
    labels = dataset_json.read(self.folder / "dataset.json")
    (self.folder / "dataset.json").write_text(
      json.dumps(
        {"labels": [[form.format(k), v.tolist()] for k, v in labels.items()]}
      )
    )
    np.testing.assert_array_equal(
      open_album(self.folder).c, np.stack(list(labels.values()))
    )

  def test_labels_as_a_table(self):
    albums.make(self.folder)
    labels = dataset_json.read(self.folder / "dataset.json")
    (self.folder / "dataset.json").write_text(
      json.dumps({"labels": {k: v.tolist() for k, v in labels.items()}})
    )
    self.assertEqual(open_album(self.folder).names, tuple(labels))

  @parameterized.parameters("", ".png")
  def test_transforms_json(self, extension):
    albums.make(self.folder)
    labels = dataset_json.read(self.folder / "dataset.json")
    (self.folder / "dataset.json").unlink()
    frames = [
      {
        "file_path": f"./{name.removesuffix('.png')}{extension}",
        "transform_matrix": (c[:16].reshape(4, 4) * [1, -1, -1, 1]).tolist(),
      }
      for name, c in labels.items()
    ]
    (self.folder / "transforms.json").write_text(
      json.dumps({"w": 16, "h": 16, "fl_x": 16 * 4.2647, "frames": frames})
    )
    album = open_album(self.folder)
    np.testing.assert_allclose(
      album.c, np.stack(list(labels.values())), atol=1e-6
    )

  def test_output_of_prepare(self):
    albums.make(self.folder / "album")
    found = open_album(self.folder)
    self.assertLen(found, 4)
    self.assertEqual(found.place, str(self.folder / "album"))

  def test_order_is_by_name_whatever_the_label_order(self):
    albums.make(self.folder, count=5)
    labels = dataset_json.read(self.folder / "dataset.json")
    dataset_json.write(
      self.folder / "dataset.json", dict(reversed(labels.items()))
    )
    album = open_album(self.folder)
    self.assertEqual(album.names, albums.names(5))
    np.testing.assert_array_equal(album.c, albums.labels(5))

  def test_sub_folders_and_other_files(self):
    albums.make(self.folder, count=3)
    (self.folder / "00").mkdir()
    os.rename(self.folder / "photo02.png", self.folder / "00" / "photo02.png")
    albums.relabel(
      self.folder, {"photo02.png": None, "00\\photo02.png": albums.labels(3)[2]}
    )
    for other in ("notes.txt", ".DS_Store", "._photo00.png", "00/c.npy"):
      (self.folder / other).write_bytes(b"other")
    album = open_album(self.folder)
    album.verify()
    self.assertEqual(
      album.names, ("00/photo02.png", "photo00.png", "photo01.png")
    )

  def test_accents_of_another_system(self):
    albums.make(self.folder, count=2)
    os.rename(self.folder / "photo01.png", self.folder / "Jose\u0301.png")
    albums.relabel(
      self.folder, {"photo01.png": None, "Jos\u00e9.png": albums.labels(2)[1]}
    )
    self.assertEqual(
      open_album(self.folder).names, ("Jos\u00e9.png", "photo00.png")
    )

  @parameterized.parameters(2, 3, 6, 8)
  def test_photos_on_their_side(self, orientation):
    albums.make(self.folder, count=2)
    exif = Image.Exif()
    exif[0x0112] = orientation
    (self.folder / "photo01.png").write_bytes(
      albums.png(albums.picture(1, 16), exif=exif)
    )
    expected = {
      2: lambda x: x[:, ::-1],
      3: lambda x: x[::-1, ::-1],
      6: lambda x: np.rot90(x, -1),
      8: np.rot90,
    }[orientation]
    album = open_album(self.folder)
    np.testing.assert_array_equal(
      images.to_uint8(album[1].image), expected(albums.picture(1, 16))
    )
    upright = Image.open(
      io.BytesIO(album_files.upright_bytes(album.photos[1].image))
    )
    np.testing.assert_array_equal(
      np.asarray(upright), expected(albums.picture(1, 16))
    )
    self.assertEqual(upright.getexif().get(0x0112, 1), 1)
    self.assertEqual(
      album_files.upright_bytes(album.photos[0].image),
      (self.folder / "photo00.png").read_bytes(),
    )

  def test_masks(self):
    albums.make(self.folder, count=3, masks=True)
    (self.folder / "photo02_mask.png").unlink()
    (self.folder / "photo01_mask.png").write_bytes(
      albums.png(np.eye(16, dtype=bool))
    )
    album = open_album(self.folder)
    album.verify()
    self.assertLen(album, 3)
    np.testing.assert_array_equal(album[0].mask[:8, :8], 0)
    self.assertEqual(album[0].mask.mean(), 0.75)
    np.testing.assert_array_equal(album[1].mask[..., 0], np.eye(16))
    np.testing.assert_array_equal(album[2].mask, 1)
    for item in album:
      self.assertEqual(
        (item.mask.shape, item.mask.dtype), ((16, 16, 1), np.float32)
      )

  def test_marks(self):
    albums.make(self.folder, count=2)
    (self.folder / "photo01_marks.png").write_bytes(
      (self.folder / "photo01.png").read_bytes()
    )
    self.assert_refused("photo01_marks.png: is RGB", verify=False)
    marks = np.zeros((16, 16), np.uint8)
    marks[3:5] = 255
    Image.fromarray(marks).save(self.folder / "photo01_marks.png")
    album = open_album(self.folder)
    album.verify()
    self.assertEqual(album.names, ("photo00.png", "photo01.png"))
    self.assertIsNone(album[0].marks)
    np.testing.assert_array_equal(album[1].marks[..., 0], marks / 255)
    # They are not a mask: the loss looks everywhere.
    np.testing.assert_array_equal(album[1].mask, 1)
    (self.folder / "photo01_marks.png").rename(self.folder / "nobody_marks.png")
    self.assert_refused("nobody_marks.png: is a marks image without a photo")

  def test_a_labelled_photo_of_a_mask(self):
    albums.make(self.folder, count=2)
    (self.folder / "with_mask.png").write_bytes(
      albums.png(albums.picture(9, 16))
    )
    albums.relabel(self.folder, {"with_mask.png": albums.labels(1)[0]})
    self.assertIn("with_mask.png", open_album(self.folder).names)

  @parameterized.parameters(np.float16, np.float32, np.float64)
  def test_latents_of_all_shapes(self, dtype):
    albums.make(self.folder, count=6)
    for i, shape in enumerate(
      [(1, NUM_WS, W_DIM), (NUM_WS, W_DIM), (1, W_DIM), (W_DIM,)]
    ):
      latent = np.arange(np.prod(shape), dtype=dtype).reshape(shape)
      np.save(self.folder / f"photo{i:02}_latent.npy", latent)
    album = open_album(self.folder, num_ws=NUM_WS, w_dim=W_DIM)
    whole = np.arange(NUM_WS * W_DIM).reshape(NUM_WS, W_DIM)
    one = np.tile(np.arange(W_DIM), (NUM_WS, 1))
    for item, expected in zip(album, [whole, whole, one, one]):
      np.testing.assert_array_equal(item.ws, expected)
      self.assertEqual(item.ws.dtype, np.float32)
    self.assertIsNone(album[4].ws)
    self.assertIsNone(open_album(self.folder)[0].ws)

  def test_batch(self):
    albums.make(self.folder, masks=True)
    album = open_album(self.folder)
    batch = album.batch([2, 0, 2])
    self.assertEqual(batch.image.shape, (3, 16, 16, 3))
    self.assertEqual(batch.c.shape, (3, 25))
    self.assertEqual(batch.mask.shape, (3, 16, 16, 1))
    np.testing.assert_array_equal(batch.image[1], album[0].image)
    np.testing.assert_array_equal(batch.c[2], album[2].c)
    self.assertLen(jax.tree.leaves(batch), 3)
    sharded = album.batch(np.array([[0, 1], [2, 3]]))
    self.assertEqual(sharded.image.shape, (2, 2, 16, 16, 3))
    np.testing.assert_array_equal(sharded.image[1, 0], album[2].image)

  def test_decoded_once_while_there_is_room(self):
    albums.make(self.folder)
    album = open_album(self.folder)
    room = 2 * 16 * 16 * 4
    with mock.patch.object(album_module, "_CACHE_BYTES", room):
      album.verify()
    for path in self.folder.glob("*.png"):
      path.unlink()
    train = album.split(test=["photo03"]).train  # the parts share what is kept
    np.testing.assert_array_equal(
      images.to_uint8(train[1].image), albums.picture(1, 16)
    )
    with self.assertRaisesRegex(AlbumError, "photo02.png: cannot be read"):
      album[2]  # pylint: disable=pointless-statement

  @parameterized.parameters("", "obama/", "deep/obama/")
  def test_zip_is_the_same(self, prefix):
    albums.make(self.folder, latents=(NUM_WS, W_DIM), masks=True)
    path = albums.zip_folder(
      self.folder, self.root / "obama.zip", prefix=prefix
    )
    with zipfile.ZipFile(path, "a") as archive:
      archive.writestr("__MACOSX/._photo00.png", b"Finder")
      archive.mkdir("empty")
    if prefix.count("/") > 1:
      self.assert_refused("has no dataset.json", path)
      return
    options = dict(img_resolution=16, num_ws=NUM_WS, w_dim=W_DIM)
    zipped, plain = (open_album(x, **options) for x in (path, self.folder))
    self.assertEqual(zipped.names, plain.names)
    for one, other in zip(zipped, plain):
      for field in ("image", "c", "mask", "ws"):
        np.testing.assert_array_equal(
          getattr(one, field), getattr(other, field)
        )
    self.assertCountEqual(os.listdir(self.root), ["obama", "obama.zip"])

  @unittest.skipUnless(CROPS.is_dir(), f"{CROPS} is not here")
  def test_real_crops(self):
    album = open_album(CROPS, img_resolution=512, num_ws=14, w_dim=512)
    album.verify()
    self.assertLen(album, 12)
    self.assertEqual(album.names[0], "goae_02.jpg")
    self.assertEqual(album.batch([0, 11]).image.shape, (2, 512, 512, 3))
    # All lie on EG3D's sphere of radius 2.7.
    np.testing.assert_allclose(
      np.linalg.norm(album.c[:, [3, 7, 11]], axis=1), 2.7, rtol=1e-5
    )


class SplitTest(AlbumTestCase):
  def open(self, count=10):
    return open_album(albums.make(self.folder, count=count, size=4))

  def names(self, split):
    return tuple(part.names for part in split)

  def test_default_trains_on_all(self):
    album = self.open()
    train, test, reference = album.split()
    self.assertEqual(train.names, album.names)
    self.assertEmpty(test)
    self.assertEqual(test.c.shape, (0, 25))
    self.assertIs(reference, album)

  @parameterized.parameters(
    (1, 1),
    (3, 3),
    (9, 9),
    (0.1, 1),
    (0.25, 2),
    (0.01, 1),
    (0.9, 9),
    (0.0, 0),
    (0, 0),
  )
  def test_by_number(self, wanted, count):
    album = self.open()
    split = album.split(test=wanted, seed=3)
    self.assertLen(split.test, count)
    self.assertCountEqual(split.train.names + split.test.names, album.names)
    self.assertEqual(
      self.names(split), self.names(album.split(test=wanted, seed=3))
    )

  def test_stays_the_same_in_later_versions(self):
    split = self.open().split(test=3, seed=1)
    self.assertEqual(
      split.test.names, ("photo01.png", "photo05.png", "photo09.png")
    )

  def test_another_seed_takes_others(self):
    album = self.open()
    self.assertGreater(
      len({album.split(test=2, seed=seed).test.names for seed in range(20)}), 5
    )

  @settings(max_examples=50, deadline=None)
  @given(st.data())
  def test_parts_are_disjoint_and_spread(self, data):
    count = data.draw(st.integers(2, 60))
    photos = [
      album_files.Photo(name=f"{i:02}.png", c=None, image=None)
      for i in range(count)
    ]
    album = Album("here", tuple(photos), 4)
    test = data.draw(st.integers(0, count - 1))
    reference = data.draw(st.integers(0, count - 1 - test))
    split = album.split(
      test=test, reference=reference, seed=data.draw(st.integers(0, 2**40))
    )
    self.assertEqual(
      [len(part) for part in split], [count - test - reference, test, reference]
    )
    self.assertCountEqual(sum(self.names(split), ()), album.names)
    if test:
      # One in each of equal runs: no gap of two runs without a test photo.
      places = [album.names.index(name) for name in split.test.names]
      gaps = np.diff([-1, *places, count])
      self.assertLessEqual(gaps.max(), 2 * -(-count // test))

  def test_by_name_with_or_without_extension(self):
    split = self.open().split(
      test=["photo07.png", "photo02"], reference=["photo05"]
    )
    self.assertEqual(split.test.names, ("photo02.png", "photo07.png"))
    self.assertEqual(split.reference.names, ("photo05.png",))
    self.assertLen(split.train, 7)

  def test_by_file(self):
    path = self.root / "test.txt"
    path.write_bytes(
      b"\xef\xbb\xbf# held out\r\nphoto03.png\r\n\r\n photo01 \r\n"
    )
    for selection in (
      path,
      str(path),
      photo_selection.parse_selection(str(path)),
    ):
      split = self.open().split(test=selection)
      self.assertEqual(split.test.names, ("photo01.png", "photo03.png"))
      self.folder = self.root / f"{self.folder.name}_"

  def test_numbers_choose_among_what_names_leave(self):
    album = self.open()
    named = list(album.names[:6])
    split = album.split(test=3, reference=named)
    self.assertEqual(split.reference.names, tuple(named))
    self.assertLen(split.test, 3)
    self.assertNoCommonElements(split.test.names, named)

  def test_select(self):
    album = self.open()
    self.assertEqual(
      album.select(["photo07", "photo02.png"]).names,
      ("photo02.png", "photo07.png"),
    )
    self.assertLen(album.select(3), 3)
    self.assertEqual(album.select(10).names, album.names)
    for wanted, message in (
      (0, "selects none"),
      ([], "selects none"),
      (11, "11 photos requested"),
      (["x"], "'x' is not in"),
    ):
      with self.assertRaisesRegex(AlbumError, f"^photos: .*{message}"):
        album.select(wanted)

  def test_digests_tell_photos_apart(self):
    album = self.open()
    found = [album.digest(i) for i in range(len(album))]
    self.assertLen(set(found), len(album))
    self.assertEqual(found[2], album.subset([2]).digest(0))

  def test_fewer_to_train_on(self):
    album = self.open()
    for wanted, expected in ((4, 4), (0.2, 2), (["photo07", "photo02"], 2)):
      split = album.split(test=["photo00"], reference=["photo01"], train=wanted)
      self.assertLen(split.train, expected)
      self.assertNoCommonElements(
        split.train.names, split.test.names + split.reference.names
      )

  @parameterized.parameters(("5", 5), ("0.25", 0.25), ("a/b.txt", "a/b.txt"))
  def test_parse_selection(self, text, expected):
    result = photo_selection.parse_selection(text)
    self.assertEqual(result, expected)
    self.assertIs(type(result), type(expected))

  @parameterized.parameters(
    (dict(test=10), "^test: take all 10 photos of .*; leave at least one"),
    (dict(test=11), "^test: 11 photos requested, but 10 of 10 are free"),
    (dict(test=-1), "^test: expected a number or a fraction"),
    (dict(test=1.0), "^test: expected a number"),
    (dict(test=float("nan")), "^test: expected a number"),
    (dict(test=True), "^test: expected a number"),
    (dict(test=1, seed=-1), "^seed: expected a whole number >= 0"),
    (
      dict(test=["x.png"]),
      "^test: 'x.png' is not in .*obama, which has "
      "photo00.png, photo01.png, photo02.png and 7 more",
    ),
    (dict(test=["photo01", "photo01.png"]), "^test: .* appears twice"),
    (
      dict(test=["photo01"], reference=["photo01"]),
      "^reference: 'photo01.png' is in test already",
    ),
    (dict(test=5, reference=5), "^test and reference: take all 10"),
    (
      dict(test=["photo01"], train=["photo01"]),
      "^train: 'photo01.png' is in test already",
    ),
    (dict(test=5, train=6), "^train: 6 photos requested, but 5 of 10 are free"),
    (dict(train=0), "^train: selects no photo"),
    (
      dict(test="none.txt"),
      "^none.txt: cannot be read as test, a file of photo names: No such file",
    ),
  )
  def test_bad_selections(self, arguments, message):
    with self.assertRaisesRegex(AlbumError, message):
      self.open().split(**arguments)

  def test_bad_lists(self):
    path = self.root / "list"
    path.write_bytes(b"photo01.png\nphoto99.png\n")
    with self.assertRaisesRegex(AlbumError, f"^{path}: 'photo99.png' is not"):
      self.open().split(test=path)
    path.write_bytes(b"\xff\xfe\x00")
    self.folder = self.root / "other"
    with self.assertRaisesRegex(AlbumError, f"^{path}: .* is not UTF-8 text"):
      self.open().split(test=path)


class BadAlbumTest(AlbumTestCase):
  def put(self, name, data):
    (self.folder / name).write_bytes(data)

  def test_no_album(self):
    self.assert_refused(f"^{self.folder}: no such folder or zip")
    self.folder.write_text("no zip")
    self.assert_refused(f"^{self.folder}: is neither a folder nor a zip")

  def test_no_photos(self):
    self.folder.mkdir()
    self.assert_refused(f"^{self.folder}: has no photos \\(.png")
    self.put("dataset.json", b'{"labels": []}')
    self.put("notes.txt", b"none yet")
    self.assert_refused(f"^{self.folder}: has no photos")

  def test_one_photo(self):
    albums.make(self.folder, count=1)
    self.assert_refused(
      f"^{self.folder}: has 1 photo, at least 2 are needed; add"
    )
    self.assertLen(open_album(self.folder, min_photos=1), 1)
    self.assert_refused("at least 7", min_photos=7)

  def test_no_labels(self):
    albums.make(self.folder)
    (self.folder / "dataset.json").unlink()
    self.assert_refused(
      f"^{self.folder}: has no dataset.json with the cameras of its 4 photos"
    )

  def test_bad_dataset_json(self):
    albums.make(self.folder)
    self.put("dataset.json", b'{"labels": null}')
    self.assert_refused(f"^{self.folder}/dataset.json: has no camera labels")

  def test_labels_and_photos_must_match(self):
    albums.make(self.folder)
    label = albums.labels(1)[0]
    albums.relabel(self.folder, {"photo02.png": None, "photo01.png": None})
    self.assert_refused(
      f"^{self.folder}/photo01.png: has no label in "
      r"dataset.json \(the first of 2\); add its camera"
    )
    albums.relabel(
      self.folder,
      {"photo02.png": label, "photo01.png": label, "../x.png": label},
    )
    self.assert_refused(
      f"^{self.folder}/dataset.json: has a label for "
      r"'../x.png', which is not there; add the photo"
    )

  @parameterized.parameters(
    ("L", "grey"),
    ("RGBA", "RGBA, with transparency"),
    ("1", "black and"),
    ("LA", "gray with transparency"),
    ("P", "a palette image"),
    ("I;16", "I;16"),
  )
  def test_not_rgb(self, mode, said):
    albums.make(self.folder)
    Image.new(mode, (16, 16)).save(self.folder / "photo02.png")
    self.assert_refused(
      f"^{self.folder}/photo02.png: is {said}.*; save it as "
      "8-bit RGB without transparency$"
    )

  def test_cmyk_and_a_transparent_color(self):
    albums.make(self.folder, extension=".jpg")
    Image.new("CMYK", (16, 16)).save(self.folder / "photo02.jpg")
    self.assert_refused(f"^{self.folder}/photo02.jpg: is CMYK; save it as")
    Image.new("RGB", (16, 16)).save(
      self.folder / "photo02.jpg", format="PNG", transparency=(1, 2, 3)
    )
    self.assert_refused("photo02.jpg: is an image with a transparent color")

  def test_sizes(self):
    albums.make(self.folder)
    self.assert_refused(
      f"^{self.folder}/photo00.png: is 16x16 pixels, not 32x32, the size "
      "that the generator makes; resize it",
      img_resolution=32,
    )
    self.put("photo02.png", albums.png(albums.picture(0, 12)))
    self.assert_refused(
      f"^{self.folder}/photo02.png: is 12x12 pixels, not 16x16, the size "
      "that photo00.png has"
    )
    self.put("photo02.png", albums.png(albums.picture(0, 16)[:12]))
    self.assert_refused(
      f"^{self.folder}/photo02.png: is 16x12 pixels, not square; crop and "
      "resize it to 16x16"
    )

  def test_one_name_but_for_the_extension(self):
    albums.make(self.folder)
    Image.new("RGB", (16, 16)).save(self.folder / "photo01.jpg")
    albums.relabel(self.folder, {"photo01.jpg": albums.labels(1)[0]})
    self.assert_refused(
      f"^{self.folder}/photo01.png: has the same name as "
      "photo01.jpg except for the suffix"
    )

  @parameterized.parameters(
    (b"",), (b"\x89PNG\r\n\x1a\n",), (b"GIF89a" + bytes(50),), (bytes(99),)
  )
  def test_no_image(self, data):
    albums.make(self.folder)
    self.put("photo01.png", data)
    self.assert_refused(f"^{self.folder}/photo01.png: (is damaged|cannot be)")

  @parameterized.product(
    extension=[".png", ".jpg", ".webp"], how=["cut", "zeros"]
  )
  def test_damaged_pixels(self, extension, how):
    albums.make(self.folder, size=64, extension=extension)
    name = f"photo01{extension}"
    data = (self.folder / name).read_bytes()
    middle = len(data) // 2
    self.put(
      name,
      data[:middle]
      if how == "cut"
      else data[:middle] + bytes(99) + data[middle + 99 :],
    )
    if extension != ".png" and how == "zeros":
      open_album(self.folder).verify()  # without checksums they cannot tell
      return
    self.assert_refused(
      f"^{self.folder}/{name}: (is damaged|cannot be read)", verify=True
    )

  def test_damaged_anywhere_is_one_line_or_fine(self):
    """Any byte of a PNG's first 200 changed: an AlbumError, or none."""
    albums.make(self.folder, count=2)
    data = bytearray((self.folder / "photo01.png").read_bytes())
    for i in range(200):
      spoilt = data.copy()
      spoilt[i] ^= 0x55
      self.put("photo01.png", spoilt)
      try:
        open_album(self.folder).verify()
      except AlbumError as error:
        self.assertIn("photo01.png: ", str(error))
        self.assertNotIn("\n", str(error))

  def test_no_ordinary_file(self):
    albums.make(self.folder)
    path = self.folder / "photo01.png"
    path.unlink()
    path.symlink_to("nowhere.png")
    self.assert_refused(f"^{path}: cannot be read, .*No such file")
    path.unlink()
    os.mkfifo(path)
    self.assertTrue(stat.S_ISFIFO(path.stat().st_mode))
    self.assert_refused(f"^{path}: is not a regular file")

  def test_unreadable(self):
    albums.make(self.folder)
    denied = PermissionError(13, "Permission denied", "x")
    with mock.patch("builtins.open", side_effect=denied):
      self.assert_refused("/dataset.json: cannot be read, .* it: Permission")
    denied.filename = str(self.folder)
    with mock.patch.object(os, "scandir", side_effect=denied):
      self.assert_refused(f"^{self.folder}: cannot be read: Permission denied")

  def test_bad_masks(self):
    albums.make(self.folder, masks=True)
    mask = self.folder / "photo01_mask.png"
    Image.new("RGB", (16, 16)).save(mask)
    self.assert_refused(f"^{mask}: is RGB; save it as 8-bit gray")
    Image.new("L", (8, 8)).save(mask)
    self.assert_refused(
      f"^{mask}: is 8x8 pixels, not 16x16, the size of its photo"
    )
    Image.new("L", (16, 16)).save(mask)
    self.assert_refused(f"^{mask}: is black everywhere", verify=True)
    mask.rename(self.folder / "nobody_mask.png")
    self.assert_refused(
      "nobody_mask.png: is a mask without a photo: there "
      "is no nobody.png, .jpg or .webp"
    )

  @parameterized.parameters(
    (np.zeros((1, NUM_WS, W_DIM + 1)), r"got float64 \[1, 6, 9\]"),
    (np.zeros((1, NUM_WS + 1, W_DIM)), r"got float64 \[1, 7, 8\]"),
    (np.zeros((2, NUM_WS, W_DIM)), r"got float64 \[2, 6, 8\]"),
    (np.zeros(()), r"got float64 \[\]"),
    (np.zeros((NUM_WS, W_DIM), np.int64), r"got int64 \[6, 8\]"),
    (np.full((NUM_WS, W_DIM), np.nan), "holds NaN or infinity"),
    (np.full((W_DIM,), 1e39), "holds NaN or infinity"),
    (np.array([{}]), "holds Python objects"),
  )
  def test_bad_latents(self, latent, message):
    albums.make(self.folder, latents=(NUM_WS, W_DIM))
    np.save(self.folder / "photo02_latent.npy", latent)
    self.assert_refused(
      f"^{self.folder}/photo02_latent.npy: .*{message}",
      num_ws=NUM_WS,
      w_dim=W_DIM,
    )

  @parameterized.parameters(
    (b"",),
    (b"\x93NUMPY",),
    (bytes(200),),
    (
      b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, "
      b"'shape': (99999999999999,), }" + b" " * 50,
    ),
  )
  def test_damaged_latents(self, data):
    albums.make(self.folder)
    self.put("photo02_latent.npy", data)
    self.assert_refused(
      f"^{self.folder}/photo02_latent.npy: ", num_ws=NUM_WS, w_dim=W_DIM
    )

  def test_other_latent_files(self):
    albums.make(self.folder)
    self.put("nobody_latent.npy", b"")
    self.assert_refused("nobody_latent.npy: is a latent without a photo")
    (self.folder / "nobody_latent.npy").unlink()
    with open(self.folder / "photo01_latent.npy", "wb") as file:
      np.savez(file, ws=np.zeros(3))
    size = {"num_ws": NUM_WS, "w_dim": W_DIM}
    self.assert_refused(r"photo01_latent.npy: .* got float64 \[3\]", **size)
    with open(self.folder / "photo01_latent.npy", "wb") as file:
      np.savez(file, a=np.zeros(3), b=np.zeros(3))
    self.assert_refused(
      "photo01_latent.npy: contains no latent: expected .*, got a, b", **size
    )
    (self.folder / "photo01_latent.npy").unlink()
    self.put("nobody_latent.pt", b"")  # of other tools: nobody asks for it
    open_album(self.folder, **size)
    self.put("photo01_latent.pt", b"")
    open_album(self.folder)
    self.assert_refused(
      "photo01_latent.pt: is a PyTorch file; convert it: "
      "python converters/latent_to_npy.py --input .*photo01_latent.pt",
      **size,
    )

  def test_of_two_latents_the_old_name_counts(self):
    albums.make(self.folder, latents=(NUM_WS, W_DIM))
    self.put("photo01_latent.pt", b"")
    np.savez(self.folder / "photo01_projected_w.npz", w=np.zeros(W_DIM))
    found = open_album(self.folder, num_ws=NUM_WS, w_dim=W_DIM)
    np.testing.assert_array_equal(
      found[1].ws,
      np.load(self.folder / "photo01_latent.npy").reshape(-1, W_DIM),
    )

  def test_a_latent_that_unpacks_to_a_flood(self):
    albums.make(self.folder)
    np.savez_compressed(
      self.folder / "photo01_latent.npz", w=np.zeros(2**26, np.float32)
    )
    self.assert_refused(
      "photo01_latent.npz: holds 268 MB, expected .* at most",
      num_ws=NUM_WS,
      w_dim=W_DIM,
    )

  def test_two_masks(self):
    albums.make(self.folder)
    for name in ("photo01_mask.png", "photo01_mask.JPG"):
      Image.new("L", (16, 16), 255).save(self.folder / name)
    self.assert_refused("photo01_mask.*: is a second one beside .*photo01_mask")


class BadZipTest(AlbumTestCase):
  def setUp(self):
    super().setUp()
    albums.make(self.folder, size=64)
    self.path = albums.zip_folder(self.folder, self.root / "album.zip")

  def add(self, name, data=b"x", **options):
    with zipfile.ZipFile(self.path, "a", **options) as archive:
      archive.writestr(name, data)

  @parameterized.parameters(
    "../evil.png",
    "a/../../evil.png",
    "/etc/evil.png",
    "..\\evil.png",
    "C:\\evil.png",
    "C:/evil.png",
  )
  def test_climbing_out(self, name):
    self.add(name)
    self.assert_refused(
      f"^{self.path}/.*evil.png: points outside the zip", self.path
    )

  def test_cut(self):
    data = self.path.read_bytes()
    for share in (0.1, 0.5, 0.99):
      self.path.write_bytes(data[: int(share * len(data))])
      self.assert_refused(
        f"^{self.path}: cannot be read, .* not a zip file", self.path
      )
    self.path.write_bytes(b"")
    self.assert_refused(
      f"^{self.path}: is neither a folder nor a zip", self.path
    )

  def test_damaged_anywhere_is_one_line_or_fine(self):
    data = self.path.read_bytes()
    rng = np.random.default_rng(0)
    for i in rng.integers(0, len(data), 60):
      spoilt = bytearray(data)
      spoilt[i] ^= 0xFF
      self.path.write_bytes(spoilt)
      try:
        open_album(self.path).verify()
      except UserError as error:
        self.assertIn(str(self.path), str(error))
        self.assertNotIn("\n", str(error))

  def test_damaged_photo(self):
    data = bytearray(self.path.read_bytes())
    start = data.index(b"photo01.png") + 2000
    data[start : start + 50] = bytes(50)
    self.path.write_bytes(data)
    self.assert_refused(
      f"^{self.path}/photo01.png: cannot be read", self.path, verify=True
    )

  def test_checksums_are_compared(self):
    """A JPEG shows other colors without complaint; its zip tells."""
    albums.make(self.root / "jpg", size=64, extension=".jpg")
    self.path.unlink()
    with zipfile.ZipFile(self.path, "w") as archive:  # as they are
      for file in (self.root / "jpg").iterdir():
        archive.write(file, file.name)
    data = bytearray(self.path.read_bytes())
    start = data.index(b"photo01.jpg") + 1500
    data[start] ^= 1
    self.path.write_bytes(data)
    self.assert_refused(
      f"^{self.path}/photo01.jpg: .*Bad CRC-32", self.path, verify=True
    )

  def test_a_name_twice(self):
    with self.assertWarns(UserWarning):
      self.add("photo01.png")
    self.assert_refused(
      f"^{self.path}/photo01.png: the name appears twice", self.path
    )

  def test_a_bomb(self):
    with mock.patch.object(album_files, "_MAX_FILE_BYTES", 20000):
      self.add("bomb.png", bytes(20001), compression=zipfile.ZIP_DEFLATED)
      self.assert_refused(f"^{self.path}/bomb.png: unpacks to 0 MB", self.path)

  def test_a_password(self):
    data = bytearray(self.path.read_bytes())
    start = data.index(b"PK\x01\x02")  # of the first entry, dataset.json
    data[start + 8] |= 1
    data[6] |= 1
    self.path.write_bytes(data)
    self.assert_refused(
      f"^{self.path}/dataset.json: cannot be read, .*password", self.path
    )


if __name__ == "__main__":
  absltest.main()

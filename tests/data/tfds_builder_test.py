"""Albums as TensorFlow data sets: the real thing, on disk, offline."""

import contextlib
import errno
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.data import images, tfds_builder
from my3dgen_jax.data.album_files import AlbumError
from my3dgen_jax.data.albums import open_album
from tests.support import albums

try:
  import tensorflow_datasets as tfds
except ImportError:
  raise unittest.SkipTest("tensorflow-datasets is not installed") from None

NUM_WS, W_DIM = 6, 8
OPTIONS = dict(img_resolution=16, num_ws=NUM_WS, w_dim=W_DIM)
ROOT = pathlib.Path(__file__).parents[2]

# What a user's own script does, where there is no network.
OFFLINE = """
import socket, sys

def refuse(*args, **kwargs):
  raise SystemExit(f"used the network: {args}")

socket.socket.connect = socket.getaddrinfo = refuse
from my3dgen_jax.data import tfds_builder
from my3dgen_jax.data.albums import open_album
folder, data_dir = sys.argv[1:]
tfds_builder.prepare(open_album(folder, num_ws=6, w_dim=8), data_dir)
import tensorflow_datasets as tfds
source = tfds.data_source("my3dgen_album", data_dir=data_dir, split="train")
print(len(source), *sorted(source[3]), source[3]["name"].decode(),
      "tensorflow" in sys.modules)
"""


class TfdsBuilderTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.root = pathlib.Path(folder.name)
    self.data_dir = self.root / "data"
    for name in ("connect", "connect_ex"):
      self.enter_context(
        mock.patch.object(
          socket.socket, name, side_effect=AssertionError("used the network")
        )
      )

  def make(self, **options):
    return albums.make(self.root / "obama", **options)

  def assert_same(self, one, other):
    self.assertEqual(one.names, other.names)
    self.assertEqual(one.img_resolution, other.img_resolution)
    for item, same in zip(one, other):
      for field in ("image", "c", "mask", "ws"):
        np.testing.assert_array_equal(
          getattr(item, field), getattr(same, field)
        )
      self.assertEqual(item.image.dtype, same.image.dtype)

  @parameterized.product(
    extension=[".png", ".jpg", ".webp"], extras=[False, True]
  )
  def test_same_items(self, extension, extras):
    folder = self.make(
      extension=extension,
      masks=extras,
      latents=(NUM_WS, W_DIM) if extras else None,
    )
    album = open_album(folder, **OPTIONS)
    result = tfds_builder.prepare(album, self.data_dir)
    self.assertEqual(result, self.data_dir / "my3dgen_album" / "1.0.0")
    shutil.rmtree(folder)
    for path in (result, self.data_dir):
      self.assert_same(open_album(path, **OPTIONS), album)
    self.assertIsNone(open_album(result)[0].ws)
    prepared = open_album(result, **OPTIONS)
    self.assertEqual(
      [part.names for part in prepared.split(test=2, seed=5)],
      [part.names for part in album.split(test=2, seed=5)],
    )
    self.assertEqual(prepared.batch([[3, 0]]).image.shape, (1, 2, 16, 16, 3))

  def test_some_masks_some_anchors_and_a_photo_on_its_side(self):
    folder = self.make(masks=True, latents=(NUM_WS, W_DIM))
    (folder / "photo01_mask.png").unlink()
    (folder / "photo02_latent.npy").unlink()
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / "photo03.png").write_bytes(
      albums.png(albums.picture(3, 16), exif=exif)
    )
    album = open_album(folder, **OPTIONS)
    tfds_builder.prepare(album, self.data_dir)
    result = open_album(self.data_dir, **OPTIONS)
    self.assert_same(result, album)
    self.assertIsNone(result[2].ws)
    np.testing.assert_array_equal(result[1].mask, 1)
    source = tfds.data_source(
      "my3dgen_album", data_dir=self.data_dir, split="train"
    )
    np.testing.assert_array_equal(
      source[3]["image"], images.to_uint8(album[3].image)
    )

  def test_from_a_zip(self):
    folder = self.make(latents=(NUM_WS, W_DIM))
    path = albums.zip_folder(folder, self.root / "obama.zip")
    tfds_builder.prepare(open_album(path, **OPTIONS), self.data_dir)
    self.assert_same(
      open_album(self.data_dir, **OPTIONS), open_album(folder, **OPTIONS)
    )

  def test_data_source(self):
    album = open_album(
      self.make(masks=True, latents=(NUM_WS, W_DIM)), **OPTIONS
    )
    tfds_builder.prepare(album, self.data_dir)
    source = tfds.data_source(
      "my3dgen_album", data_dir=self.data_dir, split="train"
    )
    self.assertLen(source, 4)
    for i in (2, 0, 3):
      record = source[i]
      self.assertEqual(record["name"].decode(), album.names[i])
      self.assertEqual(record["image"].dtype, np.uint8)
      np.testing.assert_array_equal(record["image"], albums.picture(i, 16))
      np.testing.assert_array_equal(record["c"], album.c[i])
      np.testing.assert_array_equal(record["mask"] / 255, album[i].mask)
      np.testing.assert_array_equal(record["ws"][0], album[i].ws)

  def test_builder_on_its_own(self):
    album = open_album(self.make())
    builder = tfds_builder.builder(album, self.data_dir)
    self.assertIsInstance(builder, tfds.core.GeneratorBasedBuilder)
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
      builder.download_and_prepare()
    self.assertEqual(builder.info.file_format.value, "array_record")
    self.assertEqual(set(builder.info.features), {"c", "image", "name"})
    self.assertLen(builder.as_data_source("train"), 4)

  def test_uses_neither_tensorflow_nor_network(self):
    folder = self.make(latents=(NUM_WS, W_DIM))
    result = subprocess.run(
      [sys.executable, "-c", OFFLINE, folder, self.data_dir],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
    )
    self.assertEqual(
      result.stdout, "4 c image name ws photo03.png False\n", result.stderr
    )

  def test_is_written_whole_and_alone(self):
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
      tfds_builder.prepare(open_album(self.make()), self.data_dir)
    self.assertEqual(output.getvalue(), "")
    self.assertCountEqual(
      [
        path.relative_to(self.data_dir).as_posix()
        for path in self.data_dir.rglob("*")
        if path.is_file()
      ],
      [
        "my3dgen_album/1.0.0/" + name
        for name in (
          "dataset_info.json",
          "features.json",
          "my3dgen_album-train.array_record-00000-of-00001",
        )
      ],
    )

  def test_is_not_overwritten(self):
    album = open_album(self.make())
    target = tfds_builder.prepare(album, self.data_dir)
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    with self.assertRaisesRegex(AlbumError, f"^{target}: exists already; "):
      tfds_builder.prepare(album, self.data_dir)
    self.assertEqual(
      before, {path: path.stat().st_mtime_ns for path in target.iterdir()}
    )

  @parameterized.parameters(
    ("array_record.python.array_record_module.ArrayRecordWriter",),
    ("os.rename",),
  )
  def test_failed_write_leaves_nothing(self, what):
    album = open_album(self.make())
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch(what, side_effect=full):
      with self.assertRaisesRegex(
        AlbumError, "/1.0.0: cannot be written: .*No space left"
      ) as caught:
        tfds_builder.prepare(album, self.data_dir)
    self.assertNotIn("\n", str(caught.exception))
    self.assertEmpty(
      [path for path in self.data_dir.rglob("*") if path.is_file()]
    )
    tfds_builder.prepare(album, self.data_dir)
    self.assert_same(open_album(self.data_dir), album)

  def test_no_space(self):
    album = open_album(self.make())
    with mock.patch.object(
      shutil, "disk_usage", return_value=mock.Mock(free=1000)
    ):
      with self.assertRaisesRegex(AlbumError, "no space left: 1 MB are"):
        tfds_builder.prepare(album, self.data_dir)
    self.assertEmpty(os.listdir(self.data_dir))

  def test_no_folder_to_write_to(self):
    self.data_dir.write_text("a file")
    with self.assertRaisesRegex(AlbumError, "/data/.*: cannot be written: "):
      tfds_builder.prepare(open_album(self.make()), self.data_dir)

  def test_damaged_photos_are_not_prepared(self):
    folder = self.make()
    path = folder / "photo01.png"
    path.write_bytes(path.read_bytes()[:-50])
    with self.assertRaisesRegex(AlbumError, f"^{path}: cannot be read"):
      tfds_builder.prepare(open_album(folder), self.data_dir)
    self.assertFalse(self.data_dir.exists())

  def test_wrong_sizes(self):
    tfds_builder.prepare(
      open_album(self.make(latents=(NUM_WS, W_DIM)), **OPTIONS), self.data_dir
    )
    with self.assertRaisesRegex(
      AlbumError, "1.0.0: photo00.png: is 16x16 pixels, not 32x32"
    ):
      open_album(self.data_dir, img_resolution=32)
    with self.assertRaisesRegex(
      AlbumError, r"1.0.0: photo00.png: ws: .* got float32 \[1, 6, 8\]"
    ):
      open_album(self.data_dir, num_ws=NUM_WS, w_dim=9)
    with self.assertRaisesRegex(AlbumError, "has 4 photos, at least 5"):
      open_album(self.data_dir, min_photos=5)

  @parameterized.parameters(
    "dataset_info.json",
    "features.json",
    "my3dgen_album-train.array_record-00000-of-00001",
  )
  def test_damaged_data_sets(self, name):
    target = tfds_builder.prepare(open_album(self.make(size=64)), self.data_dir)
    data = (target / name).read_bytes()
    for spoilt in (b"", data[: len(data) // 3], bytes(len(data))):
      (target / name).write_bytes(spoilt)
      with self.assertRaisesRegex(AlbumError, f"^{target}") as caught:
        open_album(target).verify()
      self.assertNotIn("\n", str(caught.exception))
    (target / name).unlink()
    with self.assertRaisesRegex(AlbumError, f"^{target}"):
      tfds_builder.open_prepared(target)

  def test_another_data_set(self):
    target = tfds_builder.prepare(open_album(self.make()), self.data_dir)
    info = json.loads((target / "dataset_info.json").read_text())
    info["name"] = "mnist"
    (target / "dataset_info.json").write_text(json.dumps(info))
    with self.assertRaisesRegex(AlbumError, "is the data set 'mnist', not an"):
      open_album(target)

  def test_without_tensorflow_datasets(self):
    album = open_album(self.make())
    with mock.patch.dict(sys.modules, {"tensorflow_datasets": None}):
      with self.assertRaisesRegex(AlbumError, "pip install tensorflow-data"):
        tfds_builder.prepare(album, self.data_dir)


if __name__ == "__main__":
  absltest.main()

"""Albums of procedural people open as any other."""

import pathlib
import shutil
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.data import images
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.demo import album, people
from my3dgen_jax.errors import UserError


class AlbumTest(absltest.TestCase):
  def test_written_album_opens(self):
    person = people.sample_person(jax.random.key(0))
    photos = album.take_photos(
      jax.random.key(1), person, 3, resolution=32, supersampling=2
    )
    folder = pathlib.Path(tempfile.mkdtemp()) / "person"
    self.addCleanup(shutil.rmtree, folder.parent)
    album.write_album(folder, photos, masks=True)
    opened = open_album(folder)
    opened.verify()
    self.assertLen(opened, 3)
    np.testing.assert_array_equal(opened.c, np.asarray(photos.c))
    for n, item in enumerate(opened):
      np.testing.assert_array_equal(
        images.to_uint8(item.image), images.to_uint8(photos.rendering.image[n])
      )
      np.testing.assert_allclose(
        item.mask, photos.rendering.mask[n], atol=1 / 255
      )
    self.assertGreater(np.ptp(people.smile(photos.person)), 0.05)
    self.assertGreater(np.abs(photos.c - photos.true_c).max(), 1e-4)
    np.testing.assert_array_equal(
      photos.person.identity[0], photos.person.identity[2]
    )

  def test_the_demo_s_album(self):
    folder = pathlib.Path(tempfile.mkdtemp()) / "person"
    self.addCleanup(shutil.rmtree, folder.parent)
    with (
      mock.patch.object(album, "_COUNTS", {"test": 5, "reference": 3}),
      mock.patch.object(album, "TRAINING", 2),
      mock.patch.object(album, "_RESOLUTION", 32),
    ):
      album.write_demo_album(folder, 3, 2)
      opened = open_album(folder)
      opened.verify()
      train, test, reference = opened.split(
        test=folder / "test.txt", reference=folder / "reference.txt"
      )
      self.assertEqual(
        (len(train), test.names, reference.names),
        (
          2,
          tuple(f"test{n:03d}.png" for n in range(5)),
          tuple(f"reference{n:03d}.png" for n in range(3)),
        ),
      )
      self.assertIsNone(train[0].marks)
      self.assertBetween(test[0].marks.mean(), 0.005, 0.5)
      # It is drawn once; and never over something else.
      before = (folder / "photo000.png").stat().st_mtime_ns
      album.write_demo_album(folder, 3)
      self.assertEqual((folder / "photo000.png").stat().st_mtime_ns, before)
      with self.assertRaisesRegex(UserError, "not empty"):
        album.write_demo_album(folder.parent, 3)
      # More photos to learn from change nothing about the others.
      names, more = album.demo_photos(3, 4)
      self.assertEqual(
        (names[:3], names[-3:]),
        (
          ["photo000", "photo001", "test000"],
          ["reference002", "photo002", "photo003"],
        ),
      )
      np.testing.assert_array_equal(
        images.to_uint8(more.rendering.image[2]), images.to_uint8(test[0].image)
      )

  def test_people_of_the_demo_have_marks(self):
    marks = [
      jax.tree.map(np.asarray, album.demo_person(n).marks) for n in range(4)
    ]
    for mark in marks:
      self.assertEqual(sum(np.any(kind) for kind in jax.tree.leaves(mark)), 3)
    self.assertGreater(
      len({tuple(map(np.any, jax.tree.leaves(mark))) for mark in marks}), 1
    )


if __name__ == "__main__":
  absltest.main()

"""Albums of procedural people open as any other."""

import pathlib
import shutil
import tempfile

import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.data import album as album_lib, images
from my3dgen_jax.demo import album, people


class AlbumTest(absltest.TestCase):

  def test_written_album_opens(self):
    person = people.sample_person(jax.random.key(0))
    photos = album.take_photos(jax.random.key(1), person, 3, resolution=64,
                               supersampling=1)
    folder = pathlib.Path(tempfile.mkdtemp()) / "person"
    self.addCleanup(shutil.rmtree, folder.parent)
    album.write_album(folder, photos, masks=True)
    opened = album_lib.Album.open(folder)
    opened.verify()
    self.assertLen(opened, 3)
    np.testing.assert_array_equal(opened.c, np.asarray(photos.c))
    for n, item in enumerate(opened):
      np.testing.assert_array_equal(
          images.to_uint8(item.image),
          images.to_uint8(photos.rendering.image[n]))
      np.testing.assert_allclose(item.mask, photos.rendering.mask[n],
                                 atol=1 / 255)
    self.assertGreater(np.ptp(people.smile(photos.person)), 0.05)
    self.assertGreater(np.abs(photos.c - photos.true_c).max(), 1e-4)
    np.testing.assert_array_equal(photos.person.identity[0],
                                  photos.person.identity[2])


if __name__ == "__main__":
  absltest.main()

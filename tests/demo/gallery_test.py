"""Labelled photos: whom they show, and that drawing goes on."""

import dataclasses
import pathlib
import shutil
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo import gallery, people
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs.interrupts import StopRequest

PLAN = gallery.Plan(people=2, photos=3, seed=5, resolution=16)


def who(plan):
  return jax.device_get(gallery._subjects(plan, np.arange(plan.size)))


def has(person):
  """[N, kinds], which marks people have."""
  return np.stack(
    [
      np.any(getattr(person.marks, kind) != 0, axis=-1) for kind in people.MARKS
    ],
    axis=-1,
  )


class SubjectsTest(absltest.TestCase):
  def test_twins_share_all_but_marks(self):
    plan = dataclasses.replace(PLAN, people=50, photos=2)
    person, c, label, owner = who(plan)
    np.testing.assert_array_equal(label, np.arange(200) // 2)
    np.testing.assert_array_equal(owner, np.arange(200) // 4)
    by_owner = lambda x: x.reshape(50, 2, 2, -1)
    identity, photo = by_owner(person.identity), by_owner(person.photo)
    np.testing.assert_array_equal(
      identity, np.broadcast_to(identity[:, :1, :1], identity.shape)
    )
    self.assertLen(np.unique(photo.reshape(200, -1), axis=0), 200)
    self.assertLen(np.unique(c, axis=0), 200)
    marks = by_owner(has(person))
    np.testing.assert_array_equal(marks[:, :, 0], marks[:, :, 1])
    self.assertTrue((marks[:, 0] != marks[:, 1]).any(axis=(1, 2)).all())
    # Some have none, and no kind is rare.
    self.assertBetween((~marks[:, :, 0].any(axis=-1)).mean(), 0.02, 0.25)
    self.assertGreater(marks.mean(axis=(0, 1, 2)).min(), 0.2)

  def test_kinds(self):
    plan = dataclasses.replace(PLAN, variants="kinds", photos=1)
    person, _, _, owner = who(plan)
    self.assertEqual(plan.size, 14)
    np.testing.assert_array_equal(owner, [0] * 7 + [1] * 7)
    np.testing.assert_array_equal(has(person)[:7], np.eye(7, 6, k=-1) > 0)

  def test_seeds_share_no_one(self):
    one, other = who(PLAN)[0], who(dataclasses.replace(PLAN, seed=6))[0]
    self.assertGreater(np.abs(one.identity - other.identity).min(), 0)


class FilesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(tempfile.mkdtemp()) / "people"
    self.addCleanup(shutil.rmtree, self.folder.parent)

  def open(self, plan=PLAN, stop=None):
    with mock.patch.object(gallery, "_PART", 8):
      return gallery.open_gallery(self.folder, plan, stop or StopRequest())

  def test_goes_on(self):
    stop = StopRequest()
    stop.signal = 15
    with self.assertRaises(Interrupted):
      self.open(stop=stop)
    first = self.folder / "part00000.npy"
    self.assertFalse((self.folder / "part00001.npy").exists())
    drawn = first.stat().st_mtime_ns
    photos = self.open()
    self.assertEqual(first.stat().st_mtime_ns, drawn)
    self.assertEqual(photos.images.shape, (12, 16, 16, 3))
    self.assertEqual(photos.images.dtype, np.uint8)
    self.assertEqual(photos.person.photo.shape[0], 12)
    self.assertGreater(photos.images.std(axis=(1, 2, 3)).min(), 5)
    with self.assertRaisesRegex(UserError, "other settings"):
      self.open(dataclasses.replace(PLAN, seed=6))


if __name__ == "__main__":
  absltest.main()

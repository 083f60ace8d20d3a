"""Anchors of an album: found, remembered, resumed."""

import contextlib
import dataclasses
import io
import os
import pathlib
import signal
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.config import ProjectionConfig
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.errors import CheckpointError, Interrupted, UserError
from my3dgen_jax.jobs import devices
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.losses.lpips import Lpips
from my3dgen_jax.training import anchors as anchors_lib
from my3dgen_jax.training import projection
from my3dgen_jax.training.anchors import AnchorFinder, Anchors
from my3dgen_jax.training.photo_fits import Targets
from my3dgen_jax.types import Network
from tests.support import classifiers, person

CONFIG = ProjectionConfig(
  steps=12, batch_size=2, w_samples=1000, learning_rate=0.05, mse_weight=1.0
)


class AnchorsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    place = person.write(self.folder / "person", latents=False, count=3)
    self.album = open_album(place / "album")

  def finder(self, config=CONFIG, cache="cache", num_devices=1, **changes):
    return AnchorFinder(
      **{
        "config": config,
        "generator": person.make(3).true,
        "fingerprint": "true",
        "lpips": Network(classifiers.lpips_variables("alex"), Lpips("alex")),
        "lpips_fingerprint": "alex",
        "devices": devices.local_devices(num_devices),
        "cache": cache and self.folder / cache,
        **changes,
      }
    )

  def find(self, *arguments, stop=None, **changes):
    return self.finder(*arguments, **changes).find(
      self.album, stop or StopRequest()
    )

  def test_found_and_remembered(self):
    config = dataclasses.replace(CONFIG, steps=60)
    found = self.find(config)
    self.assertEqual(found.names, self.album.names)
    self.assertEqual(found.ws.shape, (3, person.MODEL.num_ws, 8))
    np.testing.assert_array_equal(
      found.ws, found.ws[:, :1].repeat(person.MODEL.num_ws, 1)
    )
    # They show the photos better than the mean of W does.
    true = person.make(3).true
    photos = person.make(3).photos
    start = np.broadcast_to(self.finder()._statistics.mean, found.ws.shape)
    error = lambda ws: float(
      np.mean((np.asarray(person.render(true, ws, found.c)) - photos) ** 2)
    )
    self.assertLess(error(found.ws), 0.5 * error(start))
    with mock.patch.object(
      projection, "Projector", side_effect=AssertionError("not remembered")
    ):
      with contextlib.redirect_stdout(io.StringIO()) as said:
        np.testing.assert_array_equal(self.find(config).ws, found.ws)
    self.assertIn("anchors: 3 photos were found before: /", said.getvalue())

  def test_devices_find_the_same(self):
    one, two = self.find(cache=None), self.find(cache=None, num_devices=2)
    np.testing.assert_allclose(two.ws, one.ws, atol=1e-3)

  def test_interrupted_search_ends_at_the_same(self):
    expected = self.find(cache="other")
    stop = StopRequest()
    step = projection.Projector.step
    calls = []

    def step_and_stop(*arguments):
      calls.append(0)
      if len(calls) == 5:
        stop.signal = signal.SIGTERM
      return step(*arguments)

    with mock.patch.object(projection.Projector, "step", step_and_stop):
      with self.assertRaisesRegex(
        Interrupted, "photo00.png, photo01.png at step 5 of 12"
      ):
        self.find(stop=stop)
      found = self.find()
    self.assertLen(calls, 12 + 12)  # two batches, and no step twice
    np.testing.assert_array_equal(found.ws, expected.ws)
    self.assertLen(os.listdir(self.folder / "cache"), 3)  # nothing partial

  def test_w_plus_has_a_row_a_layer(self):
    found = self.find(dataclasses.replace(CONFIG, space="w+", steps=6))
    self.assertGreater(np.ptp(found.ws, axis=1).max(), 1e-3)

  def test_given_latents_are_kept(self):
    given = person.write(self.folder / "given", count=3) / "album"
    self.album = open_album(given, num_ws=person.MODEL.num_ws, w_dim=8)
    found = self.find(lpips=None)
    np.testing.assert_array_equal(found.ws, person.make(3).ws)

  def test_without_lpips(self):
    with self.assertRaisesRegex(UserError, "_latent.npy"):
      self.find(lpips=None)

  def test_key_depends_on_all_that_matters(self):
    batch = self.album.batch([0, 1])
    targets = Targets(batch.image, batch.c, None)
    key = lambda row=0, **changes: self.finder(**changes)._key_of(targets, row)
    others = [
      key(),
      key(1),
      key(fingerprint="b"),
      key(lpips_fingerprint="b"),
      key(config=dataclasses.replace(CONFIG, steps=13)),
    ]
    self.assertLen(set(others), len(others))
    self.assertEqual(
      key(), key(config=dataclasses.replace(CONFIG, batch_size=3))
    )

  def test_damaged_memory_is_forgotten(self):
    found = self.find()
    for path in (self.folder / "cache").iterdir():
      path.write_bytes(b"no")
    np.testing.assert_array_equal(self.find().ws, found.ws)

  def test_not_finite(self):
    lpips = Network(
      jax.tree.map(
        lambda leaf: leaf * np.nan, classifiers.lpips_variables("alex")
      ),
      Lpips("alex"),
    )
    with self.assertRaisesRegex(UserError, "photo00.png: its fit diverged"):
      self.find(lpips=lpips, cache=None)


class FileTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "anchors.npz"
    self.anchors = Anchors(
      ("a.png", "b/c.png"),
      np.ones((2, 3, 4), np.float32) * [[[1]], [[2]]],
      np.zeros((2, 25), np.float32),
    )

  def test_round_trip(self):
    self.anchors.save(self.path)
    loaded = Anchors.load(self.path)
    self.assertEqual(loaded.names, self.anchors.names)
    np.testing.assert_array_equal(loaded.ws, self.anchors.ws)
    self.assertEqual(loaded.ws.dtype, np.float32)

  def test_of(self):
    picked = self.anchors.of(["b/c.png"])
    np.testing.assert_array_equal(picked.ws, self.anchors.ws[1:])
    with self.assertRaisesRegex(UserError, "'d'"):
      self.anchors.of(["d"])

  def test_damaged(self):
    for content in (b"", b"PK\3\4", b"\x93NUMPY"):
      self.path.write_bytes(content)
      with self.assertRaisesRegex(CheckpointError, "anchors.npz: "):
        Anchors.load(self.path)
    np.savez(self.path, names=[], ws=np.zeros(3), c=np.zeros(3))
    with self.assertRaisesRegex(CheckpointError, "is not a file of anchors"):
      Anchors.load(self.path)
    with self.assertRaisesRegex(CheckpointError, "missing"):
      anchors_lib.Anchors.load(self.path.with_name("x"))


if __name__ == "__main__":
  absltest.main()

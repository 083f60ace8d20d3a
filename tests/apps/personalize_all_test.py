"""Many people in one call: each as alone, and none stopped by another."""

import dataclasses
import pathlib
import shutil
import signal
import tempfile
from unittest import mock

import chex
import jax
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import lora
from my3dgen_jax.apps import personalize as app
from my3dgen_jax.config import LossConfig, ProjectionConfig, TuningConfig
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.training import checkpoint, loop, run_folder, step
from tests.support import person

STEPS, PEOPLE = 3, ("ann", "bob", "cleo")


class PersonalizeAllTest(parameterized.TestCase):
  """Three people of one base: parts of one album."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.place = person.write(pathlib.Path(folder.name) / "person", count=6)
    for number, name in enumerate(PEOPLE):
      album = cls.place / name
      shutil.copytree(cls.place / "album", album)
      for i in range(6):  # so that nobody's photos are another's
        shutil.copy(
          cls.place / "album" / f"photo0{(i + number) % 6}.png",
          album / f"photo0{i}.png",
        )
    # As each is alone.
    cls.alone = cls.place / "alone"
    for name in PEOPLE:
      app.personalize(
        cls.config(album=str(cls.place / name), out=str(cls.alone / name)),
        log=lambda line: None,
      )

  @classmethod
  def config(cls, **changes):
    return dataclasses.replace(
      app.PersonalizeConfig(
        checkpoint=str(cls.place / "base"),
        album=str(cls.place / "ann"),
        out="",
        lpips=str(cls.place / "lpips"),
        test=1,
        loss=LossConfig(raw_weight=0.0),
        tuning=TuningConfig(steps=STEPS, batch_size=3, learning_rate=0.01),
        projection=ProjectionConfig(steps=2, w_samples=100, batch_size=4),
        devices=1,
        # With fewer rays, rounding moves Adam's first steps twice as far.
        neural_rendering_resolution=32,
        save_every=2,
        log_every=1,
        pictures=1,
      ),
      **changes,
    )

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.out = pathlib.Path(folder.name) / "runs"
    self.lines = []

  def run_all(self, people=PEOPLE, *, resume=False, together=0, **changes):
    return app.personalize_all(
      self.config(out=str(self.out), **changes),
      [str(self.place / name) for name in people],
      together=together,
      resume=resume,
      flags="--x=1\n",
      log=self.lines.append,
    )

  def adapter(self, folder, name):
    return lora.load(folder / name / "adapter.safetensors").lora

  def difference(self, name):
    """Of somebody's adapter from that of a run alone, relative."""
    found, wanted = (
      np.concatenate(
        [np.ravel(x) for x in jax.tree.leaves(self.adapter(folder, name))]
      )
      for folder in (self.out, self.alone)
    )
    return np.linalg.norm(found - wanted) / np.linalg.norm(wanted)

  def assert_as_alone(self, results):
    self.assertEqual(tuple(results), PEOPLE)
    for name in PEOPLE:
      chex.assert_trees_all_equal(
        self.adapter(self.out, name), self.adapter(self.alone, name)
      )
      self.assertEqual(
        (self.out / name / "metrics.jsonl").read_bytes(),
        (self.alone / name / "metrics.jsonl").read_bytes(),
      )
      wanted = run_folder.read_json(self.alone / name / "summary.json")
      self.assertEqual(results[name]["personalized"], wanted["personalized"])

  def test_one_after_another(self):
    results = self.run_all()
    self.assert_as_alone(results)
    self.assertEqual(
      (self.out / "bob" / "run.flags").read_text(),
      f"--x=1\n--album={self.place / 'bob'}\n--out={self.out / 'bob'}\n",
    )
    table = app.describe_all(
      {**results, "dan": UserError("dan: no photos")}, "runs"
    )
    self.assertRegex(table, r"ann +\d.*\nbob .*\ncleo .*\ndan +failed: dan: no")
    # Finished runs are left alone; a page that is missing is written.
    with mock.patch.object(loop, "make_step", side_effect=AssertionError):
      again = self.run_all(resume=True)
    self.assertEqual(again, results)

  def test_side_by_side(self):
    """Three in two seats: the third takes the first that is free."""
    with mock.patch.object(
      loop, "make_step", side_effect=step.make_step
    ) as made:
      results = self.run_all(together=2)
    made.assert_called_once()
    for name in PEOPLE:
      difference = self.difference(name)
      print(f"{name}: {difference:.1e}")
      self.assertLess(difference, 2e-5)
    self.assertLen({str(results[name]["personalized"]) for name in PEOPLE}, 3)

  def test_together(self):
    """As many as half of a device's memory holds; a CPU does not tell."""
    tuning = loop.Tuning(
      config=person.MODEL,
      base={},
      lora_config=person.LORA,
      tuning=TuningConfig(batch_size=4),
      loss=LossConfig(),
      networks={},
      devices=jax.devices()[:1],
    )
    self.assertEqual(tuning.people_that_fit(), 1)
    for gigabytes, people in ((0.01, 1), (1, 4), (80, 8)):
      device = mock.Mock(process_index=0)
      device.memory_stats.return_value = {"bytes_limit": gigabytes * 1e9}
      told = dataclasses.replace(tuning, devices=[device])
      self.assertEqual(told.people_that_fit(), people)
      whole = dataclasses.replace(told, lora_config=None)
      self.assertEqual(whole.people_that_fit(), 1)

  @parameterized.parameters(1, 2)
  def test_stopped_and_resumed(self, together):
    stops = iter([0, 1])

    class Stop(interrupts.StopRequest):
      """Is asked to stop after some steps."""

      def agreed(self, devices):
        if next(stops, 0):
          self.signal = signal.SIGTERM
        return super().agreed(devices)

    with mock.patch.object(interrupts, "StopRequest", Stop):
      with self.assertRaisesRegex(
        Interrupted, "0 of 3 people done; .*--resume"
      ):
        self.run_all(together=together)
    self.assertEqual(checkpoint.steps(self.out / "ann" / "state"), [2])
    # How many go side by side is free; alone they end as if alone from there.
    results = self.run_all(resume=True)
    if together == 1:
      self.assert_as_alone(results)
    for name in PEOPLE:
      self.assertLess(self.difference(name), 2e-5)

  def test_whose_loss_is_not_finite(self):
    loss = LossConfig(raw_weight=0.0, mse_weight=1e38)
    results = self.run_all(together=3, loss=loss)
    for name in PEOPLE:
      self.assertIsInstance(results[name], UserError)
      self.assertRegex(str(results[name]), f"{name}: the loss of step 1 is not")
      self.assertEqual(checkpoint.steps(self.out / name / "state"), [0])

  def test_an_album_that_cannot_work_is_told_before_anything(self):
    with self.assertRaisesRegex(UserError, "dan"):
      self.run_all(("ann", "dan"))
    self.assertFalse(self.out.exists())
    with self.assertRaisesRegex(UserError, "albums: .* rename one"):
      self.run_all(("ann", "../person/ann"))
    self.assertEqual(
      app.folders("runs", ["/data/ann/../bob/", "x.zip"]),
      {"runs/bob": "/data/ann/../bob/", "runs/x": "x.zip"},
    )
    with self.assertRaisesRegex(UserError, "albums: / has no name"):
      app.folders("runs", ["/"])

  def test_who_fails_does_not_stop_the_rest(self):
    shutil.copytree(self.alone / "bob", self.out / "bob")
    shutil.rmtree(self.out / "bob" / "state" / f"{STEPS:08}")
    (self.out / "bob" / "summary.json").unlink()
    for path in (self.out / "bob" / "state").glob("*.sha256"):
      path.write_text("0")
    results = self.run_all(resume=True, together=2)
    self.assertRegex(str(results["bob"]), "bob.*is damaged")
    self.assertIn("personalized", results["ann"])
    self.assertIn("personalized", results["cleo"])


if __name__ == "__main__":
  absltest.main()

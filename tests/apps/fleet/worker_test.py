"""What a worker does: a small person, made here and over two machines."""

import dataclasses
import pathlib
import tempfile
import uuid
from unittest import mock

import jax
from absl.testing import absltest

from my3dgen_jax import lora
from my3dgen_jax.apps.fleet import collecting, saving
from my3dgen_jax.apps.fleet.person import Folders, Hooks, Person
from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.apps.fleet.states import State
from my3dgen_jax.apps.fleet.worker import Worker
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.config import LossConfig, TuningConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.storage import locks
from my3dgen_jax.training import checkpoint, run_folder
from tests.support import person as small


class WorkerTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.root = pathlib.Path(folder.name)
    cls.place = small.write(cls.root / "made", count=4)

  def person(self, name, **changes):
    config = PersonalizeConfig(
      checkpoint=str(self.place / "base"),
      album=str(self.place / "album"),
      out="-",
      lpips=str(self.place / "lpips"),
      test=1,
      loss=LossConfig(raw_weight=0.0),
      tuning=TuningConfig(steps=4, batch_size=2, learning_rate=0.01),
      devices=1,
      save_every=2,
      log_every=1,
      pictures=1,
    )
    return Person(name, dataclasses.replace(config, **changes))

  def worker(self, storage, **parts):
    worker = Worker(str(storage), Hooks(), **parts)
    self.addCleanup(worker.close)
    return worker

  def test_a_url_resumes_elsewhere_and_the_next_person_compiles_nothing(self):
    storage = f"memory://{uuid.uuid4()}"
    save = checkpoint.save_state

    def save_and_stop(*arguments, **options):
      save(*arguments, **options)
      interrupts.ask_to_stop(15)

    self.addCleanup(interrupts.ask_to_stop, None)
    with mock.patch.object(checkpoint, "save_state", save_and_stop):
      outcome = self.worker(storage).run(self.person("bob"))
    self.assertEqual(outcome.kind, "stopped", outcome.reason)
    interrupts.ask_to_stop(None)
    run = Folders.of(storage, "bob").run
    self.assertEqual(list(run.files()), [saving.FILE])
    outcome = self.worker(storage).run(self.person("bob"))  # another's scratch
    self.assertEqual(outcome.kind, "done", outcome.reason)
    self.assertGreater(outcome.scores["personalized"]["psnr"], 0)
    self.assertNotIn(saving.FILE, run.files())
    log = Folders.of(storage, "bob").log.read().decode()
    self.assertEqual(log.count("photos to tune on"), 2)

    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
      lambda name, *_, **__: compiled.append(name)
    )
    here = self.root / "here"
    outcome = self.worker(here).run(self.person("bob"))
    self.assertEqual(outcome.kind, "done", outcome.reason)
    self.assertNotIn("/jax/core/compile/backend_compile_duration", compiled)
    self.assertEqual(
      (run / run_folder.ADAPTER_FILE).read(),  # stopped and resumed, or neither
      (here / "runs/bob" / run_folder.ADAPTER_FILE).read_bytes(),
    )

    for where in (here, storage):
      states = [State("bob", state="done")]
      self.assertEqual(collecting.collect(where, states), states)
      self.assertTrue(all(state.in_bank for state in states), states)
      self.assertEmpty(collecting.collect(where, states))
    (Place(storage) / collecting.BANK).fetch(self.root / "fetched.bank")
    for folder in (here / collecting.BANK, self.root / "fetched.bank"):
      self.assertEqual(lora.Bank(folder).ids(), ["bob"])

  def test_photos_are_prepared_once(self):
    made, given = [], []

    def prepare(config, *, log):
      made.append(config)
      log("prepared")
      album = pathlib.Path(config.out) / "album"
      album.mkdir(parents=True)
      (album / "photo.png").write_bytes(b"")

    def personalize(config, **_):
      given.append(config.album)
      pathlib.Path(config.out).mkdir(parents=True, exist_ok=True)
      return {"pretrained": {}, "personalized": {}}

    who = dataclasses.replace(
      self.person("eve", album="-"),
      prepare=PrepareConfig(photos=str(self.root), out="album"),
    )
    for storage in (self.root / "photos", f"memory://{uuid.uuid4()}"):
      for _ in range(2):
        worker = self.worker(storage, personalize=personalize, prepare=prepare)
        outcome = worker.run(who)
        self.assertEqual(outcome.kind, "done", outcome.reason)
    self.assertLen(made, 2)
    self.assertEqual(made[0].size, small.MODEL.img_resolution)
    self.assertEqual(given[0], str(self.root / "photos/albums/eve"))

  def test_whatever_goes_wrong_is_a_line(self):
    for error, final, reason in (
      (UserError("a.png: is cut off"), True, "a.png: is cut off"),
      (OSError(28, "No space left on device", "/x"), False, "/x: No space"),
      (MemoryError(), False, "not enough memory"),
      (KeyError("z"), False, r"KeyError: 'z' \(see its log\)"),
    ):
      worker = self.worker(
        self.root / "wrong", personalize=mock.Mock(side_effect=error)
      )
      outcome = worker.run(self.person("eve"))
      self.assertEqual((outcome.kind, outcome.final), ("failed", final))
      self.assertRegex(outcome.reason, reason)
    log = (self.root / "wrong/logs/eve.log").read_text()
    self.assertIn("Traceback", log)
    with mock.patch.object(locks, "check_free", side_effect=UserError("busy")):
      outcome = self.worker(self.root / "wrong").run(self.person("eve"))
    self.assertEqual((outcome.reason, outcome.final), ("busy", False))
    missing = self.person("eve", album="memory://nowhere/album")
    outcome = self.worker(self.root / "wrong").run(missing)
    self.assertEqual(outcome.reason, "memory://nowhere/album: there is nothing")


if __name__ == "__main__":
  absltest.main()

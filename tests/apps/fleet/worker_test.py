"""What a worker does: a small person, made here and over two machines."""

import dataclasses
import pathlib
import shutil
import tempfile
import uuid
from unittest import mock

import jax
import numpy as np
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
from my3dgen_jax.storage import locks, orbax_files
from my3dgen_jax.training import checkpoint, run_folder
from tests.support import person as small


class WorkerTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.root = pathlib.Path(folder.name)
    cls.place = small.write(cls.root / "made", count=5)

  def person(self, name, **changes):
    config = PersonalizeConfig(
      checkpoint=str(self.place / "base"),
      album=str(self.place / "album"),
      out="-",
      lpips=str(self.place / "lpips"),
      test=1,
      loss=LossConfig(raw_weight=0.0),
      tuning=TuningConfig(steps=4, batch_size=3, learning_rate=0.01),
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
    # A bank that somebody has removed is filled again.
    shutil.rmtree(here / collecting.BANK)
    states = [State("bob", state="done", in_bank=True)]
    self.assertEqual(collecting.collect(here, states), states)
    self.assertEqual(lora.Bank(here / collecting.BANK).ids(), ["bob"])
    with (
      mock.patch.object(lora.Bank, "add", side_effect=OSError("full")),
      mock.patch.object(lora.Bank, "close") as close,
      self.assertRaises(OSError),
    ):
      collecting.collect(here, [State("bob", state="done")])
    close.assert_called()

    # Other settings are another run; the one before is kept.
    other = self.person(
      "bob",
      tuning=TuningConfig(steps=2, batch_size=3, learning_rate=0.01, seed=1),
    )
    for where in (here, storage):
      before = (Folders.of(where, "bob").run / run_folder.ADAPTER_FILE).read()
      worker = self.worker(where)
      outcome = worker.run(other)
      self.assertEqual(outcome.kind, "done", outcome.reason)
      folders = Folders.of(where, "bob")
      self.assertEqual(
        (folders.before / "1" / run_folder.ADAPTER_FILE).read(), before
      )
      self.assertNotEqual(
        (folders.run / run_folder.ADAPTER_FILE).read(), before
      )
      self.assertRegex(
        folders.log.read().decode(),
        r"the run began with settings.tuning.seed = 0, now it is 1; "
        r"moved to \S+before/bob/1, and starting over\n",
      )
      self.assertEqual(worker.run(other).kind, "done")  # the same: goes on
      self.assertNotIn("2/config.json", folders.before.files())
      left = [path for path in worker._root.rglob("*") if path.is_file()]
      self.assertEmpty(left)  # of people; networks are of this machine here

  def test_photos_are_prepared_once(self):
    made, given = [], []

    def prepare(config, *, log):
      made.append(config)
      log("prepared")
      album = pathlib.Path(config.out) / "album"
      self.assertEqual(album.exists(), config.overwrite)
      album.mkdir(parents=True, exist_ok=True)
      (album / "photo.png").write_bytes(b"")

    def personalize(config, **_):
      given.append(config.album)
      pathlib.Path(config.out).mkdir(parents=True, exist_ok=True)
      return {"pretrained": {}, "personalized": {}}

    photos = self.root / "photos"
    photos.mkdir()
    (photos / "1.png").write_bytes(b"1")

    def run(storage, **settings):
      album = str(Folders.of(storage, "eve").album)  # as the command gives it
      who = dataclasses.replace(
        self.person("eve", album=album),
        prepare=PrepareConfig(photos=str(photos), out="album", **settings),
      )
      worker = self.worker(storage, personalize=personalize, prepare=prepare)
      outcome = worker.run(who)
      self.assertEqual(outcome.kind, "done", outcome.reason)
      left = [path for path in worker._root.rglob("*") if path.is_file()]
      self.assertEmpty(left)

    for storage in (photos / "people", f"memory://{uuid.uuid4()}"):
      made.clear()
      run(storage)
      run(storage)
      self.assertLen(made, 1)
      run(storage, min_scale=0.1)
      run(storage, min_scale=0.1)
      self.assertLen(made, 2)
      (photos / "1.png").write_bytes(b"another one")
      run(storage, min_scale=0.1)
      run(storage, min_scale=0.1)
      self.assertLen(made, 3)
      (photos / "1.png").rename(self.root / "away.png")
      run(storage, min_scale=0.1)  # with the album that there is
      self.assertLen(made, 3)
      (self.root / "away.png").rename(photos / "1.png")
      shutil.rmtree(photos / "people", ignore_errors=True)
    self.assertEqual(made[0].size, small.MODEL.img_resolution)
    self.assertEqual(given[0], str(photos / "people/albums/eve"))

  def test_a_full_disk_is_tried_again(self):
    def personalize(config, **_):
      pathlib.Path(config.out).mkdir(parents=True, exist_ok=True)
      orbax_files.check_space(pathlib.Path(config.out) / "state", np.zeros(9))

    full = shutil.disk_usage("/")._replace(free=1)
    worker = self.worker(self.root / "full", personalize=personalize)
    with mock.patch.object(shutil, "disk_usage", return_value=full):
      outcome = worker.run(self.person("eve"))
    self.assertRegex(
      outcome.reason, "no space left: .* MB are needed, 0 MB are"
    )
    self.assertFalse(outcome.final)

  def test_who_fails_leaves_no_photos_in_scratch(self):
    url = f"memory://{uuid.uuid4()}"
    (Place(url) / "album/1.png").write(b"1")
    seen = []

    def personalize(config, **_):
      seen.append(pathlib.Path(config.album, "1.png").read_bytes())
      pathlib.Path(config.out).mkdir(parents=True)
      (pathlib.Path(config.out) / run_folder.ANCHORS_FILE).write_bytes(b"1")
      raise UserError("1.png: is cut off")

    worker = self.worker(url, personalize=personalize)
    outcome = worker.run(self.person("eve", album=f"{url}/album"))
    self.assertEqual((outcome.reason, seen), ("1.png: is cut off", [b"1"]))
    self.assertEmpty([one for one in worker._root.rglob("*") if one.is_file()])

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
    self.assertEqual(
      outcome.reason, "memory://nowhere/album: no such file or folder"
    )


if __name__ == "__main__":
  absltest.main()

"""The whole job on a small model, from album to summary."""

import collections
import dataclasses
import errno
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import chex
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax import lora
from my3dgen_jax.apps import personalize as app
from my3dgen_jax.config import (
  ConfigError,
  LoraConfig,
  LossConfig,
  ProjectionConfig,
  TuningConfig,
)
from my3dgen_jax.data import album_files, dataset_json
from my3dgen_jax.errors import CheckpointError, Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.models.checkpoint import (
  generator_digest,
  load_generator,
  save_generator,
)
from my3dgen_jax.training import checkpoint, loop, run_folder
from tests.support import albums, person
from tests.support.tiny import random_variables

COUNT = 12


class JobTest(parameterized.TestCase):
  """One album for all tests; each has a folder of its own."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.place = person.write(pathlib.Path(folder.name) / "person", count=COUNT)

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.out = self.folder / "run"

  def config(self, *, steps=6, mode="lora", **changes):
    return dataclasses.replace(
      app.PersonalizeConfig(
        checkpoint=str(self.place / "base"),
        album=str(self.place / "album"),
        out=str(self.out),
        lpips=str(self.place / "lpips"),
        test=3,
        # The model was never trained to make its images of its raw ones.
        loss=LossConfig(raw_weight=0.0),
        tuning=TuningConfig(
          mode=mode, steps=steps, batch_size=3, learning_rate=0.01
        ),
        devices=1,
        save_every=2,
        log_every=1,
        pictures=2,
      ),
      **changes,
    )

  def run_job(self, *, resume=False, **changes):
    return app.personalize(
      self.config(**changes),
      resume=resume,
      flags="--x=1\n",
      log=lambda line: None,
    )


class PersonalizeTest(JobTest):
  def test_the_albums_own_lists(self):
    """Are the default; a run that goes on keeps what it was told."""
    album = self.folder / "album"
    shutil.copytree(self.place / "album", album)
    (album / "test.txt").write_text("photo01\nphoto02\n")
    (album / "reference.txt").write_text("photo03.png\n")
    told = dict(album=str(album), mode="none")
    self.run_job(**told, test=None)
    photos = run_folder.read_config(self.out)["photos"]
    self.assertEqual(list(photos["test"]), ["photo01.png", "photo02.png"])
    self.assertEqual(list(photos["reference"]), ["photo03.png"])
    self.assertLen(photos["train"], COUNT - 3)
    for changes, counts in (
      (dict(test=0), (COUNT - 1, 0, 1)),
      (dict(test=None, reference="all"), (COUNT - 2, 2, COUNT)),
    ):
      self.out = self.folder / str(changes)
      self.run_job(**told, **changes)
      photos = run_folder.read_config(self.out)["photos"]
      self.assertEqual(
        tuple(len(photos[part]) for part in ("train", "test", "reference")),
        counts,
      )

  def test_a_run_from_before_the_lists_goes_on(self):
    album = self.folder / "album"
    shutil.copytree(self.place / "album", album)
    self.run_job(album=str(album), mode="none", test=None)
    (album / "test.txt").write_text("photo01\n")
    (album / "reference.txt").write_text("photo03.png\n")
    config = run_folder.read_config(self.out)
    self.assertEqual(config["settings"]["test"], 0)
    config["settings"]["reference"] = None  # as it was written then
    run_folder.write_json(self.out / "config.json", config)
    self.run_job(album=str(album), mode="none", test=None, resume=True)
    photos = run_folder.read_config(self.out)["photos"]
    self.assertLen(photos["train"], COUNT)

  def test_another_command_is_writing_there(self):
    script = (
      "import sys, time; from my3dgen_jax.storage import locks\n"
      "with locks.hold(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
      [sys.executable, "-c", script, self.out], stdout=subprocess.PIPE
    ) as holder:
      self.assertEqual(holder.stdout.readline(), b"held\n")
      with self.assertRaisesRegex(UserError, "another command is writing here"):
        self.run_job(resume=True)
      holder.kill()

  def test_marks_are_measured_apart(self):
    """Where the album says that they show, in photos that have any."""
    album = self.folder / "album"
    shutil.copytree(self.place / "album", album)
    for path in album.glob("*.png"):
      side = Image.open(path).width
      marks = np.zeros((side, side), np.uint8)
      marks[: side // 2] = 255
      Image.fromarray(marks).save(path.with_name(f"{path.stem}_marks.png"))
    summary = self.run_job(mode="none", album=str(album))
    row = summary["pretrained"]
    self.assertGreater(abs(row["psnr"] - row["psnr_marks"]), 1e-3)
    table = app.describe(summary, "run").splitlines()
    self.assertRegex(table[0], r"LPIPS +PSNR +at marks +ID_sim$")
    self.assertIn(f"{row['psnr_marks']:.2f}", table[1])
    self.assertNotIn(
      "at marks",
      app.describe(
        {
          **summary,
          **{
            name: {**summary[name], "psnr_marks": None}
            for name in ("pretrained", "personalized")
          },
        },
        "run",
      ),
    )

  def test_a_known_change_is_found(self):
    """Of views that tuning has not seen, at the paper's rate."""
    base = self.place / "base"
    digest = generator_digest(base)
    summary = self.run_job(
      steps=120, save_every=500, tuning=TuningConfig(steps=120, batch_size=3)
    )
    before, after = (
      10 ** (-summary[name]["psnr"] / 10) * 4 + summary[name]["lpips"]
      for name in ("pretrained", "personalized")
    )
    print(
      f"held-out loss: {before:.5f} -> {after:.5f}, "
      f"{before / after:.1f} times less"
    )
    self.assertLess(after, before / 10)
    losses = [
      json.loads(line)["loss"]
      for line in (self.out / "metrics.jsonl").read_text().splitlines()
    ]
    self.assertLess(np.mean(losses[-20:]), losses[0] / 10)

    self.assertEqual(summary["photos"], "held-out")
    self.assertEqual(summary["count"], 3)
    self.assertIsNone(summary["pretrained"]["id_sim"])
    self.assertEqual(
      json.loads((self.out / "summary.json").read_text()), summary
    )
    self.assertEqual(
      summary["adapter_bytes"],
      (self.out / "adapter.safetensors").stat().st_size,
    )
    picture = Image.open(self.out / "before_after.png")
    self.assertEqual(picture.width, 7 * 64)
    self.assertEqual((self.out / "run.flags").read_text(), "--x=1\n")
    # The base is what it was, the adapter says which it is.
    self.assertEqual(generator_digest(base), digest)
    adapter = lora.load(self.out / "adapter.safetensors", person.MODEL)
    self.assertEqual(adapter.metadata["base_sha256"], digest)
    self.assertEqual(adapter.metadata["steps"], "120")
    self.assertEqual(lora.count(adapter.lora).total, summary["adapter_numbers"])
    # People pass it on: it does not say where things lay.
    self.assertEqual(json.loads(adapter.metadata["settings"])["album"], "album")
    self.assertNotIn(
      str(self.folder).encode(), (self.out / "adapter.safetensors").read_bytes()
    )

    run = run_folder.load_run(self.out)
    chex.assert_trees_all_equal(run.base.variables, load_generator(base)[1])
    self.assertLen(run.anchors.names, COUNT)
    found = np.asarray(
      person.render(run.generator, run.anchors.ws, run.anchors.c)
    )
    truth = person.make(COUNT)
    self.assertLess(np.mean((found - truth.photos) ** 2), 0.002)

  def test_interrupted_runs_end_the_same(self):
    whole = self.out.with_name("whole")
    self.run_job(out=str(whole))
    stops = iter([0, 0, 1])  # after step 3, between two saves

    class Stop(interrupts.StopRequest):
      """Wants to stop at a chosen step."""

      def agreed(self, devices):
        if next(stops):
          raise Interrupted(signal.SIGTERM, "gone")
        return super().agreed(devices)

    # Stopped without a chance to save: as by SIGKILL.
    with mock.patch.object(interrupts, "StopRequest", Stop):
      with self.assertRaisesRegex(Interrupted, "gone"):
        self.run_job()
    self.assertEqual(checkpoint.steps(self.out / "state"), [2])
    with self.assertRaisesRegex(UserError, "run: is not empty; --resume"):
      self.run_job()
    with self.assertRaisesRegex(
      UserError, r"loss.mse_weight = 1.0, now it is 2.0"
    ):
      self.run_job(resume=True, loss=LossConfig(mse_weight=2.0, raw_weight=0.0))
    self.run_job(resume=True)
    for name in ("adapter.safetensors", "metrics.jsonl", "before_after.png"):
      if name == "adapter.safetensors":  # its settings name the folder
        chex.assert_trees_all_equal(
          lora.load(self.out / name).lora, lora.load(whole / name).lora
        )
      else:
        self.assertEqual(
          (self.out / name).read_bytes(), (whole / name).read_bytes()
        )
    summary = [
      json.loads((folder / "summary.json").read_text())
      for folder in (self.out, whole)
    ]
    for one in summary:
      del one["seconds"], one["tuning_seconds"], one["adapter_bytes"]
      del one["anchor_seconds"]
    self.assertEqual(*summary)

    # More steps go on from here; a finished run makes none.
    with mock.patch.object(
      loop, "make_step", side_effect=AssertionError("nothing to do")
    ):
      self.run_job(resume=True)
    self.run_job(resume=True, steps=8)
    steps = [
      json.loads(line)["step"]
      for line in (self.out / "metrics.jsonl").read_text().splitlines()
    ]
    self.assertEqual(steps, list(range(1, 9)))

  def test_an_average_goes_on_after_a_stop(self):
    """The adapter is the average, the same bytes after an interruption."""
    config = self.config(steps=6)
    app.personalize(config)
    last = (self.out / run_folder.ADAPTER_FILE).read_bytes()
    tuning = dataclasses.replace(config.tuning, average=0.5)
    config = dataclasses.replace(config, tuning=tuning, save_every=2)
    shutil.rmtree(self.out)
    app.personalize(config)
    adapter = (self.out / run_folder.ADAPTER_FILE).read_bytes()
    self.assertNotEqual(adapter, last)
    shutil.rmtree(self.out)
    save = checkpoint.save_state

    def stop(folder, state, **options):
      save(folder, state, **options)
      if int(state.step) == 4:
        raise KeyboardInterrupt

    with mock.patch.object(checkpoint, "save_state", stop):
      with self.assertRaises(KeyboardInterrupt):
        app.personalize(config)
    app.personalize(config, resume=True)
    self.assertEqual((self.out / run_folder.ADAPTER_FILE).read_bytes(), adapter)

  def test_patience_ends_with_the_best(self):
    """At a rate that spoils what is there; stopped between, the same."""
    config = self.config(steps=40, test=3)
    config = dataclasses.replace(
      config,
      validation=2,
      tuning=dataclasses.replace(
        config.tuning, patience=2, validate_every=2, learning_rate=0.3
      ),
    )
    app.personalize(config)
    history = json.loads((self.out / "validation.json").read_text())
    steps, losses = zip(*history)
    self.assertEqual(steps, tuple(range(2, 2 * len(steps) + 1, 2)))
    self.assertLess(steps[-1], 40)
    best = int(np.argmin(losses))
    self.assertLen(losses, best + 3)  # two that were no better
    metadata = lora.load(
      self.out / run_folder.ADAPTER_FILE, person.MODEL
    ).metadata
    self.assertEqual(metadata["steps"], str(steps[best]))
    adapter = (self.out / run_folder.ADAPTER_FILE).read_bytes()

    save, calls = checkpoint.save_state, []

    def stop(folder, *arguments, **options):
      save(folder, *arguments, **options)
      calls.append(folder)
      if len(calls) == 2:
        raise KeyboardInterrupt

    shutil.rmtree(self.out)
    with mock.patch.object(checkpoint, "save_state", stop):
      with self.assertRaises(KeyboardInterrupt):
        app.personalize(config)
    app.personalize(config, resume=True)
    self.assertEqual((self.out / run_folder.ADAPTER_FILE).read_bytes(), adapter)
    with self.assertRaisesRegex(ConfigError, "validation: selects no photo"):
      app.personalize(
        dataclasses.replace(config, validation=0, out=str(self.folder / "x"))
      )

  def test_full_tuning(self):
    summary = self.run_job(mode="full", steps=2)
    run = run_folder.load_run(self.out)
    before, after = (
      network.variables["params"] for network in (run.base, run.generator)
    )
    chex.assert_trees_all_equal(
      before["backbone"]["mapping"], after["backbone"]["mapping"]
    )
    self.assertFalse(
      np.array_equal(
        before["decoder"]["fc0"]["kernel"], after["decoder"]["fc0"]["kernel"]
      )
    )
    self.assertGreater(summary["adapter_numbers"], 5000)
    self.assertNotEqual(summary["pretrained"], summary["personalized"])

  def test_nothing_tuned(self):
    summary = self.run_job(mode="none", lpips=None)
    self.assertEqual(summary["pretrained"], summary["personalized"])
    self.assertEqual(summary["adapter_bytes"], 0)
    self.assertIsNone(summary["pretrained"]["lpips"])
    run = run_folder.load_run(self.out)
    self.assertIs(run.generator, run.base)

  def test_before_the_first_step_both_are_equal(self):
    summary = self.run_job(steps=0)
    self.assertEqual(summary["pretrained"], summary["personalized"])

  def test_not_finite(self):
    config = self.config(loss=LossConfig(mse_weight=1e38, raw_weight=0.0))
    with self.assertRaisesRegex(
      UserError, "step 1 is not finite.*lower --learning_rate.*photo"
    ):
      app.personalize(config, log=lambda line: None)
    self.assertEqual(checkpoint.steps(self.out / "state"), [0])

  def test_projection_of_held_out_photos(self):
    album = self.folder / "album"
    shutil.copytree(self.place / "album", album)
    for path in album.glob("*_latent.npy"):
      path.unlink()
    config = dict(
      album=str(album),
      cache=str(self.folder / "cache"),
      steps=1,
      projection=ProjectionConfig(steps=3, w_samples=100),
    )
    summary = self.run_job(**config)
    self.assertNotEqual(summary["pretrained"], summary["personalized"])
    # Twelve photos, and three of them by the person's own generator.
    self.assertLen(os.listdir(self.folder / "cache"), COUNT + 3)

  def test_run_is_loaded_as_it_computed(self):
    self.run_job(steps=0, neural_rendering_resolution=40, dtype="bfloat16")
    run = run_folder.load_run(self.out)
    self.assertEqual(
      run.generator.module.config.neural_rendering_resolution, 40
    )
    self.assertEqual(run.generator.module.config.dtype, "bfloat16")

  def test_precision_may_change_when_a_run_goes_on(self):
    """Runs of earlier versions know nothing of it."""
    self.assertIsNone(app.begun_precision(str(self.out)))
    self.run_job(mode="none", precision="high")
    self.assertEqual(app.begun_precision(str(self.out)), "high")
    path = self.out / "config.json"
    config = json.loads(path.read_text())
    # Where nobody has said it, the resumed run does not either.
    config["settings"]["precision"] = None
    path.write_text(json.dumps(config))
    self.assertIsNone(app.begun_precision(str(self.out)))
    del config["settings"]["precision"]
    config["generator"]["precision"] = "highest"
    path.write_text(json.dumps(config))
    self.assertEqual(app.begun_precision(str(self.out)), "highest")
    self.run_job(mode="none", precision="default", resume=True)
    self.assertEqual(app.begun_precision(str(self.out)), "default")
    self.assertEqual(
      run_folder.load_run(self.out).generator.module.config.precision, "default"
    )

  def test_resume_sees_changed_photos(self):
    album = self.folder / "album"
    shutil.copytree(self.place / "album", album)
    self.run_job(steps=0, album=str(album))
    shutil.copy(album / "photo00.png", album / "photo05.png")
    with self.assertRaisesRegex(UserError, r"config.json: .*photo05.png"):
      self.run_job(steps=0, album=str(album), resume=True)

  def test_starts_from_an_adapter(self):
    """Another run's; refused where it is no start of this one."""
    self.run_job(steps=2)
    first = self.out / run_folder.ADAPTER_FILE
    self.out = self.folder / "again"
    self.run_job(steps=0, adapter_init=str(first))
    chex.assert_trees_all_equal(
      *(
        lora.load(file).lora
        for file in (first, self.out / run_folder.ADAPTER_FILE)
      )
    )
    other = self.folder / "other"
    save_generator(other, person.MODEL, random_variables(1, person.MODEL))
    for changes, reason in (
      (dict(mode="full"), "^adapter_init: needs mode lora, got full"),
      (dict(lora=LoraConfig(rank=2)), "is for LoraConfig.*tuning is for"),
      (dict(checkpoint=str(other)), "is for another base, .*--adapter_init"),
    ):
      self.out = self.folder / "refused"
      with self.assertRaisesRegex(UserError, reason):
        self.run_job(steps=0, adapter_init=str(first), **changes)
      self.assertFalse((self.out / run_folder.ADAPTER_FILE).exists())

  def test_fewer_steps_than_made(self):
    loss = LossConfig(raw_weight=0.0, lpips_weight=0.0)
    self.run_job(steps=2, loss=loss)
    with self.assertRaisesRegex(UserError, "already has 2 steps"):
      self.run_job(steps=1, loss=loss, resume=True)

  def test_what_a_kill_leaves_is_no_obstacle(self):
    self.out.mkdir()
    (self.out / ".unfinished-x.tmp").write_text("")
    self.run_job(steps=0)
    self.assertFalse((self.out / ".unfinished-x.tmp").exists())

  def test_small_adapter_is_what_is_measured(self):
    summary = self.run_job(steps=2, adapter_dtype="int4")
    whole = self.run_job(steps=2, out=str(self.folder / "whole"))
    self.assertLess(summary["adapter_bytes"], 0.8 * whole["adapter_bytes"])
    self.assertNotEqual(summary["personalized"], whole["personalized"])

  def test_another_base(self):
    self.run_job(steps=0)
    other = self.folder / "other"
    save_generator(other, person.MODEL, random_variables(1, person.MODEL))
    with self.assertRaisesRegex(CheckpointError, "other: is not the generator"):
      run_folder.load_run(self.out, checkpoint=other)


class BadInputTest(JobTest):
  def make_album(self, **options):
    return albums.make(
      self.folder / "album", **{"count": 4, "size": 64, **options}
    )

  def assert_refused(self, pattern, **changes):
    with self.assertRaises((UserError, OSError)) as caught:
      self.run_job(**changes)
    error = caught.exception
    text = (
      f"{error.filename}: {error.strerror}"
      if isinstance(error, OSError)
      else str(error)
    )
    self.assertRegex(text, pattern)
    self.assertNotIn("\n", text)
    self.assertFalse(self.out.exists())

  def test_bad_albums(self):
    def no_photos(folder):
      for path in folder.glob("*.png"):
        path.unlink()
      dataset_json.write(folder / "dataset.json", {})

    def one_photo(folder):
      for i in (1, 2, 3):
        (folder / f"photo{i:02}.png").unlink()
        albums.relabel(folder, {f"photo{i:02}.png": None})

    def corrupt(folder):
      path = folder / "photo02.png"
      path.write_bytes(path.read_bytes()[:-200])

    def grey(folder):
      Image.new("L", (64, 64), 9).save(folder / "photo02.png")

    def transparent(folder):
      Image.new("RGBA", (64, 64)).save(folder / "photo02.png")

    def other_size(folder):
      Image.new("RGB", (32, 32)).save(folder / "photo02.png")

    def unlabelled(folder):
      albums.relabel(folder, {"photo02.png": None})

    def absent(folder):
      (folder / "photo02.png").unlink()

    def twice(folder):
      shutil.copy(folder / "photo02.png", folder / "photo02.jpg")
      albums.relabel(folder, {"photo02.jpg": albums.labels(1)[0]})

    def wide_latent(folder):
      np.save(folder / "photo02_latent.npy", np.zeros((1, 4, 9), np.float32))

    for damage, pattern in (
      (no_photos, "album: has no photos"),
      (one_photo, "album: has 1 photo, at least 2"),
      (corrupt, "photo02.png: "),
      (grey, "photo02.png: .*grey"),
      (transparent, "photo02.png: .*RGBA"),
      (other_size, "photo02.png: .*32x32"),
      (unlabelled, "photo02.png"),
      (absent, "photo02.png"),
      (twice, "photo02"),
      (wide_latent, "photo02_latent.npy: "),
    ):
      with self.subTest(damage.__name__):
        folder = self.make_album()
        damage(folder)
        self.assert_refused(pattern, album=str(folder))
        shutil.rmtree(folder)

  def test_wrong_size_of_image(self):
    self.assert_refused(
      "photo00.png: .*32x32.*64x64", album=str(self.make_album(size=32))
    )

  @parameterized.parameters(
    ({"checkpoint": "/nowhere"}, "/nowhere: no such folder"),
    ({"album": "/nowhere"}, "/nowhere: no such"),
    ({"lpips": "/nowhere"}, "/nowhere: no such folder"),
    ({"lpips": None}, "lpips: .*lpips_to_flax"),
    ({"loss": LossConfig(identity_weight=1.0)}, "identity: .*arcface_to"),
    ({"loss": LossConfig(lpips_weight=-1.0)}, "lpips_weight: "),
    ({"devices": 9}, "devices: 9 requested, but this machine has"),
    ({"test": 12}, "12"),
    ({"neural_rendering_resolution": 16}, "at least 31 pixels"),
    (
      {"tuning": TuningConfig(batch_size=3, accumulation=2)},
      "batch_size: .*multiple",
    ),
    ({"lora": LoraConfig(targets=("foo",))}, "lora_targets: foo match no"),
    ({"lora": LoraConfig(rank=0)}, "lora_rank: "),
    ({"cache": "/proc/nowhere"}, "/proc/nowhere: cannot be written: .*--ca"),
    (
      {"projection": ProjectionConfig(resolution=5)},
      "anchor_resolution: .*power of two",
    ),
    (
      {"projection": ProjectionConfig(resolution=8)},
      "anchor_resolution: LPIPS on AlexNet needs",
    ),
    ({"reference": 0, "identity": "/nowhere"}, "reference: selects no"),
  )
  def test_bad_settings(self, changes, pattern):
    if "neural_rendering_resolution" in changes:
      changes = {**changes, "loss": LossConfig()}
    self.assert_refused(pattern, **changes)

  def test_batches_that_do_not_divide(self):
    self.assert_refused(
      "batch_size: 3 does not divide over 2 devices", devices=2
    )

  def test_projection_without_lpips(self):
    self.assert_refused(
      "_latent.npy", album=str(self.make_album()), lpips=None, mode="none"
    )

  def test_out_cannot_be_written(self):
    (self.folder / "file").write_text("")
    with self.assertRaises(OSError):
      self.run_job(out=str(self.folder / "file" / "run"))

  def test_out_is_something_else(self):
    self.out.mkdir()
    (self.out / "thesis.tex").write_text("")
    for resume in (False, True):
      with self.assertRaises(UserError):
        self.run_job(resume=resume)
    self.assertEqual(os.listdir(self.out), ["thesis.tex"])

  def test_full_disk(self):
    usage = collections.namedtuple("usage", "total used free")
    with mock.patch.object(
      shutil, "disk_usage", lambda folder: usage(2**30, 2**30, 1000)
    ):
      with self.assertRaisesRegex(CheckpointError, "no space left: 1 MB"):
        self.run_job()
    # What was begun goes on once there is room.
    self.assertEqual(self.run_job(resume=True)["count"], 3)
    full = OSError(errno.ENOSPC, "No space left on device", "adapter")
    with mock.patch.object(lora, "save", side_effect=full):
      with self.assertRaises(OSError):
        self.run_job(resume=True)
    self.assertEqual(self.run_job(resume=True)["count"], 3)


class ValidationTest(absltest.TestCase):
  def test_fields_are_named(self):
    for config, field in (
      (TuningConfig(learning_rate=0.0), "learning_rate"),
      (TuningConfig(mode="some"), "mode"),
      (TuningConfig(beta2=1.0), "beta2"),
      (ProjectionConfig(steps=0, init="mean"), "anchor_steps"),
      (ProjectionConfig(space="z"), "anchor_space"),
      (ProjectionConfig(ramp_up=0.0), "anchor_ramp_up"),
      (LossConfig(mse_weight=0.0, lpips_weight=0.0), "mse_weight"),
    ):
      with self.assertRaisesRegex(ConfigError, f"^{field}: "):
        config.validate()

  def test_album_error_is_a_user_error(self):
    self.assertTrue(issubclass(album_files.AlbumError, UserError))


if __name__ == "__main__":
  absltest.main()

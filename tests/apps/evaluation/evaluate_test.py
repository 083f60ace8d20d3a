"""Tables over people, from runs on disk."""

import dataclasses
import json
import os
import pathlib
import shutil
import signal
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps import personalize
from my3dgen_jax.apps.evaluation import (
  cache,
  evaluate,
  paper_tables,
  plots,
  protocols,
  report,
  runs,
  settings,
)
from my3dgen_jax.config import LoraConfig, LossConfig, TuningConfig
from my3dgen_jax.data.album_files import PROCEDURAL_FILE
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs import interrupts
from my3dgen_jax.losses import identity
from my3dgen_jax.training import run_folder
from tests.support import commands, person

load_subject = runs.load_subject  # others get a stand-in
TABLES = ("1", "figure4", "5", "figure9", "cost")


class EvaluateTest(parameterized.TestCase):
  """One person with three runs; what is measured is known."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.folder = pathlib.Path(folder.name)
    place = person.write(cls.folder / "made", count=6)
    (place / "album" / PROCEDURAL_FILE).touch()  # for the small network
    variables = jax.tree.map(
      lambda leaf: np.full(leaf.shape, 0.1, leaf.dtype),
      identity.abstract_variables("ir_se_small"),
    )
    identity.save_identity(place / "identity", "ir_se_small", variables)
    cls.people = cls.folder / "people"
    for name, changes in (
      ("lora", {}),
      ("rank2", {"lora": LoraConfig(rank=2)}),
      ("full", {}),
    ):
      personalize.personalize(
        dataclasses.replace(
          personalize.PersonalizeConfig(
            checkpoint=str(place / "base"),
            album=str(place / "album"),
            out=str(cls.people / "one" / name),
            lpips=str(place / "lpips"),
            identity=str(place / "identity"),
            test=2,
            loss=LossConfig(raw_weight=0.0),
            tuning=TuningConfig(
              mode="full" if name == "full" else "lora",
              steps=1,
              batch_size=3,
              learning_rate=0.01,
            ),
            devices=1,
            report=False,
          ),
          **changes,
        ),
        log=lambda line: None,
      )
    shutil.copytree(cls.people / "one", cls.people / "two")
    for path in (cls.people / "two").glob("*/anchors.npz"):
      with np.load(path) as anchors:
        other = {**anchors, "ws": anchors["ws"] + 0.1}
      np.savez(path, **other)

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.out = pathlib.Path(folder.name) / "out"
    self.calls = []
    for name in ("inversion", "interpolation"):
      patch = mock.patch.object(protocols, name, self.measure(name))
      patch.start()
      self.addCleanup(patch.stop)
    patch = mock.patch.object(runs, "load_subject", self.load)
    patch.start()
    self.addCleanup(patch.stop)

  def load(self, variant, **options):
    del options
    return variant

  def measure(self, name):
    """LoRA gets 0.7, all weights 0.8, the base 0.5; person "two" 0.1 more."""

    def measured(variant, protocol, seed):
      del protocol, seed
      self.calls.append((name, variant))
      value = (
        0.5
        if variant.pretrained
        else (0.8 if variant.folder.name == "full" else 0.7)
      )
      value += 0.1 * (variant.folder.parent.name == "two")
      return (
        {"lpips": 1 - value, "psnr": 20.0, "id_sim": value}
        if name == "inversion"
        else {"id_sim": value, "curve": [value, value - 0.1, value]}
      )

    return measured

  def evaluate(self, *names, tables=TABLES, log=lambda line: None, **changes):
    config = settings.EvaluateConfig(tables, **changes)
    return evaluate.evaluate(
      runs.find_people([self.people / name for name in names]),
      config,
      self.out,
      header=["`command`"],
      log=log,
    )

  def test_tables(self):
    lines = []
    found = {
      table.name: table
      for table in self.evaluate("one", "two", log=lines.append)
    }
    np.testing.assert_allclose(
      found["table1"].rows["LoRA"]["id_sim"], [0.7, 0.8]
    )
    np.testing.assert_allclose(
      found["table1"].rows["pretrained"]["lpips"], [0.5, 0.4]
    )
    self.assertTrue(np.isnan(found["table1"].rows["LoRA"]["dists"]).all())
    np.testing.assert_allclose(
      found["figure4"].rows["all weights"]["1"], [0.7, 0.8]
    )
    self.assertEqual(
      list(found["table5"].rows), ["rank 1", "rank 2", "all weights"]
    )
    rank = found["table5"].rows
    self.assertGreater(
      rank["rank 2"]["numbers"][0], rank["rank 1"]["numbers"][0]
    )
    text = (self.out / "RESULTS.md").read_text()
    self.assertIn("0.750 [0.700, 0.800]", text)
    self.assertIn(
      "ID_sim | LoRA: better than pretrained | perhaps yes (+0.200 ", text
    )
    self.assertIn(
      "LPIPS | LoRA: as good as all weights | perhaps no (+0.100 ", text
    )
    self.assertIn("`command`", text)
    self.assertIn("LPIPS on alex; ID_sim by small IR-SE.", text)
    self.assertIn("DISTS needs its weights; give --dists", text)
    self.assertLen(self.calls, 16)
    self.assertIn("made 16 of the measurements", text)
    self.assertIn("| LoRA | – | 0.250 [0.200, 0.300] |", "\n".join(lines))
    values = json.loads((self.out / "results.json").read_text())
    self.assertEqual(values["people"], ["one", "two"])
    for name in ("figure4.png", "figure9.png"):
      self.assertGreater((self.out / name).stat().st_size, 5000)
    self.assertIn("LoRA,id_sim,one,0.7", (self.out / "table1.csv").read_text())

  def test_nothing_is_measured_twice(self):
    self.evaluate("one", tables=("1",))
    self.assertLen(self.calls, 3)
    self.evaluate("one", tables=("1",))
    self.assertLen(self.calls, 3)
    # Another table that needs some of it, another seed, another person.
    self.evaluate("one", tables=("1", "figure4"))
    self.assertLen(self.calls, 6)
    self.evaluate("one", tables=("1",), seed=1)
    self.assertLen(self.calls, 9)
    self.evaluate("one", "two", tables=("1",))
    self.assertLen(self.calls, 12)

  def test_the_same_run_elsewhere_is_known(self):
    """What is measured depends on what is in the files."""
    self.evaluate("one", tables=("1",))
    shutil.copytree(self.people / "one", self.people / "again")
    self.addCleanup(shutil.rmtree, self.people / "again")
    self.evaluate("again", tables=("1",))
    self.assertLen(self.calls, 3)

  def test_layouts_are_drawn_side_by_side(self):
    run = self.people / "one" / "lora"
    bench = cache.Bench(
      settings.EvaluateConfig(("1",)), self.out, interrupts.StopRequest(), print
    )
    self.out.mkdir(exist_ok=True)
    picture = self.out / paper_tables.LAYOUTS_FILE
    self.enter_context(mock.patch.object(runs, "load_subject", load_subject))
    for layouts in ({"kernel": run}, {"kernel": run, "rank": run}):
      self.assertFalse(picture.exists())  # one alone is nothing to compare
      report.draw_layouts(
        [runs.Runs("one", run, None, {"layout": layouts})], bench, self.out
      )
    with Image.open(picture) as opened:
      self.assertEqual(opened.width, 2 * person.MODEL.img_resolution)
      self.assertGreater(np.std(np.asarray(opened)), 5)

  def test_what_a_measurement_depends_on(self):
    """Whatever changes a number must change its key."""
    lora = runs.Variant(self.people / "one" / "lora")
    direction = Direction("x", np.ones(8, np.float32) / 8**0.5, spread=1.0)

    def key(variant=lora, name="editing", **changes):
      bench = cache.Bench(
        settings.EvaluateConfig(
          ("1",), **{"directions": (direction,), **changes}
        ),
        self.out,
        interrupts.StopRequest(),
        print,
      )
      return json.dumps(bench._key(name, variant), sort_keys=True, default=str)

    full = runs.Variant(self.people / "one" / "full")
    two = runs.Variant(self.people / "two" / "lora")
    lpips = run_folder.read_config(lora.folder)["settings"]["lpips"]
    others = [
      key(full),
      key(two),
      key(lora._replace(pretrained=True)),
      key(name="synthesis"),
      key(seed=1),
      key(protocol=protocols.FULL),
      key(directions=()),
      key(directions=(dataclasses.replace(direction, spread=2.0),)),
      key(identity=lpips),
      key(dists=lpips),
      key(precision="default"),
    ]
    self.assertLen({key(), *others}, 1 + len(others))
    self.assertEqual(key(lpips=lpips), key())  # as the run says already
    with mock.patch.object(cache, "_FORMAT", 0):
      self.assertNotIn(key(), [*others])

  def test_only_what_differs_in_one_thing_is_compared(self):
    copy = self.out / "copy"
    shutil.copytree(self.people / "one", copy)
    (found,) = runs.find_people([copy])
    self.assertEqual(
      found.variants["rank"], {1: copy / "lora", 2: copy / "rank2"}
    )
    path = copy / "rank2" / "config.json"
    config = json.loads(path.read_text())
    # A run of an earlier version, which had no such setting.
    del config["settings"]["report"]
    path.write_text(json.dumps(config))
    (found,) = runs.find_people([copy])
    self.assertEqual(
      found.variants["rank"], {1: copy / "lora", 2: copy / "rank2"}
    )
    config["settings"]["tuning"]["steps"] = 9
    path.write_text(json.dumps(config))
    (found,) = runs.find_people([copy])
    self.assertEqual(found.variants["rank"], {1: copy / "lora"})
    shutil.rmtree(copy / "rank2")
    shutil.copytree(copy / "full", copy / "other")
    path = copy / "full" / "config.json"
    config = json.loads(path.read_text())
    config["base_sha256"] = "0" * 64
    path.write_text(json.dumps(config))
    with self.assertRaisesRegex(UserError, "full: has a different base from"):
      runs.find_people([copy])

  def test_photos_that_changed_are_refused(self):
    """Another album in the old one's place is not measured as if the same."""
    variant = runs.Variant(self.people / "one" / "lora")
    album = pathlib.Path(
      run_folder.read_config(variant.folder)["settings"]["album"]
    )
    path = sorted(album.glob("*.png"))[0]
    before = path.read_bytes()
    self.addCleanup(path.write_bytes, before)
    path.write_bytes(sorted(album.glob("*.png"))[1].read_bytes())
    with self.assertRaisesRegex(UserError, f"{path.name} has changed"):
      load_subject(variant)

  def test_stop(self):
    class Stopping(interrupts.StopRequest):
      """A signal that comes after two measurements."""

      def raise_if_wanted(request, message):
        if len(self.calls) == 2:
          request.signal = signal.SIGTERM
        super().raise_if_wanted(message)

    with mock.patch.object(interrupts, "StopRequest", Stopping):
      with self.assertRaisesRegex(Interrupted, "resumes"):
        self.evaluate("one", tables=("1",))
    self.assertLen(self.calls, 2)
    self.assertFalse((self.out / "RESULTS.md").exists())
    self.evaluate("one", tables=("1",))
    self.assertLen(self.calls, 3)

  def test_blocks(self):
    """All weights a tenth larger: 10 per cent in each block."""
    whole = self.people / "one" / "full"
    run = run_folder.load_run(whole)
    larger = jax.tree.map(lambda x: 1.1 * x, run.base.variables)
    with mock.patch.object(
      run_folder,
      "load_run",
      return_value=run._replace(generator=run.base.replace(variables=larger)),
    ):
      found = runs.blocks(runs.Variant(whole))
    self.assertIn("superresolution/block0", found)
    self.assertNotIn("backbone/mapping", found)
    np.testing.assert_allclose(list(found.values()), 10, rtol=1e-4)

  def test_figures_need_matplotlib(self):
    (table,) = self.evaluate("one", tables=("figure4",))
    with mock.patch.dict("sys.modules", {"matplotlib.figure": None}):
      with self.assertRaisesRegex(UserError, "pip install"):
        plots.draw(table, self.out)

  def test_bad_input(self):
    find = lambda *places: runs.find_people(places)
    with self.assertRaisesRegex(UserError, "nowhere: contains no run"):
      find(self.folder / "nowhere")
    with self.assertRaisesRegex(UserError, "two people are named 'one'"):
      find(self.people / "one", self.people / "one")
    with self.assertRaisesRegex(UserError, "tables: .*, got 7"):
      self.evaluate("one", tables=("7",))
    with self.assertRaisesRegex(UserError, "--directions"):
      self.evaluate("one", tables=("4",))
    with self.assertRaisesRegex(
      UserError,
      r"lora: .*ir_se50: nowhere holds "
      r"no .*model_ir_se50\.pth.*arcface_to_flax",
    ):
      self.evaluate("one", identity="nowhere")
    copy = self.out / "copy"
    shutil.copytree(self.people / "one", copy)
    os.rename(copy / "lora", copy / "first")
    with self.assertRaisesRegex(UserError, "2 runs of the same kind .*'lora'"):
      find(copy)
    os.rename(copy / "first", copy / "lora")
    (copy / "rank2" / "summary.json").unlink()
    with self.assertRaisesRegex(UserError, "rank2: is not finished"):
      find(copy)
    shutil.rmtree(copy / "rank2")
    (copy / "full" / "summary.json").unlink()
    (copy / "full" / "anchors.npz").unlink()  # killed while it projected
    with self.assertRaisesRegex(UserError, "full: is not finished"):
      find(copy)

  @parameterized.parameters(
    (("photos", "test"), {}, "lora: has no test photos.*--test=10"),
    (("photos", "reference"), {}, "lora: has no reference photos"),
    (("settings", "album"), "gone", "lora: its album, gone, is missing"),
    (("settings", "checkpoint"), "gone", "lora: its checkpoint, gone"),
    (("settings", "lpips"), "gone", "lora: .*gone holds no"),
  )
  def test_what_is_missing_is_said_first(self, place, value, pattern):
    """Of the last person, too, before the first is measured."""
    self.change("last", place, value)
    with self.assertRaisesRegex(UserError, pattern):
      self.evaluate("one", "last")
    self.assertEqual(self.calls, [])

  def change(self, name, place, value):
    """Copies person one; all of its runs' configs are different then."""
    copy = self.people / name
    shutil.copytree(self.people / "one", copy)
    self.addCleanup(shutil.rmtree, copy)
    for path in copy.glob("*/config.json"):
      config = json.loads(path.read_text())
      inner = config
      for part in place[:-1]:
        inner = inner[part]
      inner[place[-1]] = value
      path.write_text(json.dumps(config))

  def test_people_are_measured_alike(self):
    self.change("last", (run_folder.BASE_DIGEST,), "0" * 64)
    self.evaluate("one", "last", tables=("1",))
    direction = Direction("x", np.ones(8, np.float32) / 8**0.5, spread=1.0)
    with self.assertRaisesRegex(
      UserError, "lora: has another base generator than"
    ):
      self.evaluate("one", "last", tables=("4",), directions=(direction,))
    variables = jax.tree.map(
      lambda leaf: np.full(leaf.shape, 0.2, leaf.dtype),
      identity.abstract_variables("ir_se_small"),
    )
    other = self.out / "other"
    identity.save_identity(other, "ir_se_small", variables)
    self.change("odd", ("settings", "identity"), str(other))
    with self.assertRaisesRegex(
      UserError, "different weights for identity than.*--identity"
    ):
      self.evaluate("one", "odd", tables=("1",))
    self.evaluate("one", "odd", tables=("1",), identity=str(other))

  def test_what_a_protocol_gets(self):
    lora = self.people / "one" / "lora"
    found = load_subject(runs.Variant(lora))
    self.assertLen(found.photos, 2)
    self.assertLen(found.trained, 4)
    self.assertEqual(found.person.anchors.names, found.trained.names)
    base = load_subject(runs.Variant(lora, pretrained=True))
    self.assertNotEqual(base.person.digest, found.person.digest)
    np.testing.assert_array_equal(
      base.person.anchors.ws, found.person.anchors.ws
    )

  @parameterized.parameters(
    ([], 2, "--out is missing"),
    (["--out=o"], 2, "--runs is missing"),
    (["--out=o", "--runs=nowhere"], 1, "nowhere: contains no run"),
    (["--out=o", "--runs=one", "--tables=7"], 1, "tables: expected some"),
    (["--out=o", "--runs=one", "--identity=x"], 1, "x holds no weights"),
    (["--out=o", "--runs=one", "--tables=4"], 1, "--directions"),
  )
  def test_the_command_says_it_in_a_line(self, flags, code, text):
    result = commands.run("evaluate", *flags, cwd=self.people)
    self.assertEqual(result.returncode, code, result.stderr)
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertIn(text, result.stderr)
    self.assertCountEqual(os.listdir(self.people), ["one", "two"])

  def test_a_run_is_a_person(self):
    (found,) = runs.find_people([self.people / "one" / "rank2"])
    self.assertEqual((found.name, found.full), ("rank2", None))


if __name__ == "__main__":
  absltest.main()

"""The page of a run: what it shows, what is missing, and when it fails."""

import base64
import io
import json
import os
import pathlib
import shutil
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps import personalize
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.apps.reports import report
from my3dgen_jax.config import LossConfig, TuningConfig
from my3dgen_jax.data import provenance
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.training import run_folder
from my3dgen_jax.types import Network
from tests.support import person
from tests.support.pages import check_page
from tests.support.persons import Colors

COUNT = 8


class ReportTest(parameterized.TestCase):
  """One run for all tests, of which each has a copy."""

  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.place = person.write(pathlib.Path(folder.name) / "person", count=COUNT)
    cls.lines = []
    with mock.patch.object(report, "_FRAMES", 3):
      cls.summary = personalize.personalize(
        cls.config(cls.place / "run", report=True),
        flags="--x=1\n",
        log=cls.lines.append,
      )

  @classmethod
  def config(cls, out, **changes):
    return personalize.PersonalizeConfig(
      checkpoint=str(cls.place / "base"),
      album=str(cls.place / "album"),
      out=str(out),
      lpips=str(cls.place / "lpips"),
      test=3,
      loss=LossConfig(raw_weight=0.0),
      tuning=TuningConfig(
        mode="lora", steps=3, batch_size=3, learning_rate=0.01
      ),
      devices=1,
      log_every=1,
      pictures=2,
      **changes,
    )

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.run_folder = pathlib.Path(folder.name) / "run"
    shutil.copytree(self.place / "run", self.run_folder)
    self.page = self.run_folder / report.FOLDER / report.FILE
    patch = mock.patch.object(report, "_FRAMES", 3)
    patch.start()
    self.addCleanup(patch.stop)

  def write(self, one=None, **options):
    return report.write_report(
      one or load_person(run=self.run_folder), self.run_folder, **options
    )

  def test_a_run_ends_with_its_page(self):
    self.assertEqual(
      self.lines[-1:],
      [line for line in self.lines[-1:] if "warning" not in line],
    )
    self.assertEqual(os.listdir(self.page.parent), [report.FILE])
    page = check_page(self.page.read_text(encoding="utf-8"))
    self.assertNotIn("script", page.tags)
    self.assertIn("video", page.tags)
    self.assertEqual(
      page.tags.count("svg"),
      len(
        json.loads(
          (self.run_folder / "metrics.jsonl").read_text().splitlines()[0]
        )
      )
      - 1,
    )
    words = page.words
    for name, each in self.summary["each"].items():
      self.assertIn(f"{each['personalized']['lpips']:.4f}", words)
      self.assertIn(name, words)
    self.assertLen(self.summary["each"], 3)
    self.assertAlmostEqual(
      np.mean(
        [row["pretrained"]["psnr"] for row in self.summary["each"].values()]
      ),
      self.summary["pretrained"]["psnr"],
    )
    self.assertIn(f"{self.summary['personalized']['psnr']:.2f}", words)
    self.assertIn(f"{self.summary['adapter_numbers']:,} numbers", words)
    self.assertIn(f"{self.summary['adapter_bytes']:,} bytes", words)
    self.assertIn("tuning.learning_rate", words)
    self.assertIn("Without --identity there is no ID_sim", words)
    for kept in json.loads((self.run_folder / "config.json").read_text())[
      "photos"
    ]["train"]:
      self.assertIn(kept, words)
    # The picture of all, and a pair an anchor.
    self.assertLen(page.images, 1 + 2 * (COUNT - 3))

  def test_pictures_are_whole_and_say_what_they_are(self):
    page = check_page(self.page.read_text(encoding="utf-8"))
    for image in page.images:
      data = base64.b64decode(image["src"].partition(",")[2], validate=True)
      with Image.open(io.BytesIO(data)) as opened:
        opened.load()
        self.assertEqual(
          opened.size, (int(image["width"]), int(image["height"]))
        )
      path = self.run_folder / "one.jpg"
      path.write_bytes(data)
      if image["alt"].startswith("The photo"):
        self.assertNotIn(b"trainedAlgorithmicMedia", data)
      else:
        self.assertEqual(provenance.read_origin(path).task, "report")

  def test_identity_of_each_anchor(self):
    one = load_person(run=self.run_folder)
    one = type(one)(**{**vars(one), "identity": Network({}, Colors())})
    words = check_page(self.write(one).read_text()).words
    self.assertRegex(words, r"photo\d\d\.png, ID_sim \d\.\d{3}")

  def test_how_to_share_the_head(self):
    words = check_page(self.page.read_text(encoding="utf-8")).words
    command = r"launch\.share --run=run --latents=(photo\d\d\.png) --out="
    self.assertRegex(words, command)
    self.assertNotIn("separate page", words)
    (self.page.parent / "head.html").write_bytes(b"page")
    page = self.write().read_text()
    self.assertIn('<a href="head.html">The head as a separate page</a>', page)

  def test_without_ffmpeg_it_is_a_picture_that_moves(self):
    with mock.patch.dict("sys.modules", {"imageio_ffmpeg": None}):
      page = check_page(self.write().read_text())
    self.assertNotIn("video", page.tags)
    (moving,) = [
      image
      for image in page.images
      if image["src"].startswith("data:image/webp")
    ]
    data = base64.b64decode(moving["src"].partition(",")[2])
    with Image.open(io.BytesIO(data)) as opened:
      self.assertEqual(opened.n_frames, 3)

  def test_old_runs_and_runs_that_lost_things(self):
    """The page says what is missing and shows the rest."""
    path = self.run_folder / "summary.json"
    summary = json.loads(path.read_text())
    del summary["each"]
    run_folder.write_json(path, summary)
    (self.run_folder / "metrics.jsonl").unlink()
    (self.run_folder / "before_after.png").unlink()
    config = run_folder.read_config(self.run_folder)
    config["settings"]["album"] = "nowhere"
    run_folder.write_json(self.run_folder / "config.json", config)
    lines = []
    page = check_page(self.write(log=lines.append).read_text())
    self.assertIn("stored only means", page.words)
    self.assertNotIn("svg", page.tags)
    self.assertLen(page.images, COUNT - 3)
    self.assertRegex(lines[0], "the report has no photos: .*nowhere")

  def test_a_log_that_a_kill_has_cut(self):
    with open(self.run_folder / "metrics.jsonl", "a", encoding="utf-8") as log:
      log.write('{"step": 4, "loss": 0.')
    self.assertIn("svg", check_page(self.write().read_text()).tags)
    with open(self.run_folder / "metrics.jsonl", "ab") as log:
      log.write(b"\xff\n")
    self.assertIn("svg", check_page(self.write().read_text()).tags)

  def test_an_unfinished_run_has_none(self):
    (self.run_folder / "summary.json").unlink()
    with self.assertRaisesRegex(
      CheckpointError, "summary.json: missing, as the run is not finished"
    ):
      self.write()
    for damaged in (
      {},
      {**self.summary, "each": {"a.png": {"pretrained": {"psnr": 1.0}}}},
      {**self.summary, "each": {"photo00.png": 1}},
    ):
      run_folder.write_json(self.run_folder / "summary.json", damaged)
      with self.assertRaisesRegex(CheckpointError, "not the summary"):
        self.write()

  def test_a_failure_leaves_the_old_page(self):
    old = self.page.read_bytes()
    with mock.patch.object(os, "replace", side_effect=OSError(28, "full")):
      with self.assertRaises(OSError):
        self.write()
    self.assertEqual(self.page.read_bytes(), old)
    self.assertEqual(os.listdir(self.page.parent), [report.FILE])
    # What a kill has left goes with the next page.
    (self.page.parent / ".unfinished-x.tmp").write_text("half")
    self.write()
    self.assertEqual(os.listdir(self.page.parent), [report.FILE])

  def test_a_failure_does_not_lose_the_run(self):
    lines = []
    with mock.patch.object(
      report, "write_report", side_effect=RuntimeError("no\nluck")
    ):
      summary = personalize.personalize(
        self.config(self.run_folder, report=True), resume=True, log=lines.append
      )
    self.assertEqual(summary["personalized"], self.summary["personalized"])
    self.assertRegex(
      lines[-1],
      "^warning: no report: no luck; the "
      "run is finished; retry with python -m .*launch.report",
    )

  def test_a_resumed_run_writes_it_anew(self):
    self.page.write_text("old")
    personalize.personalize(
      self.config(self.run_folder, report=True),
      resume=True,
      log=lambda line: None,
    )
    check_page(self.page.read_text())


if __name__ == "__main__":
  absltest.main()

"""The personalize command: killed, stopped, resumed; flags and flagfiles."""

import pathlib
import signal
import tempfile

import chex
import numpy as np
from absl.testing import absltest

from my3dgen_jax import lora
from my3dgen_jax.training import checkpoint, run_folder
from tests.support import commands, person


class PersonalizeCommandTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def start(self, *flags):
    return commands.Command("personalize", *flags, cwd=self.folder)

  def run_command(self, *flags):
    process = self.start(*flags)
    out, err = process.communicate()
    return process.returncode, out, err

  def test_killed_and_stopped_at_any_moment(self):
    """With anchors to be found: the same as an uninterrupted run."""
    person.write(self.folder / "person", latents=False, count=4)
    (self.folder / "job.flags").write_text(
      "\n".join(
        [
          "--checkpoint=person/base",
          "--album=person/album",
          "--lpips=person/lpips",
          "--test=1",
          "--devices=1",
          "--batch_size=1",
          "--raw_weight=0",
          "--anchor_steps=8",
          "--anchor_w_samples=100",
          "--anchor_batch_size=4",
          "--steps=40",
          "--save_every=5",
          "--log_every=1",
          "--pictures=1",
        ]
      )
    )
    flags = (
      "--flagfile=job.flags",
      "--out=run",
      "--cache=cache",
      "--resume",
      "--noreport",
    )
    run = self.folder / "run"
    saved = lambda: max(checkpoint.steps(run / "state"), default=0)
    for number in (
      signal.SIGTERM,  # while anchors are sought
      signal.SIGKILL,
      signal.SIGTERM,
    ):
      is_begun, step = run.exists(), saved()
      process = self.start(*flags)
      commands.wait_until(
        (lambda: saved() > step) if is_begun else (run / "config.json").exists,
        [process],
      )
      process.send_signal(number)
      out, err = process.communicate()
      if number == signal.SIGKILL:
        self.assertEqual(process.returncode, -signal.SIGKILL)
      else:
        self.assertEqual(process.returncode, 128 + signal.SIGTERM)
        self.assertRegex(err, r"\Astopped [^\n]*--resume continues\n\Z")
    code, _, err = self.run_command(*flags)
    self.assertEqual((code, err), (0, ""))

    # The flags that are kept repeat the run, elsewhere, uninterrupted.
    text = (run / "run.flags").read_text()
    self.assertIn("--raw_weight=0", text)
    self.assertNotIn("resume", text)
    code, out, err = self.run_command(
      "--flagfile=run/run.flags", "--out=whole", "--cache=cache1", "--report"
    )
    self.assertEqual((code, err), (0, ""))
    self.assertRegex(
      out,
      r"(?s)3 photos to tune on, 1 held out.*anchors: 32 "
      r"of 32.*tuning: 40 of 40.*LPIPS +PSNR.*pretrained.*"
      r"personalized.*2220 numbers.*before_after.png.*"
      r"report/index.html",
    )
    whole = self.folder / "whole"
    for name in ("metrics.jsonl", "before_after.png"):
      self.assertEqual((run / name).read_bytes(), (whole / name).read_bytes())
    chex.assert_trees_all_equal(
      *(
        lora.load(folder / "adapter.safetensors").lora
        for folder in (run, whole)
      )
    )
    loaded = [
      run_folder.Anchors.load(folder / "anchors.npz") for folder in (run, whole)
    ]
    np.testing.assert_array_equal(loaded[0].ws, loaded[1].ws)

  def assert_fails(self, code, pattern, *flags):
    found, out, err = self.run_command(*flags)
    self.assertEqual((found, out), (code, ""), err)
    self.assertRegex(err, rf"\Aerror: [^\n]*{pattern}[^\n]*\n\Z")

  def test_bad_flags(self):
    self.assert_fails(2, "--checkpoint")
    self.assert_fails(2, "nowhere.flags", "--flagfile=nowhere.flags")

  def test_flagfiles_of_the_project(self):
    """Found by name from any folder; the album is what is missing."""
    for name in ("obama", "cat"):
      self.assert_fails(1, "no such folder", f"--flagfile={name}.flags")
    self.assert_fails(2, "--out is missing", "--flagfile=demo.flags", "--out=")
    # One of that name in the current folder comes first.
    (self.folder / "cat.flags").write_text("--mode=some")
    self.assert_fails(2, "mode", "--flagfile", "cat.flags")


if __name__ == "__main__":
  absltest.main()

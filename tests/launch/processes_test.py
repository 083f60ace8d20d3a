"""Personalize on several processes: the same result, and a common end."""

import os
import pathlib
import signal
import tempfile
import time

import chex
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import lora
from my3dgen_jax.training import checkpoint, run_folder
from tests.support import commands, jobs, person

_JOB = (
  "--checkpoint=person/base",
  "--album=person/album",
  "--lpips=person/lpips",
  "--test=1",
  "--batch_size=4",
  "--raw_weight=0",
  "--anchor_steps=6",
  "--anchor_w_samples=100",
  "--anchor_batch_size=4",
  "--steps=36",
  "--save_every=4",
  "--log_every=1",
  "--pictures=1",
  "--noreport",
)
_SECONDS = 60  # within which a job ends when one of its processes dies


class SeveralProcessesTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._folder = tempfile.TemporaryDirectory()
    cls.folder = pathlib.Path(cls._folder.name)
    person.write(cls.folder / "person", count=6)
    # One anchor lies beside its photo, the others are to be found.
    for i in range(5):
      (cls.folder / f"person/album/photo{i:02}_latent.npy").unlink()
    ((code, _, err),) = jobs.results(
      [
        jobs.start(
          cls.folder, *_JOB, "--cpu_devices=4", "--out=whole", "--cache=whole_"
        )
      ]
    )
    assert (code, err) == (0, ""), err

  @classmethod
  def tearDownClass(cls):
    cls._folder.cleanup()
    super().tearDownClass()

  def start(self, name, *flags):
    """Two processes with two devices each; machines share no cache."""
    return jobs.start_all(self.folder, *self.flags(name), *flags)

  def start_by_slurm(self, name, *flags):
    """As `start`; what SLURM says of a job is enough."""
    variables = {
      "SLURM_JOB_ID": str(os.getpid()),
      "SLURM_NTASKS": "2",
      "SLURM_STEP_NODELIST": "localhost",
      "SLURM_LOCALID": "0",
    }
    return [
      jobs.start(
        self.folder,
        *self.flags(name),
        "--coordinator=auto",
        *flags,
        environment={**variables, "SLURM_PROCID": str(i)},
      )
      for i in range(2)
    ]

  def flags(self, name):
    return *_JOB, "--cpu_devices=2", f"--out={name}", f"--cache=cache_{name}"

  def assert_same_run(self, name):
    run, whole = self.folder / name, self.folder / "whole"
    loaded = [
      run_folder.Anchors.load(folder / "anchors.npz") for folder in (run, whole)
    ]
    self.assertEqual(loaded[0].names, loaded[1].names)
    np.testing.assert_allclose(loaded[0].ws, loaded[1].ws, atol=2e-5, rtol=0)
    chex.assert_trees_all_close(
      *(
        lora.load(folder / "adapter.safetensors").lora
        for folder in (run, whole)
      ),
      atol=2e-5,
      rtol=0,
    )
    lines = [
      len((folder / "metrics.jsonl").read_text().splitlines())
      for folder in (run, whole)
    ]
    self.assertEqual(lines, [36, 36])
    text = (run / "run.flags").read_text()
    self.assertNotIn("process", text)
    self.assertNotIn("coordinator", text)

  def test_one_is_killed_or_asked_to_stop(self):
    """All end soon, and say why; --resume goes on, to the same adapter."""
    run = self.folder / "ended"
    saved = lambda: max(checkpoint.steps(run / "state"), default=0)
    for victim, number, start in (
      (0, signal.SIGTERM, self.start),  # while anchors are sought
      (0, signal.SIGKILL, self.start),
      (1, signal.SIGKILL, self.start),
      (1, signal.SIGTERM, self.start_by_slurm),
    ):
      is_begun, step = run.exists(), saved()
      processes = start("ended", "--resume")
      commands.wait_until(
        (lambda: saved() > step) if is_begun else (run / "config.json").exists,
        processes,
      )
      processes[victim].send_signal(number)
      began = time.monotonic()
      ended = jobs.results(processes, timeout=_SECONDS)
      self.assertLess(time.monotonic() - began, _SECONDS)
      if number == signal.SIGTERM:
        for code, _, err in ended:
          self.assertEqual(code, 128 + signal.SIGTERM, err)
          self.assertRegex(err, r"\Astopped [^\n]*--resume continues\n\Z")
          if is_begun:  # the step that it says is saved
            self.assertIn(f"step {saved()} of", err)
        self.assertEqual(saved() > 0, is_begun)
      else:
        code, _, err = ended[1 - victim]
        self.assertNotEqual(code, 0)
        self.assertRegex(
          err,
          rf"(?m)^error: process {victim} of 2 has ended: it "
          r"was killed, .*--resume continues",
        )
      self.assertRegex(
        ended[0][1],
        r"\Areading [^\n]*; 4 x cpu\n5 photos to tune on, 1 held out, "
        r"4 devices of 2 processes\n",
      )
    first, other = jobs.results(self.start("ended", "--resume"))
    self.assertEqual((first[0], first[2]), (0, ""))
    self.assertRegex(first[1], r"(?s)tuning: 144 of 144.*LPIPS")
    self.assertEqual(other, (0, "", ""))
    self.assert_same_run("ended")

  def test_an_error_of_one(self):
    """Both say it, whoever made it."""
    port = jobs.free_port()
    common = (
      *_JOB,
      "--cpu_devices=2",
      f"--coordinator=127.0.0.1:{port}",
      "--num_processes=2",
    )
    out = self.folder / "full"
    out.mkdir()
    (out / "something").touch()
    first, second = jobs.results(
      [
        jobs.start(self.folder, *common, f"--process_id={i}", "--out=full")
        for i in range(2)
      ],
      timeout=_SECONDS,
    )
    self.assertEqual((first[0], second[0]), (1, 1))
    self.assertRegex(first[2], r"\Aerror: full: is not empty[^\n]*\n\Z")
    self.assertRegex(
      second[2],
      r"\Aerror: process 0 of 2 has ended: full: is "
      r"not empty[^\n]*\n\Z",
    )

  def test_other_settings(self):
    port = jobs.free_port()
    found = jobs.results(
      [
        jobs.start(
          self.folder,
          *_JOB,
          f"--steps={10 + i}",
          "--cpu_devices=2",
          f"--coordinator=127.0.0.1:{port}",
          "--num_processes=2",
          f"--process_id={i}",
          "--out=differ",
        )
        for i in range(2)
      ],
      timeout=_SECONDS,
    )
    self.assertEqual([code for code, _, _ in found], [1, 1])
    for _, _, err in found:
      self.assertRegex(
        err,
        r"\Aerror: [^\n]*process 1: settings.tuning.steps "
        r"differs from that of process 0[^\n]*\n\Z",
      )
    self.assertFalse((self.folder / "differ").exists())

  def test_batch_that_does_not_divide(self):
    for code, _, err in jobs.results(
      self.start("odd", "--batch_size=2"), timeout=_SECONDS
    ):
      self.assertEqual(code, 1)
      self.assertRegex(
        err,
        r"\Aerror: [^\n]*batch_size: 2 does not divide "
        r"over 4 devices[^\n]*\n\Z",
      )

  @parameterized.parameters(
    (("--num_processes=2",), 2, "--coordinator is missing"),
    (
      (
        "--num_processes=2",
        "--process_id=1",
        "--connect_timeout=1",
        "--coordinator=127.0.0.1:9",
      ),
      1,
      "cannot be reached",
    ),
  )
  def test_refusals(self, flags, code, pattern):
    ((found, out, err),) = jobs.results(
      [jobs.start(self.folder, *_JOB, "--out=refused", *flags)],
      timeout=_SECONDS,
    )
    self.assertEqual((found, out), (code, ""), err)
    self.assertRegex(err, rf"\Aerror: [^\n]*{pattern}[^\n]*\n\Z")


if __name__ == "__main__":
  absltest.main()

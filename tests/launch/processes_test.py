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
from tests.support import jobs, person

_SETTINGS = (
  "--checkpoint=person/base",
  "--lpips=person/lpips",
  "--batch_size=4",
  "--raw_weight=0",
  "--anchor_steps=6",
  "--anchor_w_samples=100",
  "--anchor_batch_size=4",
  "--save_every=4",
  "--log_every=1",
  "--pictures=1",
  "--noreport",
)
# With anchors to be found, and with those that lie beside the photos, where
# there is one program less to compile.
_JOB = (*_SETTINGS, "--album=person/album", "--test=1")
_KNOWN = (*_SETTINGS, "--album=known/album", "--test=0")
_FEW, _MANY = "--steps=24", "--steps=4000"
_SECONDS = 60  # within which a job ends when one of its processes dies


class SeveralProcessesTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls._folder = tempfile.TemporaryDirectory()
    cls.folder = pathlib.Path(cls._folder.name)
    person.write(cls.folder / "person", latents=False, count=5)
    person.write(cls.folder / "known", count=5)
    for code, _, err in jobs.results(
      [
        jobs.start(
          cls.folder,
          *job,
          _FEW,
          "--cpu_devices=4",
          f"--out={name}",
          f"--cache=cache_{name}",
        )
        for name, job in (("whole", _JOB), ("whole_known", _KNOWN))
      ]
    ):
      assert (code, err) == (0, ""), err

  @classmethod
  def tearDownClass(cls):
    cls._folder.cleanup()
    super().tearDownClass()

  def start(self, name, *flags, job=_JOB):
    """Two processes with two devices each; machines share no cache."""
    return jobs.start_all(
      self.folder,
      *job,
      "--cpu_devices=2",
      f"--out={name}",
      f"--cache=cache_{name}",
      *flags,
    )

  def wait_for(self, path, processes):
    deadline = time.monotonic() + 240
    while not path.exists():
      for process in processes:
        self.assertIsNone(process.poll(), "ended too early")
      self.assertLess(time.monotonic(), deadline)
      time.sleep(0.005)

  def assert_same_run(self, name, whole="whole"):
    run, whole = self.folder / name, self.folder / whole
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
    self.assertEqual(lines, [24, 24])

  def test_the_adapter_of_one_process(self):
    (code, out, err), other = jobs.results(self.start("two", _FEW))
    self.assertEqual((code, err), (0, ""))
    self.assertRegex(
      out,
      r"(?s)\Areading [^\n]*; 4 x cpu\n4 photos to "
      r"tune on, 1 held out, 4 devices of 2 processes\n.*"
      r"anchors: 30 of 30.*tuning: 96 of 96.*LPIPS",
    )
    self.assertEqual(other, (0, "", ""))
    self.assert_same_run("two")
    text = (self.folder / "two" / "run.flags").read_text()
    self.assertNotIn("process", text)
    self.assertNotIn("coordinator", text)

  @parameterized.parameters(0, 1)
  def test_one_dies(self, victim):
    """The other ends soon, with a line; and --resume goes on."""
    name = f"killed{victim}"
    processes = self.start(name, _FEW, "--resume", job=_KNOWN)
    self.wait_for(self.folder / name / "state" / "00000004", processes)
    processes[victim].send_signal(signal.SIGKILL)
    began = time.monotonic()
    code, _, err = jobs.results(processes, timeout=_SECONDS)[1 - victim]
    self.assertLess(time.monotonic() - began, _SECONDS)
    self.assertNotEqual(code, 0)
    self.assertRegex(
      err,
      rf"(?m)^error: process {victim} of 2 has ended: it "
      r"was killed, .*--resume continues",
    )
    for code, _, err in jobs.results(
      self.start(name, _FEW, "--resume", job=_KNOWN)
    ):
      self.assertEqual((code, err), (0, ""))
    self.assert_same_run(name, "whole_known")

  @parameterized.parameters(
    (1, "config.json"), (0, "state/00000004"), (1, "state/00000004")
  )
  def test_one_is_asked_to_stop(self, whom, when):
    """While anchors are sought, or at a step: all stop, and all go on."""
    name = f"stopped{whom}{len(when)}"
    processes = self.start(
      name, _MANY, job=_JOB if when == "config.json" else _KNOWN
    )
    self.wait_for(self.folder / name / when, processes)
    processes[whom].send_signal(signal.SIGTERM)
    for code, _, err in jobs.results(processes, timeout=_SECONDS):
      self.assertEqual(code, 128 + signal.SIGTERM, err)
      self.assertRegex(err, r"\Astopped [^\n]*--resume continues\n\Z")
    if when != "config.json":  # the step that it says is saved
      self.assertIn(
        f"step {checkpoint.steps(self.folder / name / 'state')[-1]} of", err
      )
    if when == "config.json":
      for code, _, err in jobs.results(self.start(name, _FEW, "--resume")):
        self.assertEqual((code, err), (0, ""))
      self.assert_same_run(name)

  def test_an_error_of_one(self):
    """Both say it, whoever made it."""
    port = jobs.free_port()
    common = (
      *_JOB,
      _FEW,
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
      self.start("odd", _FEW, "--batch_size=2"), timeout=_SECONDS
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

  def test_slurm(self):
    """What SLURM says of a job is enough."""
    variables = {
      "SLURM_JOB_ID": str(os.getpid()),
      "SLURM_NTASKS": "2",
      "SLURM_STEP_NODELIST": "localhost",
      "SLURM_LOCALID": "0",
    }
    processes = []
    before = dict(os.environ)
    try:
      for i in range(2):
        os.environ.update(variables, SLURM_PROCID=str(i))
        processes.append(
          jobs.start(
            self.folder,
            *_KNOWN,
            "--steps=2",
            "--cpu_devices=2",
            "--coordinator=auto",
            "--out=slurm",
            "--cache=",
          )
        )
    finally:
      os.environ.clear()
      os.environ.update(before)
    for code, _, err in jobs.results(processes):
      self.assertEqual((code, err), (0, ""))
    self.assertTrue((self.folder / "slurm" / "summary.json").exists())


if __name__ == "__main__":
  absltest.main()

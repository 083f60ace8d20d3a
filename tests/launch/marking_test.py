"""The marking page of launch.prepare: killed, and gone on with."""

import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import urllib.request
from http import cookiejar

import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps.marking.kinds import kind_of
from tests.support import dotted_faces

ROOT = pathlib.Path(__file__).resolve().parents[2]


class KillTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    (self.folder / "photos").mkdir()
    for i in range(2):
      pixels = np.full((240, 320, 3), 90 + i, np.uint8)
      dotted_faces.save(self.folder / "photos", f"{i}.png", pixels)

  def start(self):
    """The command, once its page can be opened; and the line that says so."""
    process = subprocess.Popen(
      [
        sys.executable,
        "-m",
        "my3dgen_jax.launch.prepare",
        f"--photos={self.folder / 'photos'}",
        f"--out={self.folder / 'out'}",
        "--domain=cat",
        "--size=64",
        "--workers=1",
      ],
      env={
        **{k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"},
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "DISPLAY": "",
        "WAYLAND_DISPLAY": "",
      },
      text=True,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
    )
    self.addCleanup(process.communicate)
    self.addCleanup(process.kill)
    for line in process.stdout:
      if "open http" in line:
        return process, line
    self.fail(process.stderr.read())

  def test_killed_and_gone_on_with(self):
    process, line = self.start()
    self.assertIn("2 photos (0 are done)", line)
    address = re.search(r"http\S+", line)[0]
    base = address.partition("/?")[0]
    browser = urllib.request.build_opener(
      urllib.request.HTTPCookieProcessor(cookiejar.CookieJar())
    )
    with browser.open(address, timeout=30) as page:
      self.assertEqual(page.url, f"{base}/")
    points = (kind_of("cat").shape * 30 + [160, 140]).tolist()
    with browser.open(
      urllib.request.Request(
        f"{base}/photos/0",
        json.dumps({"points": points}).encode(),
        {"Content-Type": "application/json", "Origin": base},
      ),
      timeout=30,
    ):
      process.kill()
    process.wait()

    process, line = self.start()
    self.assertIn("2 photos (1 are done)", line)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    self.assertEqual(process.returncode, 128 + signal.SIGINT, errors)
    self.assertIn("1 of 2 photos are saved; the same command resumes", errors)
    self.assertNotIn("Traceback", errors)


if __name__ == "__main__":
  absltest.main()

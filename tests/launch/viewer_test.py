"""The viewer command: what it says, and how it ends."""

import http.client
import importlib.util
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

from absl.testing import absltest, parameterized

from tests.support import commands, person
from tests.support.runs import write_run

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}


def command(*flags):
  return [sys.executable, "-m", "my3dgen_jax.launch.viewer", *flags]


class RefusalsTest(parameterized.TestCase):
  @parameterized.parameters(
    ([], 2, "nothing to show; give --run"),
    (["--run=nowhere"], 1, "nowhere: does not exist"),
    (["--run=nowhere", "--share"], 2, "--token"),
    (["--run=nowhere", "--token=short"], 1, "token: expected 8"),
    (["--run=nowhere", "--port=0"], 2, "--port=0"),
    (["--run=nowhere", "--yaw=nan"], 1, "yaw: "),
    (["--run=nowhere", "--mesh=xyz"], 2, "mesh"),
  )
  def test_a_line(self, flags, code, text):
    with tempfile.TemporaryDirectory() as folder:
      result = commands.run("viewer", *flags, cwd=folder)
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertIn(text, result.stderr)
    self.assertEqual(result.returncode, code, result.stderr)


@unittest.skipIf(
  importlib.util.find_spec("viser") is None, "viser is not installed"
)
class ServerTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.folder = pathlib.Path(folder.name)
    base = person.write(cls.folder / "made") / "base"
    cls.run_folder = write_run(cls.folder / "run", base)

  def test_opens_and_closes(self):
    with socket.socket() as taken:
      taken.bind(("127.0.0.1", 0))
      taken.listen()
      port = taken.getsockname()[1]
      server = subprocess.Popen(
        command(
          f"--run={self.run_folder}",
          f"--port={port}",
          f"--out={self.folder / 'out'}",
        ),
        env=ENVIRONMENT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
      )
      self.addCleanup(server.communicate)
      self.addCleanup(server.kill)
      lines = []
      for line in server.stdout:
        lines.append(line)
        if found := re.match(r"open http://127\.0\.0\.1:(\d+) ", line):
          break
      said = "".join(lines)
      self.assertIn("compiling", said)
      self.assertIn(f"port {port} is in use; using {found[1]}", said)
      connection = http.client.HTTPConnection(
        "127.0.0.1", int(found[1]), timeout=30
      )
      connection.request("GET", "/")
      self.assertEqual(connection.getresponse().status, 200)
      connection.close()
      server.send_signal(signal.SIGINT)
      rest, errors = server.communicate(timeout=60)
    self.assertEqual(rest, "closed\n")
    self.assertEqual(errors, "")
    self.assertEqual(server.returncode, 0)

  def test_a_run_that_is_being_written(self):
    adapter = self.run_folder / "adapter.safetensors"
    away = self.folder / "away"
    adapter.rename(away)
    try:
      result = commands.run(
        "viewer", f"--run={self.run_folder}", cwd=self.folder, timeout=120
      )
    finally:
      away.rename(adapter)
    self.assertRegex(
      result.stderr, r"\Aerror: [^\n]+still being written[^\n]+\n\Z"
    )
    self.assertEqual(result.returncode, 1)


if __name__ == "__main__":
  absltest.main()

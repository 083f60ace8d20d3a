"""The first second of a command: what is missing, and who presses Ctrl-C."""

import contextlib
import importlib.util
import io
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from my3dgen_jax import _startup

ROOT = pathlib.Path(__file__).parents[1]


class StartupTest(parameterized.TestCase):
  @parameterized.parameters(
    (["python", "-m", "my3dgen_jax.launch.render", "--x"], True),
    (["python", "-X", "utf8", "-m", "my3dgen_jax", "render"], True),
    (["python", "-m", "converters.torch_to_flax"], True),
    (["python", "converters/torch_to_flax.py", "-m"], True),
    (["python", "/venv/bin/my3dgen", "render"], True),
    (["python", "-mmy3dgen_jax.launch.render"], True),
    (["python", "torch_to_flax.py"], True),
    (["python", "converters/train.py"], False),
    (["python", "-m", "pytest", "my3dgen_jax"], False),
    (["python", "train.py", "-m", "my3dgen_jax"], False),
    (["python", "-c", "import my3dgen_jax"], False),
    (["python"], False),
    (["python", "-m"], False),
  )
  def test_commands(self, arguments, wanted):
    self.assertEqual(_startup.is_command(arguments), wanted)

  def test_all_requirements_are_looked_for(self):
    """But the one that is only needed to prepare data sets."""
    names = {"absl-py": "absl", "orbax-checkpoint": "orbax", "pillow": "PIL"}
    listed = {
      names.get(name, name)
      for name in re.findall(
        r"^([\w-]+)>=", (ROOT / "requirements-cpu.txt").read_text(), re.M
      )
    }
    optional = {"tensorflow-datasets", "tensorboardX"}
    self.assertEqual(listed - optional, set(_startup.REQUIRED))
    for name in _startup.REQUIRED:
      self.assertIsNotNone(importlib.util.find_spec(name))

  @parameterized.parameters(
    (["-m", "my3dgen_jax.launch.info"],),
    (["-m", "my3dgen_jax", "info"],),
    (["converters/torch_to_flax.py"],),
  )
  def test_environment_that_is_not_activated(self, command):
    """Python without site-packages is one in which nothing is installed."""
    found = subprocess.run(
      [sys.executable, "-S", *command],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
      env={"PATH": os.environ["PATH"]},
    )
    self.assertEqual(found.returncode, 1)
    self.assertRegex(
      found.stderr,
      r"^error: the package absl is not installed for /.*activate the env.*\n$",
    )

  def test_a_library_gets_an_exception(self):
    found = subprocess.run(
      [sys.executable, "-S", "-c", "import my3dgen_jax"],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
      env={"PATH": os.environ["PATH"]},
    )
    self.assertIn("Traceback", found.stderr)
    self.assertIn("the package absl is not installed for", found.stderr)

  @parameterized.parameters(
    (KeyboardInterrupt(), r"error: interrupted\n"),
    (_startup._Missing("no package x"), r"error: no package x\n"),
    (ValueError("a fault"), r"(?:.*\n)*ValueError: a fault\n"),
  )
  def test_what_is_said_of_an_exception(self, error, text):
    """Of a fault of ours all, of others a line."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
      _startup._say(type(error), error, None)
    self.assertRegex(said.getvalue(), rf"\A{text}\Z")

  def test_only_interruptions_are_kept_quiet_in_garbage_collection(self):
    for error, told in ((KeyboardInterrupt(), 0), (ValueError("a fault"), 1)):
      with mock.patch.object(sys, "__unraisablehook__") as hook:
        _startup._say_unraisable(mock.Mock(exc_value=error))
      self.assertEqual(hook.call_count, told)

  def test_interrupted_while_importing(self):
    with tempfile.TemporaryDirectory() as folder:
      # A package that is found before the true one, and never ready.
      pathlib.Path(folder, "flax.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"
      )
      found = subprocess.run(
        [sys.executable, "-m", "my3dgen_jax.launch.info"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": folder},
        # Where the tests run in the background, the shell has it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
      )
    self.assertIn(found.returncode, (-signal.SIGINT, 130))
    self.assertEqual(found.stderr, "error: interrupted\n")


if __name__ == "__main__":
  absltest.main()

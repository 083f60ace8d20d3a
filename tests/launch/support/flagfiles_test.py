"""Flagfiles of any editor; and what else must not end in a traceback."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile

from absl.testing import absltest, parameterized

from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import flagfiles
from tests.support import commands

LINES = "# a comment\n--album=Åse\n\n// another\n  --steps=3 \n"
WANTED = ["--album=Åse", "--steps=3"]


class FlagfilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "a.flags"

  @parameterized.parameters("utf-8", "utf-8-sig", "utf-16", "utf-16-be")
  def test_encodings(self, encoding):
    data = LINES.replace("\n", "\r\n").encode(encoding)
    if encoding == "utf-16-be":
      data = b"\xfe\xff" + data
    self.path.write_bytes(data)
    self.assertEqual(
      flagfiles.expanded(["--x=1", f"--flagfile={self.path}", "--steps=4"]),
      ["--x=1", *WANTED, "--steps=4"],
    )
    self.assertEqual(flagfiles.expanded(["-flagfile", str(self.path)]), WANTED)

  @parameterized.parameters(
    (b"--x=\xff\xfe", "not a text file; save it as UTF-8"),
    (b"\x00" * 9, "not a text file"),
    (b"\xff\xfea", "not a text file"),
    (b" " * 2**21, "too large to be a flagfile"),
  )
  def test_no_text(self, data, message):
    self.path.write_bytes(data)
    with self.assertRaisesRegex(FlagError, f"{self.path}: {message}"):
      flagfiles.expanded([f"--flagfile={self.path}"])

  def test_missing(self):
    for arguments in (["--flagfile"], ["--flagfile", "--x"]):
      with self.assertRaisesRegex(
        FlagError, "--flagfile: expected the name of a file"
      ):
        flagfiles.expanded(arguments)
    with self.assertRaisesRegex(
      FlagError, "none: No such file .*also looked in"
    ):
      flagfiles.expanded(["--flagfile=none"])
    with self.assertRaisesRegex(FlagError, "Is a directory"):
      flagfiles.expanded([f"--flagfile={self.path.parent}"])

  def test_of_flagfiles(self):
    self.path.write_text(f"--a=1\n--flagfile={self.path}\n--flagfile=\n--b=2")
    notes = io.StringIO()
    with contextlib.redirect_stderr(notes):
      found = flagfiles.expanded([f"--flagfile={self.path}"])
    self.assertEqual(found, ["--a=1", "--b=2"])
    self.assertIn("includes itself; ignored", notes.getvalue())

  def test_of_the_project(self):
    found = flagfiles.expanded(["--flagfile=demo.flags"])
    self.assertIn("--demo_person=4", [line.split(" ")[0] for line in found])

  def test_values_and_what_follows(self):
    for arguments in (
      ["--out", "x", "--", "--flagfile=none"],
      ["--out=x", "word", "--flagfile=none"],
    ):
      self.assertEqual(flagfiles.expanded(arguments), arguments)


class FunnelTest(parameterized.TestCase):
  def run_info(self, *arguments, **env):
    return subprocess.run(
      [sys.executable, "-m", "my3dgen_jax.launch.info", *arguments],
      capture_output=True,
      env={**os.environ, **env},
    )

  def test_a_terminal_without_our_letters(self):
    ended = self.run_info("--helpshort", PYTHONIOENCODING="ascii")
    self.assertNotIn(b"Traceback", ended.stderr)
    self.assertIn(b"--preset", ended.stdout)

  def test_a_pipe_that_closes(self):
    with subprocess.Popen(
      [sys.executable, "-m", "my3dgen_jax.launch.personalize", "--helpshort"],
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      bufsize=0,
    ) as process:
      process.stdout.close()
      self.assertEqual(process.stderr.read(), b"")

  def test_a_platform_that_is_not_there(self):
    ended = commands.run(
      "render",
      "--checkpoint=none",
      "--seeds=0",
      "--out=/tmp/none",
      cwd=tempfile.gettempdir(),
    )
    self.assertEqual(ended.returncode, 1)
    ended = subprocess.run(
      [sys.executable, "-m", "my3dgen_jax.launch.render", "--seeds=0"]
      + ["--checkpoint=none", "--out=none"],
      capture_output=True,
      text=True,
      env={**os.environ, "JAX_PLATFORMS": "rocm"},
    )
    self.assertEqual(ended.returncode, 1)
    self.assertRegex(
      ended.stderr, "^error: JAX cannot start the platform 'rocm' .*\n$"
    )


if __name__ == "__main__":
  absltest.main()

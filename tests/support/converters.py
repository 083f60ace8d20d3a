"""What tests of all converters share."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

from absl.testing import parameterized

from my3dgen_jax.errors import CheckpointError

ROOT = pathlib.Path(__file__).parents[2]


class ConverterCase(parameterized.TestCase):
  """A converter in an empty folder.

  Attributes of subclasses: `converter`, the module; `OUTPUT`, the name of what
  it writes. They have `convert(**options)` and `flags()`, the flags of a
  command that succeeds.
  """

  converter: Any
  OUTPUT: str

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.output = self.folder / self.OUTPUT

  @property
  def name(self) -> str:
    return self.converter.__name__.rpartition(".")[2] + ".py"

  def main(self, *args: Any) -> tuple[int, str]:
    """The command: its exit status, and all that it prints."""
    output = io.StringIO()
    with contextlib.redirect_stderr(output), contextlib.redirect_stdout(output):
      code = self.converter.main([self.name, *map(str, args)])
    return code, output.getvalue()

  def assert_refused(self, culprit: Any, *reasons: str, **options: Any):
    """Converting fails with one line about a file, and writes nothing."""
    before = sorted(os.listdir(self.folder))
    with self.assertRaises(CheckpointError) as caught:
      self.convert(**options)
    self.assertStartsWith(str(caught.exception), f"{culprit}: ")
    for reason in reasons:
      self.assertIn(reason, str(caught.exception))
    self.assertNotIn("\n", str(caught.exception))
    self.assertEqual(sorted(os.listdir(self.folder)), before)

  def assert_damage_refused(self, path: pathlib.Path):
    """A file that is missing, no checkpoint or cut short is refused."""
    data = path.read_bytes()
    for damaged, reason in (
      (b"", "is empty"),
      (b"<html>", "not look like a PyTorch file"),
      (data[: len(data) // 2], ""),
      (data[:-30], ""),
    ):
      path.write_bytes(damaged)
      self.assert_refused(path, reason)
    path.unlink()
    self.assert_refused(path, "No such file")

  def assert_bad_flags(self, *cases: tuple[Sequence[str], str]):
    """Commands that end with one line that says a reason."""
    for flags, reason in cases:
      code, text = self.main(*flags)
      self.assertEqual(code, 1)
      self.assertIn(reason, text)
      self.assertEqual(text.count("\n"), 1)

  def assert_overwrites_when_asked_alone(self):
    """The second command of two is refused without --overwrite."""
    self.assertEqual(self.main(*self.flags())[0], 0)
    self.assertEqual(
      self.main(*self.flags()),
      (1, f"error: {self.output}: exists already (--overwrite replaces it)\n"),
    )
    self.assertEqual(self.main(*self.flags(), "--overwrite")[0], 0)

  def assert_runs_as_script(self, flag: str):
    """From the repository, without the package on the path."""
    result = subprocess.run(
      [sys.executable, f"converters/{self.name}", "--help"],
      cwd=ROOT,
      env={**os.environ, "PYTHONPATH": ""},
      capture_output=True,
      text=True,
      check=True,
    )
    self.assertIn(flag, result.stdout)

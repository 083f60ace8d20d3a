"""Old names of flags and values work, and say that they are old."""

import contextlib
import io
import pathlib
import tempfile

from absl import flags
from absl.testing import absltest, flagsaver, parameterized

from my3dgen_jax.launch import enhance, prepare  # declare the flags
from my3dgen_jax.launch.support import cli, renamed_flags

del enhance


class RenamedFlagsTest(parameterized.TestCase):
  @parameterized.parameters(
    (["--min_colour=5"], ["--min_color=5"]),
    (["-min_colour", "5"], ["-min_color", "5"]),
    (["--task=colour"], ["--task=color"]),
    (["--task", "colour"], ["--task", "color"]),
    (["--out=a\nb=colour"], ["--out=a\nb=colour"]),
    (["--out", "colour", "--task=jpeg"], ["--out", "colour", "--task=jpeg"]),
    (["--", "--min_colour=5"], ["--", "--min_colour=5"]),
    (["--no_such=5", "x"], ["--no_such=5", "x"]),
  )
  def test_arguments(self, old, new):
    notes = io.StringIO()
    with contextlib.redirect_stderr(notes):
      self.assertEqual(renamed_flags.renamed(old), new)
    self.assertEqual(len(notes.getvalue().splitlines()), old != new)

  def test_new_names_are_flags_and_choices(self):
    for name in renamed_flags.NAMES.values():
      self.assertIn(name, flags.FLAGS)
    for (name, _), new in renamed_flags.VALUES.items():
      self.assertIn(new, flags.FLAGS[name].parser.enum_values)

  @flagsaver.flagsaver
  def test_flagfile(self):
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    path = pathlib.Path(folder.name) / "old.flags"
    path.write_text("--min_colour=7.5\n--task=colour\n")
    notes = io.StringIO()
    with contextlib.redirect_stderr(notes):
      cli._parse(["prepare", f"--flagfile={path}"], main=prepare.main)
    self.assertEqual(flags.FLAGS["min_color"].value, 7.5)
    self.assertEqual(flags.FLAGS["task"].value, "color")
    self.assertIn("--min_colour is now --min_color", notes.getvalue())


if __name__ == "__main__":
  absltest.main()

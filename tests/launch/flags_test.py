"""Commands are short, and none of their flags is lost or changed unnoticed."""

import ast
import json
import os
import pathlib
import subprocess
import sys

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = pathlib.Path(__file__).with_name("flags.json")
MOST_LINES = 60  # of a command, its docstring aside


class FlagsTest(parameterized.TestCase):
  def test_names_kinds_defaults_and_bounds(self):
    """`flag_table` says how to write the table again."""
    result = subprocess.run(
      [sys.executable, "-m", "tests.launch.flag_table"],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=True,
      env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )
    found, known = json.loads(result.stdout), json.loads(TABLE.read_text())
    self.assertEqual(set(found), set(known))
    for command, flags in known.items():
      self.assertEqual(found[command], flags, command)

  def test_commands_are_short(self):
    for path in (ROOT / "my3dgen_jax/launch").glob("*.py"):
      text = path.read_text()
      docstring = ast.parse(text).body[0]
      self.assertLessEqual(
        len(text.splitlines()) - docstring.end_lineno, MOST_LINES, path
      )


if __name__ == "__main__":
  absltest.main()

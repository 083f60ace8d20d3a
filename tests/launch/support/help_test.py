"""Help lists what there is once, and suggests what was meant."""

import ast
import contextlib
import importlib
import io
import json
import pathlib
import re
import sys
from unittest import mock

from absl import app, flags
from absl.testing import absltest, parameterized

from my3dgen_jax._version import __version__
from my3dgen_jax.launch.support import help as helps
from my3dgen_jax.launch.support import my3dgen

TABLE = json.loads(
  pathlib.Path(__file__).parents[1].joinpath("flags.json").read_text()
)


def values_of(*names):
  """Flags of one command."""
  values = flags.FlagValues()
  for name in names:
    flags.DEFINE_string(name, "", f"Help of {name}.", flag_values=values)
  return values


def flag_names(text):
  return re.findall(r"^  --(?:\[no\])?(\w+)", text, re.MULTILINE)


class TablesTest(parameterized.TestCase):
  @parameterized.parameters(*TABLE)
  def test_first_flags_exist_and_are_few(self, command):
    first = helps.FIRST[command]
    self.assertContainsSubset(first, TABLE[command])
    self.assertLen(set(first), len(first))
    self.assertBetween(len(first), 2, 12)

  def test_groups_name_flags_that_exist(self):
    known = {name for found in TABLE.values() for name in found}
    for members in helps.GROUPS.values():
      for member in members:
        self.assertTrue(
          member in known
          or member.endswith("_")
          and any(name.startswith(member) for name in known),
          member,
        )

  def test_every_command_has_its_flags_and_a_group(self):
    self.assertEqual(set(helps.FIRST), set(TABLE))
    grouped = [name for names in my3dgen.GROUPS.values() for name in names]
    self.assertCountEqual(grouped, my3dgen.commands())

  @parameterized.parameters(*my3dgen.commands().values())
  def test_docstrings_open_with_a_line_and_an_example(self, module):
    path = pathlib.Path(importlib.util.find_spec(module).origin)
    text = ast.get_docstring(ast.parse(path.read_text()))
    line, example = text.split("\n\n")[:2]
    self.assertRegex(line, r"^[A-Z][^\n]*\.$")
    self.assertRegex(example, r"(?s)^ +(my3dgen|python).* --")


class CommandTest(parameterized.TestCase):
  def test_line_example_first_flags_then_groups(self):
    text = helps.of_command(
      "report",
      "Writes a page.\n\n    my3dgen report --run=r\n\nMore.\n",
      values_of("zoom", "run", "scrub", "yaw", "lora_rank", "seed"),
    )
    self.assertStartsWith(text, "Writes a page.\n\n    my3dgen report")
    self.assertEqual(
      flag_names(text), ["run", "scrub", "zoom", "lora_rank", "seed", "yaw"]
    )
    titles = re.findall(r"^(\S.*):$", text, re.MULTILINE)
    self.assertEqual(
      titles,
      [
        "Flags that matter most",
        "Other settings",
        "Adapter",
        "Optimization",
        "Cameras",
      ],
    )
    self.assertIn("--flagfile=FILE", text)

  def test_short(self):
    text = helps.of_command(
      "report", "Writes.", values_of("run", "yaw"), short=True
    )
    self.assertEqual(flag_names(text), ["run"])

  def test_names_values_and_defaults(self):
    values = flags.FlagValues()
    flags.DEFINE_integer(
      "a", 3, "A.", flag_values=values, lower_bound=1, upper_bound=9
    )
    flags.DEFINE_enum("b", "x", ["x", "y"], "B.", flag_values=values)
    flags.DEFINE_bool("c", False, "C.", flag_values=values)
    flags.DEFINE_string("d", None, "D.", flag_values=values)
    flags.DEFINE_list("e", ["1", "2"], "E.", flag_values=values)
    flags.DEFINE_float("f", None, "F.", flag_values=values, lower_bound=0.0)
    flags.DEFINE_multi_enum("g", ["x"], ["x", "y"], "G.", flag_values=values)
    self.assertEqual(
      helps.of_converter("Converts.", values).splitlines()[2:],
      [
        *("Flags:", "  --a=1..9  (default: 3)", "      A."),
        *("  --b=x|y  (default: x)", "      B."),
        *("  --[no]c  (default: false)", "      C.", "  --d=TEXT", "      D."),
        *("  --e=A,B,…  (default: 1,2)", "      E."),
        *("  --f=NUMBER>=0", "      F."),
        *("  --g=x|y  (default: x)", "      G. Can be repeated."),
      ],
    )

  def test_a_command_shows_each_flag_once(self):
    """In this process: `info` is a command whose flags are few."""
    with contextlib.ExitStack() as stack:
      output = stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
      stack.enter_context(mock.patch.object(app, "run"))
      module = importlib.import_module("my3dgen_jax.launch.info")
      module.cli.run(module.main)
      for arguments in (["--help"], ["--helpshort"], ["-?"]):
        with self.assertRaises(SystemExit) as ended:
          module.cli._parse(["info", *arguments], main=module.main)
        self.assertEqual(ended.exception.code, 0)
    full, short, _ = output.getvalue().split("Describes a ")[1:]
    self.assertContainsSubset(TABLE["info"], flag_names(full))
    self.assertLen(set(flag_names(full)), len(flag_names(full)))
    self.assertNotIn("pdb", full)
    self.assertEqual(flag_names(short), list(helps.FIRST["info"]))


class NearestTest(parameterized.TestCase):
  @parameterized.parameters(
    ("personalise", "; did you mean personalize?"),
    ("rendr", "; did you mean render?"),
    ("xyzzy", ""),
  )
  def test_commands(self, word, expected):
    self.assertEqual(helps.nearest(word, my3dgen.commands()), expected)

  def test_an_unknown_command(self):
    with (
      mock.patch.object(sys, "argv", ["my3dgen", "personalise"]),
      contextlib.redirect_stderr(io.StringIO()) as output,
      self.assertRaises(SystemExit) as ended,
    ):
      my3dgen.main()
    self.assertEqual(ended.exception.code, 2)
    self.assertEqual(
      output.getvalue(),
      "error: unknown command 'personalise'; did you mean personalize? "
      "my3dgen --help lists the commands\n",
    )

  @parameterized.parameters(
    (["--version"], f"{__version__}\n"),
    (["--help"], my3dgen.as_text() + "\n"),
    ([], my3dgen.as_text() + "\n"),
  )
  def test_what_it_says_of_itself(self, arguments, text):
    with (
      mock.patch.object(sys, "argv", ["my3dgen", *arguments]),
      contextlib.redirect_stdout(io.StringIO()) as output,
    ):
      my3dgen.main()
    self.assertEqual(output.getvalue(), text)

  def test_a_command_gets_the_other_arguments(self):
    with (
      mock.patch.object(sys, "argv", ["my3dgen", "train_encoder", "--x=1"]),
      mock.patch.object(my3dgen.runpy, "run_module") as run,
    ):
      my3dgen.main()
      self.assertEqual(sys.argv, ["my3dgen train_encoder", "--x=1"])
    run.assert_called_once_with(
      "my3dgen_jax.launch.train_encoder", run_name="__main__", alter_sys=True
    )

  def test_an_unknown_flag(self):
    with (
      mock.patch.object(app, "run"),
      contextlib.redirect_stderr(io.StringIO()) as output,
      self.assertRaises(SystemExit) as ended,
    ):
      module = importlib.import_module("my3dgen_jax.launch.info")
      module.cli.run(module.main)
      module.cli._parse(["info", "--adaptr=1"], main=module.main)
    self.assertEqual(ended.exception.code, 2)
    self.assertEqual(
      output.getvalue(),
      "error: Unknown command line flag 'adaptr'; did you mean "
      "--adapter? --help lists the flags\n",
    )

  def test_the_list_of_commands(self):
    text = my3dgen.as_text()
    for name in my3dgen.commands():
      self.assertLen(re.findall(rf"^  {name} ", text, re.MULTILINE), 1, name)
    self.assertIn("--flagfile=FILE", text)


if __name__ == "__main__":
  absltest.main()

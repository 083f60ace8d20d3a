"""No text of the project shows a pattern that `tests.words` refuses."""

import pathlib
import textwrap

from absl.testing import absltest, parameterized

from tests import words

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "my3dgen_jax"
ROOMS = [
  *sorted(path.parent for path in PACKAGE.glob("*/__init__.py")),
  *sorted(PACKAGE.glob("*.py")),
  *(ROOT / name for name in ("converters", "benchmarks", "examples")),
]


def reasons(source):
  return [one.reason for one in words.findings(textwrap.dedent(source))]


class ProjectTest(parameterized.TestCase):
  @parameterized.named_parameters(
    (str(path.relative_to(ROOT)), path) for path in ROOMS
  )
  def test_room(self, path):
    found = [
      f"{file}:{one.line}: {one.reason}: {one.text}"
      for file in words.files([str(path)])
      for one in words.findings(file.read_text(encoding="utf-8"))
    ]
    self.assertEmpty(found, "\n".join(["", *found]))


class HelpTest(parameterized.TestCase):
  @parameterized.parameters(
    "Of Adam, in [0, 1).",
    "That tuning starts from.",
    "Whose photos are read.",
    "Not here.",
    "Adam's learning rate, > 0",
  )
  def test_refuses(self, text):
    self.assertNotEmpty(words.help_faults(text))

  @parameterized.parameters(
    "Adam's learning rate, > 0.", "Folder to write.", "Offset of the seed."
  )
  def test_accepts(self, text):
    self.assertEmpty(words.help_faults(text))

  @parameterized.parameters(
    'x: float = setting(0.0, "Of Adam, in [0, 1).")',
    'cli.string("out", None, "Of the run to write.")',
    'flags.DEFINE_enum("way", None, ["a"], "Of both the first.")',
    'parser.add_argument("input", help="Of the original file.")',
    'cli.number("rate", 0.1, help="Of Adam, in [0, 1).")',
  )
  def test_is_found_where_flags_are_declared(self, source):
    self.assertEqual(reasons(source), ["help starts without its noun"])

  def test_of_several_literals(self):
    self.assertEmpty(reasons('cli.string("a", "", "Folder " "to write.")'))


class EntriesTest(parameterized.TestCase):
  @parameterized.parameters(
    "of the random numbers.",
    "that are used.",
    "whose latents they are.",
    "by which it is called.",
    "how.",
    "in image space.",
  )
  def test_refuses(self, text):
    self.assertNotEmpty(words.entry_faults(text))

  @parameterized.parameters(
    "the PRNG key.", "how many photos.", "[N, 3], world units.", "offset."
  )
  def test_accepts(self, text):
    self.assertEmpty(words.entry_faults(text))

  def test_entries_of_functions_and_classes(self):
    found = words.findings(
      textwrap.dedent('''
        def noise(key, shape):
          """Draws noise.

          Args:
            key: of the random numbers.
            shape: the array's shape:
              of: not an entry, as it is indented further.

          Returns:
            of: not an entry, as the section has ended.
          """

        class Photo:
          """A photo.

          Attributes:
            name, path: of its file.
          """
      ''')
    )
    self.assertEqual([one.line for one in found], [6, 18])
    self.assertStartsWith(found[1].text, "name, path: of")


class PhrasesTest(parameterized.TestCase):
  @parameterized.parameters(
    "the value is no number",
    "x is\n  no number",
    "whom another is told of",
    "the step from which on it falls",
    "Nobody can be shown",
    "Whoever reads it",
    "used in place of the run",
    "Goes on with the run.",
    "can be stopped, and run on.",
  )
  def test_refuses(self, text):
    self.assertNotEmpty(words.phrase_faults(text))

  @parameterized.parameters(
    "there is no photo", "it is no longer kept", "are no more than ten"
  )
  def test_accepts(self, text):
    self.assertEmpty(words.phrase_faults(text))

  @parameterized.parameters(
    'raise UserError(f"{path}: is no table")',
    'def f():\n  """What is no table."""',
    "x = 1  # as it is no table",
    "# It is\n# no table.",
  )
  def test_are_found_in_literals_docstrings_and_comments(self, source):
    self.assertLen(words.findings(source), 1)


if __name__ == "__main__":
  absltest.main()

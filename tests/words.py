"""Finds texts in source files that no engineer would write.

    python -m tests.words my3dgen_jax converters

Prints one finding per line: file, line, reason and text. Reads flag help,
docstrings, other string literals and comments; imports nothing that it reads.
"""

import argparse
import ast
import dataclasses
import io
import pathlib
import re
import sys
import textwrap
import tokenize
from collections.abc import Iterator, Sequence

# Functions that declare a flag, and the position of its help.
_DECLARATIONS = {
  **dict.fromkeys(("setting", "_setting"), 1),
  **dict.fromkeys(
    (
      *("string", "integer", "number", "boolean", "listing"),
      *("DEFINE_string", "DEFINE_integer", "DEFINE_float", "DEFINE_bool"),
      *("DEFINE_boolean", "DEFINE_list"),
    ),
    2,
  ),
  **dict.fromkeys(
    ("enum", "multi_enum", "DEFINE_enum", "DEFINE_multi_enum"), 3
  ),
}
_LEAST_WORDS = 3
_HELP_STARTS = ("Of ", "That ", "Whose ")
# An argument's entry starts with a noun.
_ENTRY_STARTS = re.compile(
  r"(?:of|that|whose|which|who|whom|as|are|is|was|were|with|by|at|on|to|from"
  r"|than|where|in(?! \S+ order))\b|how\.",
  re.IGNORECASE,
)
_ENTRY = re.compile(r"(?P<names>\*{0,2}\w+(?:, \*{0,2}\w+)*): +(?P<text>\S.*)")
_SECTION = re.compile(r"(?:Args|Attributes):$")
_ANY_SECTION = re.compile(r"[A-Z]\w+:")
# What is found, and what to write.
PHRASES = {
  # "there is no X", "is no longer" and "is no more than" are English.
  r"(?<!there )(?<!There )\b(?:is|are|was|were) no "
  r"(?!longer|more|less|better|worse|higher|lower|larger|smaller|later)[a-z]+": (
    'write "is not a" or "has no"'
  ),
  r"\b(?:is|are|was|were) told of\b": 'write "learns of", "knows"',
  r"\bfrom which on\b": 'write "after which", "starting at which"',
  r"\bnobody can be\b": 'say what happens: "X is refused"',
  r"\bwhoever\b": 'write "anyone who", "those who"',
  r"\bin place of\b": 'write "instead of"',
  r"\bgo(?:es)? on\b": 'write "continue", "resume"',
  r"\brun on\b(?=[.,;:]|$)": 'write "continue", "resume"',
  r"\bthe same of\b": "repeat the noun",
  r"\bwhat there is\b": "name it",
  r"\bhas no letters for\b": 'write "cannot encode"',
  r"\bNot here\b": 'say what the flag does not do: "Do not write the report"',
  r"\bso far as\b": 'write "if", "where"',
  r"\bone a (?:line|person|photo|row)\b": 'write "one per"',
}


@dataclasses.dataclass(frozen=True, order=True)
class Finding:
  """A text to write anew.

  Attributes:
    line: number of the text's first line, from 1.
    reason: the fault, and what to write instead.
    text: the text, shortened to one line.
  """

  line: int
  reason: str
  text: str


def help_faults(text: str) -> list[str]:
  """What is wrong with a flag's help; nothing: []."""
  faults = []
  if text.startswith(_HELP_STARTS):
    faults.append("help starts without its noun")
  if len(text.split()) < _LEAST_WORDS:
    faults.append(f"help has fewer than {_LEAST_WORDS} words")
  if not text.rstrip().endswith("."):
    faults.append("help does not end in a period")
  return faults


def entry_faults(text: str) -> list[str]:
  """What is wrong with an argument's description in a docstring."""
  found = _ENTRY_STARTS.match(text)
  return [f"entry starts with {found[0]!r}, not with a noun"] if found else []


def phrase_faults(text: str) -> list[str]:
  """The phrases in a text that are not English, with what to write."""
  text = " ".join(text.split())
  return [
    f"{found[0]!r}: {better}"
    for pattern, better in PHRASES.items()
    if (found := re.search(pattern, text, re.IGNORECASE))
  ]


def entries(docstring: str) -> Iterator[tuple[int, str, str]]:
  """The arguments and attributes that a docstring describes.

  Args:
    docstring: the text, indented as in its file.

  Yields: the line from 0, the names and the start of the description.
  """
  first, _, rest = docstring.partition("\n")
  lines = [first, *textwrap.dedent(rest).splitlines()]
  indent = None  # of the entries, within a section
  for number, line in enumerate(lines):
    bare = line.strip()
    depth = len(line) - len(line.lstrip())
    if _SECTION.match(bare):
      indent, start = -1, depth
    elif indent is not None and bare:
      if depth <= start:
        indent = None
        continue
      indent = depth if indent < 0 else indent
      if depth == indent and (found := _ENTRY.match(bare)):
        yield number, found["names"], found["text"]


def findings(source: str) -> list[Finding]:
  """All findings in a file.

  Args:
    source: the text of a Python file.

  Returns: them by line.
  """
  tree = ast.parse(source)
  found = set()

  def add(line: int, reasons: Sequence[str], text: str):
    text = " ".join(text.split())
    found.update(
      Finding(line, reason, textwrap.shorten(text, 100)) for reason in reasons
    )

  for node in ast.walk(tree):
    if isinstance(node, ast.Call) and (text := _help(node)) is not None:
      add(node.lineno, help_faults(text), text)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
      add(node.lineno, phrase_faults(node.value), node.value)
    if (
      isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
      and (text := ast.get_docstring(node, clean=False)) is not None
    ):
      for line, names, entry in entries(text):
        add(
          node.body[0].lineno + line, entry_faults(entry), f"{names}: {entry}"
        )
  for line, comment in _comments(source):
    add(line, phrase_faults(comment), comment)
  return sorted(found)


def _help(call: ast.Call) -> str | None:
  """The help of the flag that a call declares; None: it declares none."""
  name = getattr(call.func, "attr", getattr(call.func, "id", ""))
  wanted = {"setting": "text", "add_argument": "help"}.get(name, "help")
  node = next((one.value for one in call.keywords if one.arg == wanted), None)
  if node is None:
    place = _DECLARATIONS.get(name)
    if place is None or place >= len(call.args):
      return None
    node = call.args[place]
  elif name not in _DECLARATIONS and name != "add_argument":
    return None
  if isinstance(node, ast.Constant) and isinstance(node.value, str):
    return node.value
  if isinstance(node, ast.JoinedStr):
    return "".join(
      part.value if isinstance(part, ast.Constant) else "X"
      for part in node.values
    )
  return None


def _comments(source: str) -> Iterator[tuple[int, str]]:
  """Blocks of comments, with their first lines."""
  start, block = 0, []
  for token in tokenize.generate_tokens(io.StringIO(source).readline):
    if token.type != tokenize.COMMENT:
      continue
    line = token.start[0]
    if block and line != start + len(block):
      yield start, " ".join(block)
      block = []
    if not block:
      start = line
    block.append(token.string.lstrip("#: "))
  if block:
    yield start, " ".join(block)


def files(places: Sequence[str]) -> list[pathlib.Path]:
  """Python files among the places and in the folders among them."""
  found = []
  for place in map(pathlib.Path, places):
    found += sorted(place.rglob("*.py")) if place.is_dir() else [place]
  return found


def main():
  """Prints the findings; the exit code is 1 if there are any."""
  parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
  parser.add_argument("places", nargs="+", help="Python files and folders.")
  count = 0
  for path in files(parser.parse_args().places):
    for finding in findings(path.read_text(encoding="utf-8")):
      print(f"{path}:{finding.line}: {finding.reason}: {finding.text}")
      count += 1
  print(f"{count} findings", file=sys.stderr)
  sys.exit(bool(count))


if __name__ == "__main__":
  main()

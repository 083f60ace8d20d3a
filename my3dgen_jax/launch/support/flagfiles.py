"""Flagfiles: looked for here and in launch/, in any common encoding."""

import codecs
import pathlib
import sys
from collections.abc import Sequence

from my3dgen_jax.errors import FlagError

# Flagfiles that come with the project, in a wheel or in a checkout.
_IN_WHEEL = pathlib.Path(__file__).resolve().parents[1] / "flagfiles"
FOLDER = (
  _IN_WHEEL
  if _IN_WHEEL.is_dir()
  else pathlib.Path(__file__).resolve().parents[3] / "launch"
)
_NAMES = ("--flagfile", "-flagfile")
# Encodings that Windows' editors and shells write, by byte order mark.
_MARKS = {
  codecs.BOM_UTF8: "utf-8-sig",
  codecs.BOM_UTF16_LE: "utf-16",
  codecs.BOM_UTF16_BE: "utf-16",
}
_MOST_BYTES = 2**20  # a mistyped name should not read a checkpoint


def expanded(arguments: Sequence[str]) -> list[str]:
  """Replaces each flagfile in the arguments by the flags that it holds.

  Args:
    arguments: the command line after the command's name.

  Raises: FlagError that names the file.
  """
  result, rest = [], list(arguments)
  while rest:
    argument = rest.pop(0)
    if argument == "--" or not argument.startswith("-"):
      return [*result, argument, *rest]  # absl stops there, too
    name, is_given, file = argument.partition("=")
    if name not in _NAMES:
      result.append(argument)
      if not is_given and rest and not rest[0].startswith("-"):
        result.append(rest.pop(0))  # the flag's value
      continue
    if not is_given:
      if not rest or rest[0].startswith("-"):
        raise FlagError("--flagfile: expected the name of a file, got nothing")
      file = rest.pop(0)
    result += _lines(file, ())
  return result


def found(name: str) -> pathlib.Path:
  """The path of a flagfile: in the current folder, else in the project's."""
  path = pathlib.Path(name.strip()).expanduser()
  return (
    FOLDER / path if not path.exists() and (FOLDER / path).is_file() else path
  )


def _lines(name: str, within: tuple[pathlib.Path, ...]) -> list[str]:
  """The flags in a file and in the flagfiles that it names."""
  if not name.strip():
    return []
  path = found(name)
  if path in within:
    print(f"note: {path} includes itself; ignored", file=sys.stderr)
    return []
  result = []
  for line in _text(path).splitlines():
    line = line.strip()
    name, is_given, file = line.partition("=")
    if not line or line.startswith(("#", "//")):
      continue
    if name in _NAMES and is_given:
      result += _lines(file, (*within, path))
    else:
      result.append(line)
  return result


def _text(path: pathlib.Path) -> str:
  try:
    with path.open("rb") as file:
      data = file.read(_MOST_BYTES + 1)
  except OSError as error:
    raise FlagError(
      f"--flagfile: {path}: {error.strerror} (also looked in {FOLDER})"
    ) from None
  if len(data) > _MOST_BYTES:
    raise FlagError(f"--flagfile: {path}: too large to be a flagfile")
  encoding = next(
    (name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8"
  )
  try:
    text = data.decode(encoding)
  except UnicodeDecodeError:
    text = "\0"
  if "\0" in text:
    raise FlagError(f"--flagfile: {path}: not a text file; save it as UTF-8")
  return text

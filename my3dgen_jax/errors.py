"""Errors caused by a user's input, as opposed to bugs."""

import re
import unicodedata

# Characters of a message: a hostile file must not flood the terminal.
_LONGEST_MESSAGE, _LONGEST_OF_FILES, _LONGEST_WORD = 1500, 600, 400
_SHOWN = "\u200c\u200d"  # zero-width joiners


class UserError(ValueError):
  """Invalid input; the message is one line: what is wrong, and the remedy.

  Commands print it and exit with code 1, without leaving partial files. The
  line is plain text: line breaks and terminal control codes, which file names
  may contain, are removed, and long names are shortened.
  """

  def __init__(self, reason: str):
    super().__init__(plain(reason, _LONGEST_MESSAGE))


class FlagError(UserError):
  """An invalid or missing flag; commands exit with code 2."""


class CheckpointError(UserError):
  """A checkpoint or another file of numbers that cannot be used."""

  def __init__(self, reason: str):
    super().__init__(plain(reason, _LONGEST_OF_FILES))


class Interrupted(Exception):
  """A signal ended the work; the state so far is saved.

  Attributes:
    signal: the signal's number; commands exit with 128 + signal.
  """

  def __init__(self, signal: int, message: str):
    super().__init__(message)
    self.signal = signal


def one_line(error: object) -> str:
  """An exception as the one line that commands print, the file first."""
  if isinstance(error, MemoryError):
    return "not enough memory"
  if isinstance(error, OSError) and error.filename is not None:
    return plain(f"{error.filename}: {error.strerror}", _LONGEST_MESSAGE)
  return plain(" ".join(str(error).split()), _LONGEST_MESSAGE)


def without_package(
  error: ImportError | AttributeError, name: str, missing: str
) -> UserError:
  """The error to raise if an optional package cannot be imported.

  Args:
    error: the exception of the import.
    name: the package's name.
    missing: the message if it is not installed, with the remedy.

  Returns: an error with that message; if the package is installed but fails to
    load, e.g. for lack of a system library, with that reason.
  """
  reason = one_line(error)
  if isinstance(error, ModuleNotFoundError) or not isinstance(
    error, ImportError
  ):
    return UserError(f"{missing} ({reason})")
  remedy = (
    "; install the missing library, on Debian and Ubuntu: apt install libgl1 "
    "libglib2.0-0"
    if re.search(r"lib(GL|gthread|glib)", reason)
    else ""
  )
  return UserError(
    f"{name} is installed, but cannot be loaded: {reason}{remedy}"
  )


def plain(text: object, longest: int | None = None) -> str:
  """Text as one line that is safe to print.

  Args:
    text: any text, or an object to convert.
    longest: most characters to keep; the middle is dropped, as messages start
      with the file and end with the reason. None: all.
  """
  line = str(text)
  line = re.sub(r"[\t\n\v\f\r]", " ", line)
  line = " ".join(_shortened(word, _LONGEST_WORD) for word in line.split(" "))
  return "".join(
    char
    # Names may contain other scripts' spaces and emoji joiners.
    if char.isprintable()
    or char in _SHOWN
    or unicodedata.category(char) == "Zs"
    else "?"
    for char in (line if longest is None else _shortened(line, longest))
  )


def _shortened(text: str, longest: int) -> str:
  if len(text) <= longest:
    return text
  return f"{text[: longest // 2]} … {text[-longest // 2 :]}"

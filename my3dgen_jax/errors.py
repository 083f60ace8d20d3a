"""What a user did or gave that cannot work, as opposed to a bug of ours."""

import re
import unicodedata

# Letters of a message: a hostile file must not fill the terminal.
_LONGEST_MESSAGE, _LONGEST_OF_FILES, _LONGEST_WORD = 1500, 600, 400
_SHOWN = "\u200c\u200d"  # joiners


class UserError(ValueError):
  """Bad input; the message is one line: what is wrong, and the remedy.

  Commands print it and exit with code 1; nothing half-written stays behind.
  The line is plain text, whatever file it speaks of: names may hold line
  breaks or codes that steer a terminal, or be as long as a book.
  """

  def __init__(self, reason: str):
    super().__init__(plain(reason, _LONGEST_MESSAGE))


class FlagError(UserError):
  """A flag that cannot work; commands exit with code 2."""


class CheckpointError(UserError):
  """A checkpoint, ours or another's, that cannot be used."""

  def __init__(self, reason: str):
    super().__init__(plain(reason, _LONGEST_OF_FILES))


class Interrupted(Exception):
  """A signal asked to stop; what was done so far is saved.

  Attributes:
    signal: its number; commands exit with 128 more.
  """

  def __init__(self, signal: int, message: str):
    super().__init__(message)
    self.signal = signal


def one_line(error: object) -> str:
  """What a command prints of an exception: one line, the file first."""
  if isinstance(error, MemoryError):
    return "not enough memory"
  if isinstance(error, OSError) and error.filename is not None:
    return plain(f"{error.filename}: {error.strerror}", _LONGEST_MESSAGE)
  return plain(" ".join(str(error).split()), _LONGEST_MESSAGE)


def without_package(
  error: ImportError | AttributeError, name: str, missing: str
) -> UserError:
  """The error of work that needs a package which cannot be imported.

  Args:
    error: of importing it.
    name: of the package.
    missing: what to say, and to do, where it is not installed.

  Returns: that, or why a package that is there cannot be loaded: it may miss
    a library of the system.
  """
  reason = one_line(error)
  if isinstance(error, ModuleNotFoundError) or not isinstance(
    error, ImportError
  ):
    return UserError(f"{missing} ({reason})")
  remedy = (
    "; install what it misses, on Debian and Ubuntu: apt install libgl1 "
    "libglib2.0-0"
    if re.search(r"lib(GL|gthread|glib)", reason)
    else ""
  )
  return UserError(
    f"{name} is installed, but cannot be loaded: {reason}{remedy}"
  )


def plain(text: object, longest: int | None = None) -> str:
  """A line that is safe to print.

  Args:
    text: of any origin.
    longest: how many letters to keep: the file stands first in messages, and
      the reason last, so the middle goes; None: all.
  """
  line = str(text)
  line = re.sub(r"[\t\n\v\f\r]", " ", line)
  line = " ".join(_shortened(word, _LONGEST_WORD) for word in line.split(" "))
  return "".join(
    char
    # Names have spaces of other scripts, and what joins emoji.
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

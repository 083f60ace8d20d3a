"""What a user did or gave that cannot work, as opposed to a bug of ours."""

_LONGEST_MESSAGE = 600  # a hostile file must not fill the terminal


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
    return f"{error.filename}: {error.strerror}"
  return plain(" ".join(str(error).split()), _LONGEST_MESSAGE)


def plain(text: object, longest: int | None = None) -> str:
  """A line that is safe to print.

  Args:
    text: of any origin.
    longest: how many letters to keep: the file stands first in messages, and
      the reason last, so the middle goes; None: all.
  """
  line = str(text)
  if longest is not None and len(line) > longest:
    half = longest // 2
    line = f"{line[:half]} … {line[-half:]}"
  return "".join(char if char.isprintable() else "?" for char in line)

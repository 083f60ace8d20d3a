"""What a user did or gave that cannot work, as opposed to a bug of ours."""

_LONGEST_MESSAGE = 600  # a hostile file must not fill the terminal


class UserError(ValueError):
  """Bad input; the message is one line: what is wrong, and the remedy.

  Commands print it and exit with code 1; nothing half-written stays behind.
  """


class FlagError(UserError):
  """A flag that cannot work; commands exit with code 2."""


class CheckpointError(UserError):
  """A checkpoint, ours or another's, that cannot be used.

  The message is one line of plain text, whatever the file is made of: names
  in it may hold line breaks or codes that steer a terminal.
  """

  def __init__(self, reason: str):
    if len(reason) > _LONGEST_MESSAGE:
      half = _LONGEST_MESSAGE // 2  # the file stands first, the reason last
      reason = f"{reason[:half]} … {reason[-half:]}"
    super().__init__(
      "".join(char if char.isprintable() else "?" for char in reason)
    )


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
  return " ".join(str(error).split())

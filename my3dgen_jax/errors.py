"""What a user did or gave that cannot work, as opposed to a bug of ours."""


class UserError(ValueError):
  """Bad input; the message is one line: what is wrong, and the remedy.

  Commands print it and exit with code 1; nothing half-written stays behind.
  """


class FlagError(UserError):
  """A flag that cannot work; commands exit with code 2."""


def one_line(error: object) -> str:
  """What a command prints of an exception: one line, the file first."""
  if isinstance(error, OSError) and error.filename is not None:
    return f"{error.filename}: {error.strerror}"
  return " ".join(str(error).split())

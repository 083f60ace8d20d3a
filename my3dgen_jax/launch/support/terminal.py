"""Keeps terminals safe from control codes in file names and messages."""

import io
import re
import sys

# Terminal control codes and characters that reverse the text direction. Only
# our own code is allowed: \x1b[K, which erases the rest of a line after \r.
_STEERING = re.compile(
  r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
  r"|\x1b(?!\[K)"
)


_replaced: list[io.TextIOWrapper] = []


class PlainText(io.TextIOWrapper):
  """A stream that replaces terminal control codes with "?".

  Characters that its encoding lacks are escaped with backslashes: a message
  must not end hours of work.
  """

  def write(self, text: str, /) -> int:
    super().write(_STEERING.sub("?", text))
    return len(text)


def guard():
  """Makes stdout and stderr `PlainText` streams; further calls do nothing."""
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    # Notebooks and tests replace the streams.
    if type(stream) is not io.TextIOWrapper:
      continue
    stream.flush()
    guarded = PlainText(
      stream.buffer,
      encoding=stream.encoding,
      errors="backslashreplace",
      line_buffering=stream.line_buffering or name == "stderr",
      write_through=stream.write_through,
    )
    # Log handlers still use it, and deleting it would close the file.
    _replaced.append(stream)
    setattr(sys, name, guarded)
    setattr(sys, f"__{name}__", guarded)

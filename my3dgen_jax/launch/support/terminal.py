"""What reaches a terminal: plain text, whatever files are called."""

import io
import re
import sys

# Codes that steer a terminal, and letters that turn text around. Ours erase
# the rest of a line: \x1b[K, after \r.
_STEERING = re.compile(
  r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
  r"|\x1b(?!\[K)"
)


_replaced: list[io.TextIOWrapper] = []


class PlainText(io.TextIOWrapper):
  """A stream that writes "?" for what could steer a terminal.

  What it has no letters for is written as Python writes it in texts: it must
  not end hours of work.
  """

  def write(self, text: str, /) -> int:
    super().write(_STEERING.sub("?", text))
    return len(text)


def guard():
  """Makes stdout and stderr streams of plain text; once is enough."""
  for name in ("stdout", "stderr"):
    stream = getattr(sys, name)
    # Notebooks and tests have streams of their own.
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
    # Handlers of logs have it; and it would close the file with itself.
    _replaced.append(stream)
    setattr(sys, name, guarded)
    setattr(sys, f"__{name}__", guarded)

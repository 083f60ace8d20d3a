"""How the end of one process is reported by the others."""

import json
from typing import Any


def said(
  process: int, code: int, message: str, signal: int | None = None
) -> bytes:
  """Encodes how a process ended, as a frame's payload."""
  return json.dumps(
    {"process": process, "code": code, "message": message, "signal": signal}
  ).encode()


def words(end: dict[str, Any], number: int) -> str:
  """The line that the other processes end with.

  Args:
    end: the content that `said` encodes.
    number: total number of processes.
  """
  return (
    f"process {end['process']} of {number} has ended: {end['message']}; "
    "start all of them again; --resume continues from what is "
    "saved"
  )

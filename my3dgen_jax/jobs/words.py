"""How the end of one process is told to people at another."""

import json
from typing import Any


def said(
  process: int, code: int, message: str, signal: int | None = None
) -> bytes:
  """How a process ended, as the payload of a frame."""
  return json.dumps(
    {"process": process, "code": code, "message": message, "signal": signal}
  ).encode()


def words(end: dict[str, Any], number: int) -> str:
  """The line that the others end with.

  Args:
    end: what `said` holds.
    number: processes in all.
  """
  return (
    f"process {end['process']} of {number} has ended: {end['message']}; "
    "all have to be started again, and --resume goes on with what is "
    "saved"
  )

"""Commands that several processes work on."""

import os
import pathlib
import socket
from collections.abc import Mapping

from tests.support.commands import Command


def free_port() -> int:
  """A port of this machine that nobody listens on."""
  with socket.socket() as one:
    one.bind(("127.0.0.1", 0))
    return one.getsockname()[1]


def start(
  folder: pathlib.Path,
  *flags: str,
  command: str = "personalize",
  environment: Mapping[str, str] | None = None,
) -> Command:
  """Starts a command of `my3dgen_jax.launch` in a folder.

  Args:
    folder: where it runs.
    *flags: of the command line.
    command: its name.
    environment: variables besides those of this process.
  """
  xla = " ".join(  # --cpu_devices says how many
    flag
    for flag in os.environ.get("XLA_FLAGS", "").split()
    if "device_count" not in flag
  )
  return Command(
    command,
    *flags,
    cwd=folder,
    environment={"XLA_FLAGS": xla, **(environment or {})},
  )


def start_all(
  folder: pathlib.Path, *flags: str, count: int = 2
) -> list[Command]:
  """Starts the processes of a job."""
  port = free_port()
  return [
    start(
      folder,
      *flags,
      f"--coordinator=127.0.0.1:{port}",
      f"--num_processes={count}",
      f"--process_id={i}",
    )
    for i in range(count)
  ]


def results(
  processes: list[Command], *, timeout: float = 240
) -> list[tuple[int, str, str]]:
  """Exit codes, and what was said on stdout and stderr.

  Raises: subprocess.TimeoutExpired; all are killed then.
  """
  found = []
  try:
    for process in processes:
      out, err = process.communicate(timeout=timeout)
      found.append((process.returncode, out, err))
  finally:
    for process in processes:
      if process.poll() is None:
        process.kill()
        process.communicate()
  return found

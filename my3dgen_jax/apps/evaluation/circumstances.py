"""How, with what and where an evaluation was run."""

import os
import pathlib
import platform
import subprocess

import jax

from my3dgen_jax._version import __version__


def header(command: str) -> list[str]:
  """The first lines of a report: command, versions, commit and machine.

  Args:
    command: the command line that ran it.
  """
  devices = jax.local_devices()
  return [
    f"`{command}`",
    f"my3dgen_jax {__version__}{_commit()}; jax {jax.__version__}; "
    f"{len(devices)} x {devices[0].device_kind}, {os.cpu_count()} cores, "
    f"{platform.machine()}.",
  ]


def _commit() -> str:
  """The commit of the source, if it is in a repository."""
  try:
    found = subprocess.run(
      ["git", "describe", "--always", "--dirty"],
      text=True,
      cwd=pathlib.Path(__file__).parent,
      capture_output=True,
      check=False,
    )
  except OSError:  # git is not installed
    return ""
  return f", commit {found.stdout.strip()}" if not found.returncode else ""

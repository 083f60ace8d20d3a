"""Lets only one command at a time work in a folder."""

import contextlib
import os
import pathlib
from collections.abc import Iterator

from my3dgen_jax.errors import UserError

_held: dict[pathlib.Path, int] = {}  # how often this process holds each


@contextlib.contextmanager
def hold(folder: str | os.PathLike) -> Iterator[None]:
  """Keeps other processes out of a folder during long writes.

  The folder itself is locked, so no file is left in it, and a process that
  dies leaves no lock. On systems without such locks, no one is kept out.

  Args:
    folder: the folder, created if missing.

  Raises: UserError: another process holds it, here or (over NFS) elsewhere;
    OSError: it cannot be created.
  """
  folder = pathlib.Path(folder).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  known = folder.resolve()
  handle = None if known in _held else _locked(known, folder)
  _held[known] = _held.get(known, 0) + 1
  try:
    yield
  finally:
    _held[known] -= 1
    if not _held[known]:
      del _held[known]
    if handle is not None:
      os.close(handle)


def check_free(folder: str | os.PathLike):
  """Raises UserError if another process holds a folder; it may be missing."""
  folder = pathlib.Path(folder).expanduser()
  known = folder.resolve()
  if folder.is_dir() and known not in _held:
    handle = _locked(known, folder)
    if handle is not None:
      os.close(handle)


def _locked(known: pathlib.Path, folder: pathlib.Path) -> int | None:
  """A handle that locks a folder until closed; None: locks do not exist."""
  try:
    import fcntl  # not on Windows
  except ImportError:
    return None
  handle = os.open(known, os.O_RDONLY)
  try:
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    os.close(handle)
    raise UserError(
      f"{folder}: another command is writing here; wait until it has ended, or "
      "name another folder by --out"
    ) from None
  except OSError:  # a file system without locks
    os.close(handle)
    return None
  return handle

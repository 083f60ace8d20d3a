"""Files that are complete or absent."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from my3dgen_jax.errors import UserError

_PREFIX, _SUFFIX = ".unfinished-", ".tmp"
_SYSTEM_FILES = (
  ".ds_store",
  "__macosx",
  "thumbs.db",
  "ehthumbs.db",
  "desktop.ini",
)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[BinaryIO]:
  """Opens a temporary file that replaces the path at the end.

  If the block fails, the path is unchanged, and nothing is left next to it. A
  kill may leave a file that `is_leftover` recognizes.

  Raises: OSError, which names the path, if the folder cannot be written or
    the disk is full.
  """
  path = pathlib.Path(path)
  handle, temporary = tempfile.mkstemp(
    dir=path.parent, prefix=_PREFIX, suffix=_SUFFIX
  )
  try:
    with os.fdopen(handle, "wb") as file:
      yield file
      # A rename may reach the disk before the bytes do.
      file.flush()
      os.fsync(file.fileno())
    # mkstemp creates files that only their owner can read.
    os.chmod(temporary, 0o666 & ~_umask())
    os.replace(temporary, path)
  except BaseException as error:
    os.unlink(temporary)
    if isinstance(error, OSError) and error.filename is None:
      error.filename = str(path)  # errors of a full disk name no file
    raise


def is_leftover(path: str | os.PathLike) -> bool:
  """Whether a file was left by a killed `replacing`."""
  name = pathlib.Path(path).name
  return name.startswith(_PREFIX) and name.endswith(_SUFFIX)


def is_system_file(name: str) -> bool:
  """Whether operating systems put such a file in folders they display.

  Args:
    name: name of a file or folder, e.g. `.DS_Store`, `._a.jpg`, `Thumbs.db`.
  """
  return name.startswith("._") or name.lower() in _SYSTEM_FILES


def holds_nothing(folder: str | os.PathLike) -> bool:
  """Whether a folder is empty, except for leftovers and system files.

  Raises: OSError: it is missing, or cannot be read.
  """
  return all(
    is_leftover(path) or is_system_file(path.name)
    for path in pathlib.Path(folder).iterdir()
  )


def make_writable(folder: str | os.PathLike, remedy: str) -> pathlib.Path:
  """Creates a folder if it is missing, and tries to write in it.

  For results that are written after hours of work.

  Args:
    folder: the folder; "~" is the user's home.
    remedy: end of the message, e.g. "name another folder by --out".

  Raises: UserError: names the folder.
  """
  folder = pathlib.Path(folder).expanduser()
  try:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
      pass
  except OSError as error:
    raise UserError(
      f"{folder}: cannot be written: {error.strerror}; {remedy}"
    ) from None
  return folder


def check_folder_of(path: str | os.PathLike):
  """Checks that a file's folder exists and can be written.

  Raises: UserError: names the folder.
  """
  folder = pathlib.Path(path).parent
  if not folder.is_dir():
    raise UserError(f"{folder}: there is no such folder")
  if not os.access(folder, os.W_OK):
    raise UserError(f"{folder}: the folder cannot be written")


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask

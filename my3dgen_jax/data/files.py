"""Files that are whole or absent."""

import contextlib
import os
import pathlib
import tempfile
from typing import BinaryIO, Iterator, Union


@contextlib.contextmanager
def replacing(path: Union[str, os.PathLike]) -> Iterator[BinaryIO]:
  """Opens a temporary file that takes the path's place at the end.

  If the block fails, the path is as it was, and nothing is left beside it.

  Raises: OSError if the folder cannot be written.
  """
  path = pathlib.Path(path)
  handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
  try:
    with os.fdopen(handle, "wb") as file:
      yield file
    # mkstemp makes files that nobody else can read.
    os.chmod(temporary, 0o666 & ~_umask())
    os.replace(temporary, path)
  except BaseException:
    os.unlink(temporary)
    raise


def _umask() -> int:
  mask = os.umask(0)
  os.umask(mask)
  return mask

"""`.npy` and `.npz` files that anybody may have written."""

import os
import pathlib
import zipfile
from typing import BinaryIO

import numpy as np

from my3dgen_jax.errors import CheckpointError

MOST_BYTES = 2**28  # of all arrays of a file; latents have some kilobytes

_ZIP_START, _NPY_START = b"PK", b"\x93NUMPY"


def read_npz(
  path: str | os.PathLike, *, most_bytes: int = MOST_BYTES
) -> dict[str, np.ndarray]:
  """All arrays of a file.

  Args:
    path: of the file.
    most_bytes: that the arrays may have together.

  Raises: CheckpointError: names it; it is missing or damaged, too large, or
    holds Python objects.
  """
  try:
    # Opening a named pipe would wait for ever.
    if pathlib.Path(path).exists() and not pathlib.Path(path).is_file():
      raise CheckpointError("is no ordinary file")
    with open(path, "rb") as file:
      found = read(file, most_bytes=most_bytes)
    if isinstance(found, np.ndarray):
      raise CheckpointError("is damaged, or no .npz file")
  except FileNotFoundError:
    raise CheckpointError(f"{path}: missing") from None
  except OSError as error:
    raise CheckpointError(f"{path}: {error.strerror}") from None
  except CheckpointError as error:
    raise CheckpointError(f"{path}: {error}") from None
  return found


def read(
  file: BinaryIO, *, most_bytes: int = MOST_BYTES
) -> np.ndarray | dict[str, np.ndarray]:
  """The array of a `.npy` file, or all of an `.npz` by name.

  Sizes are looked at before anything is unpacked.

  Args:
    file: open, at its start; can be searched.
    most_bytes: see `read_npz`.

  Raises: CheckpointError: as `read_npz`, without a name.
  """
  kind = ".npy"
  try:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(len(_NPY_START))
    if start.startswith(_ZIP_START):
      kind = ".npz"
      with zipfile.ZipFile(file) as archive:
        size = max(size, sum(entry.file_size for entry in archive.infolist()))
    if size > most_bytes:
      raise CheckpointError(
        f"holds {size / 1e6:.0f} MB, expected {most_bytes / 1e6:.0f} MB at most"
      )
    # NumPy takes anything else for a pickle.
    if kind == ".npy" and start != _NPY_START:
      raise CheckpointError("is damaged, or no .npy or .npz file")
    file.seek(0)
    found = np.load(file, allow_pickle=False)
    if isinstance(found, np.ndarray):
      return found
    with found:
      return {name: found[name] for name in found.files}
  except CheckpointError:
    raise
  # NumPy and zipfile raise a good dozen types for damaged files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    if "allow_pickle" in str(error):
      raise CheckpointError(
        "holds Python objects, which may run code; save numbers alone"
      ) from None
    raise CheckpointError(f"is damaged, or no {kind} file") from None

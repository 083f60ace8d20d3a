"""Untrusted `.npy` and `.npz` files."""

import os
import pathlib
import zipfile
from typing import BinaryIO

import numpy as np

from my3dgen_jax.errors import CheckpointError

MOST_BYTES = 2**28  # limit for a file's arrays; latents take some kilobytes

_ZIP_START, _NPY_START = b"PK", b"\x93NUMPY"


def read_npz(
  path: str | os.PathLike, *, most_bytes: int = MOST_BYTES
) -> dict[str, np.ndarray]:
  """Reads all arrays of a file.

  Args:
    path: path of the file.
    most_bytes: limit for the arrays' total size, bytes.

  Raises: CheckpointError: the file is missing or damaged, too large, or holds
    Python objects; it names the file.
  """
  try:
    # Opening a named pipe would block forever.
    if pathlib.Path(path).exists() and not pathlib.Path(path).is_file():
      raise CheckpointError("is not a regular file")
    with open(path, "rb") as file:
      found = read(file, most_bytes=most_bytes)
    if isinstance(found, np.ndarray):
      raise CheckpointError("is damaged, or not a .npz file")
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
  """The array of a `.npy` file, or all arrays of an `.npz` by name.

  Sizes are checked before anything is unpacked.

  Args:
    file: an open, seekable file, at its start.
    most_bytes: see `read_npz`.

  Raises: CheckpointError: as `read_npz`, without a file name.
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
    # NumPy would treat anything else as a pickle.
    if kind == ".npy" and start != _NPY_START:
      raise CheckpointError("is damaged, or not a .npy or .npz file")
    file.seek(0)
    found = np.load(file, allow_pickle=False)
    if isinstance(found, np.ndarray):
      return found
    with found:
      return {name: found[name] for name in found.files}
  except CheckpointError:
    raise
  # NumPy and zipfile raise a dozen types of errors for damaged files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    if "allow_pickle" in str(error):
      raise CheckpointError(
        "holds Python objects, which may run code; save only numbers"
      ) from None
    raise CheckpointError(f"is damaged, or not a {kind} file") from None

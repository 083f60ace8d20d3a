"""Latents of photos in the files that projectors write.

    NAME_latent.npy, NAME_projected_w.npz    next to the photo NAME.png

A `.npz` holds the array as `ws`, `w`, `latent`, or as its only array.
"""

import pathlib
import shlex
from typing import BinaryIO

import numpy as np

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage import array_files

SUFFIXES = (
  "_latent.npy",
  "_latent.npz",
  "_projected_w.npz",
  "_projected_w.npy",
)
TORCH_SUFFIXES = ("_latent.pt", "_latent.pth", "_projected_w.pt")

_NAMES = ("ws", "w", "latent", "w_plus")


def read(file: BinaryIO) -> np.ndarray:
  """Reads the array of a projector's file.

  Args:
    file: an open file, at its start.

  Raises: CheckpointError: it is damaged, or holds several arrays and none of
    these names; without the file's name.
  """
  return choose(array_files.read(file))


def choose(found: np.ndarray | dict[str, np.ndarray]) -> np.ndarray:
  """The latent among a file's arrays; raises CheckpointError."""
  if isinstance(found, np.ndarray):
    return found
  for name in _NAMES:
    if name in found:
      return found[name]
  if len(found) == 1:
    return next(iter(found.values()))
  raise CheckpointError(
    f"contains no latent: expected an array {', '.join(_NAMES)}, got "
    + (", ".join(sorted(found)[:6]) or "none")
  )


def convert_hint(path: str) -> str:
  """How to convert a latent of PyTorch."""
  source = pathlib.PurePath(path)
  target = source.with_suffix(".npy")
  return (
    f"{path}: is a PyTorch file; convert it: python converters/"
    f"latent_to_npy.py --input {shlex.quote(str(source))} --output "
    f"{shlex.quote(str(target))}"
  )

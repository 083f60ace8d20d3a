r"""Converts a photo's latent from PyTorch to a `.npy` file.

  python converters/latent_to_npy.py --input 0.pt --output photo_latent.npy

Reads a file of torch.save, or a pickle, with one tensor, such as the w of a
photo from PTI's or EG3D's projectors, without PyTorch and without running code
from the file. The shape is [w_dim], [1, w_dim], [num_ws, w_dim] or [1, num_ws,
w_dim]; the output is float32. If the file has several tensors, --key selects
one. In an album, NAME_latent.npy beside a photo is the photo's anchor.
"""

import os
import sys
from collections.abc import Callable

if not __package__:
  # Run as a script: the packages are beside this folder, and conversion needs
  # no accelerator.
  sys.path.insert(
    0, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
  )
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  import converters  # noqa: F401 (says what is missing)

# pylint: disable=wrong-import-position
import numpy as np

from converters import one_tensor
from converters.errors import describe_shape
from my3dgen_jax.errors import CheckpointError


def convert(
  input_path: str,
  output: str,
  *,
  key: str | None = None,
  overwrite: bool = False,
  log: Callable[[str], None] = print,
):
  """Converts a latent, see `one_tensor.convert`."""
  one_tensor.convert(
    input_path,
    output,
    _checked,
    title="a latent",
    key=key,
    overwrite=overwrite,
    log=log,
  )


def _checked(array: np.ndarray) -> np.ndarray:
  """A latent without changes; its album determines the generator."""
  with np.errstate(over="ignore"):  # becomes infinity, refused here
    ws = array.astype(np.float32)
  if not 1 <= ws.ndim <= 3 or ws.size == 0 or not np.isfinite(ws).all():
    raise CheckpointError(
      f"has the shape {describe_shape(ws.shape)}; expected a latent of finite "
      "numbers, [w_dim] to [1, num_ws, w_dim]"
    )
  return ws


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  return one_tensor.run(argv, __doc__, convert)


if __name__ == "__main__":
  sys.exit(main(sys.argv))

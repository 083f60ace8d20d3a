r"""Converts a direction in W from PyTorch to a `.npy` file.

  python converters/direction_to_npy.py --input age.pt --output age.npy

Reads a file of torch.save, or a pickle, with one tensor, such as MyStyle's and
PTI's directions, without PyTorch and without running code from the file. The
shape is [w_dim], [1, w_dim], [num_ws, w_dim] or [1, num_ws, w_dim], the dtype
any; the output is float32, of unit length. If the file has several tensors,
--key selects one.
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
from converters import one_tensor
from my3dgen_jax import directions


def convert(
  input_path: str,
  output: str,
  *,
  key: str | None = None,
  overwrite: bool = False,
  log: Callable[[str], None] = print,
):
  """Converts a direction, see `one_tensor.convert`."""
  one_tensor.convert(
    input_path,
    output,
    directions.check_vector,
    title="a direction",
    key=key,
    overwrite=overwrite,
    log=log,
  )


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  return one_tensor.run(argv, __doc__, convert)


if __name__ == "__main__":
  sys.exit(main(sys.argv))

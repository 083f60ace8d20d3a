r"""Converts a photo's latent from PyTorch to a `.npy` file.

  python converters/latent_to_npy.py --input 0.pt --output photo_latent.npy

Reads a file of torch.save, or a pickle, that holds one tensor, as PTI and
EG3D's projectors keep the w of a photo, with neither PyTorch nor any code of
the file. The shapes are [w_dim], [1, w_dim], [num_ws, w_dim] or [1, num_ws,
w_dim]; what is written is float32. Of a table of several tensors, --key says
which. Beside the photo of an album, NAME_latent.npy is its anchor.
"""

import os
import sys
from collections.abc import Callable

if not __package__:
  # Run as a script: the packages lie beside this folder, and a copy needs no
  # accelerator.
  sys.path.insert(
    0, os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
  )
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  import converters  # noqa: F401 (says what is missing)

# pylint: disable=wrong-import-position
import numpy as np

from converters import direction_to_npy, torch_reader
from converters.errors import describe_shape, naming, read_file
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage.files import replacing


def convert(
  input_path: str,
  output: str,
  *,
  key: str | None = None,
  overwrite: bool = False,
  log: Callable[[str], None] = print,
):
  """Converts a file, all of it or nothing.

  Args:
    input_path: of PyTorch.
    output: the file to create, `.npy`.
    key: which tensor of a table; None: there is but one.
    overwrite: replace a file that exists.
    log: called with each line of progress.

  Raises:
    CheckpointError: one line that names the file, the reason and, where
      there is one, the remedy.
  """
  direction_to_npy.check_output(output, input_path, overwrite)
  data = read_file(input_path)
  with naming(input_path):
    tensor = direction_to_npy.find_tensor(torch_reader.loads(data), key)
    # Also what NumPy has no sums for, e.g. bfloat16.
    ws = tensor.numpy().astype(np.float64).astype(np.float32)
    if not 1 <= ws.ndim <= 3 or ws.size == 0 or not np.isfinite(ws).all():
      raise CheckpointError(
        f"holds {describe_shape(ws.shape)}, expected a latent of finite "
        "numbers, [w_dim] to [1, num_ws, w_dim]"
      )
  with naming(output):
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    with replacing(output) as file:
      np.save(file, ws, allow_pickle=False)
  log(f"wrote {output}: a latent of shape {describe_shape(ws.shape)}")


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  return direction_to_npy.run(argv, __doc__, convert)


if __name__ == "__main__":
  sys.exit(main(sys.argv))

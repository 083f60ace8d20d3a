"""Converts a generator folder to a PyTorch state dict.

  python converters/flax_to_torch.py --input checkpoints/ffhq --output ffhq.pth

Names and layouts are EG3D's: its TriPlaneGenerator, constructed with the
settings in the folder's config.json, loads the file with load_state_dict.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

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
from absl import flags

from converters import cli, names, torch_writer
from converters.errors import naming
from my3dgen_jax.config import GeneratorConfig
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.models import checkpoint
from my3dgen_jax.storage.files import replacing


def convert(
  folder: str,
  output: str,
  *,
  overwrite: bool = False,
  log: Callable[[str], None] = print,
):
  """Writes a generator folder as a `.pth` file, all of it or nothing.

  Args:
    folder: a generator folder, from torch_to_flax.py or `save_generator`.
    output: the file to create.
    overwrite: whether to replace an existing file.
    log: called with each line of progress.

  Raises:
    UserError: one line that names the file and the reason.
  """
  with naming(output):
    if os.path.isdir(output):
      raise CheckpointError("is a folder (give a file name)")
    if os.path.lexists(output) and not overwrite:
      raise CheckpointError("exists already (--overwrite replaces it)")
  generator, variables = checkpoint.load_generator(folder)
  tensors = state_dict(generator.config, variables)
  with naming(output):
    _write(output, tensors)
  log(
    f"wrote {output}: {len(tensors)} tensors, "
    f"{sum(array.size for array in tensors.values()):,} numbers. "
    f"{cli.LICENCE_NOTE}"
  )


def state_dict(
  config: GeneratorConfig, variables: Any
) -> dict[str, np.ndarray]:
  """The variables under EG3D's names, in torch's layout, including filters.

  Args:
    config: the generator's config.
    variables: {"params": …, "buffers": …}.

  Returns: name → float32 array.
  """
  tensors = {
    names.torch_name(place): names.to_torch(place, np.asarray(leaf))
    for place, leaf in names.flatten(variables).items()
  }
  for name in names.own_filter_names(tensors, config.superresolution.module):
    tensors[name] = names.RESAMPLE_FILTER
  return {
    name: tensors[name] for name in sorted(tensors, key=names.natural_order)
  }


def _write(output: str, tensors: dict[str, np.ndarray]):
  os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
  with replacing(output) as file:
    torch_writer.write_state_dict(file, tensors)


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string(
    "input", None, "Generator folder to read.", flag_values=values
  )
  flags.DEFINE_string(
    "output", None, "File to create (.pth).", flag_values=values
  )
  flags.DEFINE_bool(
    "overwrite", False, "Replace an existing file.", flag_values=values
  )
  return cli.run(
    argv,
    values,
    about=__doc__,
    required=("input", "output"),
    work=lambda: convert(
      values.input, values.output, overwrite=values.overwrite
    ),
  )


if __name__ == "__main__":
  sys.exit(main(sys.argv))

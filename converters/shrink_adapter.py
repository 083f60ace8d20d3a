r"""Converts an adapter to a dtype of fewer bits, or back to float32.

  python converters/shrink_adapter.py --input obama.safetensors \
      --output obama.int4.safetensors --adapter_dtype int4

Sizes at rank 1, for FFHQ's generator: float32 0.98 MB, float16 0.50, int8 0.23,
int4 0.12. With --basis (from fit_basis.py), the file has coefficients of
directions that many people share, and needs the basis beside it. The input can
have any dtype, and can need a basis; with --adapter_dtype float32, the output
needs nothing else, and all versions of my3dgen_jax read it.
"""

import fnmatch
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
from absl import flags
from flax.traverse_util import flatten_dict

from converters import cli
from converters.errors import naming
from my3dgen_jax import lora
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.lora import files, packed_files, quantization, shared_basis

SUFFIX = ".safetensors"
# Metadata about a file's own numbers, which differ in the output.
_OF_NUMBERS = ("format", packed_files.DTYPE, shared_basis.DIGEST)


def convert(
  input_path: str,
  output: str,
  *,
  dtype: str = "int8",
  basis: str | None = None,
  overwrite: bool = False,
  log: Callable[[str], None] = print,
):
  """Converts an adapter, all of it or nothing.

  Args:
    input_path: an adapter file of any dtype.
    output: the file to create.
    dtype: one of `lora.files.DTYPES`.
    basis: file of a shared basis; an input that needs one looks for it there,
      too.
    overwrite: whether to replace an existing file.
    log: called with a line about the output's size and error.

  Raises: UserError: one line that names the file and the reason.
  """
  inputs = [input_path, *([basis] if basis else [])]
  cli.check_new_file(output, inputs, SUFFIX, overwrite)
  if fnmatch.fnmatch(output, shared_basis.PATTERN):
    raise CheckpointError(
      f"{output}: names like {shared_basis.PATTERN} are for shared bases "
      "(choose another --output)"
    )
  found = lora.load(input_path, places=[basis] if basis else [])
  shared = None
  if basis and dtype in quantization.DTYPES:
    shared = shared_basis.read(basis)
    theirs = found.metadata.get(lora.BASE_DIGEST)
    if shared.base and theirs and shared.base != theirs:
      raise CheckpointError(
        f"{basis}: was fitted to adapters of the base {shared.base[:12]}…, but "
        f"{input_path} is for {theirs[:12]}…; fit a basis to adapters of that "
        "base"
      )
  with naming(output):
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
  lora.save(
    output,
    found.lora,
    found.config,
    metadata={
      name: text
      for name, text in found.metadata.items()
      if name not in _OF_NUMBERS
    },
    dtype=dtype,
    basis=shared,
  )
  written = lora.load(output, places=[basis] if basis else [])
  log(
    f"wrote {output}: {os.path.getsize(output)} bytes, before "
    f"{os.path.getsize(input_path)}; relative error of the weight changes "
    f"{100 * relative_error(found.lora, written.lora):.2f} %"
  )


def relative_error(first: object, second: object) -> float:
  """As `quantization.relative_error`, for nested collections."""
  flat = [flatten_dict(tree) for tree in (first, second)]
  return quantization.relative_error(*flat)


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string("input", None, "Adapter to read.", flag_values=values)
  flags.DEFINE_string(
    "output", None, "File to create (.safetensors).", flag_values=values
  )
  flags.DEFINE_enum(
    "adapter_dtype",
    "int8",
    files.DTYPES,
    "Dtype of the numbers in the output.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "basis",
    None,
    "File of a shared basis; only its coefficients are written.",
    flag_values=values,
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
      values.input,
      values.output,
      dtype=values.adapter_dtype,
      basis=values.basis,
      overwrite=values.overwrite,
    ),
  )


if __name__ == "__main__":
  sys.exit(main(sys.argv))

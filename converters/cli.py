"""Command-line code shared by the converters."""

import os
import sys
from collections.abc import Callable, Sequence

from absl import flags

from converters.errors import naming
from my3dgen_jax.errors import CheckpointError, one_line, UserError
from my3dgen_jax.launch.support.help import of_converter

LICENCE_NOTE = (
  "NVIDIA's checkpoints, and everything made from them, are for "
  "non-commercial use only."
)


def new_flags() -> flags.FlagValues:
  """Flags of one command; absl's global ones would clash between two."""
  values = flags.FlagValues()
  flags.DEFINE_bool("help", False, "Show this help.", flag_values=values)
  return values


def run(
  argv: Sequence[str],
  values: flags.FlagValues,
  *,
  about: str,
  required: Sequence[str],
  work: Callable[[], None],
) -> int:
  """Parses the command line and runs a converter; errors become one line.

  Args:
    argv: the command and its arguments.
    values: the command's flags, not parsed yet.
    about: text that --help shows above the flags.
    required: names of the flags that must be given.
    work: function that reads `values`; raises UserError or OSError on bad input.

  Returns: the exit code.
  """
  try:
    rest = values(list(argv))[1:]
    if values["help"].value:
      print(of_converter(about, values))
      return 0
    if rest:
      raise CheckpointError(
        f"unexpected argument {rest[0]!r} (settings are given as --FLAG=VALUE, "
        "see --help)"
      )
    for name in required:
      if not values[name].value:
        raise CheckpointError(f"--{name} is missing (see --help)")
    work()
  except (flags.Error, UserError, OSError) as error:
    print(f"error: {one_line(error)}", file=sys.stderr)
    return 1
  return 0


def check_output(
  check_writable: Callable[..., None], output: str, overwrite: bool
):
  """Refuses an existing output; the message names the flag that replaces it.

  Args:
    check_writable: function that is called with the output and `overwrite`.
    output: the output folder.
    overwrite: whether the output may exist.

  Raises: CheckpointError.
  """
  try:
    check_writable(output, overwrite=overwrite)
  except FileExistsError as error:
    raise CheckpointError(
      f"{output}: {error.strerror} (--overwrite replaces it)"
    ) from None


def check_new_file(
  output: str, inputs: Sequence[str], suffix: str, overwrite: bool
):
  """Checks an output file before any work is done.

  Args:
    output: the output file.
    inputs: the input files, which must not be the output.
    suffix: the required suffix of its name.
    overwrite: whether the output may exist.

  Raises: CheckpointError.
  """
  with naming(output):
    if not output.endswith(suffix):
      raise CheckpointError(
        f"expected a name that ends in {suffix} (choose another --output)"
      )
    if os.path.isdir(output):
      raise CheckpointError("is a folder (give a file name)")
    if os.path.realpath(output) in map(os.path.realpath, inputs):
      which = "the input" if len(inputs) == 1 else "one of the inputs"
      raise CheckpointError(f"is {which} (choose another --output)")
    if os.path.lexists(output) and not overwrite:
      raise CheckpointError("exists already (--overwrite replaces it)")

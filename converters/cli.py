"""What the converters' command lines have in common."""

import sys
from collections.abc import Callable, Sequence

from absl import flags

from my3dgen_jax.errors import CheckpointError, one_line, UserError

LICENCE_NOTE = (
  "NVIDIA's checkpoints, and what is made from them, are for "
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
  """Parses the command line and works; an error becomes one line.

  Args:
    argv: the command and its arguments.
    values: the command's flags, not parsed yet.
    about: shown above the flags by --help.
    required: flags that have no default.
    work: reads `values`; raises UserError or OSError on bad input.

  Returns: the exit code.
  """
  try:
    rest = values(list(argv))[1:]
    if values["help"].value:
      print(f"{about}\n{values.get_help()}")
      return 0
    if rest:
      raise CheckpointError(f"unexpected argument {rest[0]!r} (see --help)")
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
  """Refuses an output that exists, with the flag that would replace it.

  Args:
    check_writable: called with the output and `overwrite`.
    output: a folder.
    overwrite: it may exist.

  Raises: CheckpointError.
  """
  try:
    check_writable(output, overwrite=overwrite)
  except FileExistsError as error:
    raise CheckpointError(
      f"{output}: {error.strerror} (--overwrite replaces it)"
    ) from None

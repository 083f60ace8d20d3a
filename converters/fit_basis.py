r"""Fits a basis to many people's adapters, for files of coefficients.

  python converters/fit_basis.py --input runs/ann,runs/bob,more_runs \
      --rank 32 --output people.basis.safetensors
  python converters/shrink_adapter.py --input runs/eve/adapter.safetensors \
      --output eve.safetensors --adapter_dtype int4 \
      --basis people.basis.safetensors

--input takes adapters, runs, and folders of either. In each layer, the basis
has the --rank directions of A that the people use most. Reading a file of
coefficients needs the basis in its folder or in the generator's. The last line
printed tells what share of these people's changes the basis captures; for a new
person it is lower, and shrink_adapter.py prints it.
"""

import os
import pathlib
import sys
from collections.abc import Callable, Sequence

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

from converters import cli
from converters.errors import naming
from converters.shrink_adapter import SUFFIX
from my3dgen_jax import lora
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.lora import shared_basis
from my3dgen_jax.training.run_folder import ADAPTER_FILE


def convert(
  inputs: Sequence[str],
  output: str,
  *,
  rank: int,
  rank_b: int = 0,
  overwrite: bool = False,
  log: Callable[[str], None] = print,
):
  """Fits a basis and writes it, all of it or nothing.

  Args:
    inputs: adapter files, runs, and folders of either.
    output: the file to create; its name ends in .basis.safetensors.
    rank: number of directions of A, see `shared_basis.fit`.
    rank_b: number of directions of B, see `shared_basis.fit`.
    overwrite: whether to replace an existing file.
    log: called with a line about its size and the share that it captures.

  Raises: UserError: one line that names the file and the reason.
  """
  paths = [path for place in inputs for path in adapters_in(place)]
  cli.check_new_file(output, paths, SUFFIX, overwrite)
  if not pathlib.Path(output).match(shared_basis.PATTERN):
    raise CheckpointError(
      f"{output}: expected a name like {shared_basis.PATTERN}, which readers "
      "look for (choose another --output)"
    )
  people = [lora.load(path) for path in paths]
  bases = [one.metadata.get(lora.BASE_DIGEST, "") for one in people]
  for path, base in zip(paths, bases):
    if base != bases[0]:
      raise CheckpointError(
        f"{path}: is for the base {base[:12]}…, but {paths[0]} is for "
        f"{bases[0][:12]}…; give adapters of one base only"
      )
  basis = shared_basis.fit(
    [one.lora for one in people], rank=rank, rank_b=rank_b, base=bases[0]
  )
  with naming(output):
    os.makedirs(os.path.dirname(os.path.abspath(output)), exist_ok=True)
    shared_basis.write(output, basis)
  held = [shared_basis.captured(basis, one.lora) for one in people]
  log(
    f"wrote {output}: {os.path.getsize(output)} bytes, from {len(people)} "
    f"people; it captures {100 * sum(held) / len(held):.1f} % of their pairs' "
    "changes"
  )


def adapters_in(place: str) -> list[str]:
  """The adapter files at a place; raises CheckpointError if there are none."""
  path = pathlib.Path(place).expanduser()
  if not path.is_dir():
    return [str(path)]
  for pattern in (ADAPTER_FILE, f"*/{ADAPTER_FILE}", "*.safetensors"):
    found = sorted(
      one for one in path.glob(pattern) if not one.match(shared_basis.PATTERN)
    )
    if found:
      return list(map(str, found))
  raise CheckpointError(
    f"{place}: has no adapters; give .safetensors files, runs, or folders of "
    "either"
  )


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_list(
    "input",
    None,
    "Adapters, runs, and folders of either, separated by commas.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "output", None, "File to create (*.basis.safetensors).", flag_values=values
  )
  flags.DEFINE_integer(
    "rank",
    32,
    "Number of directions of A in each layer, >= 1.",
    lower_bound=1,
    flag_values=values,
  )
  flags.DEFINE_integer(
    "rank_b",
    0,
    "Number of directions of B in each layer, >= 0; 0: each person keeps their "
    "own B.",
    lower_bound=0,
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
      rank=values.rank,
      rank_b=values.rank_b,
      overwrite=values.overwrite,
    ),
  )


if __name__ == "__main__":
  sys.exit(main(sys.argv))

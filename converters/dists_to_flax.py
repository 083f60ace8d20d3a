r"""Converts DISTS from PyTorch files to a folder of this project.

  python converters/dists_to_flax.py --backbone_file vgg16-397923af.pth \
      --weight_file weights.pt --output checkpoints/dists

Reads torchvision's VGG-16 and the DISTS authors' weights alpha and beta,
without PyTorch and without running code from the files.
"""

import functools
import hashlib
import os
import sys
from collections.abc import Callable, Mapping

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

from converters import cli, lpips_to_flax, names, torch_reader
from converters.errors import naming, read_file
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.losses import dists
from my3dgen_jax.losses.backbones import NETWORKS

_Log = Callable[[str], None]
_Expected = Mapping[str, tuple[names.FlaxPath, tuple[int, ...]]]


def convert(
  backbone_file: str,
  weight_file: str,
  output: str,
  *,
  overwrite: bool = False,
  log: _Log = print,
):
  """Converts two files into a folder, all of it or nothing.

  Args:
    backbone_file: torchvision's state dict of the whole classifier.
    weight_file: the authors' alpha and beta.
    output: the folder to create.
    overwrite: whether to replace the weights in an existing folder.
    log: called with each line of progress.

  Raises:
    CheckpointError: one line that names the file, the reason and, if there is
      one, the remedy.
  """
  cli.check_output(dists.check_writable, output, overwrite)
  leaves: dict[names.FlaxPath, np.ndarray] = {}
  source = {}
  # The small file first: it is read sooner, and may be the wrong one.
  for part, path, title in (
    ("weights", weight_file, "DISTS"),
    ("backbone", backbone_file, NETWORKS[dists.BACKBONE].title),
  ):
    data = read_file(path)
    with naming(path):
      tensors = torch_reader.state_dict(torch_reader.loads(data))
      found = lpips_to_flax.fill(expected_tensors(part), tensors, title)
      if part == "weights":
        _check_weights(found)
    leaves.update(found)
    source[part] = {
      "file": os.path.basename(path),
      "sha256": hashlib.sha256(data).hexdigest(),
      "format": torch_reader.format_name(data),
    }
  variables = {"params": names.unflatten(leaves)["params"]}
  dists.save_dists(output, variables, source=source, overwrite=overwrite)
  log(
    f"{output}: DISTS on {NETWORKS[dists.BACKBONE].title}, "
    f"{sum(leaf.size for leaf in leaves.values()):,} numbers"
  )


@functools.cache
def expected_tensors(part: str) -> _Expected:
  """Torch name → place in Flax and torch's shape, for one of the files.

  Args:
    part: "backbone" or "weights".
  """
  if part == "backbone":
    return lpips_to_flax.expected_tensors(dists.BACKBONE, part)
  return {
    name: (names.FlaxPath("params", (name,)), (1, sum(dists.CHANNELS), 1, 1))
    for name in ("alpha", "beta")
  }


def _check_weights(leaves: Mapping[names.FlaxPath, np.ndarray]):
  """Refuses weights that do not allow a weighted mean."""
  if min(leaf.min() for leaf in leaves.values()) < 0 or not any(
    leaf.any() for leaf in leaves.values()
  ):
    raise CheckpointError(
      "alpha and beta: expected numbers >= 0, not all of them 0; is this "
      "DISTS's weights.pt?"
    )


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string(
    "backbone_file",
    None,
    "State dict of torchvision's VGG-16, such as vgg16-397923af.pth.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "weight_file",
    None,
    "Weights of DISTS: DISTS_pytorch/weights.pt of dingkeyan93/DISTS.",
    flag_values=values,
  )
  flags.DEFINE_string("output", None, "Folder to create.", flag_values=values)
  flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace the weights of an existing folder.",
    flag_values=values,
  )

  def work():
    convert(
      values.backbone_file,
      values.weight_file,
      values.output,
      overwrite=values.overwrite,
    )

  return cli.run(
    argv,
    values,
    about=__doc__,
    required=("backbone_file", "weight_file", "output"),
    work=work,
  )


if __name__ == "__main__":
  sys.exit(main(sys.argv))

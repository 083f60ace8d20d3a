r"""Converts LPIPS from PyTorch files to a folder of this project.

  python converters/lpips_to_flax.py \
      --backbone_file alexnet-owt-7be5be79.pth --linear_file alex.pth \
      --output checkpoints/lpips_alex

Reads torchvision's AlexNet, VGG-16 or SqueezeNet 1.1 and the linear weights of
LPIPS 0.1 for it, without PyTorch and without running code from the files. The
linear weights tell which of the three it is.
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

from converters import cli, names, torch_reader, torch_to_flax
from converters.errors import bare, naming, read_file, some_of
from converters.torch_reader import TensorRecord
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.losses import lpips
from my3dgen_jax.losses.backbones import NETWORKS, PUBLISHED

_CLASSIFIER = "classifier."  # layers after the features, not part of LPIPS

_Log = Callable[[str], None]
_Expected = Mapping[str, tuple[names.FlaxPath, tuple[int, ...]]]


def convert(
  backbone_file: str,
  linear_file: str,
  output: str,
  *,
  net: str | None = None,
  overwrite: bool = False,
  log: _Log = print,
) -> str:
  """Converts two files into a folder, all of it or nothing.

  Args:
    backbone_file: torchvision's state dict of the whole classifier.
    linear_file: state dict of LPIPS 0.1's linear layers.
    output: the folder to create.
    net: "alex", "vgg" or "squeeze"; None: the one that the linear layers fit.
    overwrite: whether to replace the weights in an existing folder.
    log: called with each line of progress.

  Returns: "alex", "vgg" or "squeeze".
  Raises:
    CheckpointError: one line that names the file, the reason and, if there is
      one, the remedy.
  """
  cli.check_output(lpips.check_writable, output, overwrite)
  leaves: dict[names.FlaxPath, np.ndarray] = {}
  source = {}
  # The small file first: it tells the network.
  for part, path in (("linear", linear_file), ("backbone", backbone_file)):
    data = read_file(path)
    with naming(path):
      tensors = torch_reader.state_dict(torch_reader.loads(data))
      if part == "linear":
        net = net or fitting_net(tensors)
      leaves.update(
        fill(expected_tensors(net, part), tensors, NETWORKS[net].title)
      )
    source[part] = {
      "file": os.path.basename(path),
      "sha256": hashlib.sha256(data).hexdigest(),
      "format": torch_reader.format_name(data),
    }
  variables = {"params": names.unflatten(leaves)["params"]}
  lpips.save_lpips(output, net, variables, source=source, overwrite=overwrite)
  log(
    f"{output}: LPIPS 0.1 on {NETWORKS[net].title}, "
    f"{sum(leaf.size for leaf in leaves.values()):,} numbers"
  )
  return net


@functools.cache
def expected_tensors(net: str, part: str) -> _Expected:
  """Torch name → place in Flax and torch's shape, for one of the files.

  Args:
    net: "alex", "vgg" or "squeeze".
    part: "backbone" or "linear".
  """
  expected = {}
  for place, leaf in names.flatten(
    {**lpips.abstract_variables(net), "buffers": {}}
  ).items():
    scope, *_ = place.path
    if (scope == "network") != (part == "backbone"):
      continue
    if part == "backbone":
      name = names.torch_name(place).replace("network.layer", "features.")
      expected[name] = place, names.torch_shape(place, leaf.shape)
    else:
      expected[f"{scope}.model.1.weight"] = place, (1, *leaf.shape, 1, 1)
  return expected


def fitting_net(tensors: Mapping[str, TensorRecord]) -> str:
  """The network whose linear layers these are.

  Raises:
    CheckpointError: they fit no network.
  """
  shapes = {name: tensor.shape for name, tensor in tensors.items()}
  for net in PUBLISHED:
    expected = expected_tensors(net, "linear")
    if shapes == {name: shape for name, (_, shape) in expected.items()}:
      return net
  raise CheckpointError(
    "does not contain the linear weights of LPIPS 0.1 for "
    f"{', '.join(PUBLISHED)}; it has {some_of(map(bare, tensors))}"
  )


def fill(
  expected: _Expected, tensors: Mapping[str, TensorRecord], title: str
) -> dict[names.FlaxPath, np.ndarray]:
  """All parameters that a file should have; every tensor is used.

  Args:
    expected: places and shapes by torch name, see `expected_tensors`.
    tensors: the file's tensors; those of a classifier are ignored.
    title: the network's name, for messages.

  Raises:
    CheckpointError: tensors are missing, extra, of the wrong shape or dtype, or
      not finite.
  """
  tensors = {
    name: tensor
    for name, tensor in tensors.items()
    if not name.startswith(_CLASSIFIER)
  }
  torch_to_flax.check_fit(
    title, {name: shape for name, (_, shape) in expected.items()}, tensors
  )
  leaves = {}
  for name, (place, _) in expected.items():
    array = torch_to_flax.read_floats(name, tensors[name])
    if place.path[0] != "network":
      array = array.reshape(-1)
    leaves[place] = np.asarray(names.to_flax(place, array), order="C")
  return leaves


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string(
    "backbone_file",
    None,
    "State dict of torchvision's classifier, such as alexnet-owt-7be5be79.pth.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "linear_file",
    None,
    "Linear weights: lpips/weights/v0.1/NET.pth of "
    "richzhang/PerceptualSimilarity.",
    flag_values=values,
  )
  flags.DEFINE_string("output", None, "Folder to create.", flag_values=values)
  flags.DEFINE_enum(
    "net",
    None,
    list(PUBLISHED),
    "Network in the files; default: recognized by the linear weights.",
    flag_values=values,
  )
  flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace the weights of an existing folder.",
    flag_values=values,
  )

  def work():
    convert(
      values.backbone_file,
      values.linear_file,
      values.output,
      net=values.net,
      overwrite=values.overwrite,
    )

  return cli.run(
    argv,
    values,
    about=__doc__,
    required=("backbone_file", "linear_file", "output"),
    work=work,
  )


if __name__ == "__main__":
  sys.exit(main(sys.argv))

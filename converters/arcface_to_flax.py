r"""Converts a face recognition network from PyTorch to this project.

  python converters/arcface_to_flax.py --weight_file model_ir_se50.pth \
      --output checkpoints/ir_se50
  python converters/arcface_to_flax.py --weight_file mobilefacenet.pt \
      --output checkpoints/mobilefacenet

Reads the state dict of ArcFace's IR-SE-50 or of MobileFaceNet, without PyTorch
and without running code from the file; the tensors' names tell the network.
"""

import hashlib
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
from flax import traverse_util

from converters import cli, names, torch_reader, torch_to_flax
from converters.errors import bare, naming, read_file, some_of
from converters.names import FlaxPath
from converters.torch_reader import TensorRecord
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.losses import identity

# Torch numbers the members of a Sequential, those without weights included.
_IR_SE = {
  "input_conv": "input_layer.0",
  "input_norm": "input_layer.1",
  "input_prelu": "input_layer.2",
  "output_norm": "output_layer.0",
  "linear": "output_layer.3",
  "features_norm": "output_layer.4",
}
_IR_SE_UNIT = {
  "shortcut_conv": "shortcut_layer.0",
  "shortcut_norm": "shortcut_layer.1",
  "norm1": "res_layer.0",
  "conv1": "res_layer.1",
  "prelu": "res_layer.2",
  "conv2": "res_layer.3",
  "norm2": "res_layer.4",
  "squeeze": "res_layer.5.fc1",
  "excite": "res_layer.5.fc2",
}
_MOBILEFACENET = {
  "input": {"conv": "conv1.0", "norm": "conv1.1"},
  "input_depthwise": {"conv": "dw_conv.depthwise", "norm": "dw_conv.bn1"},
  "input_pointwise": {"conv": "dw_conv.pointwise", "norm": "dw_conv.bn2"},
  "output": {"conv": "conv2.0", "norm": "conv2.1"},
  "output_depthwise": {"conv": "gdconv.depthwise", "norm": "gdconv.bn"},
  "embedding": {"conv": "conv3", "norm": "bn"},
}
_MOBILEFACENET_BLOCK = {
  "expand": {"conv": "conv.0.0", "norm": "conv.0.1"},
  "depthwise": {"conv": "conv.1.0", "norm": "conv.1.1"},
  "project": {"conv": "conv.2", "norm": "conv.3"},
}
_LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "slope": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
_UNUSED = ".num_batches_tracked"  # counters of batch normalization, in training

_Log = Callable[[str], None]


class _Expected(NamedTuple):
  """A tensor that the file should have."""

  place: FlaxPath
  axes: tuple[int, ...]  # sizes of the axes that `names.to_flax` permutes
  shape: tuple[int, ...]  # in the file


def convert(
  weight_file: str,
  output: str,
  *,
  network: str | None = None,
  overwrite: bool = False,
  log: _Log = print,
) -> str:
  """Converts a file into a folder, all of it or nothing.

  Args:
    weight_file: state dict of the network.
    output: the folder to create.
    network: one of `NETWORKS`; None: the one that the tensors' names fit.
    overwrite: whether to replace the weights in an existing folder.
    log: called with each line of progress.

  Returns: the network, one of `NETWORKS`.
  Raises:
    CheckpointError: one line that names the file, the reason and, if there is
      one, the remedy.
  """
  cli.check_output(identity.check_writable, output, overwrite)
  data = read_file(weight_file)
  with naming(weight_file):
    tensors = torch_reader.state_dict(torch_reader.loads(data))
    network = network or fitting_network(tensors)
    variables = fill(network, tensors)
  identity.save_identity(
    output,
    network,
    variables,
    overwrite=overwrite,
    source={
      "file": os.path.basename(weight_file),
      "sha256": hashlib.sha256(data).hexdigest(),
      "format": torch_reader.format_name(data),
    },
  )
  count = sum(
    leaf.size
    for leaf in traverse_util.flatten_dict(variables["params"]).values()
  )
  log(f"{output}: {identity.NETWORKS[network].title}, {count:,} parameters")
  return network


def fitting_network(tensors: Mapping[str, TensorRecord]) -> str:
  """The network that shares most of these names.

  Raises:
    CheckpointError: no network shares any.
  """
  shared = {
    network: len(tensors.keys() & expected_tensors(network).keys())
    for network in NETWORKS
  }
  best = max(shared, key=shared.get)
  if not shared[best]:
    titles = " or ".join(
      identity.NETWORKS[network].title for network in NETWORKS
    )
    raise CheckpointError(
      f"does not contain the weights of {titles}; it has "
      f"{some_of(map(bare, tensors)) or 'no tensors'}"
    )
  return best


def expected_tensors(network: str) -> dict[str, _Expected]:
  """The tensors that the file should have, by torch name.

  Args:
    network: one of `NETWORKS`.
  """
  leaves = traverse_util.flatten_dict(identity.abstract_variables(network))
  expected = {}
  for (collection, *path), leaf in leaves.items():
    place = FlaxPath(collection, tuple(path))
    axes = shape = names.torch_shape(place, leaf.shape)
    if place.path == ("linear", "kernel"):
      # Its input is flattened, channels first.
      shape = axes[0], math.prod(axes[1:])
    *scope, last = place.path
    name = f"{_LAYER_NAMES[network](*scope)}.{_LEAVES[last]}"
    expected[name] = _Expected(place, axes, shape)
  return expected


def _ir_se_layer(scope: str, layer: str = "") -> str:
  if not layer:
    return _IR_SE[scope]
  return f"body.{scope.removeprefix('unit')}.{_IR_SE_UNIT[layer]}"


def _mobilefacenet_layer(scope: str, layer: str = "conv") -> str:
  if scope in _MOBILEFACENET:
    return _MOBILEFACENET[scope][layer]
  block, _, part = scope.removeprefix("block").partition("_")
  return f"features.{block}.{_MOBILEFACENET_BLOCK[part][layer]}"


# By network: a function from a layer's path in Flax to its name in torch.
_LAYER_NAMES: Mapping[str, Callable[..., str]] = {
  "ir_se50": _ir_se_layer,
  "mobilefacenet": _mobilefacenet_layer,
}
NETWORKS = tuple(_LAYER_NAMES)


def fill(network: str, tensors: Mapping[str, TensorRecord]) -> dict[str, Any]:
  """The variables of a network; every tensor is used.

  Args:
    network: one of `NETWORKS`.
    tensors: the file's tensors; counters of training steps are ignored.

  Raises:
    CheckpointError: tensors are missing, extra, of the wrong shape or dtype, or
      not finite.
  """
  tensors = {
    name: tensor
    for name, tensor in tensors.items()
    if not name.endswith(_UNUSED)
  }
  expected = expected_tensors(network)
  torch_to_flax.check_fit(
    identity.NETWORKS[network].title,
    {name: want.shape for name, want in expected.items()},
    tensors,
  )
  leaves = {}
  for name, (place, axes, _) in expected.items():
    array = torch_to_flax.read_floats(name, tensors[name]).reshape(axes)
    leaves[place.collection, *place.path] = np.asarray(
      names.to_flax(place, array), order="C"
    )
  return traverse_util.unflatten_dict(leaves)


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string(
    "weight_file",
    None,
    "State dict of the network, such as model_ir_se50.pth or mobilefacenet.pt.",
    flag_values=values,
  )
  flags.DEFINE_string("output", None, "Folder to create.", flag_values=values)
  flags.DEFINE_enum(
    "network",
    None,
    list(NETWORKS),
    "Network in the file; default: recognized by the tensors' names.",
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
      values.weight_file,
      values.output,
      network=values.network,
      overwrite=values.overwrite,
    )

  return cli.run(
    argv, values, about=__doc__, required=("weight_file", "output"), work=work
  )


if __name__ == "__main__":
  sys.exit(main(sys.argv))

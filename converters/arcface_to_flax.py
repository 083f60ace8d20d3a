r"""Converts ArcFace's IR-SE-50 from PyTorch to a folder of this project.

  python converters/arcface_to_flax.py --weight_file model_ir_se50.pth \
      --output checkpoints/ir_se50

Reads the state dict with neither PyTorch nor any code of the file.
"""

import hashlib
import math
import os
import sys
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Tuple

if not __package__:
  # Run as a script: the packages lie beside this folder, and shapes and
  # copies need no accelerator.
  sys.path.insert(0, os.path.dirname(os.path.dirname(
      os.path.abspath(__file__))))
  os.environ.setdefault("JAX_PLATFORMS", "cpu")

# pylint: disable=wrong-import-position
from absl import flags
from flax import traverse_util
import numpy as np

from converters import cli, names, torch_reader, torch_to_flax
from converters.errors import naming, read_file
from converters.names import FlaxPath
from converters.torch_reader import TensorRecord
from my3dgen_jax.losses import identity

NETWORK = "ir_se50"

# Torch numbers the members of a Sequential, those without weights included.
_LAYERS = {
    "input_conv": "input_layer.0", "input_norm": "input_layer.1",
    "input_prelu": "input_layer.2", "output_norm": "output_layer.0",
    "linear": "output_layer.3", "features_norm": "output_layer.4",
}
_LAYERS_OF_UNIT = {
    "shortcut_conv": "shortcut_layer.0", "shortcut_norm": "shortcut_layer.1",
    "norm1": "res_layer.0", "conv1": "res_layer.1", "prelu": "res_layer.2",
    "conv2": "res_layer.3", "norm2": "res_layer.4",
    "squeeze": "res_layer.5.fc1", "excite": "res_layer.5.fc2",
}
_LEAVES = {"kernel": "weight", "scale": "weight", "slope": "weight",
           "bias": "bias", "mean": "running_mean", "var": "running_var"}
_UNUSED = ".num_batches_tracked"  # of batch normalisation in training

_Log = Callable[[str], None]


class _Expected(NamedTuple):
  """A tensor that the file is to have."""

  place: FlaxPath
  axes: Tuple[int, ...]  # sizes of the axes that `names.to_flax` turns
  shape: Tuple[int, ...]  # in the file


def convert(weight_file: str, output: str, *, overwrite: bool = False,
            log: _Log = print):
  """Converts a file into a folder, all of it or nothing.

  Args:
    weight_file: state dict of the network.
    output: the folder to create.
    overwrite: replace the weights of a folder that exists.
    log: called with each line of progress.

  Raises:
    CheckpointError: one line that names the file, the reason and, where
      there is one, the remedy.
  """
  cli.check_output(identity.check_writable, output, overwrite)
  data = read_file(weight_file)
  with naming(weight_file):
    variables = fill(torch_reader.state_dict(torch_reader.loads(data)))
  identity.save_identity(output, NETWORK, variables, overwrite=overwrite,
                         source={
                             "file": os.path.basename(weight_file),
                             "sha256": hashlib.sha256(data).hexdigest(),
                             "format": torch_reader.format_name(data)})
  count = sum(leaf.size for leaf in traverse_util.flatten_dict(
      variables["params"]).values())
  log(f"{output}: {identity.NETWORKS[NETWORK].title}, {count:,} parameters")


def expected_tensors() -> Dict[str, _Expected]:
  """What the file is to have, by torch name."""
  leaves = traverse_util.flatten_dict(identity.abstract_variables(NETWORK))
  expected = {}
  for (collection, *path), leaf in leaves.items():
    place = FlaxPath(collection, tuple(path))
    axes = shape = names.torch_shape(place, leaf.shape)
    if place.path == ("linear", "kernel"):
      # What it multiplies is flattened, channels first.
      shape = axes[0], math.prod(axes[1:])
    expected[_torch_name(place.path)] = _Expected(place, axes, shape)
  return expected


def _torch_name(path: Tuple[str, ...]) -> str:
  scope, *inner, leaf = path
  if inner:
    unit = scope.removeprefix("unit")
    layer = f"body.{unit}.{_LAYERS_OF_UNIT[inner[0]]}"
  else:
    layer = _LAYERS[scope]
  return f"{layer}.{_LEAVES[leaf]}"


def fill(tensors: Mapping[str, TensorRecord]) -> Dict[str, Any]:
  """The variables of the network; every tensor is used.

  Args:
    tensors: of the file; counters of training steps are passed over.

  Raises:
    CheckpointError: tensors are missing, too many, of another shape or dtype,
      or not finite.
  """
  tensors = {name: tensor for name, tensor in tensors.items()
             if not name.endswith(_UNUSED)}
  expected = expected_tensors()
  torch_to_flax.check_fit(
      identity.NETWORKS[NETWORK].title,
      {name: want.shape for name, want in expected.items()}, tensors)
  leaves = {}
  for name, (place, axes, _) in expected.items():
    array = torch_to_flax.read_floats(name, tensors[name]).reshape(axes)
    leaves[place.collection, *place.path] = np.asarray(
        names.to_flax(place, array), order="C")
  return traverse_util.unflatten_dict(leaves)


def main(argv: List[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string("weight_file", None, "The network's state dict, "
                      "model_ir_se50.pth.", flag_values=values)
  flags.DEFINE_string("output", None, "Folder to create.", flag_values=values)
  flags.DEFINE_bool("overwrite", False, "Replace the weights of an existing "
                    "folder.", flag_values=values)

  def work():
    convert(values.weight_file, values.output, overwrite=values.overwrite)

  return cli.run(argv, values, about=__doc__,
                 required=("weight_file", "output"), work=work)


if __name__ == "__main__":
  sys.exit(main(sys.argv))

r"""Converts an EG3D generator from PyTorch to a folder of this project.

  python converters/torch_to_flax.py --input ffhqrebalanced512-128.pkl \
      --output checkpoints/ffhq

Reads NVIDIA's pickles and state dicts of torch.save, with neither PyTorch
nor any code of the file. A state dict does not tell its settings: give them
with --preset or --config where its shapes leave a choice.
"""

import dataclasses
import functools
import hashlib
import os
import sys
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

if not __package__:
  # Run as a script: the packages lie beside this folder, and shapes and
  # copies need no accelerator.
  sys.path.insert(0, os.path.dirname(os.path.dirname(
      os.path.abspath(__file__))))
  os.environ.setdefault("JAX_PLATFORMS", "cpu")

# pylint: disable=wrong-import-position
from absl import flags
import ml_dtypes
import numpy as np

from converters import cli, names, settings, torch_reader
from converters.errors import (bare, describe, describe_shape, naming,
                               read_file, some_of)
from converters.torch_reader import ObjectRecord, TensorRecord
from my3dgen_jax.config import PRESETS, ConfigError, GeneratorConfig, preset
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.models import checkpoint
from my3dgen_jax.models.generator import abstract_variables

DEFAULT_NETWORK = "G_ema"
# Under which names people keep the averaged generator in a dict of theirs.
_ALIASES = (DEFAULT_NETWORK, "g_ema", "generator")
_WRAPPERS = ("state_dict",)
_MAX_WRAPPING = 3
_PARALLEL_PREFIX = "module."  # of torch.nn.DataParallel
_FLOATS = tuple(map(np.dtype, (np.float16, ml_dtypes.bfloat16, np.float32,
                               np.float64)))
_PARTS = {
    "mapping": ("backbone", "mapping"),
    "backbone synthesis": ("backbone", "synthesis"),
    "super-resolution": ("superresolution",),
    "decoder": ("decoder",),
}

_Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Converted:
  """A generator out of a PyTorch file.

  Attributes:
    config: its settings.
    variables: {"params": …, "buffers": …}, float32 numpy arrays.
    source: where it comes from, as config.json keeps it.
  """

  config: GeneratorConfig
  variables: Dict[str, Any]
  source: Dict[str, str]

  def counts(self) -> Dict[str, int]:
    """Numbers of parameters, by part."""
    leaves = names.flatten(self.variables)
    return {part: sum(leaf.size for place, leaf in leaves.items()
                      if place.collection == "params"
                      and place.path[:len(scope)] == scope)
            for part, scope in _PARTS.items()}


def convert(input_path: str, output: str, *,
            network: str = DEFAULT_NETWORK,
            config: Optional[GeneratorConfig] = None,
            overwrite: bool = False, log: _Log = print) -> Converted:
  """Converts a file into a folder, all of it or nothing.

  Args:
    input_path: a file of torch.save, or NVIDIA's pickle.
    output: the folder to create.
    network: which of the networks in the file.
    config: the settings; None: those that the file tells.
    overwrite: replace a checkpoint folder that exists.
    log: called with each line of progress.

  Returns: what was written.
  Raises:
    CheckpointError: one line that names the file, the reason and, where
      there is one, the remedy.
  """
  _check_output(output, input_path, overwrite)
  data = read_file(input_path)
  with naming(input_path):
    converted = read_generator(data, network=network, config=config, log=log)
  converted.source["file"] = os.path.basename(input_path)
  checkpoint.save_generator(output, converted.config, converted.variables,
                            source=converted.source, overwrite=overwrite)
  log(f"read {input_path}: {_summary(converted.config)}")
  for part, count in converted.counts().items():
    log(f"  {part:<20}{count:>12,} parameters")
  log(f"  {'total':<20}{sum(converted.counts().values()):>12,} parameters")
  log(f"  source SHA-256 {converted.source['sha256']}")
  log(f"wrote {output}. {cli.LICENCE_NOTE}")
  return converted


def read_generator(data: bytes, *, network: str = DEFAULT_NETWORK,
                   config: Optional[GeneratorConfig] = None,
                   log: _Log = print) -> Converted:
  """The generator in the bytes of a file.

  Raises:
    CheckpointError: without the file's name.
  """
  def warn(line: str):
    log(f"warning: {line}")

  found = _find_network(torch_reader.loads(data), network)
  if isinstance(found, ObjectRecord):
    settings.check_architecture(found)
    if config is None:
      config = settings.read(found, warn)
    else:
      log("settings as given, not those in the file")
  tensors = _strip_prefix(torch_reader.state_dict(found))
  if config is None:
    config = fitting_preset(tensors, log)
  return Converted(config, _fill(config, tensors, warn), {
      "sha256": hashlib.sha256(data).hexdigest(),
      "network": network,
      "format": torch_reader.format_name(data),
  })


def load_settings(path: str) -> GeneratorConfig:
  """Reads a config.json, of a checkpoint folder or the generator's alone.

  Raises:
    CheckpointError: names the file and the field.
  """
  with naming(path):
    table = checkpoint.parse_json(read_file(path))
    if isinstance(table, dict) and "generator" in table:
      table = table["generator"]
    try:
      return GeneratorConfig.from_dict(table)
    except ConfigError as error:
      raise CheckpointError(str(error)) from None


# Finding the generator.


def _find_network(value: Any, network: str) -> Any:
  """A module's record or a dict of tensors."""
  for _ in range(_MAX_WRAPPING):
    if not isinstance(value, dict):
      break
    accepted = (network, *(_ALIASES if network == DEFAULT_NETWORK else ()),
                *_WRAPPERS)
    inner = [key for key in accepted
             if isinstance(value.get(key), (dict, ObjectRecord))]
    if not inner:
      break
    value = value[inner[0]]
  if isinstance(value, ObjectRecord):
    return value
  if not isinstance(value, dict):
    raise CheckpointError(f"holds {describe(value)}, not a generator")
  if not any(isinstance(item, TensorRecord) for item in value.values()):
    others = [key for key, item in value.items()
              if isinstance(item, (dict, ObjectRecord))]
    raise CheckpointError(
        f"holds no network {network}; it has {some_of(map(bare, others))} "
        "(choose with --network)" if others else "holds no tensors")
  return value


def _strip_prefix(tensors: Dict[str, TensorRecord]) -> Dict[str, TensorRecord]:
  while tensors and all(name.startswith(_PARALLEL_PREFIX)
                        for name in tensors):
    tensors = {name.removeprefix(_PARALLEL_PREFIX): tensor
               for name, tensor in tensors.items()}
  return tensors


# Names and shapes.

_Expected = Mapping[str, Tuple[names.FlaxPath, Tuple[int, ...]]]


@functools.lru_cache(maxsize=16)
def expected_tensors(config: GeneratorConfig) -> _Expected:
  """Torch name → place in Flax and torch's shape, for a whole generator."""
  return {
      names.torch_name(place): (place, names.torch_shape(place, leaf.shape))
      for place, leaf in names.flatten(abstract_variables(config)).items()
  }


def fitting_preset(tensors: Mapping[str, TensorRecord],
                    log: _Log) -> GeneratorConfig:
  """The only published settings that the shapes allow."""
  fitting = {name: config for name, config in PRESETS.items()
             if not _mismatches(config, tensors)}
  if not fitting:
    wrong = min((_mismatches(config, tensors) for config in PRESETS.values()),
                key=lambda found: sum(map(len, found.values())))
    raise CheckpointError(
        "does not tell its settings, and its tensors are of no published "
        f"generator; compared with the nearest: {list_mismatches(wrong)} (give the "
        "settings with --config)")
  if len(set(fitting.values())) > 1:
    raise CheckpointError(
        "does not tell its settings, and its shapes fit several published "
        f"ones: choose with --preset, one of {', '.join(fitting)}")
  log(f"settings of {' / '.join(fitting)}, the only published ones that fit")
  return next(iter(fitting.values()))


def _mismatches(config: GeneratorConfig, tensors: Mapping[str, TensorRecord]
                ) -> Dict[str, List[str]]:
  """What is missing, extra or of another shape, by these headings."""
  expected = expected_tensors(config)
  filters = names.filter_names(expected)
  found = {
      "missing": [name for name in expected if name not in tensors],
      "not part of the model": [
          bare(name) for name in tensors
          if name not in expected and name not in filters],
      "of another shape": [
          f"{name} {describe_shape(tensors[name].shape)} "
          f"(expected {describe_shape(shape)})"
          for name, (_, shape) in expected.items()
          if name in tensors and tensors[name].shape != shape],
  }
  return {heading: wrong for heading, wrong in found.items() if wrong}


def list_mismatches(mismatches: Mapping[str, List[str]]) -> str:
  """A line of what does not fit; headings without entries are left out."""
  return "; ".join(f"{len(wrong)} {heading}: {some_of(wrong, most=3)}"
                   for heading, wrong in mismatches.items() if wrong)


# Values.


def _fill(config: GeneratorConfig, tensors: Mapping[str, TensorRecord],
          warn: _Log) -> Dict[str, Any]:
  """Every parameter and buffer of the model; every tensor is used."""
  mismatches = _mismatches(config, tensors)
  if mismatches:
    raise CheckpointError(f"the tensors do not fit the settings: "
                          f"{list_mismatches(mismatches)}")
  if any(tensor.dtype == np.float64 for tensor in tensors.values()):
    warn("float64 tensors are rounded to float32")
  expected = expected_tensors(config)
  leaves = {}
  for name, tensor in tensors.items():
    array = read_floats(name, tensor)
    if name not in expected:
      # A filter: the model has it built in, so it must be the same one.
      if not np.array_equal(array, names.RESAMPLE_FILTER):
        raise CheckpointError(f"{name} is not the [1, 3, 3, 1] filter, which "
                              "is the only one supported")
      continue
    place, _ = expected[name]
    leaves[place] = np.asarray(names.to_flax(place, array), order="C")
  return names.unflatten(leaves)


def read_floats(name: str, tensor: TensorRecord) -> np.ndarray:
  """The float32 array of a tensor out of a file.

  Raises:
    CheckpointError: it is no floating point, or not finite.
  """
  if tensor.dtype not in _FLOATS:
    raise CheckpointError(f"{name} is {tensor.dtype}, not floating point")
  with np.errstate(over="ignore"):  # what overflows is refused below
    array = tensor.numpy().astype(np.float32, copy=False)
  if not np.isfinite(array).all():
    raise CheckpointError(f"{name} holds NaN or infinite numbers (a damaged "
                          "file, or a training run that diverged)")
  return array


# Output.


def _check_output(output: str, input_path: str, overwrite: bool):
  """Refuses before any work what would fail, or be regretted, after it."""
  with naming(output):
    try:
      output.encode("utf-8")
    except UnicodeEncodeError:
      raise CheckpointError("is no name in UTF-8, which Orbax needs") from None
    if not os.path.lexists(output):
      return
    if not overwrite:
      raise CheckpointError("exists already (--overwrite replaces it)")
    inside = os.path.join(os.path.realpath(output), "")
    if os.path.realpath(input_path).startswith(inside):
      raise CheckpointError("holds the input, so it is not replaced (choose "
                            "another --output)")
  checkpoint.check_replaceable(output)


def _summary(config: GeneratorConfig) -> str:
  size, rays = config.img_resolution, config.neural_rendering_resolution
  return (f"{size} x {size} pixels from {rays} x {rays} rays by "
          f"{config.superresolution.module}")


def main(argv: List[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string("input", None, "File to read (.pkl, .pth, .pt).",
                      flag_values=values)
  flags.DEFINE_string("output", None, "Folder to create.", flag_values=values)
  flags.DEFINE_string("network", DEFAULT_NETWORK, "Which network of the file.",
                      flag_values=values)
  flags.DEFINE_string(
      "preset", None, "Settings by the name of a published checkpoint, "
      f"instead of those in the file: {', '.join(PRESETS)}.",
      flag_values=values)
  flags.DEFINE_string("config", None, "Settings from a config.json, instead "
                      "of those in the file.", flag_values=values)
  flags.DEFINE_bool("overwrite", False, "Replace an existing checkpoint "
                    "folder.", flag_values=values)

  def work():
    config = None
    if values.preset and values.config:
      raise CheckpointError("--preset and --config exclude each other")
    if values.preset:
      try:
        config = preset(values.preset)
      except ConfigError as error:
        raise CheckpointError(f"--{error}") from None
    if values.config:
      config = load_settings(values.config)
    convert(values.input, values.output, network=values.network,
            config=config, overwrite=values.overwrite)

  return cli.run(argv, values, about=__doc__, required=("input", "output"),
                 work=work)


if __name__ == "__main__":
  sys.exit(main(sys.argv))

r"""Converts an EG3D generator from PyTorch to this project.

  python converters/torch_to_flax.py --input ffhqrebalanced512-128.pkl \
      --output checkpoints/ffhq

Reads NVIDIA's pickles and state dicts of torch.save, without PyTorch and
without running code from the file. A state dict has no settings: give them with
--preset or --config if its shapes are ambiguous.

A file saved by My3DGen's training becomes the generator's own weights and the
person's adapter:

  python converters/torch_to_flax.py --input personal.pkl \
      --output checkpoints/personal

writes OUTPUT and OUTPUT.adapter.safetensors. With --base checkpoints/ffhq, the
generator that this training started from, only an adapter for that generator is
written; it includes the tuned biases, noise strengths and decoder.
"""

import contextlib
import dataclasses
import functools
import hashlib
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
import ml_dtypes
import numpy as np
from absl import flags
from flax.traverse_util import flatten_dict, unflatten_dict

from converters import (
  cli,
  names,
  safetensors_reader,
  settings,
  torch_reader,
  wrapped,
)
from converters.errors import (
  bare,
  describe,
  describe_shape,
  naming,
  read_file,
  some_of,
)
from converters.torch_reader import ObjectRecord, TensorRecord
from my3dgen_jax import lora
from my3dgen_jax.config import (
  ConfigError,
  GeneratorConfig,
  LoraConfig,
  preset,
  PRESETS,
)
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.lora.files import OTHER_TOOLS
from my3dgen_jax.models import checkpoint
from my3dgen_jax.models.adapter import OFFSET
from my3dgen_jax.models.generator import abstract_variables

DEFAULT_NETWORK = "G_ema"
# Names under which files keep the averaged generator.
_ALIASES = (DEFAULT_NETWORK, "g_ema", "generator")
_WRAPPERS = ("state_dict",)
_MAX_WRAPPING = 3
# A tensor that every generator has, and the first parts of its tensors' names.
_BEGINNING = "backbone.mapping.fc0.weight"
_ROOTS = ("backbone", "superresolution", "decoder")
_FLOATS = tuple(
  map(np.dtype, (np.float16, ml_dtypes.bfloat16, np.float32, np.float64))
)
_PARTS = {
  "mapping": ("backbone", "mapping"),
  "backbone synthesis": ("backbone", "synthesis"),
  "super-resolution": ("superresolution",),
  "decoder": ("decoder",),
}
_ADAPTER_SUFFIX = ".adapter.safetensors"
# A frozen weight that differs by more than rounding means a different base.
_SAME_WEIGHT = 1e-6

_Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Adapter:
  """The adapter that My3DGen's training added to a generator.

  Attributes:
    lora: the collection `lora`, float32 NumPy arrays.
    config: rank, alpha and layout.
  """

  lora: dict[str, Any]
  config: LoraConfig


@dataclasses.dataclass(frozen=True)
class Converted:
  """A generator from a PyTorch file.

  Attributes:
    config: its settings.
    variables: {"params": …, "buffers": …}, float32 NumPy arrays.
    source: origin, as stored in config.json.
    adapter: its adapter; None if there are no LoRA pairs.
  """

  config: GeneratorConfig
  variables: dict[str, Any]
  source: dict[str, str]
  adapter: Adapter | None = None

  def counts(self) -> dict[str, int]:
    """Numbers of parameters, by part."""
    leaves = names.flatten(self.variables)
    return {
      part: sum(
        leaf.size
        for place, leaf in leaves.items()
        if place.collection == "params" and place.path[: len(scope)] == scope
      )
      for part, scope in _PARTS.items()
    }


def convert(
  input_path: str,
  output: str | None,
  *,
  adapter_output: str | None = None,
  base: str | None = None,
  network: str = DEFAULT_NETWORK,
  config: GeneratorConfig | None = None,
  lora_alpha: float | None = None,
  overwrite: bool = False,
  log: _Log = print,
) -> Converted:
  """Converts a file into a folder, an adapter or both; all of it or nothing.

  Args:
    input_path: a file of torch.save, or NVIDIA's pickle.
    output: the folder to create; with `base`, only the stem of the adapter's
      file name.
    adapter_output: the adapter's file; None: `output` with a suffix.
    base: folder of the adapter's base generator; None: the generator in the
      file, which is written to `output`.
    network: name of the network in the file.
    config: the settings; None: read from the file.
    lora_alpha: LoRA's alpha; None: read from the file.
    overwrite: whether to replace an existing folder or adapter.
    log: called with each line of progress.

  Returns: the written generator and adapter.
  Raises:
    CheckpointError: one line that names the file, the reason and, if there is
      one, the remedy.
  """
  frozen = None
  if base is None:
    _check_output(output, input_path, overwrite)
  elif config is not None:
    raise CheckpointError(
      "--base has its own settings: drop --preset and --config"
    )
  else:
    generator, frozen = checkpoint.load_generator(base)
    config = generator.config
  data = read_file(input_path)
  with naming(input_path):
    converted = read_generator(
      data, network=network, config=config, lora_alpha=lora_alpha, log=log
    )
    if converted.adapter is None and (base, adapter_output, lora_alpha) != (
      None,
      None,
      None,
    ):
      raise CheckpointError(
        "has no LoRA pairs; drop --base, --adapter_output and --lora_alpha"
      )
    if frozen is not None:
      converted = _rebased(converted, frozen, base, log)
  converted.source["file"] = os.path.basename(input_path)
  if converted.adapter is None:
    checkpoint.save_generator(
      output,
      converted.config,
      converted.variables,
      source=converted.source,
      overwrite=overwrite,
    )
    written = [output]
  else:
    adapter_output = os.path.expanduser(
      adapter_output or output.rstrip(os.sep) + _ADAPTER_SUFFIX
    )
    _check_adapter_output(adapter_output, base or output, input_path, overwrite)
    if base is None:
      _save_both(converted, output, adapter_output)
      written = [output, adapter_output]
    else:
      _save_adapter(
        converted, adapter_output, checkpoint.generator_digest(base)
      )
      written = [adapter_output]
  log(f"read {input_path}: {_summary(converted.config)}")
  for line in _contents(converted, base):
    log(f"  {line}")
  log(f"  source SHA-256 {converted.source['sha256']}")
  log(f"wrote {' and '.join(written)}. {cli.LICENCE_NOTE}")
  return converted


def read_generator(
  data: bytes,
  *,
  network: str = DEFAULT_NETWORK,
  config: GeneratorConfig | None = None,
  lora_alpha: float | None = None,
  log: _Log = print,
) -> Converted:
  """The generator in the bytes of a file, and its adapter if it has one.

  Raises:
    CheckpointError: without the file's name.
  """

  def warn(line: str):
    log(f"warning: {line}")

  found = _find_network(_tensors_or_record(data), network)
  if isinstance(found, ObjectRecord):
    settings.check_architecture(found)
    if config is None:
      config = settings.read(found, warn)
    else:
      log("using the given settings, not those in the file")
  tensors, pairs = wrapped.split(
    generator_tensors(torch_reader.state_dict(found), network, warn)
  )
  if config is None:
    config = fitting_preset(tensors, log)
  variables = _fill(config, tensors, warn)
  adapter = None
  if pairs:
    adapter = _read_adapter(config, pairs, found, lora_alpha)
  return Converted(
    config,
    variables,
    {
      "sha256": hashlib.sha256(data).hexdigest(),
      "network": network,
      "format": safetensors_reader.NAME
      if safetensors_reader.is_safetensors(data)
      else torch_reader.format_name(data),
    },
    adapter,
  )


def load_settings(path: str) -> GeneratorConfig:
  """Reads a config.json, of a checkpoint folder or of a generator alone.

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


def _tensors_or_record(data: bytes) -> Any:
  """The contents of a file's bytes, in any of the formats."""
  if safetensors_reader.is_safetensors(data):
    return safetensors_reader.loads(data)
  return torch_reader.loads(data)


def _find_network(value: Any, network: str) -> Any:
  """A module's record or a dict of tensors."""
  for _ in range(_MAX_WRAPPING):
    if not isinstance(value, dict):
      break
    accepted = (
      network,
      *(_ALIASES if network == DEFAULT_NETWORK else ()),
      *_WRAPPERS,
    )
    inner = [
      key
      for key in accepted
      if isinstance(value.get(key), (dict, ObjectRecord))
    ]
    if not inner:
      break
    value = value[inner[0]]
  if isinstance(value, ObjectRecord):
    return value
  if not isinstance(value, dict):
    raise CheckpointError(f"holds {describe(value)}, not a generator")
  for kind, sign in OTHER_TOOLS.items():
    if any(isinstance(name, str) and sign in name for name in value):
      raise CheckpointError(
        f"is a LoRA file of {kind}, for another kind of network; My3DGen's "
        "adapters hold lora_A and lora_B of EG3D's layers"
      )
  if not any(isinstance(item, TensorRecord) for item in value.values()):
    others = [
      key
      for key, item in value.items()
      if isinstance(item, (dict, ObjectRecord))
    ]
    raise CheckpointError(
      f"has no network {network}; it has {some_of(map(bare, others))} "
      "(choose one with --network)"
      if others
      else "holds no tensors"
    )
  return value


def generator_tensors(
  tensors: dict[str, TensorRecord], network: str, warn: _Log
) -> dict[str, TensorRecord]:
  """The tensors of a generator by its own names.

  Tools add a prefix to all names (`module.`, `_orig_mod.`, `G_ema.`), or store
  the generator among other modules. A tensor that every generator has reveals
  the prefix.

  Args:
    tensors: the tensors of a state dict.
    network: name of the network, if there are several prefixes.
    warn: called with a line about tensors that are left out.

  Raises: CheckpointError: there are several generators, and none is `network`.
  """
  plain = map(wrapped.plain_name, tensors)
  prefixes = sorted(
    {name.partition(_BEGINNING)[0] for name in plain if _BEGINNING in name}
  )
  if not prefixes:
    return tensors  # the caller reports what is missing
  wanted = prefixes
  if len(prefixes) > 1:
    accepted = (network, *(_ALIASES if network == DEFAULT_NETWORK else ()))
    for one in accepted:
      wanted = [prefix for prefix in prefixes if one in prefix.split(".")]
      if wanted:
        break
    if not wanted and "" in prefixes:
      wanted = [""]  # the one without a prefix
  if len(wanted) != 1:
    raise CheckpointError(
      f"holds several generators, {some_of(map(bare, prefixes))} (choose one "
      "with --network)"
    )
  (prefix,) = wanted
  own, others = {}, []
  for name, tensor in tensors.items():
    inner = name.removeprefix(prefix)
    if name.startswith(prefix) and inner.partition(".")[0] in _ROOTS:
      own[inner] = tensor
    else:
      others.append(bare(name))
  if others:
    warn(
      f"leaving out {len(others)} tensors that are not the generator's: "
      f"{some_of(others, most=3)}"
    )
  return own


# Names and shapes.

_Expected = Mapping[str, tuple[names.FlaxPath, tuple[int, ...]]]


@functools.lru_cache(maxsize=16)
def expected_tensors(config: GeneratorConfig) -> _Expected:
  """Torch name → place in Flax and torch's shape, for a whole generator."""
  return {
    names.torch_name(place): (place, names.torch_shape(place, leaf.shape))
    for place, leaf in names.flatten(abstract_variables(config)).items()
  }


def fitting_preset(
  tensors: Mapping[str, TensorRecord], log: _Log
) -> GeneratorConfig:
  """The only published settings that fit the shapes."""
  fitting = {
    name: config
    for name, config in PRESETS.items()
    if not _mismatches(config, tensors)
  }
  if not fitting:
    wrong = min(
      (_mismatches(config, tensors) for config in PRESETS.values()),
      key=lambda found: sum(map(len, found.values())),
    )
    raise CheckpointError(
      "has no settings, and its tensors do not fit any published generator; "
      "compared with the closest one: "
      f"{list_mismatches(wrong)} (give the settings with --config)"
    )
  if len(set(fitting.values())) > 1:
    raise CheckpointError(
      "has no settings, and its shapes fit several published generators: "
      f"choose one with --preset: {', '.join(fitting)}"
    )
  log(f"using the settings of {' / '.join(fitting)}, the only ones that fit")
  return next(iter(fitting.values()))


def _mismatches(
  config: GeneratorConfig, tensors: Mapping[str, TensorRecord]
) -> dict[str, list[str]]:
  """A generator's tensors that do not fit its settings, by heading."""
  expected = expected_tensors(config)
  filters = names.filter_names(expected)
  return find_mismatches(
    {name: shape for name, (_, shape) in expected.items()},
    {name: tensor for name, tensor in tensors.items() if name not in filters},
  )


def find_mismatches(
  expected: Mapping[str, Sequence[int]], tensors: Mapping[str, TensorRecord]
) -> dict[str, list[str]]:
  """Tensors that are missing, extra or of the wrong shape, by heading.

  Args:
    expected: shapes by name.
    tensors: the tensors of a file.
  """
  found = {
    "missing": [name for name in expected if name not in tensors],
    "not part of the model": [
      bare(name) for name in tensors if name not in expected
    ],
    "of the wrong shape": [
      f"{name} {describe_shape(tensors[name].shape)} (expected "
      f"{describe_shape(shape)})"
      for name, shape in expected.items()
      if name in tensors and tensors[name].shape != tuple(shape)
    ],
  }
  return {heading: wrong for heading, wrong in found.items() if wrong}


def check_fit(
  title: str,
  expected: Mapping[str, Sequence[int]],
  tensors: Mapping[str, TensorRecord],
):
  """Refuses tensors that do not fit a network.

  Args:
    title: the network's name, for the message.
    expected: shapes by name.
    tensors: the tensors of a file.

  Raises: CheckpointError.
  """
  wrong = find_mismatches(expected, tensors)
  if wrong:
    raise CheckpointError(
      f"the tensors do not fit {title}: {list_mismatches(wrong)}"
    )


def list_mismatches(mismatches: Mapping[str, list[str]]) -> str:
  """One line that lists mismatches; headings without entries are left out."""
  return "; ".join(
    f"{len(wrong)} {heading}: {some_of(wrong, most=3)}"
    for heading, wrong in mismatches.items()
    if wrong
  )


# Values.


def _fill(
  config: GeneratorConfig, tensors: Mapping[str, TensorRecord], warn: _Log
) -> dict[str, Any]:
  """All parameters and buffers of the model; every tensor is used."""
  mismatches = _mismatches(config, tensors)
  if mismatches:
    raise CheckpointError(
      f"the tensors do not fit the settings: {list_mismatches(mismatches)}"
    )
  if any(tensor.dtype == np.float64 for tensor in tensors.values()):
    warn("rounding float64 tensors to float32")
  expected = expected_tensors(config)
  leaves = {}
  for name, tensor in tensors.items():
    array = read_floats(name, tensor)
    if name not in expected:
      # The model has this filter built in, so it must be the same one.
      if not np.array_equal(array, names.RESAMPLE_FILTER):
        raise CheckpointError(
          f"{name}: only the [1, 3, 3, 1] filter is supported"
        )
      continue
    place, _ = expected[name]
    leaves[place] = np.asarray(names.to_flax(place, array), order="C")
  return names.unflatten(leaves)


def read_floats(name: str, tensor: TensorRecord) -> np.ndarray:
  """The float32 array of a tensor from a file.

  Raises:
    CheckpointError: it is not floating point, or not finite.
  """
  if tensor.dtype not in _FLOATS:
    raise CheckpointError(f"{name} is {tensor.dtype}, not floating point")
  with np.errstate(over="ignore"):  # overflow is refused below
    array = tensor.numpy().astype(np.float32, copy=False)
  if not np.isfinite(array).all():
    raise CheckpointError(
      f"{name} holds NaN or infinite numbers (a damaged "
      "file, or a training run that diverged)"
    )
  return array


# Adapters.


def _read_adapter(
  config: GeneratorConfig,
  pairs: Mapping[str, TensorRecord],
  found: Any,
  alpha: float | None,
) -> Adapter:
  """The adapter with these pairs; its offsets are zero.

  Args:
    config: the generator's config.
    pairs: the LoRA pairs, see `wrapped.split`.
    found: the module's record, or a state dict.
    alpha: LoRA's alpha; None: the record's.
  """
  lora_config = wrapped.fitting_lora(config, pairs)
  expected = wrapped.expected_pairs(config, lora_config)
  wrong = {
    "missing": [name for name in expected if name not in pairs],
    "of layers without pairs": [
      bare(name) for name in pairs if name not in expected
    ],
    "of the wrong shape": [
      f"{name} {describe_shape(pairs[name].shape)} "
      f"(expected {describe_shape(wrapped.torch_shape(shape))})"
      for name, (_, shape) in expected.items()
      if name in pairs and pairs[name].shape != wrapped.torch_shape(shape)
    ],
  }
  if any(wrong.values()):
    raise CheckpointError(
      f"the LoRA pairs do not fit rank {lora_config.rank} in the "
      f"{lora_config.conv_rank!r} layout: {list_mismatches(wrong)}"
    )
  if alpha is None and isinstance(found, ObjectRecord):
    alpha = wrapped.stated_alpha(found, lora_config.rank)
  if alpha is None:
    raise CheckpointError(
      "does not contain LoRA's alpha: give it with --lora_alpha (the paper's "
      "runs used 1)"
    )
  leaves = {
    path: np.zeros(shape, np.float32)
    for path, shape in wrapped.adapter_shapes(config, lora_config).items()
  }
  for name, (path, shape) in expected.items():
    leaves[path] = wrapped.to_flax(read_floats(name, pairs[name]), shape)
  return Adapter(
    unflatten_dict(leaves), dataclasses.replace(lora_config, alpha=float(alpha))
  )


def _rebased(
  converted: Converted, base: Mapping[str, Any], folder: str, log: _Log
) -> Converted:
  """The same person as an adapter of the generator that training started from.

  Args:
    converted: the person. Differences from the base in biases, noise strengths
      and decoder become the adapter's offsets; nothing else may differ.
    base: the base's variables, {"params": …, "buffers": …}.
    folder: the base's folder, for messages.
    log: called with a warning about changes that the adapter cannot hold.

  Raises:
    CheckpointError: names the first weight that differs.
  """
  leaves = flatten_dict(converted.adapter.lora)
  tuned = names.flatten(converted.variables)
  weights = {
    place: np.asarray(leaf) for place, leaf in names.flatten(base).items()
  }
  for place, weight in weights.items():
    with np.errstate(over="ignore"):  # overflow is refused when it is saved
      difference = tuned[place] - weight
    offset = (*place.path[:-1], place.path[-1] + OFFSET)
    if place.collection == "params" and offset in leaves:
      leaves[offset] = difference
      continue
    if np.abs(difference).max() <= _SAME_WEIGHT * np.abs(weight).max():
      continue
    name = names.torch_name(place)
    if place.path[-1] != "w_avg":
      raise CheckpointError(
        f"was not tuned from {folder}, whose {name} differs; give another "
        "--base"
      )
    # Training may track it, but only truncation uses it.
    log(f"warning: {name} differs from that of {folder}, which is kept")
  return dataclasses.replace(
    converted,
    variables=names.unflatten(weights),
    adapter=dataclasses.replace(converted.adapter, lora=unflatten_dict(leaves)),
  )


# Output.


def _save_both(converted: Converted, output: str, adapter_output: str):
  """Writes the generator and its adapter; both of them or neither.

  Args:
    converted: a generator with an adapter.
    output: the generator's folder; replaced if it exists.
    adapter_output: the adapter's file; replaced if it exists.
  """
  folder = pathlib.Path(output).expanduser().absolute()
  with contextlib.ExitStack() as stack:
    with naming(output):
      folder.parent.mkdir(parents=True, exist_ok=True)
      temporary = stack.enter_context(
        tempfile.TemporaryDirectory(
          prefix=f".{folder.name[:64]}.", dir=folder.parent
        )
      )
      new, old = (pathlib.Path(temporary) / name for name in ("new", "old"))
      try:
        checkpoint.save_generator(
          new, converted.config, converted.variables, source=converted.source
        )
      except CheckpointError as error:  # it names the temporary folder
        raise CheckpointError(str(error).removeprefix(f"{new}: ")) from None
      digest = checkpoint.generator_digest(new)
      stack.enter_context(_in_place(new, folder, old))
    _save_adapter(converted, adapter_output, digest)


@contextlib.contextmanager
def _in_place(
  new: pathlib.Path, place: pathlib.Path, old: pathlib.Path
) -> Iterator[None]:
  """Moves a folder into place, and back again if the block fails.

  Args:
    new: the folder.
    place: the path to move it to.
    old: the path to move an existing folder to.
  """
  with contextlib.ExitStack() as undo:
    if os.path.lexists(place):
      place.rename(old)
      undo.callback(old.rename, place)
    new.rename(place)
    undo.callback(place.rename, new)
    yield
    undo.pop_all()  # success: nothing to undo


def _save_adapter(converted: Converted, path: str, base_digest: str):
  with naming(path):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    lora.save(
      path,
      converted.adapter.lora,
      converted.adapter.config,
      metadata={
        "base_sha256": base_digest,
        "source_sha256": converted.source["sha256"],
      },
    )


def _check_adapter_output(
  path: str, folder: str, input_path: str, overwrite: bool
):
  """Refuses an adapter's path that must not be written.

  Args:
    path: the adapter's path.
    folder: the checkpoint folder that it belongs to.
    input_path: the file to convert.
    overwrite: whether an existing adapter may be replaced.
  """
  with naming(path):
    _check_encoding(path)
    if os.path.isdir(path):
      raise CheckpointError(
        "is a folder (give a file name with --adapter_output)"
      )
    if os.path.realpath(path) == os.path.realpath(input_path):
      raise CheckpointError("is the input (choose another --adapter_output)")
    if _is_inside(path, os.path.expanduser(folder)):
      raise CheckpointError(
        f"is inside the checkpoint folder {folder} (choose "
        "another --adapter_output)"
      )
    if os.path.lexists(path) and not overwrite:
      raise CheckpointError("exists already (--overwrite replaces it)")


def _is_inside(path: str, folder: str) -> bool:
  inside = os.path.join(os.path.realpath(folder), "")
  return os.path.realpath(path).startswith(inside)


def _check_encoding(path: str):
  try:
    path.encode("utf-8")
  except UnicodeEncodeError:
    raise CheckpointError(
      "is not valid UTF-8, which Orbax needs (choose another name)"
    ) from None


def _check_output(output: str, input_path: str, overwrite: bool):
  """Refuses an output that would fail or destroy the input, before any work."""
  with naming(output):
    _check_encoding(output)
    if not os.path.lexists(output):
      return
    if not overwrite:
      raise CheckpointError("exists already (--overwrite replaces it)")
    if _is_inside(input_path, output):
      raise CheckpointError(
        "contains the input, so it is not replaced (choose another --output)"
      )
  checkpoint.check_replaceable(output)


def _summary(config: GeneratorConfig) -> str:
  size, rays = config.img_resolution, config.neural_rendering_resolution
  return (
    f"{size} x {size} pixels from {rays} x {rays} rays by "
    f"{config.superresolution.module}"
  )


def _contents(converted: Converted, base: str | None) -> Iterator[str]:
  """Lines about what was written: parameter counts by part."""
  if base is None:
    counts = converted.counts()
    counts["total"] = sum(counts.values())
    for part, count in counts.items():
      yield f"{part:<20}{count:>12,} parameters"
  if converted.adapter is not None:
    config = converted.adapter.config
    total, pairs = lora.count(converted.adapter.lora)
    yield (
      f"{'adapter':<20}{total:>12,} parameters, {pairs:,} of them LoRA "
      f"pairs of rank {config.rank}, alpha {config.alpha:g}, conv_rank "
      f"{config.conv_rank}"
    )
    yield (
      "tuned biases, noise strengths and decoder are in the "
      + (
        "generator (with --base they are in the adapter)"
        if base is None
        else f"adapter, as changes of {base}"
      )
    )


def main(argv: list[str]) -> int:
  """The command line; returns the exit code."""
  values = cli.new_flags()
  flags.DEFINE_string(
    "input", None, "File to read (.pkl, .pth, .pt).", flag_values=values
  )
  flags.DEFINE_string("output", None, "Folder to create.", flag_values=values)
  flags.DEFINE_string(
    "adapter_output",
    None,
    "Adapter file to create (.safetensors), if the file has LoRA pairs; "
    f"default: OUTPUT{_ADAPTER_SUFFIX}.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "base",
    None,
    "Folder of the generator that My3DGen's training started from; only an "
    "adapter for that generator is written.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "network",
    DEFAULT_NETWORK,
    "Name of the network in the file.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "preset",
    None,
    "Name of the published checkpoint to take the settings of, instead of "
    f"those in the file: {', '.join(PRESETS)}.",
    flag_values=values,
  )
  flags.DEFINE_string(
    "config",
    None,
    "File of settings (config.json), instead of those in the input.",
    flag_values=values,
  )
  flags.DEFINE_float(
    "lora_alpha",
    None,
    "LoRA's alpha, instead of the file's; required for a state dict with LoRA "
    "pairs.",
    flag_values=values,
  )
  flags.DEFINE_bool(
    "overwrite",
    False,
    "Replace an existing checkpoint folder and adapter.",
    flag_values=values,
  )

  def work():
    config = None
    if not values.output and not (values.base and values.adapter_output):
      raise CheckpointError("--output is missing (see --help)")
    if values.lora_alpha is not None:
      try:
        LoraConfig(alpha=values.lora_alpha).validate()
      except ConfigError as error:
        raise CheckpointError(f"--lora_alpha: {error}") from None
    if values.preset and values.config:
      raise CheckpointError(
        "--preset and --config exclude each other; give one"
      )
    if values.preset:
      try:
        config = preset(values.preset)
      except ConfigError as error:
        raise CheckpointError(f"--{error}") from None
    if values.config:
      config = load_settings(values.config)
    convert(
      values.input,
      values.output,
      base=values.base,
      adapter_output=values.adapter_output,
      network=values.network,
      config=config,
      lora_alpha=values.lora_alpha,
      overwrite=values.overwrite,
    )

  return cli.run(argv, values, about=__doc__, required=("input",), work=work)


if __name__ == "__main__":
  sys.exit(main(sys.argv))

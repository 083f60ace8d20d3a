"""Adapter files."""

import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax.config import GeneratorConfig, LoraConfig
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.lora import packed_files, quantization, shared_basis
from my3dgen_jax.lora.collection import abstract, renamed
from my3dgen_jax.storage import json_files, tensor_files
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.storage.shareable import without_paths

_SETTINGS = "lora"  # the metadata entry with the LoraConfig
# File formats: before 2, offsets had the names of their parameters. 3 is only
# for quantized files, 4 for stacks: readers of 2 still read all others.
_STACK = "4"
_FORMAT, _FORMATS = "format", ("1", "2", packed_files.FORMAT, _STACK)
_PEOPLE = "people"  # a stack's metadata entry: a list of names, as JSON
_FLOATS = ("float32", "float16")
DTYPES = (*_FLOATS, *quantization.DTYPES)
# The metadata entry with the SHA-256 of the weights that an adapter is for.
BASE_DIGEST = "base_sha256"
# Other tools' files, recognized by their tensors' names.
OTHER_TOOLS = {"PEFT": "base_model.model.", "kohya": "lora_unet_"}
_OTHERS = {
  **OTHER_TOOLS,
  "PyTorch's names (converters/torch_to_flax.py converts My3DGen's)": ".lora_A",
}


class Loaded(NamedTuple):
  """An adapter read from a file.

  Attributes:
    lora: the collection, float32.
    config: rank, layout, targets.
    metadata: the file's other metadata: strings by name; "format" is the
      version of its format.
    people: a stack's names, in its order; otherwise empty.
  """

  lora: Any
  config: LoraConfig
  metadata: dict[str, str]
  people: tuple[str, ...] = ()


def save(
  path: str | os.PathLike,
  lora: Any,
  lora_config: LoraConfig,
  *,
  metadata: Mapping[str, str] | None = None,
  dtype: str = "float32",
  basis: "shared_basis.Basis | None" = None,
  people: Sequence[str] = (),
):
  """Writes an adapter as one `.safetensors` file, atomically.

  Args:
    path: the file; replaced if it exists.
    lora: the collection.
    lora_config: kept in the file.
    metadata: more strings by name, e.g. the base's SHA-256. Adapters are
      shared: only the last part of an absolute path is kept.
    dtype: one of `DTYPES`: "float32"; "float16" for half the size; "int8" for
      a quarter; "int4" for an eighth, at most 4 bits per number. The last two
      keep the product B A of each pair, with other factors A and B.
    basis: a shared basis for "int8" and "int4": only coefficients in it are
      written, and readers need its file next to the adapter. What lies
      outside its span is lost.
    people: names of a `stack`'s people, in its order; only with "float32" and
      "float16".

  Raises: UserError: NaN, or numbers too large for float16; OSError.
  """
  if dtype not in DTYPES:
    raise UserError(f"dtype: expected one of {DTYPES}, got {dtype!r}")
  leaves = {
    name: np.asarray(leaf, np.float32)
    for name, leaf in flatten_dict(lora).items()
  }
  if people:
    if dtype not in _FLOATS:
      raise UserError(f"dtype: a stack needs one of {_FLOATS}, got {dtype!r}")
    counts = {leaf.shape[:1] for leaf in leaves.values()}
    if counts != {(len(people),)}:
      raise UserError(
        f"people: {len(people)} names for a stack of "
        f"{' or '.join(str(*count) for count in sorted(counts))} people"
      )
  if dtype in _FLOATS:
    if basis is not None:
      raise UserError(
        f"dtype: a basis needs one of {quantization.DTYPES}, got {dtype!r}"
      )
    with np.errstate(over="ignore"):  # overflow is refused below
      leaves = {name: leaf.astype(dtype) for name, leaf in leaves.items()}
  for name, array in leaves.items():
    if not np.isfinite(array).all():
      raise UserError(
        f"{path}: {'/'.join(name)} holds NaN, or numbers too large for {dtype}"
      )
  if dtype in _FLOATS:
    tensors = {"/".join(name): leaf for name, leaf in leaves.items()}
    own = {_FORMAT: "2"}
    if people:
      own = {_FORMAT: _STACK, _PEOPLE: json.dumps(list(people))}
  else:
    described = {}
    if basis is not None:
      leaves = basis.coefficients(leaves)
      described = basis.metadata
    tensors, own = packed_files.encode(leaves, dtype)
    own |= described | {_FORMAT: packed_files.FORMAT}
  data = tensor_files.encode(
    tensors,
    {
      **without_paths(dict(metadata or {})),
      **own,
      _SETTINGS: json.dumps(lora_config.to_dict()),
    },
  )
  with replacing(path) as file:
    file.write(data)


def load(
  path: str | os.PathLike,
  config: GeneratorConfig | None = None,
  lora_config: LoraConfig | None = None,
  *,
  places: Sequence[str | os.PathLike] = (),
  many: bool = False,
) -> Loaded:
  """Reads an adapter of any dtype as float32.

  Args:
    path: a file written by `save`.
    config: config of the generator it is for; None: not compared.
    lora_config: config for a file that has lost its metadata; other files
      carry their own.
    places: files, or folders of files, to search for the shared basis that the
      adapter may need, in addition to the file's own folder.
    many: whether the file is a stack; its leaves have a leading axis of people.

  Returns: Loaded.
  Raises:
    CheckpointError: one line that names the file and the problem, e.g. the
      first tensor that does not fit the generator.
  """
  path = pathlib.Path(path)
  with tensor_files.opened(path, "an adapter") as file:
    metadata = dict(file.metadata() or {})
    leaves = {
      tuple(name.split("/")): file.get_tensor(name) for name in file.keys()
    }
  lora_config = settings_of(
    path, metadata, ["/".join(name) for name in leaves], lora_config
  )
  if metadata.setdefault(_FORMAT, _FORMATS[0]) not in _FORMATS:
    raise CheckpointError(
      f"{path}: has format {metadata[_FORMAT]!r}, which is newer than this "
      f"version of my3dgen_jax ({_FORMATS[-1]}); upgrade it"
    )
  people = _people_of(path, metadata, leaves, many)
  if metadata[_FORMAT] == packed_files.FORMAT:
    leaves = packed_files.decode(
      path, {"/".join(name): leaf for name, leaf in leaves.items()}, metadata
    )
    basis = shared_basis.needed(path, metadata, places)
    if basis is not None:
      leaves = basis.expanded(path, leaves)
  elif metadata[_FORMAT] == "1":
    leaves = flatten_dict(renamed(unflatten_dict(leaves)))
  for name, leaf in leaves.items():
    if (
      leaf.dtype not in (np.float32, np.float16) or not np.isfinite(leaf).all()
    ):
      raise CheckpointError(
        f"{path}: {'/'.join(name)} is not made of finite floating-point numbers"
      )
  _check_pairs(path, leaves)
  if config is not None:
    one = {name: leaf[0] for name, leaf in leaves.items()} if people else leaves
    _check_fits(path, one, flatten_dict(abstract(config, lora_config)))
  lora = unflatten_dict(
    {name: jnp.asarray(leaf, jnp.float32) for name, leaf in leaves.items()}
  )
  return Loaded(lora, lora_config, metadata, people)


def _check_pairs(path: pathlib.Path, leaves: Mapping):
  """Checks that the two halves of each pair have the same rank."""
  for name, leaf in leaves.items():
    if name[-1] not in ("lora_a", "lora_b"):
      continue
    a, b = (leaves.get((*name[:-1], half)) for half in ("lora_a", "lora_b"))
    if (
      a is None
      or b is None
      or min(a.ndim, b.ndim) < 2
      or not a.size
      or not b.size
      or a.shape[-1] != b.shape[-2]
    ):
      raise CheckpointError(
        f"{path}: is damaged: {'/'.join(name)} is half of a pair, but its "
        f"shape {list(leaf.shape)} does not fit the other half"
      )


def _people_of(
  path: pathlib.Path,
  metadata: dict[str, str],
  leaves: Mapping[tuple[str, ...], np.ndarray],
  many: bool,
) -> tuple[str, ...]:
  """The names of a stack's people, taken out of the metadata."""
  is_stack = metadata[_FORMAT] == _STACK
  if is_stack != many:
    raise CheckpointError(
      f"{path}: contains a stack of several people's adapters, but one adapter "
      "is expected; in Python, use my3dgen_jax.lora.load(..., many=True)"
      if is_stack
      else f"{path}: contains one adapter, but a stack of several is expected"
    )
  if not is_stack:
    return ()
  try:
    people = json_files.parse(metadata.pop(_PEOPLE, ""))
  except UserError as error:
    raise CheckpointError(
      f"{path}: is damaged: it does not name its people: {error}"
    ) from None
  if (
    not isinstance(people, list)
    or not people
    or not all(isinstance(name, str) for name in people)
    or any(leaf.shape[:1] != (len(people),) for leaf in leaves.values())
  ):
    raise CheckpointError(
      f"{path}: is damaged: it has adapters for a different number of people "
      "than it names"
    )
  return tuple(people)


def settings_of(
  path: str | os.PathLike,
  metadata: dict[str, str],
  names: Iterable[str],
  lora_config: LoraConfig | None = None,
) -> LoraConfig:
  """Reads rank, layout and alpha from a file's metadata.

  Args:
    path: path of the file.
    metadata: the file's metadata; the settings are removed from it.
    names: names of its tensors.
    lora_config: used if the file has no settings.

  Raises: CheckpointError: the file has no settings; it says what the file is.
  """
  names = list(names)
  if _SETTINGS not in metadata:
    if metadata.get("kind") == shared_basis.KIND:
      raise CheckpointError(
        f"{path}: is a shared basis of many people's adapters, not an adapter"
      )
    if set(names) == set(quantization.Packed._fields):
      raise CheckpointError(
        f"{path}: has lost its metadata with rank, layout and shapes: "
        "copy the original file"
      )
    if lora_config is not None:
      return lora_config
    for kind, sign in _OTHERS.items():
      if any(sign in name for name in names):
        raise CheckpointError(
          f"{path}: is a LoRA file from {kind}, for another kind of network"
        )
    if any(name.endswith(("/lora_a", "/lora_b")) for name in names):
      raise CheckpointError(
        f"{path}: has lost its metadata with rank, layout and alpha: copy the "
        "original file again, or in Python pass lora_config to "
        "my3dgen_jax.lora.load"
      )
    raise CheckpointError(
      f"{path}: is not an adapter of this project: it has no LoRA settings"
    )
  try:
    return LoraConfig.from_dict(json_files.parse(metadata.pop(_SETTINGS)))
  except ValueError as error:
    raise CheckpointError(
      f"{path}: is damaged: its LoRA settings are invalid: {error}"
    ) from None


def check_fits(
  where: object, lora: Any, config: GeneratorConfig, lora_config: LoraConfig
):
  """Compares an adapter's shapes with those the generator expects.

  Args:
    where: what holds the adapter, for the message.
    lora: the collection.
    config: the generator's config.
    lora_config: the adapter's config.

  Raises: CheckpointError: names the first tensor that does not fit.
  """
  _check_fits(
    where, flatten_dict(lora), flatten_dict(abstract(config, lora_config))
  )


def _check_fits(where: object, leaves: Mapping, expected: Mapping):
  for name in sorted(set(leaves) | set(expected)):
    shapes = [
      list(tree[name].shape) if name in tree else "nothing"
      for tree in (leaves, expected)
    ]
    if shapes[0] != shapes[1]:
      raise CheckpointError(
        f"{where}: does not fit the generator: {'/'.join(name)} is "
        f"{shapes[0]}, expected {shapes[1]}"
      )

"""Generators as saved by My3DGen's training: in wrappers, with LoRA pairs.

Networks, blocks and layers are inside wrappers, each of which adds a segment
to the names below it. A layer's wrapper also contains the layer's pair:

    backbone.synthesis.synthesis.b8.synthesis_block.conv0.synthesis_layer.bias
    backbone.synthesis.synthesis.b8.synthesis_block.conv0.lora_A  [rho, I k k]
    backbone.synthesis.synthesis.b8.synthesis_block.conv0.lora_B  [O, rho]

Without wrappers, the bias is `backbone.synthesis.b8.conv0.bias`, EG3D's own
name. In LoRA's original layout, a convolution's pair is [rho, I k] and
[O k, rho].
"""

import collections
import functools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from converters import names
from converters.errors import bare, describe
from converters.torch_reader import ObjectRecord, TensorRecord
from my3dgen_jax import lora
from my3dgen_jax.config import GeneratorConfig, LoraConfig, MAX_SIZE
from my3dgen_jax.errors import CheckpointError

LAYOUTS = ("kernel", "rank", "original")  # values of LoraConfig.conv_rank

_SEGMENTS = frozenset(
  {
    "synthesis_block",
    "synthesis_layer",
    "to_rgb_layer",
    "fully_connected_layer",
    "superresolution_module",
  }
)
_BACKBONE = "backbone.synthesis."
_WRAPPED_BACKBONE = "backbone.synthesis.synthesis."
_PAIR = {"lora_A": "lora_a", "lora_B": "lora_b"}
_ALPHA_REMEDY = "give the value with --lora_alpha"
_TOO_LARGE = 1e30  # near the largest float32
_KERNEL = names.FlaxPath("params", ("kernel",))

Path = tuple[str, ...]
Tensors = dict[str, TensorRecord]


def plain_name(name: str) -> str:
  """A tensor's name without the segments of wrappers."""
  if name.startswith(_WRAPPED_BACKBONE):
    name = name.replace(_WRAPPED_BACKBONE, _BACKBONE, 1)
  return ".".join(
    segment for segment in name.split(".") if segment not in _SEGMENTS
  )


def split(tensors: Mapping[str, TensorRecord]) -> tuple[Tensors, Tensors]:
  """Separates a generator's own tensors from the LoRA pairs, by plain names.

  Args:
    tensors: the tensors of a wrapped or a plain generator.

  Returns: the generator's tensors; the pairs, empty without wrappers.
  Raises:
    CheckpointError: two tensors have the same plain name, or there are wrappers
      but no pairs.
  """
  plain: Tensors = {}
  for name, tensor in tensors.items():
    if plain.setdefault(plain_name(name), tensor) is not tensor:
      raise CheckpointError(
        f"two tensors are named {describe(plain_name(name))}"
      )
  pairs = {
    name: plain.pop(name)
    for name in list(plain)
    if name.rpartition(".")[2] in _PAIR
  }
  if not pairs and any(name not in plain for name in tensors):
    raise CheckpointError(
      "has layers in My3DGen's wrappers, but no lora_A or lora_B; is the file "
      "complete?"
    )
  return plain, pairs


@functools.lru_cache(maxsize=16)
def adapter_shapes(
  config: GeneratorConfig, lora_config: LoraConfig
) -> Mapping[Path, tuple[int, ...]]:
  """Path → shape in the collection `lora`, pairs and offsets."""
  return {
    path: leaf.shape
    for path, leaf in flatten_dict(lora.abstract(config, lora_config)).items()
  }


def expected_pairs(
  config: GeneratorConfig, lora_config: LoraConfig
) -> Mapping[str, tuple[Path, tuple[int, ...]]]:
  """Torch's plain name → path and shape in the collection `lora`."""
  torch_leaf = {leaf: name for name, leaf in _PAIR.items()}
  return {
    ".".join((*path[:-1], torch_leaf[path[-1]])): (path, shape)
    for path, shape in adapter_shapes(config, lora_config).items()
    if path[-1] in torch_leaf
  }


def torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
  """The shape in torch of one matrix of a pair, [..., in, out] in Flax."""
  *taps, inputs, outputs = shape
  return outputs, inputs * math.prod(taps)


def to_flax(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """Permutes one matrix of a pair to Flax's layout; values do not change.

  Args:
    array: torch's array, of shape `torch_shape(shape)`.
    shape: [k, k, in, out] or [in, out].
  """
  *taps, inputs, outputs = shape
  array = names.to_flax(_KERNEL, array.reshape(outputs, inputs, *taps))
  return np.asarray(array, order="C")


def fitting_lora(
  config: GeneratorConfig, pairs: Mapping[str, TensorRecord]
) -> LoraConfig:
  """Rank and layout by the pairs' shapes; alpha, which they do not tell, is 1.

  Args:
    config: the generator's config.
    pairs: the LoRA pairs, see `split`; the majority decides.

  Raises:
    CheckpointError: no pair tells the rank.
  """
  # An affine layer's rho is the rank in every layout.
  ranks = collections.Counter(
    tensor.shape[0]
    for name, tensor in pairs.items()
    if name.endswith(".affine.lora_A")
    and len(tensor.shape) == 2
    and 1 <= tensor.shape[0] <= MAX_SIZE
  )
  if not ranks:
    raise CheckpointError(
      "has no lora_A of an affine layer, which tells the rank"
    )
  ((rank, _),) = ranks.most_common(1)

  def fits(layout: str) -> int:
    expected = expected_pairs(config, LoraConfig(rank=rank, conv_rank=layout))
    return sum(
      pairs[name].shape == torch_shape(shape)
      for name, (_, shape) in expected.items()
      if name in pairs
    )

  return LoraConfig(rank=rank, conv_rank=max(LAYOUTS, key=fits))


def stated_alpha(generator: ObjectRecord, rank: int) -> float | None:
  """LoRA's alpha, as stored in the layers' wrappers.

  Args:
    generator: the module's record, with tensors that were checked.
    rank: LoRA's rank, from the tensors' shapes.

  Returns: alpha; None if no wrapper has it.
  Raises:
    CheckpointError: their values are not numbers, or disagree.
  """
  told: dict[str, float] = {}
  for name, state in _adapted_layers("", generator):
    values = {
      key: state[key] for key in ("r", "lora_alpha", "scaling") if key in state
    }
    for key, value in values.items():
      if type(value) not in (int, float) or not 0 < value < _TOO_LARGE:
        raise CheckpointError(
          f"{name}{key}: expected a positive number, got "
          f"{describe(value)} ({_ALPHA_REMEDY})"
        )
    if values.get("r", rank) != rank:
      raise CheckpointError(
        f"{name}r is {values['r']}, but the shapes have rank {rank} "
        f"({_ALPHA_REMEDY})"
      )
    if "lora_alpha" in values:
      told[f"{name}lora_alpha"] = float(values["lora_alpha"])
    if "scaling" in values:
      told[f"{name}scaling x r"] = float(values["scaling"]) * rank
  if not told:
    return None
  (first, alpha), *rest = told.items()
  for other, value in rest:
    if not math.isclose(value, alpha, rel_tol=1e-6):
      raise CheckpointError(
        f"{first} is {alpha:g}, but {other} is {value:g} ({_ALPHA_REMEDY})"
      )
  return alpha


def _adapted_layers(
  prefix: str, module: ObjectRecord
) -> Iterator[tuple[str, Mapping[str, Any]]]:
  """The name, with a final dot, and the state of every wrapper with a pair."""
  if not _PAIR.keys().isdisjoint(module.state.get("_parameters", ())):
    yield prefix, module.state
  for name, child in module.state.get("_modules", {}).items():
    if child is not None:
      yield from _adapted_layers(f"{prefix}{bare(name)}.", child)

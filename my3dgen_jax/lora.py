"""Adapters: what makes a generator somebody's own, as one small pytree.

    generator = Generator(config, lora=LoraConfig(rank=1))
    variables = lora.merge_collections(
        base, lora.init(key, config, LoraConfig(rank=1)))

An adapter is the collection `lora` of a `Generator` that has a `LoraConfig`:
a pair `lora_a`, `lora_b` for each convolution, to-RGB and affine layer, and
offsets of the biases, the noise strengths and the decoder. It starts as no
change at all. The base's `params` are never touched, so one frozen base
serves any number of people, and an optimizer sees this tree alone.

Source: My3DGen, section 3.2 and equation 4; LoRA (Hu et al. 2021).
"""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax.config import ConfigError, GeneratorConfig, LoraConfig
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models import adapter
from my3dgen_jax.models.generator import abstract_variables
from my3dgen_jax.ops import low_rank
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.types import Array

_PAIR = ("lora_a", "lora_b")
_SETTINGS = "lora"  # the metadata that hold the LoraConfig


class Count(NamedTuple):
  """Sizes of an adapter, in numbers.

  Attributes:
    total: all of it.
    pairs: the low-rank pairs alone.
  """

  total: int
  pairs: int


class Loaded(NamedTuple):
  """An adapter out of a file.

  Attributes:
    lora: the collection, float32.
    config: rank, layout, targets.
    metadata: what else the file says of itself: texts by name.
  """

  lora: Any
  config: LoraConfig
  metadata: dict[str, str]


def init(
  key: chex.PRNGKey, config: GeneratorConfig, lora_config: LoraConfig
) -> Any:
  """A fresh adapter: random A, zero everything else, so no change.

  Args:
    key: of the random numbers.
    config: of the generator.
    lora_config: rank, layout, targets.

  Returns: the collection `lora`.
  Raises: ConfigError if a setting cannot work, or the targets fit no layer.
  """
  leaves = flatten_dict(abstract(config.validate(), lora_config.validate()))
  if not leaves:
    raise ConfigError(f"lora.targets: {lora_config.targets} fit no layer")
  keys = jax.random.split(key, len(leaves))
  return unflatten_dict(
    {
      path: adapter.initial_value(key, path[-1], leaf.shape)
      for key, (path, leaf) in zip(keys, leaves.items())
    }
  )


def abstract(config: GeneratorConfig, lora_config: LoraConfig) -> Any:
  """The tree of `init` as `jax.ShapeDtypeStruct`s; no memory."""
  return abstract_variables(config, lora_config).get(adapter.COLLECTION, {})


def split_collections(variables: Mapping[str, Any]) -> tuple[Any, Any]:
  """Splits variables into the base {"params", "buffers"} and the adapter."""
  base = {
    name: tree for name, tree in variables.items() if name != adapter.COLLECTION
  }
  return base, variables[adapter.COLLECTION]


def merge_collections(base: Mapping[str, Any], lora: Any) -> dict[str, Any]:
  """The inverse of `split_collections`: variables for `Generator.apply`."""
  return {**base, adapter.COLLECTION: lora}


def merge_into_params(
  base: Mapping[str, Any], lora: Any, lora_config: LoraConfig
) -> dict[str, Any]:
  """A plain generator with the adapter's changes in its weights.

  Args:
    base: {"params": …, "buffers": …}; left as it is.
    lora: the adapter.
    lora_config: of the adapter.

  Returns: variables for a `Generator` without `lora`, float32.
  """
  params = flatten_dict(base["params"])
  for path, change in kernel_changes(base["params"], lora, lora_config).items():
    params[path] = params[path] + change
  for path, offset in flatten_dict(lora).items():
    if path[-1] not in _PAIR and path[-1] != "kernel":
      params[path] = params[path] + offset
  return {**base, "params": unflatten_dict(params)}


def kernel_changes(
  params: Any, lora: Any, lora_config: LoraConfig
) -> dict[tuple[str, ...], jax.Array]:
  """The change of every adapted kernel, as the stored weights would change.

  Args:
    params: of the base; shapes are enough.
    lora: the adapter.
    lora_config: of the adapter.

  Returns: path of the kernel to its change, of the kernel's shape.
  """
  kernels, leaves = flatten_dict(params), flatten_dict(lora)
  changes: dict[tuple[str, ...], jax.Array] = {}
  for path, leaf in leaves.items():
    scope = path[:-1]
    if path[-1] == "kernel":
      changes[path] = leaf
    elif path[-1] == "lora_a":
      shape = kernels[scope + ("kernel",)].shape
      delta = adapter.kernel_change(
        leaf, leaves[scope + ("lora_b",)], shape, lora_config
      )
      if delta.low_rank is not None:
        change = low_rank.product(delta.low_rank)
      else:
        assert delta.kernel is not None
        change = delta.kernel
      if len(shape) == 2:
        # Affine layers divide their stored weight by sqrt(inputs); the pair
        # joins after that.
        change = change * shape[0] ** 0.5
      changes[scope + ("kernel",)] = change
  return changes


def count(lora: Any) -> Count:
  """How many numbers an adapter has; shapes are enough."""
  sizes = {
    path: int(np.prod(leaf.shape)) for path, leaf in flatten_dict(lora).items()
  }
  return Count(
    total=sum(sizes.values()),
    pairs=sum(size for path, size in sizes.items() if path[-1] in _PAIR),
  )


def relative_change(
  params: Any, lora: Any, lora_config: LoraConfig
) -> dict[str, float]:
  """How much the weights of each block change, in per cent.

  Args:
    params: of the base.
    lora: the adapter.
    lora_config: of the adapter.

  Returns: block ("backbone/synthesis/b8", "superresolution/block0",
    "decoder") to 100 times the mean over its weight tensors W of
    sum |change of W| / sum |W|.
  Source: My3DGen, figure 9.
  """
  return _by_block(params, kernel_changes(params, lora, lora_config))


def relative_difference(params: Any, tuned: Any) -> dict[str, float]:
  """The same of a generator whose own weights were tuned.

  Args:
    params: of the base.
    tuned: of the same shapes; the kernels that adapters change are compared.
  """
  kernels, others = flatten_dict(params), flatten_dict(tuned)
  targets = LoraConfig().targets
  return _by_block(
    params,
    {
      path: others[path] - kernel
      for path, kernel in kernels.items()
      if path[-1] == "kernel"
      and any(re.fullmatch(target, "/".join(path[:-1])) for target in targets)
    },
  )


def _by_block(
  params: Any, changes: Mapping[tuple[str, ...], Array]
) -> dict[str, float]:
  """Changes of kernels, by path, in per cent of each block's."""
  kernels = flatten_dict(params)
  ratios: dict[str, list] = {}
  for path, change in changes.items():
    ratios.setdefault(block_of(path), []).append(
      float(jnp.sum(jnp.abs(change)) / jnp.sum(jnp.abs(kernels[path])))
    )
  return {
    block: 100 * sum(values) / len(values) for block, values in ratios.items()
  }


def block_of(path: Sequence[str]) -> str:
  """The block that a parameter belongs to, by its path in the tree."""
  depth = {"backbone": 3, "superresolution": 2}.get(path[0], 1)
  if path[:2] == ("backbone", "mapping"):
    depth = 2
  return "/".join(path[:depth])


def average(
  adapters: Sequence[tuple[Any, LoraConfig]],
  weights: Sequence[float] | None = None,
) -> tuple[Any, LoraConfig]:
  """The adapter whose change of the weights is the mean of the others'.

  Averaging A and B by themselves would not average B A; laying the pairs
  side by side does, exactly, at the sum of the ranks.

  Args:
    adapters: (lora, config) each, of one base, layout and targets.
    weights: one for each; None: equal ones. Their sum need not be 1.

  Returns: (lora, config), of rank = alpha = the sum of the ranks.
  Raises: UserError if the adapters do not fit together.
  """
  if not adapters:
    raise UserError("adapters: expected at least one")
  weights = [1 / len(adapters)] * len(adapters) if weights is None else weights
  if len(weights) != len(adapters):
    raise UserError(f"weights: expected {len(adapters)}, got {len(weights)}")
  first = adapters[0][1]
  rank = sum(config.rank for _, config in adapters)
  joined = dataclasses.replace(first, rank=rank, alpha=float(rank))
  for _, config in adapters:
    if (config.conv_rank, config.targets) != (first.conv_rank, first.targets):
      raise UserError(
        "adapters: conv_rank and targets must be the same in all of them"
      )
  trees = [flatten_dict(lora) for lora, _ in adapters]
  if any(set(tree) != set(trees[0]) for tree in trees):
    raise UserError("adapters: they belong to different generators")
  result = {}
  for path in trees[0]:
    parts = [tree[path] for tree in trees]
    if path[-1] == "lora_a":
      result[path] = jnp.concatenate(parts, axis=-1)
    elif path[-1] == "lora_b":
      result[path] = jnp.concatenate(
        [
          weight * config.scale * part
          for weight, (_, config), part in zip(weights, adapters, parts)
        ],
        axis=0,
      )
    else:
      result[path] = sum(weight * part for weight, part in zip(weights, parts))
  return unflatten_dict(result), joined


def interpolate(
  first: tuple[Any, LoraConfig], second: tuple[Any, LoraConfig], t: float
) -> tuple[Any, LoraConfig]:
  """The adapter on the line from `first` (t = 0) to `second` (t = 1)."""
  return average([first, second], [1 - t, t])


def save(
  path: str | os.PathLike,
  lora: Any,
  lora_config: LoraConfig,
  *,
  metadata: Mapping[str, str] | None = None,
  dtype: str = "float32",
):
  """Writes an adapter as one `.safetensors` file, whole or not at all.

  Args:
    path: of the file; replaced if it exists.
    lora: the collection.
    lora_config: kept in the file.
    metadata: more texts by name, e.g. the base's SHA-256.
    dtype: "float32", or "float16" for half the size.

  Raises: UserError on NaN, or what float16 cannot hold; OSError.
  """
  # Only whoever reads or writes files needs it.
  from safetensors.numpy import save as encode

  if dtype not in ("float32", "float16"):
    raise UserError(f"dtype: expected 'float32' or 'float16', got {dtype!r}")
  with np.errstate(over="ignore"):  # what overflows is refused below
    tensors = {
      "/".join(name): np.asarray(leaf).astype(dtype)
      for name, leaf in flatten_dict(lora).items()
    }
  for name, array in tensors.items():
    if not np.isfinite(array).all():
      raise UserError(
        f"{path}: {name} holds NaN, or numbers too large for {dtype}"
      )
  data = encode(
    tensors,
    metadata={**(metadata or {}), _SETTINGS: json.dumps(lora_config.to_dict())},
  )
  with replacing(path) as file:
    file.write(data)


def load(
  path: str | os.PathLike, config: GeneratorConfig | None = None
) -> Loaded:
  """Reads an adapter.

  Args:
    path: written by `save`.
    config: of the generator it is for; None: not compared.

  Returns: Loaded.
  Raises:
    CheckpointError: one line that names the file and what is wrong, e.g. the
      first tensor that does not fit the generator.
  """
  from safetensors import safe_open, SafetensorError

  path = pathlib.Path(path)
  try:
    with safe_open(path, framework="numpy") as file:
      metadata = dict(file.metadata() or {})
      leaves = {
        tuple(name.split("/")): file.get_tensor(name) for name in file.keys()
      }
  except (OSError, SafetensorError) as error:
    reason = getattr(error, "strerror", None) or str(error)
    raise CheckpointError(
      f"{path}: cannot be read as an adapter: {reason}"
    ) from None
  try:
    lora_config = LoraConfig.from_dict(json.loads(metadata.pop(_SETTINGS)))
  except (KeyError, ValueError) as error:
    raise CheckpointError(
      f"{path}: does not say which LoRA it is: {error}"
    ) from None
  for name, leaf in leaves.items():
    if (
      leaf.dtype not in (np.float32, np.float16) or not np.isfinite(leaf).all()
    ):
      raise CheckpointError(
        f"{path}: {'/'.join(name)} is not made of finite floating-point numbers"
      )
  if config is not None:
    _check_fits(path, leaves, flatten_dict(abstract(config, lora_config)))
  lora = unflatten_dict(
    {name: jnp.asarray(leaf, jnp.float32) for name, leaf in leaves.items()}
  )
  return Loaded(lora, lora_config, metadata)


def _check_fits(path: pathlib.Path, leaves: Mapping, expected: Mapping):
  for name in sorted(set(leaves) | set(expected)):
    shapes = [
      list(tree[name].shape) if name in tree else "nothing"
      for tree in (leaves, expected)
    ]
    if shapes[0] != shapes[1]:
      raise CheckpointError(
        f"{path}: does not fit the generator: {'/'.join(name)} is "
        f"{shapes[0]}, expected {shapes[1]}"
      )

"""Adapters' changes of the weights: merged, measured, averaged."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax.config import LoraConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.models import adapter
from my3dgen_jax.ops import low_rank
from my3dgen_jax.tracing.derivatives import entry, jit
from my3dgen_jax.tracing.programs import one_program
from my3dgen_jax.types import Array

_PAIR, _OFFSET = adapter.PAIR, adapter.OFFSET


@entry
def merge_into_params(
  base: Mapping[str, Any], lora: Any, lora_config: LoraConfig
) -> dict[str, Any]:
  """A plain generator with the adapter's changes in its weights.

  Args:
    base: {"params": …, "buffers": …}; not modified.
    lora: the adapter.
    lora_config: the adapter's config.

  Returns: variables for a `Generator` without `lora`; changed weights are
    float32.
  Raises: UserError: the adapter does not fit; it names the cause.
  """
  params = flatten_dict(base["params"])
  changes = kernel_changes(base["params"], lora, lora_config)
  for path, offset in flatten_dict(lora).items():
    name = path[-1].removesuffix(_OFFSET)
    if path[-1] not in _PAIR and name != "kernel":
      changes[(*path[:-1], name)] = offset
  # Apart from the products, which a program of both would round less often.
  params |= _added({path: params[path] for path in changes}, changes)
  return {**base, "params": unflatten_dict(params)}


@jax.jit
def _added(
  params: Mapping[adapter.Path, Array], changes: Mapping[adapter.Path, Array]
) -> dict[adapter.Path, jax.Array]:
  """Sums of parameters and changes in float32, from one program for all."""
  return {
    path: jnp.asarray(params[path], jnp.float32) + change
    for path, change in changes.items()
  }


@entry
def kernel_changes(
  params: Any, lora: Any, lora_config: LoraConfig
) -> dict[tuple[str, ...], jax.Array]:
  """The change of every adapted kernel, in terms of the stored weights.

  Args:
    params: the base's parameters; shapes are enough.
    lora: the adapter.
    lora_config: the adapter's config.

  Returns: each kernel's path, to its change, of the kernel's shape.
  Raises: UserError: the adapter does not fit; it names the cause.
  """
  adapter.check(params, lora, lora_config)
  kernels = tuple(
    (path, shape)
    for path, shape in adapter.shapes(params).items()
    if path[-1] == "kernel"
  )
  return _changes(flatten_dict(lora), kernels, lora_config)


@functools.partial(jit, static_argnums=(1, 2))
def _changes(
  leaves: Mapping[adapter.Path, jax.Array],
  kernels: tuple[tuple[adapter.Path, tuple[int, ...]], ...],
  lora_config: LoraConfig,
) -> dict[adapter.Path, jax.Array]:
  """`kernel_changes` for kernels of these shapes, from one program for all."""
  shapes = dict(kernels)
  changes: dict[adapter.Path, jax.Array] = {}
  for path, leaf in leaves.items():
    scope = path[:-1]
    if path[-1] == "kernel" + _OFFSET:
      changes[scope + ("kernel",)] = leaf
    elif path[-1] == "lora_a":
      shape = shapes[scope + ("kernel",)]
      delta = adapter.kernel_change(
        leaf, leaves[scope + ("lora_b",)], shape, lora_config
      )
      if delta.low_rank is not None:
        change = low_rank.product(delta.low_rank)
      else:
        assert delta.kernel is not None
        change = delta.kernel
      if len(shape) == 2:
        # Affine layers divide their stored weight by sqrt(inputs); the pair is
        # added after that.
        change = change * shape[0] ** 0.5
      changes[scope + ("kernel",)] = change
  return changes


@entry
def relative_change(
  params: Any, lora: Any, lora_config: LoraConfig
) -> dict[str, float]:
  """The relative change of each block's weights, in percent.

  Args:
    params: the base's parameters.
    lora: the adapter.
    lora_config: the adapter's config.

  Returns: block ("backbone/synthesis/b8", "superresolution/block0",
    "decoder") to 100 times the mean over its weight tensors W of
    sum |change of W| / sum |W|.
  Source: My3DGen, figure 9.
  """
  return _by_block(params, kernel_changes(params, lora, lora_config))


@entry
def relative_difference(params: Any, tuned: Any) -> dict[str, float]:
  """`relative_change` for a generator whose own weights were tuned.

  Args:
    params: the base's parameters.
    tuned: the tuned parameters, of the same shapes; the kernels that adapters
      change are compared.
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
  """Changes of kernels, by path, in percent of each block's weights."""
  kernels = flatten_dict(params)
  ratios: dict[str, list] = {}
  for path, change in changes.items():
    ratios.setdefault(block_of(path), []).append(
      float(_size(change) / _size(kernels[path]))
    )
  return {
    block: 100 * sum(values) / len(values) for block, values in ratios.items()
  }


def _size(array: Array) -> np.floating:
  """The sum of absolute values, without compiling a program per shape."""
  return np.abs(np.asarray(array, np.float32)).sum(dtype=np.float64)


def block_of(path: Sequence[str]) -> str:
  """The block that a parameter belongs to, by its path in the tree."""
  depth = {"backbone": 3, "superresolution": 2}.get(path[0], 1)
  if path[:2] == ("backbone", "mapping"):
    depth = 2
  return "/".join(path[:depth])


@entry
def average(
  adapters: Sequence[tuple[Any, LoraConfig]],
  weights: Sequence[float] | None = None,
) -> tuple[Any, LoraConfig]:
  """The adapter whose weight change is the mean of the given adapters'.

  Averaging A and B separately would not average B A; concatenating the pairs
  does, exactly, at the sum of the ranks.

  Args:
    adapters: (lora, config) of each, for one base, layout and targets.
    weights: one for each adapter; None: equal. They need not sum to 1.

  Returns: (lora, config), with rank = alpha = the sum of the ranks.
  Raises: UserError if the adapters do not match.
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
  scaled = [
    weight * config.scale for weight, (_, config) in zip(weights, adapters)
  ]
  return unflatten_dict(_averaged(trees, list(weights), scaled)), joined


@one_program()
def _averaged(
  trees: Sequence[Mapping[adapter.Path, Array]],
  weights: Sequence[Array],
  scaled: Sequence[Array],
) -> dict[adapter.Path, jax.Array]:
  """`average` of leaves by path; pairs count with `scaled` weights."""
  result: dict[adapter.Path, jax.Array] = {}
  for path in trees[0]:
    parts = [jnp.asarray(tree[path]) for tree in trees]
    if path[-1] == "lora_a":
      result[path] = jnp.concatenate(parts, axis=-1)
    elif path[-1] == "lora_b":
      parts = [weight * part for weight, part in zip(scaled, parts)]
      result[path] = jnp.concatenate(parts, axis=0)
    else:
      parts = [weight * part for weight, part in zip(weights, parts)]
      result[path] = jnp.asarray(sum(parts))
  return result


def interpolate(
  first: tuple[Any, LoraConfig], second: tuple[Any, LoraConfig], t: float
) -> tuple[Any, LoraConfig]:
  """The adapter on the line from `first` (t = 0) to `second` (t = 1)."""
  return average([first, second], [1 - t, t])

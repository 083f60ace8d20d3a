"""The collection `lora`: made, counted, put beside a base and taken away."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax.config import ConfigError, GeneratorConfig, LoraConfig
from my3dgen_jax.models import adapter
from my3dgen_jax.models.checkpoint import weights_digest
from my3dgen_jax.models.generator import abstract_variables
from my3dgen_jax.tracing.derivatives import entry

_PAIR, _OFFSET = adapter.PAIR, adapter.OFFSET


class Count(NamedTuple):
  """Sizes of an adapter, in numbers.

  Attributes:
    total: all of it.
    pairs: the low-rank pairs alone.
  """

  total: int
  pairs: int


@entry
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


def renamed(lora: Any) -> Any:
  """An adapter in memory with today's names.

  Args:
    lora: the collection; before format 2 its offsets had the names of the
      parameters that they are added to.
  """
  return unflatten_dict(
    {
      (
        path
        if path[-1] in _PAIR or path[-1].endswith(_OFFSET)
        else (*path[:-1], path[-1] + _OFFSET)
      ): leaf
      for path, leaf in flatten_dict(lora).items()
    }
  )


def fingerprint(lora: Any) -> str:
  """The SHA-256 of an adapter's numbers, in hex; of all formats the same."""
  return weights_digest(
    unflatten_dict(
      {
        (*path[:-1], path[-1].removesuffix(_OFFSET)): leaf
        for path, leaf in flatten_dict(lora).items()
      }
    )
  )


def count(lora: Any) -> Count:
  """How many numbers an adapter has; shapes are enough."""
  sizes = {
    path: int(np.prod(leaf.shape)) for path, leaf in flatten_dict(lora).items()
  }
  return Count(
    total=sum(sizes.values()),
    pairs=sum(size for path, size in sizes.items() if path[-1] in _PAIR),
  )

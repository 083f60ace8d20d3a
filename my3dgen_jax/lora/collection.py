"""The collection `lora`: create, count, merge with a base, split off."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from my3dgen_jax.config import ConfigError, GeneratorConfig, LoraConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.models import adapter
from my3dgen_jax.models.checkpoint import weights_digest
from my3dgen_jax.models.generator import abstract_variables
from my3dgen_jax.tracing.derivatives import entry
from my3dgen_jax.tracing.programs import copied

_PAIR, _OFFSET = adapter.PAIR, adapter.OFFSET


class Count(NamedTuple):
  """An adapter's sizes, in numbers.

  Attributes:
    total: all numbers.
    pairs: numbers in the low-rank pairs only.
  """

  total: int
  pairs: int


@entry
def init(
  key: chex.PRNGKey, config: GeneratorConfig, lora_config: LoraConfig
) -> Any:
  """A fresh adapter: random A, everything else zero, so no change.

  Args:
    key: the PRNG key.
    config: the generator's config.
    lora_config: rank, layout, targets.

  Returns: the collection `lora`.
  Raises: ConfigError if a setting cannot work, or the targets match no layer.
  """
  leaves = flatten_dict(abstract(config.validate(), lora_config.validate()))
  if not leaves:
    raise ConfigError(f"lora.targets: {lora_config.targets} match no layer")
  return unflatten_dict(
    adapter.initial_values(
      jax.random.split(key, len(leaves)),
      {path: leaf.shape for path, leaf in leaves.items()},
    )
  )


def abstract(config: GeneratorConfig, lora_config: LoraConfig) -> Any:
  """The tree of `init` as `jax.ShapeDtypeStruct`s, without allocating."""
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


@entry
def stack(people: Sequence[Any]) -> Any:
  """Stacks adapters of many people into one tree, for `jax.vmap`.

    images = jax.vmap(
      lambda lora, ws, c: generator.apply(
        merge_collections(base, lora), ws, c, method="synthesis"
      ).image
    )(stack(people), ws, c)                 # ws [K, N, num_ws, w_dim]

  The shared kernels are then applied once to the whole batch, and each
  person's pairs as narrow products: see `ops.own_changes`.

  Args:
    people: collections, one or more, all of one LoraConfig and structure.

  Returns: the collection with a leading axis K.
  Raises: UserError: names the first adapter of another structure.
  """
  people = list(people)
  if not people:
    raise UserError("people: expected at least one adapter")
  first = adapter.shapes(people[0])
  for i, one in enumerate(people):
    own = adapter.shapes(one)
    wrong = [
      path
      for path in sorted(own.keys() | first.keys())
      if own.get(path) != first.get(path)
    ]
    if wrong:
      raise UserError(
        f"people[{i}]: {'/'.join(wrong[0])} is {own.get(wrong[0])}, but "
        f"people[0] has {first.get(wrong[0])}; stack adapters of one LoraConfig"
      )
  return copied(
    lambda xp, people: jax.tree.map(lambda *leaves: xp.stack(leaves), *people),
    people,
  )


def unstack(lora: Any) -> list[Any]:
  """The inverse of `stack`: each person's collection."""
  count = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(lora)}
  if len(count) != 1 or () in count:
    raise UserError("lora: is not a stack: its leaves share no leading axis")
  ((people,),) = count
  return [jax.tree.map(lambda leaf, i=i: leaf[i], lora) for i in range(people)]


def renamed(lora: Any) -> Any:
  """An in-memory adapter under its current names.

  Args:
    lora: the collection; before format 2, its offsets had the names of the
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
  """SHA-256 of an adapter's numbers, in hex; the same for all formats."""
  return weights_digest(
    unflatten_dict(
      {
        (*path[:-1], path[-1].removesuffix(_OFFSET)): leaf
        for path, leaf in flatten_dict(lora).items()
      }
    )
  )


def count(lora: Any) -> Count:
  """Counts an adapter's numbers; shapes are enough."""
  sizes = {
    path: int(np.prod(leaf.shape)) for path, leaf in flatten_dict(lora).items()
  }
  return Count(
    total=sum(sizes.values()),
    pairs=sum(size for path, size in sizes.items() if path[-1] in _PAIR),
  )

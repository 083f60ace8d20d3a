"""Combines a base generator and an adapter."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from my3dgen_jax.config import LoraConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.lora.collection import merge_collections
from my3dgen_jax.lora.files import BASE_DIGEST, Loaded
from my3dgen_jax.models import adapter
from my3dgen_jax.models.checkpoint import weights_digest
from my3dgen_jax.models.generator import Generator


def personal(
  generator: Generator,
  variables: Mapping[str, Any],
  loaded: Loaded | tuple[Any, LoraConfig],
) -> tuple[Generator, dict[str, Any]]:
  """A person's generator: a base and an adapter, combined.

      generator, variables = load_generator("checkpoints/ffhq")
      obama = lora.personal(generator, variables, lora.load("adapter…"))

  Rank, layout and alpha come from the adapter; its arrays do not hold them.

  Args:
    generator: the base, or another person's generator; its config is kept.
    variables: the generator's {"params": …, "buffers": …}; an adapter that they
      hold is dropped. Nothing is copied.
    loaded: the result of `load`, whose metadata may name the weights it is for;
      or the collection and its config, for any weights of matching shapes.

  Returns: the generator with the adapter's `LoraConfig`, and its variables.
  Raises: UserError: the adapter does not fit; it names the cause, e.g. that
    it was made for other weights.
  """
  lora, config = loaded[:2]
  base = {
    name: tree for name, tree in variables.items() if name != adapter.COLLECTION
  }
  adapter.check(base["params"], lora, config.validate())
  if isinstance(loaded, Loaded):
    _check_base(base, loaded.metadata.get(BASE_DIGEST))
  return generator.clone(lora=config), merge_collections(base, lora)


def _check_base(base: Mapping[str, Any], digest: str | None):
  """Compares the base's digest with the one that an adapter is for."""
  is_readable = lambda leaf: (
    not isinstance(leaf, jax.core.Tracer)
    and leaf.dtype == np.float32  # other dtypes were converted by the caller
    and getattr(leaf, "is_fully_addressable", True)
  )
  if digest is None or not all(map(is_readable, jax.tree.leaves(base))):
    return
  found = weights_digest(base)
  if found != digest:
    raise UserError(
      f"lora: the adapter was made for weights with SHA-256 {digest[:12]}…, "
      f"but the generator has {found[:12]}…; load the base that it was tuned on"
    )

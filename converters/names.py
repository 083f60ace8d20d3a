"""Converts between PyTorch's and Flax's tensor names and layouts.

A torch name `a.b.weight` is the parameter `a/b/kernel`, with permuted axes:
convolutions [O, I, kh, kw] → [kh, kw, I, O], fully connected [O, I] → [I, O].
The learned constant [C, 4, 4] becomes [4, 4, C]. Biases and noise keep name
and layout.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

_BUFFERS = ("w_avg", "noise_const")
# Torch numbers the members of a Sequential; 1 is the softplus, without weights.
_TORCH_PREFIXES = {
  "decoder.net.0.": "decoder.fc0.",
  "decoder.net.2.": "decoder.fc1.",
}
_AXES_TO_FLAX: Mapping[tuple[str, int], tuple[int, ...]] = {
  ("kernel", 4): (2, 3, 1, 0),
  ("kernel", 2): (1, 0),
  ("const", 3): (1, 2, 0),
}
_FILTER_NAME = "resample_filter"
_OUTER_FILTER = f"superresolution.{_FILTER_NAME}"
# All other modules register a filter of their own beside their two blocks'.
_WITHOUT_OUTER_FILTER = "SuperresolutionHybrid8XDC"

# The value of every `resample_filter`: the up- and downsampling filter
# [1, 3, 3, 1] / 8 along both axes, which the model has built in.
RESAMPLE_FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


class FlaxPath(NamedTuple):
  """A tensor's place in the variables."""

  collection: str  # "params" or "buffers"
  path: tuple[str, ...]


def flax_path(name: str) -> FlaxPath:
  """The place of a torch tensor other than a `resample_filter`."""
  for torch_prefix, flax_prefix in _TORCH_PREFIXES.items():
    if name.startswith(torch_prefix):
      name = flax_prefix + name.removeprefix(torch_prefix)
  *scope, leaf = name.split(".")
  collection = "buffers" if leaf in _BUFFERS else "params"
  leaf = "kernel" if leaf == "weight" else leaf
  return FlaxPath(collection, (*scope, leaf))


def torch_name(place: FlaxPath) -> str:
  """The inverse of `flax_path`."""
  *scope, leaf = place.path
  name = ".".join((*scope, "weight" if leaf == "kernel" else leaf))
  for torch_prefix, flax_prefix in _TORCH_PREFIXES.items():
    if name.startswith(flax_prefix):
      name = torch_prefix + name.removeprefix(flax_prefix)
  return name


def to_flax(place: FlaxPath, array: np.ndarray) -> np.ndarray:
  """Permutes a torch array to Flax's layout; values do not change."""
  axes = _AXES_TO_FLAX.get((place.path[-1], array.ndim))
  return array if axes is None else array.transpose(axes)


def to_torch(place: FlaxPath, array: np.ndarray) -> np.ndarray:
  """The inverse of `to_flax`."""
  axes = _AXES_TO_FLAX.get((place.path[-1], array.ndim))
  return array if axes is None else array.transpose(np.argsort(axes))


def torch_shape(place: FlaxPath, shape: tuple[int, ...]) -> tuple[int, ...]:
  """The shape in torch of a tensor with `shape` in Flax."""
  axes = _AXES_TO_FLAX.get((place.path[-1], len(shape)))
  return shape if axes is None else tuple(shape[a] for a in np.argsort(axes))


def flatten(variables: Mapping) -> dict[FlaxPath, Any]:
  """The leaves of {"params": …, "buffers": …} by place."""
  leaves: dict[FlaxPath, Any] = {}

  def visit(collection: str, path: tuple[str, ...], node: Any):
    if isinstance(node, Mapping):
      for key, child in node.items():
        visit(collection, (*path, key), child)
    else:
      leaves[FlaxPath(collection, path)] = node

  for collection in ("params", "buffers"):
    visit(collection, (), variables[collection])
  return leaves


def unflatten(leaves: Mapping[FlaxPath, Any]) -> dict[str, Any]:
  """The inverse of `flatten`."""
  variables: dict[str, Any] = {"params": {}, "buffers": {}}
  for place, leaf in leaves.items():
    node = variables[place.collection]
    for key in place.path[:-1]:
      node = node.setdefault(key, {})
    node[place.path[-1]] = leaf
  return variables


def filter_names(names: Iterable[str]) -> set[str]:
  """Names of every `resample_filter` that a module with these tensors may have.

  Args:
    names: the other tensors' names.
  """
  found = {_OUTER_FILTER}
  for name in names:
    layer, _, leaf = name.rpartition(".")
    if leaf == "noise_const":  # convolutions have a filter, torgb has none
      block = layer.rpartition(".")[0]
      found |= {f"{layer}.{_FILTER_NAME}", f"{block}.{_FILTER_NAME}"}
  return found


def own_filter_names(
  names: Iterable[str], superresolution_module: str
) -> set[str]:
  """Those of `filter_names` that exist with this super-resolution module."""
  found = filter_names(names)
  if superresolution_module == _WITHOUT_OUTER_FILTER:
    found.remove(_OUTER_FILTER)
  return found


def natural_order(name: str) -> list[tuple[int, str]]:
  """A key to sort names by, with b16 after b8."""
  return [
    (int(part), "") if part.isdigit() else (-1, part)
    for part in re.split(r"(\d+)", name)
  ]

"""Image classifiers, LPIPS and DISTS filled by the rule of metrics.npz.

Source: ../shared/golden/README.md, `metrics.npz`.
"""

import functools
import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from converters import names
from tests.support import golden

PREFIXES = {"alex": "alexnet.", "vgg": "vgg16.", "squeeze": "squeezenet1_1."}


def weight(name: str, shape: Sequence[int]) -> np.ndarray:
  """The float32 array that the rule gives to a torch name, with prefix."""
  normal = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(
    tuple(shape)
  )
  scale = 0.1 if len(shape) == 1 else math.sqrt(2 / math.prod(shape[1:]))
  return (normal * scale).astype(np.float32)


@functools.cache
def backbone(net: str) -> Mapping[str, np.ndarray]:
  """torchvision's names and layouts, without a classifier."""
  return {
    name: weight(PREFIXES[net] + name, shape)
    for name, shape in golden.shapes(net).items()
  }


@functools.cache
def linear(net: str) -> Mapping[str, np.ndarray]:
  """The released linear weights, under their names."""
  return {
    name.removeprefix(f"{net}."): array
    for name, array in golden.load("lpips_linear").items()
    if name.startswith(f"{net}.")
  }


@functools.cache
def lpips_variables(net: str) -> dict[str, Any]:
  """Variables of `Lpips`."""
  return {
    "params": {
      "network": _network(net),
      **{
        name.split(".", maxsplit=1)[0]: array.reshape(-1)
        for name, array in linear(net).items()
      },
    }
  }


def dists_weights() -> dict[str, np.ndarray]:
  """The released weights, under their names and in their layout."""
  return {
    name: array.reshape(1, -1, 1, 1)
    for name, array in golden.load("dists_weights").items()
  }


@functools.cache
def dists_variables() -> dict[str, Any]:
  """Variables of `Dists`."""
  return {
    "params": {"network": _network("vgg"), **golden.load("dists_weights")}
  }


def _network(net: str) -> dict[str, Any]:
  """A backbone as `FeatureStack` has it."""
  network: dict[str, Any] = {}
  for name, array in backbone(net).items():
    place = names.flax_path(name)
    _, index, *path = place.path
    node = network.setdefault(f"layer{index}", {})
    for key in path[:-1]:
      node = node.setdefault(key, {})
    node[path[-1]] = names.to_flax(place, array)
  return network

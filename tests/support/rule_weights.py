"""Weights by rule from their names: what the golden tensors were made with.

Source: ../shared/golden/README.md, "Rule for generator and super-resolution
weights".
"""

import json
import pathlib
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

_GOLDEN = pathlib.Path(__file__).parents[1] / "golden"
_FILTER = np.outer([1, 3, 3, 1], [1, 3, 3, 1]).astype(np.float32) / 64


def weight(name: str, shape: Sequence[int]) -> np.ndarray:
  """The float32 array that the rule gives to a torch name."""
  shape = tuple(shape)
  if name.endswith(".resample_filter"):
    return _FILTER
  if name.endswith(".noise_strength"):
    return np.full(shape, 0.1, np.float32)
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  normal = rng.standard_normal(shape)
  if name.endswith(".affine.bias"):
    array = 1 + 0.1 * normal
  elif name.endswith(".bias"):
    array = (10 if ".mapping.fc" in name else 0.1) * normal
  elif name.endswith(".w_avg"):
    array = 0.1 * normal
  elif ".mapping.fc" in name:
    array = np.float32(normal) * np.float32(100)
  else:
    array = normal
  return np.asarray(array, np.float32)


def fill(shapes: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
  """Arrays for all names of a state dict."""
  return {name: weight(name, shape) for name, shape in shapes.items()}


def golden_shapes(name: str) -> dict[str, Sequence[int]]:
  """Names and shapes of "ffhq512", "afhq512" or "small"."""
  return json.loads((_GOLDEN / f"{name}_state_dict_shapes.json").read_text())

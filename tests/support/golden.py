"""Golden files, the inputs they were made from, and how to compare."""

import dataclasses
import functools
import json
import os
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters import names
from my3dgen_jax import config as config_lib
from my3dgen_jax.ops import cameras
from tests.support import rule_weights

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "golden"

# Relative errors; tests/golden/README.md gives the reasons.
OPS = 1e-6
IMAGES = 2e-5
STORED_IN_FLOAT16 = 5e-4
GRADIENTS = 1e-4


def load(name: str) -> Mapping[str, np.ndarray]:
  with np.load(FOLDER / f"{name}.npz") as file:
    return dict(file)


def shapes(name: str) -> Mapping[str, tuple[int, ...]]:
  """Torch names and shapes: "ffhq512", "afhq512" or "small"."""
  text = (FOLDER / f"{name}_state_dict_shapes.json").read_text()
  return {key: tuple(shape) for key, shape in json.loads(text).items()}


def variables(
  torch_shapes: Mapping[str, tuple[int, ...]], *, prefix: str = ""
) -> Any:
  """Flax variables filled by the rule.

  Args:
    torch_shapes: names and shapes.
    prefix: put before each name to seed its numbers.
  """
  filled = rule_weights.fill(
    {prefix + name: shape for name, shape in torch_shapes.items()}
  )
  leaves = {}
  for name, array in filled.items():
    if not name.endswith(".resample_filter"):
      place = names.flax_path(name.removeprefix(prefix))
      leaves[place] = names.to_flax(place, array)
  return names.unflatten(leaves)


@functools.cache
def small_variables() -> Any:
  return variables(shapes("small"))


def small_config() -> config_lib.GeneratorConfig:
  """FFHQ but for narrow layers in the backbone."""
  return dataclasses.replace(
    config_lib.preset("ffhqrebalanced512-128"),
    backbone=config_lib.BackboneConfig(channel_base=1024, channel_max=32),
  )


def draw(name: str, shape: tuple[int, ...]) -> np.ndarray:
  """The input of that name, float32."""
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  return rng.standard_normal(shape).astype(np.float32)


def two_cameras() -> np.ndarray:
  """The labels of the gradient and ws files, [2, 25]."""
  return np.asarray(
    cameras.pack_label(
      cameras.look_at(
        np.array([-0.35, 0.35]), np.array([0.25, -0.25]), (0.0, 0.0, 0.2), 2.7
      ),
      cameras.intrinsics_from_focal(4.2647),
    )
  )


def to_nhwc(array: np.ndarray) -> np.ndarray:
  return array.transpose(0, 2, 3, 1)


def relative_error(actual: Any, expected: np.ndarray) -> float:
  """‖actual − expected‖ / ‖expected‖; shapes must be equal."""
  actual = np.asarray(actual, np.float64)
  expected = np.asarray(expected, np.float64)
  assert actual.shape == expected.shape, (actual.shape, expected.shape)
  return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


def assert_close(
  actual: Any, expected: np.ndarray, tolerance: float, label: str
):
  """Fails unless the relative error is below the tolerance.

  Args:
    actual: ours.
    expected: the original's.
    tolerance: one of those above.
    label: "file: key". With GOLDEN_REPORT=PATH in the environment, a line
      with it and the error is added to that file.
  """
  error = relative_error(actual, expected)
  if "GOLDEN_REPORT" in os.environ:
    with open(os.environ["GOLDEN_REPORT"], "a") as report:
      report.write(f"{label}\t{error:.1e}\t{tolerance:.0e}\n")
  assert error < tolerance, f"{label}: {error:.2e}, expected < {tolerance:g}"

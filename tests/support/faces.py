"""Face recognition networks filled by the rule of metrics.npz.

Source: ../shared/golden/README.md, `metrics.npz`.
"""

import functools
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from converters import arcface_to_flax
from converters.torch_reader import StorageRecord, TensorRecord
from my3dgen_jax.losses import arcface, identity
from tests.support import classifiers, golden

# Of the same making, but small.
TINY = identity.Network(
  "IR-SE-50",
  functools.partial(arcface.IrSe, channels=(16, 32), units=(2, 1), features=8),
  arcface.SIDE,
)


def state_dict(
  network: str, shapes: Mapping[str, Sequence[int]]
) -> dict[str, np.ndarray]:
  """Torch's names and layouts, with the counters that batch norm keeps.

  Args:
    network: a key of `identity.NETWORKS`, which seeds the numbers.
    shapes: by name.
  """
  return {
    name: _tensor(
      f"{network}.{name}",
      tuple(shape),
      f"{name.rpartition('.')[0]}.running_mean" in shapes,
    )
    for name, shape in shapes.items()
  }


def _tensor(name: str, shape: Sequence[int], normalises: bool) -> np.ndarray:
  rng = np.random.default_rng(zlib.crc32(name.encode()))
  leaf = name.rpartition(".")[2]
  if leaf == "num_batches_tracked":
    return np.array(0)
  if leaf == "running_var":
    return (0.5 + rng.random(shape)).astype(np.float32)
  if leaf == "weight" and len(shape) == 1:
    middle, spread = (1, 0.1) if normalises else (0.25, 0.05)
    return (middle + spread * rng.standard_normal(shape)).astype(np.float32)
  return classifiers.weight(name, shape)


def tiny_state_dict() -> dict[str, np.ndarray]:
  """Of `TINY`, to be called while it stands in the registry's place."""
  shapes = {
    name: want.shape
    for name, want in arcface_to_flax.expected_tensors("ir_se50").items()
  }
  return {
    **state_dict("ir_se50", shapes),
    "input_layer.1.num_batches_tracked": np.array(0),
  }


@functools.cache
def ir_se50_state_dict() -> Mapping[str, np.ndarray]:
  """Of the golden IR-SE-50."""
  return state_dict("ir_se50", golden.shapes("ir_se50"))


@functools.cache
def mobilefacenet_state_dict() -> Mapping[str, np.ndarray]:
  """Of the golden MobileFaceNet, whose rounding errors do not grow."""
  return {
    name: array * np.float32(0.3) if name.endswith("conv.3.weight") else array
    for name, array in state_dict(
      "mobilefacenet", golden.shapes("mobilefacenet")
    ).items()
  }


def ir_se50(scale: float = 1.0) -> dict[str, Any]:
  """Variables of the golden IR-SE-50.

  Args:
    scale: multiplies the last normalisation of each unit.
  """
  return variables(
    {
      name: array * np.float32(scale)
      if name.endswith("res_layer.4.weight")
      else array
      for name, array in ir_se50_state_dict().items()
    }
  )


def variables(
  tensors: Mapping[str, np.ndarray], network: str = "ir_se50"
) -> dict[str, Any]:
  """What the converter makes of a state dict."""
  return arcface_to_flax.fill(
    network,
    {
      name: TensorRecord(
        StorageRecord(array.dtype, array.size, array.tobytes()),
        array.dtype,
        0,
        array.shape,
        tuple(stride // array.itemsize for stride in array.strides),
      )
      for name, array in tensors.items()
    },
  )

"""The wrapper that makes a layer personal: LoRA pairs and offsets.

All it adds lives in the collection `lora`, at the path of the layer's own
parameters, which stay as they are:

    lora_a, lora_b   the pair that changes the kernel
    bias, …          offsets of the layer's other parameters, zero at first
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.config import LoraConfig
from my3dgen_jax.types import LayerDelta, LayerWeights, LowRank

COLLECTION = "lora"


def pair_shapes(
  kernel: tuple[int, ...], config: LoraConfig
) -> tuple[tuple[int, ...], tuple[int, ...]]:
  """Shapes of lora_a and lora_b for a kernel [..., I, O].

  Returns: [..., I, rho] and [rho, O]; in the "original" layout of
    convolutions [I k, rho] and [rho, O k].
  """
  *taps, inputs, outputs = kernel
  size = taps[0] if taps else 1
  rho = config.rank * (1 if config.conv_rank == "rank" else size)
  if config.conv_rank == "original":
    return (inputs * size, rho), (rho, outputs * size)
  return (*taps, inputs, rho), (rho, outputs)


def kernel_change(
  lora_a: jax.Array,
  lora_b: jax.Array,
  kernel: tuple[int, ...],
  config: LoraConfig,
) -> LayerDelta:
  """The change of a kernel of that shape by a pair, scale included."""
  if config.conv_rank == "original" and len(kernel) == 4:
    size, _, inputs, outputs = kernel
    # PyTorch's memory of the product is read as [O, I, k, k]: a matrix that
    # means nothing as a convolution, which is what the ablation is about.
    change = jnp.matmul(
      lora_a, config.scale * lora_b, precision=jax.lax.Precision.HIGHEST
    ).T
    change = change.reshape(outputs, inputs, size, size)
    return LayerDelta(kernel=change.transpose(2, 3, 1, 0))
  # Most adapters have a scale of 1, and a product less for each layer.
  return LayerDelta(
    low_rank=LowRank(
      a=lora_a, b=lora_b if config.scale == 1 else config.scale * lora_b
    )
  )


def initial_value(
  key: chex.PRNGKey, name: str, shape: tuple[int, ...]
) -> jax.Array:
  """What a variable of the collection starts as: A random, the rest zero.

  A is Kaiming's uniform with a = sqrt(5): within 1 / sqrt(fan in).
  """
  if name != "lora_a":
    return jnp.zeros(shape)
  bound = math.prod(shape[:-1]) ** -0.5
  return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Adapter(nn.Module):
  """A layer with its personal change; shares the layer's scope.

  Attributes:
    layer: has `parameter_shapes(inputs)` and takes a `delta`.
    config: rank, layout, targets.
    pair: the kernel changes by a low-rank pair; else by an offset of its own
      size.
  """

  layer: nn.Module
  config: LoraConfig
  pair: bool = True

  def setup(self):
    nn.share_scope(self, self.layer)

  def __call__(self, x: Any, *arguments: Any, **options: Any) -> Any:
    """The layer's own call."""
    return self.layer(x, *arguments, delta=self.delta(x.shape[-1]), **options)

  def weights(self, inputs: int) -> LayerWeights:
    """What the layer stores for `inputs` features, and its change."""
    return self.layer.weights(inputs, delta=self.delta(inputs))

  def run(self, *arguments: Any, **options: Any) -> Any:
    """What the layer does with its weights."""
    return self.layer.run(*arguments, **options)

  def scaled_weights(self, inputs: int) -> Any:
    """See `FullyConnected.scaled_weights`."""
    return self.layer.scaled_weights(inputs, delta=self.delta(inputs))

  @nn.compact
  def delta(self, inputs: int) -> LayerDelta:
    """The change of the layer for `inputs` features; nothing if no target."""
    path = "/".join(self.path)
    if not any(re.fullmatch(target, path) for target in self.config.targets):
      return LayerDelta()
    shapes = self.layer.parameter_shapes(inputs)
    kernel = shapes["kernel"]
    change = LayerDelta()
    if self.pair:
      shape_a, shape_b = pair_shapes(kernel, self.config)
      change = kernel_change(
        self._variable("lora_a", shape_a),
        self._variable("lora_b", shape_b),
        kernel,
        self.config,
      )
      del shapes["kernel"]
    return dataclasses.replace(
      change,
      **{name: self._variable(name, shape) for name, shape in shapes.items()},
    )

  def _variable(self, name: str, shape: tuple[int, ...]) -> jax.Array:
    return self.variable(
      COLLECTION,
      name,
      lambda: initial_value(self.make_rng("params"), name, shape),
    ).value


def adapted(
  config: LoraConfig | None,
  name: str,
  layer: Callable[..., nn.Module],
  *arguments: Any,
  pair: bool = True,
  **options: Any,
) -> nn.Module:
  """Makes a layer, inside an `Adapter` where there is a config.

  Args:
    config: None for the layer alone.
    name: of the layer, and of the adapter in its place.
    layer: its class.
    *arguments: of the layer.
    pair: see `Adapter`.
    **options: of the layer.
  """
  if config is None:
    return layer(*arguments, name=name, **options)
  return Adapter(
    layer(*arguments, parent=None, **options), config, pair, name=name
  )

"""Frozen pytrees that the model passes around."""

from collections.abc import Callable
from typing import Any, Optional

import flax.struct
import jax
import numpy as np
from jax import export

Array = jax.Array | np.ndarray


def make_exportable(cls: Any):
  """Registers a frozen pytree of arrays with `jax.export`."""

  def from_children(aux_data: Any, children: Any) -> Any:
    del aux_data  # all fields are children
    return cls(*children)

  export.register_pytree_node_serialization(
    cls,
    serialized_name=f"my3dgen_jax.{cls.__name__}",
    serialize_auxdata=lambda aux_data: b"",
    deserialize_auxdata=lambda data: (),
    from_children=from_children,
  )


@flax.struct.dataclass
class Rays:
  """Rays through pixel centers, in row-major order.

  Attributes:
    origins: [N, M, 3], world units.
    directions: [N, M, 3], unit length.
  """

  origins: jax.Array
  directions: jax.Array


@flax.struct.dataclass
class RaySampling:
  """The random numbers of stratified sampling, all uniform in [0, 1).

  Attributes:
    jitter: [N, M, D], position of each coarse sample within its interval.
    importance: [N, M, F], quantile at which each fine sample is drawn.
  """

  jitter: jax.Array
  importance: jax.Array


@flax.struct.dataclass
class LowRank:
  """The change a @ b of a kernel.

  Attributes:
    a: [kh, kw, I, R] or [I, R].
    b: [R, O], including the adapter's scale.
  """

  a: jax.Array
  b: jax.Array


@flax.struct.dataclass
class LayerDelta:
  """An adapter's changes of a layer's parameters; None: no change.

  Attributes:
    low_rank: low-rank change of the kernel.
    kernel: full change of the kernel.
    bias: change of the bias.
    noise_strength: change of the noise strength.
  """

  low_rank: LowRank | None = None
  kernel: jax.Array | None = None
  bias: jax.Array | None = None
  noise_strength: jax.Array | None = None


@flax.struct.dataclass
class LayerWeights:
  """A layer's stored weights with an adapter's changes.

  Attributes:
    stored: those of "kernel", "bias" and "noise_strength" that the layer has.
    delta: the adapter's changes.
    affine: weights of the layer that maps w to styles, or None.
    noise_const: the layer's noise map, [H, W], or None.
  """

  stored: dict[str, jax.Array]
  delta: LayerDelta
  affine: Optional["LayerWeights"] = None
  noise_const: jax.Array | None = None


@flax.struct.dataclass
class ModulatedConv:
  """A modulated 3x3 layer, with everything that depends on w computed.

  Attributes:
    kernel: [3, 3, I, O], including changes.
    base: the kernel without its low-rank change.
    low_rank: kernel - base, or None.
    styles: [N, I], scales of the inputs.
    scale: [N, O], demodulation of the outputs.
    bias: [N, O], the same for all N.
    noise_strength: [N, O], one number repeated.
    noise_const: noise map, [H, W].
  """

  kernel: jax.Array
  base: jax.Array
  low_rank: LowRank | None
  styles: jax.Array
  scale: jax.Array
  bias: jax.Array
  noise_strength: jax.Array
  noise_const: jax.Array


@flax.struct.dataclass
class ModulatedRGB:
  """A modulated 1x1 layer, with everything that depends on w computed.

  Attributes:
    kernel: [N, I, O], one per sample.
    bias: [N, O], the same for all N.
  """

  kernel: jax.Array
  bias: jax.Array


@flax.struct.dataclass
class DecoderWeights:
  """The decoder's two layers, including gains: y = x @ kernel + bias.

  Attributes:
    kernel0: [P, hidden], with P features per plane.
    bias0: [hidden].
    kernel1: [hidden, 1 + C].
    bias1: [1 + C].
  """

  kernel0: jax.Array
  bias0: jax.Array
  kernel1: jax.Array
  bias1: jax.Array


@flax.struct.dataclass
class RadianceSample:
  """Density and color at points of space.

  Attributes:
    sigma: [N, M, 1], raw density (before the renderer's softplus).
    rgb: [N, M, C], color features in (-0.001, 1.001); the first
      img_channels are the color seen in `image_raw`.
  """

  sigma: jax.Array
  rgb: jax.Array


# Maps plane features [..., P] to density [..., 1] and colors [..., C]: weights of
# EG3D's decoder, or any function or callable pytree.
Decoder = (
  DecoderWeights
  | Callable[[jax.Array], "RadianceSample | tuple[jax.Array, jax.Array]"]
)


@flax.struct.dataclass
class VolumeRendering:
  """The result of volume rendering.

  Attributes:
    features: [N, M, C] in [-1, 1].
    depth: [N, M, 1], expected distance along the ray, world units.
    opacity: [N, M, 1], sum of the samples' weights, in [0, 1].
  """

  features: jax.Array
  depth: jax.Array
  opacity: jax.Array


@flax.struct.dataclass
class RenderOutput:
  """The generator's images.

  Attributes:
    image: [N, H, W, 3], after super-resolution; nominally in [-1, 1], not
      clipped.
    image_raw: [N, S, S, 3], the volume rendering, in [-1, 1]. If the config's
      `superresolution.raw_in_place` is set, it includes what the first
      super-resolution block adds, and is unbounded.
    image_depth: [N, S, S, 1], distance along each ray, world units.
  """

  image: jax.Array
  image_raw: jax.Array
  image_depth: jax.Array


@flax.struct.dataclass
class Network:
  """A module with its weights, as one pytree that can be passed to jit.

  Attributes:
    variables: the module's variables.
    module: a `flax.linen.Module`, or another object with such an `apply`.
  """

  variables: Any
  module: Any = flax.struct.field(pytree_node=False)

  def __call__(self, *arguments: Any, **options: Any) -> Any:
    """Calls `module.apply`; `method="NAME"` selects another method."""
    return self.module.apply(self.variables, *arguments, **options)


for _type in (
  Rays,
  RaySampling,
  DecoderWeights,
  RadianceSample,
  VolumeRendering,
  RenderOutput,
):
  make_exportable(_type)

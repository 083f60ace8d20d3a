"""What travels together through the model, as frozen pytrees."""

from collections.abc import Callable
from typing import Any, Optional

import flax.struct
import jax
import numpy as np
from jax import export

Array = jax.Array | np.ndarray


def make_exportable(cls: Any):
  """Lets a frozen pytree of arrays into and out of `jax.export` files."""

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
  """Rays through pixel centres, row-major.

  Attributes:
    origins: [N, M, 3], world units.
    directions: [N, M, 3], of length 1.
  """

  origins: jax.Array
  directions: jax.Array


@flax.struct.dataclass
class RaySampling:
  """The random numbers of stratified sampling, all uniform in [0, 1).

  Attributes:
    jitter: [N, M, D], where in its step each coarse sample lies.
    importance: [N, M, F], the quantile each fine sample is drawn at.
  """

  jitter: jax.Array
  importance: jax.Array


@flax.struct.dataclass
class LowRank:
  """The change a @ b of a kernel.

  Attributes:
    a: [kh, kw, I, R] or [I, R].
    b: [R, O], the adapter's scale included.
  """

  a: jax.Array
  b: jax.Array


@flax.struct.dataclass
class LayerDelta:
  """What an adapter adds to a layer's parameters; None: nothing.

  Attributes:
    low_rank: to the kernel, as a product of two narrow matrices.
    kernel: to the kernel, entry by entry.
    bias: to the bias.
    noise_strength: to the noise strength.
  """

  low_rank: LowRank | None = None
  kernel: jax.Array | None = None
  bias: jax.Array | None = None
  noise_strength: jax.Array | None = None


@flax.struct.dataclass
class LayerWeights:
  """What a layer stores, with what an adapter adds.

  Attributes:
    stored: "kernel", "bias", "noise_strength", as far as there are.
    delta: changes of them.
    affine: of the layer that turns w into styles, if there is one.
    noise_const: [H, W], the noise map that belongs to the layer, or None.
  """

  stored: dict[str, jax.Array]
  delta: LayerDelta
  affine: Optional["LayerWeights"] = None
  noise_const: jax.Array | None = None


@flax.struct.dataclass
class ModulatedConv:
  """A 3x3 layer with w in it: what is left to do needs pixels.

  Attributes:
    kernel: [3, 3, I, O], changes included.
    base: the kernel without its low-rank change.
    low_rank: kernel - base, or None.
    styles: [N, I], scales of the inputs.
    scale: [N, O], demodulation of the outputs.
    bias: [N, O], the same for all N.
    noise_strength: [N, O], the same number everywhere.
    noise_const: [H, W].
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
  """A 1x1 layer with w in it.

  Attributes:
    kernel: [N, I, O], each sample's own.
    bias: [N, O], the same for all N.
  """

  kernel: jax.Array
  bias: jax.Array


@flax.struct.dataclass
class DecoderWeights:
  """The decoder's two layers, gains included: y = x @ kernel + bias.

  Attributes:
    kernel0: [P, hidden], P features a plane.
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


# Plane features [..., P] to density [..., 1] and colors [..., C]: the weights
# of EG3D's decoder, or any function or callable pytree.
Decoder = (
  DecoderWeights
  | Callable[[jax.Array], "RadianceSample | tuple[jax.Array, jax.Array]"]
)


@flax.struct.dataclass
class VolumeRendering:
  """What integrating along rays gives.

  Attributes:
    features: [N, M, C] in [-1, 1].
    depth: [N, M, 1], expected distance along the ray, world units.
    opacity: [N, M, 1], the share of the ray that samples cover, in [0, 1].
  """

  features: jax.Array
  depth: jax.Array
  opacity: jax.Array


@flax.struct.dataclass
class RenderOutput:
  """Images of the generator.

  Attributes:
    image: [N, H, W, 3], after super-resolution; nominally in [-1, 1], as
      networks go not clipped.
    image_raw: [N, S, S, 3], the volume rendering itself, in [-1, 1]; where
      the config's `superresolution.raw_in_place` is set, with what the first
      block of super-resolution adds to it, and without bounds.
    image_depth: [N, S, S, 1], distance along each ray, world units.
  """

  image: jax.Array
  image_raw: jax.Array
  image_depth: jax.Array


@flax.struct.dataclass
class Network:
  """A module with its weights: one pytree, so that it passes through jit.

  Attributes:
    variables: of the module.
    module: a `flax.linen.Module`, or what else takes `variables`.
  """

  variables: Any
  module: Any = flax.struct.field(pytree_node=False)

  def __call__(self, *arguments: Any, **options: Any) -> Any:
    """`module.apply` with the variables; `method="NAME"` chooses another."""
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

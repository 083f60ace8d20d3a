"""LPIPS 0.1: an image distance based on a classifier's features.

    lpips = load_lpips("checkpoints/lpips_alex")
    distance = lpips(x, y)                                          # [N]

For a photo that is compared repeatedly, compute its features once:

    photo = lpips(x, method="features")
    distance = lpips(photo, lpips(y, method="features"), method="distance")

For the folder on disk, see `losses.weights`.

Source: Zhang et al., "The Unreasonable Effectiveness of Deep Features as a
Perceptual Metric", CVPR 2018; version 0.1 of its linear weights.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import weights as weights_lib
from my3dgen_jax.losses.backbones import FeatureStack, NETWORKS
from my3dgen_jax.ops import checks
from my3dgen_jax.ops.resize import resize_bilinear
from my3dgen_jax.tracing import derivatives, meshes
from my3dgen_jax.tracing.parameters import stored, traced_once
from my3dgen_jax.types import Array

BACKBONES = tuple(NETWORKS)
WEIGHTS_FILE = weights_lib.WEIGHTS_FILE

# ImageNet's mean and deviation for images in [-1, 1], rounded as in LPIPS's
# training.
_MEAN = (-0.030, -0.088, -0.188)
_DEVIATION = (0.458, 0.448, 0.450)
# Squared length below which a pixel's features have no direction.
_SHORTEST = 1e-20
_LEAST_WEIGHT = 1e-12  # a mask that sums to less in a layer counts as empty

Features = tuple[jax.Array, ...]


class Lpips(nn.Module):
  """Sum over layers of the mean squared difference of unit features.

  Call methods as `lpips.apply(variables, …, method=NAME)`, also inside
  `jax.jit`; shapes are always checked, values only outside `jax.jit`. Equal
  images have exactly distance 0 and gradient 0.

  A mask (1: compare, 0: ignore) acts twice. The images are multiplied by it
  after standardization, so masked-out areas are as empty as the padding around
  an image and reach no feature of either image. And each layer's mean is
  weighted by the mask resized to that layer (bilinear, antialiased), so the
  distance does not depend on how much of an image remains. An empty mask gives
  0. Compare masked features under the mask that they were computed with.

  Attributes:
    backbone: "alex", "vgg" or "squeeze"; "small" is the demo's.
    dtype: dtype of activations and features, "float32" or "bfloat16"; lengths
      and sums are float32 in either case.
    precision: matrix-product precision on accelerators; "highest" is exact
      float32.
  """

  backbone: Literal["alex", "vgg", "squeeze", "small"] = "alex"
  dtype: Literal["float32", "bfloat16"] = "float32"
  precision: Literal["highest", "high", "default"] = "highest"

  def setup(self):
    _check_choice("backbone", self.backbone, BACKBONES)
    _check_choice("dtype", self.dtype, ("float32", "bfloat16"))
    _check_choice("precision", self.precision, ("highest", "high", "default"))
    self.network = FeatureStack(
      self.backbone, dtype=jnp.dtype(self.dtype), precision=self.precision
    )
    self.linear = [
      stored(self, f"lin{index}", nn.initializers.ones, (channels,))
      for index, channels in enumerate(NETWORKS[self.backbone].tap_channels())
    ]

  @meshes.along_batch
  @derivatives.entry
  def __call__(
    self, x: Array, y: Array, *, mask: Array | None = None
  ) -> jax.Array:
    """The distance between images.

    Args:
      x: [N, H, W, 3], RGB in [-1, 1].
      y: [N, H, W, 3], of x's size, or one image for all.
      mask: [N, H, W, 1] or [1, H, W, 1], in [0, 1]; see above.

    Returns: [N] float32.
    Raises: UserError: names the argument that does not fit.
    """
    checks.check_shape("x", x, ("N", "H", "W", 3))
    checks.check_shape("y", y, ("N", *np.shape(x)[1:]))
    checks.check_rows("y", y, np.shape(x)[0], "x")
    features = [
      self._features(name, images, mask)
      for name, images in (("x", x), ("y", y))
    ]
    return self.distance(*features, mask=mask)

  @meshes.along_batch
  @derivatives.entry
  def features(self, x: Array, *, mask: Array | None = None) -> Features:
    """The features that `distance` compares.

    At 512 x 512 in float32, one image's features take 11 MB with AlexNet,
    128 MB with VGG-16; half of that in bfloat16.

    Args:
      x: [N, H, W, 3], RGB in [-1, 1].
      mask: [N, H, W, 1] or [1, H, W, 1], in [0, 1]; see above.

    Returns: for each layer, [N, h, w, C] of dtype `dtype`, of unit length
      along C or zero.
    Raises: UserError: names the argument that does not fit.
    """
    return self._features("x", x, mask)

  @meshes.along_batch
  @derivatives.entry
  def to_photos(
    self, x: Array, photos: Array, *, mask: Array | None = None
  ) -> jax.Array:
    """The distance between images and photos, which get no gradient.

    Both pass through the network together: half as many operations to
    compile, and the photos' gradient is not computed.

    Args:
      x: [N, H, W, 3], RGB in [-1, 1].
      photos: [N, H, W, 3].
      mask: [N, H, W, 1] in [0, 1] or None; see above.

    Returns: [N] float32.
    Raises: UserError: names the argument that does not fit.
    """
    checks.check_shape("x", x, ("N", "H", "W", 3))
    checks.check_shape("photos", photos, np.shape(x))
    rows = np.shape(x)[0]
    both = jnp.concatenate([x, jax.lax.stop_gradient(photos)])
    if mask is not None:
      mask = _as_mask(mask)
      checks.check_rows("mask", mask, rows, "x")
      mask = jnp.broadcast_to(mask, (rows, *mask.shape[1:]))
    features = self._features(
      "x",
      both,
      None if mask is None else jnp.concatenate([mask, mask]),
      gradient_rows=rows,
    )
    return self.distance(
      [layer[:rows] for layer in features],
      [jax.lax.stop_gradient(layer[rows:]) for layer in features],
      mask=mask,
    )

  def _features(
    self,
    name: str,
    x: Array,
    mask: Array | None,
    gradient_rows: int | None = None,
  ) -> Features:
    x = checks.as_float32(name, x, ("N", "H", "W", 3))
    network = NETWORKS[self.backbone]
    height, width = x.shape[1:3]
    if min(height, width) < network.smallest:
      raise UserError(
        f"{name}: LPIPS on {network.title} needs images of at least "
        f"{network.smallest} x {network.smallest} pixels, got {height} x "
        f"{width}"
      )
    x = standardised(x)
    if mask is not None:
      mask = _as_mask(mask)
      checks.check_shape("mask", mask, ("N", height, width, 1))
      if x.shape[0] > 1:
        checks.check_rows("mask", mask, x.shape[0], name)
      x = x * mask
    return tuple(
      _unit(layer).astype(self.dtype)
      for layer in self.network(x, gradient_rows=gradient_rows)
    )

  @meshes.along_batch
  @derivatives.entry
  def distance(
    self,
    features_x: Sequence[Array],
    features_y: Sequence[Array],
    *,
    mask: Array | None = None,
  ) -> jax.Array:
    """The distance between images, from their features.

    Args:
      features_x: N images' output of `features`.
      features_y: N images' output of `features`, or one image's for all.
      mask: the mask that both features were computed with.

    Returns: [N] float32.
    Raises: UserError: names the argument that does not fit.
    """
    channels = NETWORKS[self.backbone].tap_channels()
    for name, features in (
      ("features_x", features_x),
      ("features_y", features_y),
    ):
      if len(features) != len(channels):
        raise UserError(
          f"{name}: expected {len(channels)} layers of "
          f"{self.backbone}, got {len(features)}"
        )
      for index, layer in enumerate(features):
        size = (
          ("h", "w")
          if features is features_x
          else np.shape(features_x[index])[1:3]
        )
        checks.check_shape(
          f"{name}[{index}]", layer, ("N", *size, channels[index])
        )
    rows = np.shape(features_x[0])[0]
    checks.check_rows("features_y[0]", features_y[0], rows, "features_x")
    if mask is not None:
      mask = _as_mask(mask)
      checks.check_rows("mask", mask, rows, "features_x")
    return sum(
      _mean(jnp.sum(_squared_difference(x, y) * weight, axis=-1), mask)
      for x, y, weight in zip(features_x, features_y, self.linear)
    )


def standardised(x: Array) -> jax.Array:
  """Standardizes [..., 3] in [-1, 1] to about zero mean, unit variance."""
  return (x - jnp.asarray(_MEAN)) / jnp.asarray(_DEVIATION)


def _check_choice(name: str, value: Any, choices: Sequence[str]):
  if value not in choices:
    raise UserError(
      f"{name}: expected one of {', '.join(choices)}, got {value!r}"
    )


def _as_mask(mask: Array) -> jax.Array:
  mask = checks.as_float32("mask", mask, ("N", "H", "W", 1))
  values = checks.concrete(mask)
  if values is not None and (values.min() < 0 or values.max() > 1):
    raise UserError(
      f"mask: expected values in [0, 1], got {values.min():g} "
      f"to {values.max():g}"
    )
  return mask


def _unit(x: Array) -> jax.Array:
  """Scales to unit length along the last axis, in float32.

  A pixel whose features are all zero stays zero: the bound is inside the root,
  whose gradient at zero would be infinite.

  Equal images must get equal features, although perhaps only one of them is
  differentiated and so compiled differently. So the sum is a matrix product,
  whose order does not depend on its surroundings, and the division is a
  product with `rsqrt`, which is computed in only one way.
  """
  x = x.astype(jnp.float32)
  squared = jnp.matmul(
    jnp.square(x),
    jnp.ones((x.shape[-1], 1), jnp.float32),
    precision=jax.lax.Precision.HIGHEST,
  )
  return x * jax.lax.rsqrt(jnp.maximum(squared, _SHORTEST))


def _squared_difference(x: Array, y: Array) -> jax.Array:
  """(x - y)^2 in float32, 0 where they are equal.

  Compiled together with the product at the end of `_unit`, a plain difference
  would become a fused multiply-add, which leaves one product's rounding error.
  """
  x, y = x.astype(jnp.float32), y.astype(jnp.float32)
  return jnp.square(jnp.where(x == y, 0.0, x - y))


def _mean(values: Array, mask: Array | None) -> jax.Array:
  """The mean, [N, h, w] -> [N], weighted by the mask if there is one."""
  if mask is None:
    return jnp.mean(values, axis=(1, 2))
  weights = resize_bilinear(mask, *values.shape[1:])[..., 0]
  return jnp.sum(values * weights, axis=(1, 2)) / jnp.maximum(
    jnp.sum(weights, axis=(1, 2)), _LEAST_WEIGHT
  )


# Files.


@derivatives.entry
@traced_once
def abstract_variables(backbone: str) -> Any:
  """Shapes and dtypes of the variables, {"params": …}, without values."""
  side = NETWORKS[backbone].smallest
  image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  return jax.eval_shape(Lpips(backbone).init, jax.random.key(0), image, image)


_KIND = weights_lib.Kind(
  name="lpips",
  title="LPIPS",
  field="backbone",
  networks=BACKBONES,
  converter="converters/lpips_to_flax.py",
  files="torchvision's AlexNet (some 240 MB) and LPIPS's alex.pth (6 kB)",
  abstract=abstract_variables,
  module=Lpips,
)
save_lpips = _KIND.save
check_writable = _KIND.check_writable
load_lpips = _KIND.load

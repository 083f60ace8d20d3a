"""DISTS: an image distance that tolerates resampled texture.

    dists = load_dists("checkpoints/dists")
    distance = dists(x, y)                                          # [N]

Two lawns look alike although no blade of grass is in the same place: each
feature of VGG-16 is compared by its mean over the image (texture) and by its
correlation with the other image's feature (structure), and learned weights
balance the two. The image itself is the first layer of features.

For the folder on disk, see `losses.weights`.

Source: Ding et al., "Image Quality Assessment: Unifying Structure and Texture
Similarity", TPAMI 2020, section 3.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import lpips
from my3dgen_jax.losses import weights as weights_lib
from my3dgen_jax.losses.backbones import FeatureStack, MaxPool, NETWORKS
from my3dgen_jax.ops import checks
from my3dgen_jax.tracing import derivatives, meshes
from my3dgen_jax.tracing.parameters import stored, traced_once
from my3dgen_jax.types import Array

BACKBONE = "vgg"  # a key of `backbones.NETWORKS`
# Channels of the image and of the last layer in each of VGG-16's five stages.
CHANNELS = (3, *NETWORKS[BACKBONE].tap_channels())
WEIGHTS_FILE = weights_lib.WEIGHTS_FILE

_DTYPES = ("float32", "bfloat16")
_PRECISIONS = ("highest", "high", "default")
# A five-point Hann window without its zero ends, normalized to sum 1.
_WINDOW = (0.25, 0.5, 0.25)
_LEAST_SQUARE = 1e-12  # added under the root, as when the weights were trained
_STABLE = 1e-6  # added to both parts of each quotient: the paper's c1 and c2


class Dists(nn.Module):
  """1 - the weighted mean of texture and structure similarity.

  Call it as `dists.apply(variables, x, y)`, also inside `jax.jit`; shapes are
  always checked, values only outside `jax.jit`. Equal images have exactly
  distance 0 and gradient 0. The authors resize photos to a shorter side of 256
  pixels first; here an image is compared at its own size.

  Attributes:
    dtype: dtype of the activations, "float32" or "bfloat16"; statistics are
      float32.
    precision: matrix-product precision on accelerators; "highest" is exact
      float32.
  """

  dtype: Literal["float32", "bfloat16"] = "float32"
  precision: Literal["highest", "high", "default"] = "highest"

  def setup(self):
    for name, choices in (("dtype", _DTYPES), ("precision", _PRECISIONS)):
      if getattr(self, name) not in choices:
        raise UserError(
          f"{name}: expected one of {', '.join(choices)}, got "
          f"{getattr(self, name)!r}"
        )
    self.network = FeatureStack(
      BACKBONE,
      dtype=jnp.dtype(self.dtype),
      precision=self.precision,
      pool=hanning_pool,
    )
    self.alpha, self.beta = (
      stored(self, name, nn.initializers.ones, (sum(CHANNELS),))
      for name in ("alpha", "beta")
    )

  @meshes.along_batch
  @derivatives.entry
  def __call__(self, x: Array, y: Array) -> jax.Array:
    """The distance between images.

    Args:
      x: [N, H, W, 3], RGB in [-1, 1], of any size.
      y: [N, H, W, 3], of x's size, or one image for all.

    Returns: [N] float32 in [0, 2]; above 1 only where features are
      anticorrelated.
    Raises: UserError: names the argument that does not fit.
    """
    x = checks.as_float32("x", x, ("N", "H", "W", 3))
    y = checks.as_float32("y", y, ("N", *x.shape[1:]))
    checks.check_rows("y", y, x.shape[0], "x")
    texture, structure = zip(
      *map(_differences, self._features(x), self._features(y))
    )
    total = sum(
      jnp.sum(jnp.concatenate(differences, axis=-1) * weights, axis=-1)
      for differences, weights in (
        (texture, self.alpha),
        (structure, self.beta),
      )
    )
    return total / (jnp.sum(self.alpha) + jnp.sum(self.beta))

  def _features(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """Features [N, h, w, C] of the image, in [0, 1], and of each stage."""
    return ((x + 1) / 2, *self.network(lpips.standardised(x)))


def hanning_pool(x: Array, layer: MaxPool | None = None) -> jax.Array:
  """L2 pooling: the root of the weighted mean square, at every second pixel.

  Unlike max-pooling it removes the frequencies that would alias at half the
  resolution.

  Args:
    x: [N, H, W, C].
    layer: the pooling that it replaces, of stride 2; not used otherwise.

  Returns: [N, H / 2, W / 2, C], sizes rounded up; beyond the border is zero.
  Source: Ding et al. 2020, section 3.1, after Henaff and Simoncelli 2016.
  """
  del layer
  squares = jnp.square(x.astype(jnp.float32))
  for axis in (1, 2):
    last = (squares.shape[axis] - 1) // 2 * 2
    padding = [(0, 0)] * squares.ndim
    padding[axis] = (1, 1)
    padded = jnp.pad(squares, padding)
    squares = sum(
      weight * jax.lax.slice_in_dim(padded, start, start + last + 1, 2, axis)
      for start, weight in enumerate(_WINDOW)
    )
  return jnp.sqrt(squares + _LEAST_SQUARE).astype(x.dtype)


def _differences(x: Array, y: Array) -> tuple[jax.Array, jax.Array]:
  """1 - similarity of texture and 1 - similarity of structure.

  The paper's quotients, l = (2 mx my + c1) / (mx^2 + my^2 + c1) and
  s = (2 sxy + c2) / (sx^2 + sy^2 + c2), subtracted from 1 algebraically: the
  numerators become squared differences, which stay accurate for similar
  images and vanish for equal ones.

  Args:
    x: [N, h, w, C] features.
    y: [N, h, w, C] features, or [1, h, w, C].

  Returns: texture and structure terms, each [N, C] float32.
  """
  x, y = x.astype(jnp.float32), y.astype(jnp.float32)
  mean_x, mean_y, mean = map(_mean, (x, y, x - y))
  spread_x, spread_y, spread = (
    _mean(jnp.square(values - average[:, None, None]))
    for values, average in ((x, mean_x), (y, mean_y), (x - y, mean))
  )
  texture = jnp.square(mean) / (
    jnp.square(mean_x) + jnp.square(mean_y) + _STABLE
  )
  return texture, spread / (spread_x + spread_y + _STABLE)


def _mean(x: jax.Array) -> jax.Array:
  """The mean over pixels, [N, h, w, C] -> [N, C]."""
  return jnp.mean(x, axis=(1, 2))


# Files.


@derivatives.entry
@traced_once
def abstract_variables() -> Any:
  """Shapes and dtypes of the variables, {"params": …}, without values."""
  side = NETWORKS[BACKBONE].smallest
  image = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  return jax.eval_shape(Dists().init, jax.random.key(0), image, image)


_KIND = weights_lib.Kind(
  name="dists",
  title="DISTS",
  field="backbone",
  networks=(BACKBONE,),
  converter="converters/dists_to_flax.py",
  files="torchvision's VGG-16 (some 530 MB) and DISTS's weights.pt (12 kB)",
  abstract=lambda backbone: abstract_variables(),
  module=lambda backbone, **options: Dists(**options),
)
save_dists = _KIND.save_only
check_writable = _KIND.check_writable
load_dists = _KIND.load

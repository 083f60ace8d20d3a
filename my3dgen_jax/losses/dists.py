"""DISTS: how different two images look, where texture may be resampled.

    dists = load_dists("checkpoints/dists")
    distance = dists(x, y)                                          # [N]

Two lawns are alike though no blade of grass is where the other has it: each
feature of VGG-16 is compared by its mean over the image (texture) and by its
correlation with the other image's (structure), and learnt weights say how
much of either counts. The image itself is the first layer of features.

On disk it is a folder, see `losses.weights`.

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
from my3dgen_jax.tracing.parameters import stored
from my3dgen_jax.types import Array

BACKBONE = "vgg"  # of `backbones.NETWORKS`
# Features of the image and of the last layer of each of VGG-16's five stages.
CHANNELS = (3, *NETWORKS[BACKBONE].tap_channels())
WEIGHTS_FILE = weights_lib.WEIGHTS_FILE

_DTYPES = ("float32", "bfloat16")
_PRECISIONS = ("highest", "high", "default")
# Hanning's window of five without its zero ends, its sum made 1.
_WINDOW = (0.25, 0.5, 0.25)
_LEAST_SQUARE = 1e-12  # added under the root, as the weights were trained with
_STABLE = 1e-6  # added to both parts of each quotient: the paper's c1 and c2


class Dists(nn.Module):
  """1 - the weighted mean of texture and structure similarity.

  Runs through `dists.apply(variables, x, y)` and may be jitted; shapes are
  checked always, values only outside `jax.jit`. Equal images have distance 0
  exactly and gradient 0. The authors judge photos with the shorter side
  brought to 256 pixels; here an image is taken as it comes.

  Attributes:
    dtype: "float32" or "bfloat16": activations; statistics are float32.
    precision: of the products on accelerators; "highest" is float32 exactly.
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
    """The distance of images.

    Args:
      x: [N, H, W, 3], RGB in [-1, 1], of any size.
      y: of x's size; [N, H, W, 3], or one image for all.

    Returns: [N] float32 in [0, 2]; above 1 only where features are
      anticorrelated.
    Raises: UserError that names the argument which does not fit.
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
    """[N, h, w, C] of the image, in [0, 1], and of each stage."""
    return ((x + 1) / 2, *self.network(lpips.standardised(x)))


def hanning_pool(x: Array, layer: MaxPool | None = None) -> jax.Array:
  """The root of the weighted mean of squares about every second pixel.

  Unlike a maximum it lets no frequency through that half as many pixels
  cannot hold.

  Args:
    x: [N, H, W, C].
    layer: the pooling that it replaces; also of stride 2, no more is used.

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
  s = (2 sxy + c2) / (sx^2 + sy^2 + c2), subtracted from 1 by hand: what is
  left above the line are squares of the difference, which keep their digits
  where the images are near, and vanish where they are equal.

  Args:
    x: [N, h, w, C] features.
    y: likewise, or of one image.

  Returns: two of [N, C], float32.
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
  """[N, h, w, C] -> [N, C]."""
  return jnp.mean(x, axis=(1, 2))


# On disk.


@derivatives.entry
def abstract_variables() -> Any:
  """Shapes and dtypes of the variables, {"params": …}, without numbers."""
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

"""Whether two images show the same person, by a face recognition network.

    identity = load_identity("checkpoints/ir_se50")
    embed = functools.partial(identity.module.embed, identity.variables)
    loss = identity_loss(embed(y), embed(x))                  # [N]

For the folder on disk, see `losses.weights`. To add a network, add an entry
to `NETWORKS`.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import arcface, mobilefacenet
from my3dgen_jax.losses import weights as weights_lib
from my3dgen_jax.ops import checks
from my3dgen_jax.tracing import derivatives, meshes
from my3dgen_jax.tracing.parameters import traced_once
from my3dgen_jax.types import Array

WEIGHTS_FILE = weights_lib.WEIGHTS_FILE

_DTYPES = ("float32", "bfloat16")
_PRECISIONS = ("highest", "high", "default")
_SHORTEST = 1e-24  # squared length below which an embedding has no direction
# Where ArcFace's five-point template lies in EG3D's crops: least squares over
# the mean points of eleven nearly frontal real crops.
_ARCFACE_FRAME = (0.04, 0.12, 0.76)


@dataclasses.dataclass(frozen=True)
class Network:
  """A face recognition network.

  Attributes:
    title: name in messages.
    module: called with `dtype` and `precision`; the module maps images
      [N, side, side, 3], standardized, to [N, features] of unit length.
    side: side of its images, pixels.
    frame: the square of a generator's image that the network looks at, as in
      its training: (top, left, side), as fractions of the image's side.
    mean: mean color of its training images, in [-1, 1].
    deviation: their standard deviation; images are standardized by both.
  """

  title: str
  module: Callable[..., nn.Module]
  side: int
  frame: tuple[float, float, float] = (0.0, 0.0, 1.0)
  mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
  deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


NETWORKS: dict[str, Network] = {
  "ir_se50": Network("IR-SE-50", arcface.IrSe, arcface.SIDE),
  # The demo's network, which it trains itself: a hundredth of the size.
  "ir_se_small": Network(
    "small IR-SE",
    functools.partial(
      arcface.IrSe, channels=(16, 32, 48, 56), units=(1, 2, 2, 1), features=64
    ),
    arcface.SIDE,
  ),
  "mobilefacenet": Network(
    "MobileFaceNet",
    mobilefacenet.MobileFaceNet,
    mobilefacenet.SIDE,
    frame=_ARCFACE_FRAME,
    mean=(-0.03, -0.088, -0.188),
    deviation=(0.458, 0.448, 0.45),
  ),
}


@dataclasses.dataclass(frozen=True)
class Identity:
  """Maps images of any size to embeddings.

  Attributes:
    network: a key of `NETWORKS`.
    dtype: dtype of the activations, "float32" or "bfloat16"; embeddings are
      float32.
    precision: matrix-product precision on accelerators; "highest" is exact
      float32.

  Raises: UserError on any other value.
  """

  network: str = "ir_se50"
  dtype: Literal["float32", "bfloat16"] = "float32"
  precision: Literal["highest", "high", "default"] = "highest"

  def __post_init__(self):
    for name, choices in (
      ("network", tuple(NETWORKS)),
      ("dtype", _DTYPES),
      ("precision", _PRECISIONS),
    ):
      if getattr(self, name) not in choices:
        raise UserError(
          f"{name}: expected one of {', '.join(choices)}, got "
          f"{getattr(self, name)!r}"
        )

  def embed(self, variables: Any, images: Array) -> jax.Array:
    """Embeds the faces in images; may be jitted.

    Args:
      variables: the network's variables, see `abstract_variables`.
      images: [N, H, H, 3], RGB in [-1, 1], aligned as the generator's; the
        network's frame is cut out and resized by `average_pool`.

    Returns: [N, features] float32, of unit length.
    Raises: UserError if the images do not fit.
    """
    return meshes.apply_along_batch(
      derivatives.entry(self._embed), variables, images
    )

  def _embed(self, variables: Any, images: Array) -> jax.Array:
    images = checks.as_float32("images", images, ("N", "H", "W", 3))
    if images.shape[1] != images.shape[2]:
      raise UserError(
        f"images: expected square images, got {images.shape[1]} x "
        f"{images.shape[2]}"
      )
    network = NETWORKS[self.network]
    top, left, side = (round(part * images.shape[1]) for part in network.frame)
    side = max(side, 1)
    faces = images[:, top : top + side, left : left + side]
    return self.embed_faces(variables, average_pool(faces, network.side))

  def embed_faces(self, variables: Any, faces: Array) -> jax.Array:
    """Embeds faces that are aligned as for the network's training.

    Args:
      variables: the network's variables, see `abstract_variables`.
      faces: [N, side, side, 3], RGB in [-1, 1]; `side` is the network's.

    Returns: [N, features] float32, of unit length.
    Raises: UserError if the faces do not fit.
    """
    return meshes.apply_along_batch(
      derivatives.entry(self._embed_faces), variables, faces
    )

  def _embed_faces(self, variables: Any, faces: Array) -> jax.Array:
    network = NETWORKS[self.network]
    faces = checks.as_float32(
      "faces", faces, ("N", network.side, network.side, 3)
    )
    module = network.module(
      dtype=jnp.dtype(self.dtype), precision=self.precision
    )
    return module.apply(
      variables,
      (faces - jnp.asarray(network.mean)) / jnp.asarray(network.deviation),
    )


def average_pool(x: Array, side: int) -> jax.Array:
  """Means over windows that cover the image evenly.

  Output i of n along an axis of m pixels is the mean of the pixels from
  floor(i m / n) up to, but not including, ceil((i + 1) m / n): windows overlap
  where n does not divide m, and repeat pixels where n > m.

  Args:
    x: [N, H, W, C].
    side: side of the result, pixels.

  Returns: [N, side, side, C].
  Source: torch's AdaptiveAvgPool2d, which identity losses commonly use.
  """
  chex.assert_rank(x, 4)
  rows, columns = (_window_means(size, side) for size in x.shape[1:3])
  # These are products with weights, which should not be rounded.
  return jnp.einsum(
    "ih,nhwc,jw->nijc", rows, x, columns, precision=jax.lax.Precision.HIGHEST
  )


def _window_means(size: int, count: int) -> np.ndarray:
  """[count, size] float32: each row holds the weights of a window's pixels."""
  start = np.arange(count)[:, None] * size // count
  end = -(-np.arange(1, count + 1)[:, None] * size // count)
  pixels = np.arange(size)
  inside = (start <= pixels) & (pixels < end)
  return (inside / (end - start)).astype(np.float32)


def similarity(x: Array, y: Array) -> jax.Array:
  """Cosine similarity of embeddings, row by row.

  Args:
    x: [N, features], of any length.
    y: [N, features], or one row for all.

  Returns: [N] in [-1, 1].
  Raises: UserError: names the argument that does not fit.
  """
  return 1 - identity_loss(x, y)


def identity_loss(x: Array, y: Array) -> jax.Array:
  """1 - cosine similarity, row by row; exactly 0 for equal embeddings.

  Args:
    x: [N, features], of any length.
    y: [N, features], or one row for all.

  Returns: [N] in [0, 2].
  Raises: UserError: names the argument that does not fit.
  """
  x = checks.as_float32("x", x, ("N", "features"))
  y = checks.as_float32("y", y, ("N", x.shape[1]))
  checks.check_rows("y", y, x.shape[0], "x")
  # Half the squared distance of unit vectors, which stays accurate where the
  # cosine is near 1.
  return jnp.sum(jnp.square(_unit(x) - _unit(y)), axis=-1) / 2


def _unit(x: jax.Array) -> jax.Array:
  squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squared, _SHORTEST))


# Files.


@derivatives.entry
def abstract_variables(network: str) -> Any:
  """Shapes and dtypes of a network's variables, without values."""
  return _shapes(NETWORKS[network])


@traced_once
def _shapes(entry: Network) -> Any:
  images = jax.ShapeDtypeStruct((1, entry.side, entry.side, 3), jnp.float32)
  module = entry.module(dtype=jnp.float32, precision=None)
  return jax.eval_shape(module.init, jax.random.key(0), images)


_KIND = weights_lib.Kind(
  name="identity",
  title="identity",
  field="network",
  networks=NETWORKS,
  converter="converters/arcface_to_flax.py",
  files="model_ir_se50.pth (some 175 MB) or mobilefacenet.pt (4 MB)",
  abstract=abstract_variables,
  module=Identity,
  params_only=False,
)
save_identity = _KIND.save
check_writable = _KIND.check_writable
load_identity = _KIND.load

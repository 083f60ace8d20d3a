"""Whether two images show the same person, by a face recognition network.

    identity = load_identity("checkpoints/ir_se50")
    embed = functools.partial(identity.module.embed, identity.variables)
    loss = identity_loss(embed(y), embed(x))                  # [N]

On disk it is a folder, see `losses.weights`. Another network is another
entry of `NETWORKS`.
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
from my3dgen_jax.types import Array

WEIGHTS_FILE = weights_lib.WEIGHTS_FILE

_DTYPES = ("float32", "bfloat16")
_PRECISIONS = ("highest", "high", "default")
_SHORTEST = 1e-24  # squared length below which an embedding has no direction
# Where ArcFace's template of five points lies in EG3D's crops: least squares
# over the points' means in eleven real crops, nearly frontal.
_ARCFACE_FRAME = (0.04, 0.12, 0.76)


@dataclasses.dataclass(frozen=True)
class Network:
  """A network that tells people apart.

  Attributes:
    title: its name in messages.
    module: called with `dtype` and `precision`; the module takes images
      [N, side, side, 3], standardised, to [N, features] of unit length.
    side: of its images, pixels.
    frame: what of a generator's image it looks at, as the network was
      trained: (top, left, side) of a square, in sides of the image.
    mean: of the colors that it was trained with, of [-1, 1].
    deviation: likewise; images are standardised by both.
  """

  title: str
  module: Callable[..., nn.Module]
  side: int
  frame: tuple[float, float, float] = (0.0, 0.0, 1.0)
  mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
  deviation: tuple[float, float, float] = (1.0, 1.0, 1.0)


NETWORKS: dict[str, Network] = {
  "ir_se50": Network("IR-SE-50", arcface.IrSe, arcface.SIDE),
  # Of the demo, which trains it itself: a hundredth of the numbers.
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
  """Images of any size to embeddings.

  Attributes:
    network: a key of `NETWORKS`.
    dtype: "float32" or "bfloat16": activations; embeddings are float32.
    precision: of the products on accelerators; "highest" is float32 exactly.

  Raises: UserError on another value.
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
    """Whom the images show; may be jitted.

    Args:
      variables: of the network, see `abstract_variables`.
      images: [N, H, H, 3], RGB in [-1, 1], aligned as the generator's; the
        network's frame of them is brought to its size by `average_pool`.

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
        f"images: expected square ones, got {images.shape[1]} x "
        f"{images.shape[2]}"
      )
    network = NETWORKS[self.network]
    top, left, side = (round(part * images.shape[1]) for part in network.frame)
    side = max(side, 1)
    faces = images[:, top : top + side, left : left + side]
    return self.embed_faces(variables, average_pool(faces, network.side))

  def embed_faces(self, variables: Any, faces: Array) -> jax.Array:
    """Whom faces show that are aligned as the network was trained.

    Args:
      variables: of the network, see `abstract_variables`.
      faces: [N, side, side, 3], RGB in [-1, 1], `side` the network's.

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

  Output i of n along an axis of m pixels is the mean of pixels
  floor(i m / n) to ceil((i + 1) m / n), the end excluded: windows overlap
  where n does not divide m, and repeat pixels where n > m.

  Args:
    x: [N, H, W, C].
    side: of the result, pixels.

  Returns: [N, side, side, C].
  Source: torch's AdaptiveAvgPool2d, which identity losses are used with.
  """
  chex.assert_rank(x, 4)
  rows, columns = (_window_means(size, side) for size in x.shape[1:3])
  # The products are with weights that should not be rounded.
  return jnp.einsum(
    "ih,nhwc,jw->nijc", rows, x, columns, precision=jax.lax.Precision.HIGHEST
  )


def _window_means(size: int, count: int) -> np.ndarray:
  """[count, size] float32: a row holds the weights of a window's pixels."""
  start = np.arange(count)[:, None] * size // count
  end = -(-np.arange(1, count + 1)[:, None] * size // count)
  pixels = np.arange(size)
  inside = (start <= pixels) & (pixels < end)
  return (inside / (end - start)).astype(np.float32)


def similarity(x: Array, y: Array) -> jax.Array:
  """Cosines of embeddings, row by row.

  Args:
    x: [N, features], of any length.
    y: likewise, or one row for all.

  Returns: [N] in [-1, 1].
  Raises: UserError that names the argument which does not fit.
  """
  return 1 - identity_loss(x, y)


def identity_loss(x: Array, y: Array) -> jax.Array:
  """1 - cosine of embeddings, row by row; 0 for equal ones, exactly.

  Args:
    x: [N, features], of any length.
    y: likewise, or one row for all.

  Returns: [N] in [0, 2].
  Raises: UserError that names the argument which does not fit.
  """
  x = checks.as_float32("x", x, ("N", "features"))
  y = checks.as_float32("y", y, ("N", x.shape[1]))
  checks.check_rows("y", y, x.shape[0], "x")
  # Half the squared distance of unit vectors, which keeps its digits where
  # the cosine is near 1.
  return jnp.sum(jnp.square(_unit(x) - _unit(y)), axis=-1) / 2


def _unit(x: jax.Array) -> jax.Array:
  squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
  return x * jax.lax.rsqrt(jnp.maximum(squared, _SHORTEST))


# On disk.


@derivatives.entry
def abstract_variables(network: str) -> Any:
  """Shapes and dtypes of a network's variables, without numbers."""
  entry = NETWORKS[network]
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

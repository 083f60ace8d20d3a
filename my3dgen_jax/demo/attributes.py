"""A small regressor of how much people smile and how old they look.

    attributes = load_attributes("weights/attributes")
    smile = attributes(images)["smile"]                       # [N]

It measures the effect of edits on procedural people. On disk it is a folder,
see `losses.weights`.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from my3dgen_jax.apps.editing.labels import Measure
from my3dgen_jax.demo import shipped
from my3dgen_jax.losses import identity, lpips
from my3dgen_jax.losses import weights as weights_lib
from my3dgen_jax.losses.backbones import FeatureStack, NETWORKS
from my3dgen_jax.ops import checks
from my3dgen_jax.training import run_folder
from my3dgen_jax.types import Array

SIDE = 128  # side of its input images, pixels
NAMES = ("smile", "age")
BACKBONE = "small"

_NETWORK = "small"
_CHANNELS, _GRID, _HIDDEN = 48, 4, 64  # sizes of the head


class Regressor(nn.Module):
  """A regressor of images: a feature stack, and a head on a grid of positions.

  Attributes:
    outputs: number of outputs.
  """

  outputs: int

  @nn.compact
  def __call__(self, x: Array) -> jax.Array:
    """Maps images [N, SIDE, SIDE, 3] in [-1, 1] to [N, outputs]."""
    (x,) = FeatureStack(
      BACKBONE, taps=NETWORKS[BACKBONE].taps[-1:], name="backbone"
    )(lpips.standardised(x))
    x = nn.relu(nn.Conv(_CHANNELS, (3, 3), (2, 2), name="conv")(x))
    # Positions matter, e.g. of the mouth, but not to the pixel.
    x = identity.average_pool(x, _GRID)
    x = nn.relu(nn.Dense(_HIDDEN, name="hidden")(x.reshape(x.shape[0], -1)))
    return nn.Dense(self.outputs, name="last")(x)


class Attributes(nn.Module):
  """Maps photos of any size to attributes; can be jitted."""

  @nn.compact
  def __call__(self, images: Array) -> dict[str, jax.Array]:
    """Measures images.

    Args:
      images: [N, H, W, 3], RGB in [-1, 1], aligned like the demo's photos.

    Returns: each of `NAMES`, [N] in (0, 1), see `people.smile` and
      `people.age`.
    Raises: UserError: the images have another shape or dtype.
    """
    images = checks.as_float32("images", images, ("N", "H", "W", 3))
    found = nn.sigmoid(Regressor(len(NAMES), name="regressor")(resized(images)))
    return {name: found[:, i] for i, name in enumerate(NAMES)}


def shipped_measure() -> Measure:
  """The measure of smile and age by the package's own network."""
  digest = run_folder.file_digest(shipped.ATTRIBUTES / weights_lib.WEIGHTS_FILE)
  network = load_attributes(shipped.ATTRIBUTES)
  return Measure(
    f"demo attributes {digest}", jax.jit(lambda pictures: network(pictures))
  )


def resized(images: Array) -> jax.Array:
  """Images [N, H, W, 3], resized to the regressor's [N, SIDE, SIDE, 3]."""
  if images.shape[1:3] == (SIDE, SIDE):
    return images
  return identity.average_pool(images, SIDE)


def of_training(params: Mapping[str, Any]) -> Any:
  """Variables of `Attributes` from those of a regressor with more outputs.

  Args:
    params: parameters of a `Regressor` whose first outputs are the logits of
      `NAMES`.
  """
  last = {
    name: leaf[..., : len(NAMES)] for name, leaf in params["last"].items()
  }
  return {"params": {"regressor": {**params, "last": last}}}


# On disk.


def _abstract(_: str) -> Any:
  images = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
  return jax.eval_shape(Attributes().init, jax.random.key(0), images)


_KIND = weights_lib.Kind(
  name="attributes",
  title="attribute",
  field="network",
  networks=(_NETWORK,),
  converter="python -m my3dgen_jax.launch.train_demo_networks",
  abstract=_abstract,
  module=lambda _, **options: Attributes(**options),
)
save_attributes = _KIND.save_only
load_attributes = _KIND.load

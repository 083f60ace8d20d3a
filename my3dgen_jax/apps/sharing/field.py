"""A radiance field for browsers: quantized planes, and a grid for skipping.

The planes are folded to two (`ops.rendering.triplane.fold_planes`), which is
exact, and quantized to bytes with a scale and an integer zero point per
channel, shared by both planes and by all stops of a slider. So the sum of two
bytes is a feature, the scale becomes part of the decoder's first layer, and a
browser mixes two stops by mixing bytes. A coarse grid tells the distance to the
nearest cell that is not empty.
"""

import base64
import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from scipy import ndimage

from my3dgen_jax.apps.rendering import frames
from my3dgen_jax.config import GeneratorConfig, RenderConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays as rays_lib
from my3dgen_jax.ops.rendering import triplane
from my3dgen_jax.types import DecoderWeights, Network

CELLS = 64  # cells of the grid along a side
# Densities, per world unit. Cells below the first are empty: through the whole
# volume, they absorb less than 1/255 of the light. Above the second, samples
# must be close together.
LEAST_DENSITY, DENSE = 0.003, 3.0
_POINTS = 2  # points per cell, along a side, at which density is queried
_FAR = 255  # largest distance, cells
_FOUR = 4  # channels of a texel; rows of the shader's matrices
# Limits of every browser with WebGL 2: side and layers of a texture; and
# numbers in a shader's source that compilers accept without trouble.
_MOST_SIDE, _MOST_LAYERS, _MOST_NUMBERS = 2048, 256, 4096


@dataclasses.dataclass(frozen=True)
class Field:
  """The shader's data for all stops of a slider.

  Attributes:
    texels: [K, L, S + 2, S + 2, 4] uint8, axes (stop, layer, row, column,
      channel): the plane (x, y), four channels per layer, then the plane (x,
      z); with a border of the zero point's byte.
    skips: [K, G, G, G, 2] uint8, axes (stop, z, y, x, which): distance in cells
      to the nearest one that is not empty, and to the nearest dense one, where
      a diagonal counts as one; 0: the cell itself.
    decoder: the numbers in the shader's source, float32: mat4 [H / 4, C / 4],
      vec4 [H / 4], mat4 [H / 4], vec4, the last two to (red, green, blue,
      sigma).
    groups: number of groups of four channels, C / 4.
    hidden: number of groups of four hidden features, H / 4.
    reach: half the side of the grid around the origin, world units.
  """

  texels: np.ndarray
  skips: np.ndarray
  decoder: np.ndarray
  groups: int
  hidden: int
  reach: float

  kind = "field"

  def content(self, stop: int) -> bytes:
    """A stop as bytes; `unpack` of field.js reads them."""
    texels = self.texels[stop].transpose(0, 3, 1, 2)
    # Neighbors are similar, so differences compress to two thirds of the size.
    steps = np.diff(texels, axis=-1, prepend=np.uint8(0))
    return steps.tobytes() + self.skips[stop].tobytes()

  def facts(self) -> dict[str, Any]:
    """The shader's data that all faces share."""
    return {
      "groups": self.groups,
      "hidden": self.hidden,
      "layers": self.texels.shape[1],
      "side": self.texels.shape[2],
      "cells": self.skips.shape[1],
    }

  def own_facts(self) -> dict[str, Any]:
    """The shader's data for this slider."""
    decoder = base64.b64encode(self.decoder.astype("<f4").tobytes())
    return {"reach": self.reach, "decoder": decoder.decode()}


def make_field(
  network: Network,
  ws: np.ndarray,
  names: Sequence[str],
  *,
  yaw: float,
  pitch: float,
  focal: float,
) -> Field:
  """The field of one slider's latents.

  Args:
    network: the generator of all latents.
    ws: [K, num_ws, w_dim].
    names: K names of the latents, for messages.
    yaw: largest angle of the camera to either side, radians.
    pitch: largest angle of the camera up and down, radians.
    focal: the camera's focal length, in image sizes.

  Raises: UserError: names the latent with planes that are not finite, or the
    generator's setting that is too large for browsers.
  """
  config = network.module.config
  check_fits(config)
  reach = reach_of(config.rendering, yaw=yaw, pitch=pitch, focal=focal)
  folded, skips = [], []
  # One face at a time: the planes of many would fill the memory.
  for name, one in zip(names, ws):
    planes = frames.planes_of(network, one[None])
    if not np.isfinite(planes).all():
      raise UserError(
        f"{name}: its planes hold numbers that are not finite; is it a "
        "latent of this generator?"
      )
    folded.append(np.asarray(triplane.fold_planes(planes)[0]))
    skips.append(_skips(_density(network, planes, reach)))
  values, scale, zero = quantized(np.stack(folded))
  weights = jax.tree.map(np.asarray, network(method="decoder_weights"))
  decoder, groups, hidden = _decoder(weights, scale, zero)
  return Field(
    _texels(values, zero), np.stack(skips), decoder, groups, hidden, reach
  )


def check_fits(config: GeneratorConfig):
  """Checks that a generator's field fits every browser with WebGL 2.

  Raises: UserError: names the setting of the generator.
  """
  backbone, decoder = config.backbone, config.decoder
  groups = _fours(backbone.plane_channels)
  numbers = _numbers(groups, _fours(decoder.hidden_features))
  for name, value, most in (
    ("backbone.resolution", backbone.resolution + 2, _MOST_SIDE),
    ("backbone.plane_channels", 2 * groups, _MOST_LAYERS),
    ("decoder.hidden_features", numbers, _MOST_NUMBERS),
  ):
    if value > most:
      raise UserError(
        f"{name}: the generator's field is too large for a web page; make a "
        "video with my3dgen render, or a mesh with my3dgen mesh"
      )
  if config.img_channels != 3:
    raise UserError(
      f"img_channels: a web page shows 3, the generator has "
      f"{config.img_channels}"
    )


def reach_of(
  config: RenderConfig, *, yaw: float, pitch: float, focal: float
) -> float:
  """Half the side of the cube around the origin that contains all ray samples.

  Args:
    config: the rendering settings.
    yaw: largest angle of the camera to either side, radians.
    pitch: largest angle of the camera up and down, radians.
    focal: the camera's focal length, in image sizes.
  """
  if config.ray_start == "auto":  # rays begin and end at the box
    return config.box_warp / 2
  angles = np.meshgrid([-yaw, 0.0, yaw], [-pitch, 0.0, pitch])
  c = cameras.label(*(angle.ravel() for angle in angles), config, focal=focal)
  rays = rays_lib.generate_rays(*cameras.unpack_label(c), 3)
  # The pixels' corners, not their centers.
  wider = rays.directions + (rays.directions - rays.directions[:, 4:5]) / 2
  ends = [
    np.abs(rays.origins + float(depth) * wider).max()
    for depth in (config.ray_start, config.ray_end)
  ]
  return float(max(config.box_warp / 2, *ends))


def quantized(folded: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Quantizes planes: (bytes - zero) * scale approximates them.

  Args:
    folded: [K, 2, S + 2, S + 2, C], folded planes.

  Returns: uint8 of that shape; scale [C] float32 > 0; zero [C], integers in
    [0, 255], so that values outside the planes are exactly zero.
  """
  axes = tuple(range(folded.ndim - 1))
  low = np.minimum(folded.min(axis=axes), 0.0)
  high = np.maximum(folded.max(axis=axes), 0.0)
  scale = np.maximum((high - low) / 255, np.finfo(np.float32).tiny)
  zero = np.clip(np.rint(-low / scale), 0, 255)
  values = np.clip(np.rint(folded / scale + zero), 0, 255)
  return values.astype(np.uint8), scale.astype(np.float32), zero


def _texels(values: np.ndarray, zero: np.ndarray) -> np.ndarray:
  """Bytes in groups of four channels, see `Field.texels`."""
  stops, planes, height, width, channels = values.shape
  groups = _fours(channels)
  filled = np.zeros((stops, planes, height, width, _FOUR * groups), np.uint8)
  filled[..., :channels] = values
  split = filled.reshape(stops, planes, height, width, groups, _FOUR)
  return np.ascontiguousarray(np.moveaxis(split, 4, 2)).reshape(
    stops, planes * groups, height, width, _FOUR
  )


def _decoder(
  weights: DecoderWeights, scale: np.ndarray, zero: np.ndarray
) -> tuple[np.ndarray, int, int]:
  """The numbers of `Field.decoder`, and the numbers of groups.

  A texture returns byte / 255, and a feature is the sum of two of these; the
  softplus uses base 2, which GPUs compute directly.
  """
  channels, features = weights.kernel0.shape
  groups, hidden = _fours(channels), _fours(features)
  kernel = scale[:, None] * weights.kernel0
  bias = weights.bias0 - 2 * zero @ kernel
  first = np.zeros((_FOUR * groups, _FOUR * hidden))
  first[:channels, :features] = 255 * kernel * math.log2(math.e)
  offset = np.zeros(_FOUR * hidden)
  offset[:features] = bias * math.log2(math.e)
  outputs = [1, 2, 3, 0]  # red, green, blue, sigma
  second = np.zeros((_FOUR * hidden, _FOUR))
  second[:features] = weights.kernel1[:, outputs] * math.log(2)
  # GLSL's matrices are column-major; a column is one input.
  blocks = first.reshape(groups, _FOUR, hidden, _FOUR).transpose(2, 0, 1, 3)
  block = np.concatenate(
    [blocks.ravel(), offset, second.ravel(), weights.bias1[outputs]]
  )
  return block.astype(np.float32), groups, hidden


def _density(network: Network, planes: jax.Array, reach: float) -> np.ndarray:
  """Raw density at points of the grid's cells, [N, N, N], axes (z, y, x)."""
  count = _POINTS * CELLS
  axis = (np.arange(count, dtype=np.float32) + 0.5) / count
  axis = reach * (2 * axis - 1)
  sigma = _grid(network, planes, axis)
  return np.asarray(sigma).transpose(2, 1, 0)


@jax.jit
def _grid(network: Network, planes: jax.Array, axis: np.ndarray) -> jax.Array:
  return network(planes, axis, axis, axis, method="density_grid")


def _skips(sigma: np.ndarray) -> np.ndarray:
  """Distances to the nearest cell that is not empty; see `Field.skips`."""
  split = sigma.reshape((CELLS, _POINTS) * 3).max(axis=(1, 3, 5))
  # The space between points of neighboring cells belongs to both.
  split = ndimage.maximum_filter(split, 3, mode="nearest")
  return np.stack([_away(split, LEAST_DENSITY), _away(split, DENSE)], axis=-1)


def _away(sigma: np.ndarray, density: float) -> np.ndarray:
  """Distances in cells to the nearest one of at least a density, uint8."""
  # The renderer's density is softplus(sigma - 1).
  full = sigma > 1 + math.log(math.expm1(density))
  if not full.any():
    return np.full(full.shape, _FAR, np.uint8)
  away = ndimage.distance_transform_cdt(~full, "chessboard")
  return np.minimum(away, _FAR).astype(np.uint8)


def _fours(count: int) -> int:
  """The number of groups of four for a number of elements."""
  return -(-count // _FOUR)


def _numbers(groups: int, hidden: int) -> int:
  """The count of numbers in `Field.decoder`."""
  return 16 * hidden * groups + 4 * hidden + 16 * hidden + 4

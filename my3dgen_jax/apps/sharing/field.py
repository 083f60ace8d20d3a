"""A radiance field as a browser draws it: bytes of planes, and a grid to skip.

The planes are folded to two (`ops.rendering.triplane.fold_planes`), which is
exact, and become bytes with a scale and a whole zero a channel, shared by both
planes and by all stops of a slider. So the sum of two bytes is a feature, the
scale goes into the decoder's first layer, and a browser mixes two stops by
mixing bytes. Beside them lies a coarse grid that says how far the nearest
cell is which is not empty.
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

CELLS = 64  # of the grid, along a side
# Densities, in one over world units. Below the first a cell counts as empty:
# all the way through the volume that takes less than 1/255 of the light. Above
# the second, samples must be close.
LEAST_DENSITY, DENSE = 0.003, 3.0
_POINTS = 2  # of a cell, along a side, where density is asked for
_FAR = 255  # cells; the largest distance
_FOUR = 4  # channels of a texel; rows of the shader's matrices
# What every browser with WebGL 2 can hold: the side of a texture, and layers of
# one; and numbers in a shader's text that compilers take without trouble.
_MOST_SIDE, _MOST_LAYERS, _MOST_NUMBERS = 2048, 256, 4096


@dataclasses.dataclass(frozen=True)
class Field:
  """What the shader reads, of all stops of a slider.

  Attributes:
    texels: [K, L, S + 2, S + 2, 4] uint8, axes (stop, layer, row, column,
      channel): the plane (x, y), four channels a layer, then the plane (x, z);
      with a ring of the zero's byte.
    skips: [K, G, G, G, 2] uint8, axes (stop, z, y, x, which): cells to the
      nearest one that is not empty, and to the nearest one that is dense, a
      diagonal counting as one; 0: this one.
    decoder: the numbers of the shader's text, float32: mat4 [H / 4, C / 4], vec4
      [H / 4], mat4 [H / 4], vec4, the last two to (red, green, blue, sigma).
    groups: fours of channels, C / 4.
    hidden: fours of hidden features, H / 4.
    reach: half a side of the grid about the origin, world units.
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
    # Neighbors are alike, so differences take two thirds of the bytes.
    steps = np.diff(texels, axis=-1, prepend=np.uint8(0))
    return steps.tobytes() + self.skips[stop].tobytes()

  def facts(self) -> dict[str, Any]:
    """What the shader needs to know of all faces."""
    return {
      "groups": self.groups,
      "hidden": self.hidden,
      "layers": self.texels.shape[1],
      "side": self.texels.shape[2],
      "cells": self.skips.shape[1],
    }

  def own_facts(self) -> dict[str, Any]:
    """What the shader needs to know of this slider."""
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
  """The field of the latents that one slider goes along.

  Args:
    network: the generator of all of them.
    ws: [K, num_ws, w_dim].
    names: what messages call them, K.
    yaw: how far the camera turns to either side, radians.
    pitch: how far it turns up and down, radians.
    focal: the camera's focal length, in image sizes.

  Raises: UserError: names the latent whose planes are not finite, or what of
    the generator is too large for a browser.
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
  """Whether every browser with WebGL 2 can hold a generator's field.

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
  """Half a side of the cube about the origin that all rays stay in.

  Args:
    config: the rendering settings.
    yaw: how far the camera turns, radians.
    pitch: likewise.
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
  """Bytes of planes: (bytes - zero) * scale is what they were, nearly.

  Args:
    folded: [K, 2, S + 2, S + 2, C].

  Returns: uint8 of that shape; scale [C] float32 > 0; zero [C], whole numbers
    in 0 ... 255, for what lies outside of the planes is exactly zero.
  """
  axes = tuple(range(folded.ndim - 1))
  low = np.minimum(folded.min(axis=axes), 0.0)
  high = np.maximum(folded.max(axis=axes), 0.0)
  scale = np.maximum((high - low) / 255, np.finfo(np.float32).tiny)
  zero = np.clip(np.rint(-low / scale), 0, 255)
  values = np.clip(np.rint(folded / scale + zero), 0, 255)
  return values.astype(np.uint8), scale.astype(np.float32), zero


def _texels(values: np.ndarray, zero: np.ndarray) -> np.ndarray:
  """Bytes by fours of channels, see `Field.texels`."""
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
  """What `Field.decoder` holds, and its numbers of groups.

  A texture gives byte / 255, and a feature is a sum of two of them; softplus
  is taken to the base of two, which graphics processors know.
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
  # GLSL's matrices go column by column; a column is one input.
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
  """Cells to the nearest one where something is; see `Field.skips`."""
  split = sigma.reshape((CELLS, _POINTS) * 3).max(axis=(1, 3, 5))
  # What lies between points of one cell and the next is in both.
  split = ndimage.maximum_filter(split, 3, mode="nearest")
  return np.stack([_away(split, LEAST_DENSITY), _away(split, DENSE)], axis=-1)


def _away(sigma: np.ndarray, density: float) -> np.ndarray:
  """Cells to the nearest one of at least a density, uint8."""
  # The renderer's density is softplus(sigma - 1).
  full = sigma > 1 + math.log(math.expm1(density))
  if not full.any():
    return np.full(full.shape, _FAR, np.uint8)
  away = ndimage.distance_transform_cdt(~full, "chessboard")
  return np.minimum(away, _FAR).astype(np.uint8)


def _fours(count: int) -> int:
  """Groups of four that hold so many."""
  return -(-count // _FOUR)


def _numbers(groups: int, hidden: int) -> int:
  """How many `Field.decoder` has."""
  return 16 * hidden * groups + 4 * hidden + 16 * hidden + 4

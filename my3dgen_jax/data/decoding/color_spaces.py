"""Color spaces of image data, and their conversion to sRGB.

    space = color_spaces.of_codes(primaries=9, transfer=16)  # BT.2020, PQ
    pixels = space.to_srgb(pixels)

Containers of photos and videos state it with ITU-T H.273's code points (HEIC's
and AVIF's "nclx", PNG's cICP). HDR stores light in nits: SDR's white is 203
nits (ITU-R BT.2408), and brighter light is compressed below white by the
"mobius" curve of FFmpeg's `tonemap`, which `video_frames` uses with the same
numbers.
"""

import dataclasses
import functools
from typing import Any

import numpy as np

from my3dgen_jax.errors import UserError

WHITE_NITS = 203.0  # SDR's white
PEAK_NITS = 1000.0  # HDR light that becomes white; HLG is mastered for it
KNEE = 0.7  # relative to white; light below it stays as bright as in SDR

PQ, HLG, LINEAR = 16, 18, 8
HDR = (PQ, HLG)
P3 = ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060))
_D65 = (0.3127, 0.3290)
_SRGB = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
# H.273's primaries that visibly differ from sRGB's: red, green, blue, white.
PRIMARIES: dict[int, tuple[tuple[float, float], ...]] = {
  4: ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), (0.310, 0.316)),
  8: ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), (0.310, 0.316)),
  9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
  10: ((1.0, 0.0), (0.0, 1.0), (0.0, 0.0), (1 / 3, 1 / 3)),
  11: (*P3, (0.314, 0.351)),
  12: (*P3, _D65),
}
# H.273's transfer functions that viewers show as sRGB's (1 and its kin are
# camera curves; screens invert sRGB's), and those that are powers.
_AS_SRGB = (0, 1, 2, 3, 6, 7, 11, 12, 13, 14, 15)
_POWERS = {4: 2.2, 5: 2.8, LINEAR: 1.0, 17: 2.6}

# ITU-R BT.2100.
_PQ_M1, _PQ_M2 = 2610 / 16384, 2523 / 32
_PQ_C1, _PQ_C2, _PQ_C3 = 3424 / 4096, 2413 / 128, 2392 / 128
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_HLG_SYSTEM_GAMMA = 1.2
_BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)

# Chromatic adaptation between two spaces: cone responses, after Bradford.
_BRADFORD = np.array(
  [
    [0.8951, 0.2664, -0.1614],
    [-0.7502, 1.7135, 0.0367],
    [0.0389, -0.0685, 1.0296],
  ]
)
_ROWS = 256  # rows of a photo converted at a time: floats are large
_STEPS = 0xFFFF


@dataclasses.dataclass(frozen=True)
class ColorSpace:
  """The meaning of an image's numbers.

  Attributes:
    primaries: (x, y) of red, green, blue and white.
    transfer: H.273's code of the transfer function; 0 with `gamma`.
    gamma: exponent from a number to light; 0: `transfer` applies.
  """

  primaries: tuple[tuple[float, float], ...] = (*_SRGB, _D65)
  transfer: int = 13
  gamma: float = 0.0

  def to_srgb(self, pixels: np.ndarray) -> np.ndarray:
    """The same colors in sRGB, clipped to its gamut.

    Args:
      pixels: [H, W, 3] uint8 or uint16, full range.

    Returns: [H, W, 3] uint8.
    """
    table = self._light(int(np.iinfo(pixels.dtype).max))
    matrix = _to_srgb_light(self.primaries)
    result = np.empty(pixels.shape, np.uint8)
    for start in range(0, len(pixels), _ROWS):
      light = table[pixels[start : start + _ROWS]]
      if self.transfer == HLG:
        luma = np.maximum(light @ _BT2020_LUMA, 1e-9)[..., None]
        light = light * luma ** (_HLG_SYSTEM_GAMMA - 1) * PEAK_NITS / WHITE_NITS
      light = light @ matrix
      if self.transfer in HDR:
        light = tone_mapped(light)
      steps = np.rint(np.clip(light, 0, 1) * _STEPS).astype(np.uint16)
      result[start : start + _ROWS] = _srgb_table()[steps]
    return result

  def _light(self, last: int) -> np.ndarray:
    """Light of each number, [last + 1] float32; 1 is white; HLG: scene."""
    x = np.arange(last + 1) / last
    power = self.gamma or _POWERS.get(self.transfer)
    if self.transfer == PQ:
      root = x ** (1 / _PQ_M2)
      nits = 1e4 * (
        np.maximum(root - _PQ_C1, 0) / (_PQ_C2 - _PQ_C3 * root)
      ) ** (1 / _PQ_M1)
      light = nits / WHITE_NITS
    elif self.transfer == HLG:
      light = np.where(
        x <= 0.5, x**2 / 3, (np.exp((x - _HLG_C) / _HLG_A) + _HLG_B) / 12
      )
    elif power:
      light = x**power
    else:
      light = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    return light.astype(np.float32)


def of_codes(*, primaries: int, transfer: int) -> ColorSpace | None:
  """The color space for H.273's code points.

  Args:
    primaries: ColourPrimaries; those of old television count as sRGB's, as in
      viewers.
    transfer: TransferCharacteristics.

  Returns: the color space; None: sRGB, or shown as if it were.
  Raises: UserError: the transfer function is not supported.
  """
  if transfer not in (*_AS_SRGB, *_POWERS, *HDR):
    raise UserError(
      f"has the transfer function {transfer} of ITU-T H.273, which cannot be "
      "read; save it in sRGB"
    )
  if transfer in _AS_SRGB:
    if primaries not in PRIMARIES:
      return None
    transfer = 13
  return ColorSpace(PRIMARIES.get(primaries, (*_SRGB, _D65)), transfer)


def tone_mapped(light: np.ndarray) -> np.ndarray:
  """Compresses light above `KNEE` so that `PEAK_NITS` becomes white.

  Args:
    light: [..., 3], linear; 1 is `WHITE_NITS`.

  Returns: [..., 3], each color's largest part at most 1, with unchanged hue.
  Source: FFmpeg's vf_tonemap, "mobius", without desaturation.
  """
  peak, knee = PEAK_NITS / WHITE_NITS, KNEE
  a = -(knee**2) * (peak - 1) / (knee**2 - 2 * knee + peak)
  b = (knee**2 - 2 * knee * peak + peak) / (peak - 1)
  gain = (b**2 + 2 * b * knee + knee**2) / (b - a)
  largest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
  bent = gain * (largest + a) / (largest + b)
  return light * np.where(largest > knee, np.minimum(bent, 1) / largest, 1)


@functools.cache
def _to_srgb_light(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
  """Matrix from light in a space to light in sRGB, light @ it, [3, 3]."""
  white = lambda points: _xyz(points[3])
  cones = _BRADFORD @ white((*_SRGB, _D65)) / (_BRADFORD @ white(primaries))
  adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD
  matrix = np.linalg.inv(_to_xyz((*_SRGB, _D65))) @ adapted @ _to_xyz(primaries)
  return matrix.T.astype(np.float32)


def _to_xyz(primaries: tuple[tuple[float, float], ...]) -> np.ndarray:
  columns = np.stack([_xyz(point) for point in primaries[:3]], axis=1)
  return columns * np.linalg.solve(columns, _xyz(primaries[3]))


def _xyz(point: tuple[float, float]) -> np.ndarray:
  x, y = point
  # XYZ's own blue lies on the axis: all light, no luminance.
  return np.array([x, y, 1 - x - y]) / y if y else np.array([x, y, 1 - x - y])


@functools.cache
def _srgb_table() -> Any:
  """sRGB bytes for 65,536 steps of light."""
  x = np.arange(_STEPS + 1) / _STEPS
  encoded = np.where(x <= 0.0031308, 12.92 * x, 1.055 * x ** (1 / 2.4) - 0.055)
  return np.rint(255 * encoded).astype(np.uint8)

"""Gaussian splats for browsers: 17 bytes each, packed by attribute."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from my3dgen_jax.ops.rendering.splats import Splats

_BYTE, _PAIR = 255, 65535
# Ranges that all faces share, so that a page states them once: logarithms of
# sizes from a ten-thousandth of a world unit to one world unit.
_SIZES = (-9.2, 0.0)
_COLORS = (-0.5, 1.5)  # before they are blended, so they may leave [0, 1]


@dataclasses.dataclass(frozen=True)
class Cloud:
  """The splats of all stops of a slider.

  Attributes:
    stops: K sets of splats, as NumPy arrays.
    reach: half the side of the cube around the origin that contains all of the
      page's splats, world units.
    fitted: side of the pictures that they were fitted to, pixels.
  """

  stops: Sequence[Splats]
  reach: float
  fitted: int

  kind = "splats"

  def content(self, stop: int) -> bytes:
    """A stop as bytes; `unpack` of splats.js reads them."""
    splats = self.stops[stop]
    quaternions = np.asarray(splats.quaternions)
    turns = quaternions / np.linalg.norm(quaternions, axis=-1, keepdims=True)
    opacities = 1 / (1 + np.exp(-np.asarray(splats.logits, np.float64)))
    means = _levels(splats.means, (-self.reach, self.reach), _PAIR)
    return b"".join(
      [
        *(
          half.astype(np.uint8).tobytes()
          for axis in means.T
          for half in (axis & 255, axis >> 8)
        ),
        *(
          _levels(values, span, _BYTE).astype(np.uint8).T.tobytes()
          for values, span in (
            (splats.colors, _COLORS),
            (splats.log_scales, _SIZES),
            (turns, (-1.0, 1.0)),
            (opacities, (0.0, 1.0)),
          )
        ),
      ]
    )

  def facts(self) -> dict[str, Any]:
    """The page's data that all faces share."""
    return {
      "ranges": {
        "means": (-self.reach, self.reach),
        "colors": _COLORS,
        "sizes": _SIZES,
      },
      "fitted": self.fitted,
    }

  def own_facts(self) -> dict[str, Any]:
    """The page's data for this slider: none."""
    return {}


def reach_of(stops: Sequence[Splats]) -> float:
  """Half the side of the smallest cube around the origin with all splats."""
  return float(max(np.abs(np.asarray(one.means)).max() for one in stops))


def _levels(values: Any, span: tuple[float, float], most: int) -> np.ndarray:
  """Quantizes values: 0 at the span's start, `most` at its end."""
  low, high = span
  share = (np.asarray(values, np.float64) - low) / (high - low)
  return np.rint(np.clip(share, 0, 1) * most).astype(np.int64)

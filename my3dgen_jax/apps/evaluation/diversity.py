"""How different the images are that resemble the same photo.

Source: My3DGen, section 4.2.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.types import Array, Network

STOPPED = "stopped; the same command resumes"

_ROWS = 8  # images to compare one image with at a time


def lpips_diversity(
  lpips: Network,
  shown: Sequence[Array],
  photos: Sequence[Array],
  stop: StopRequest | None = None,
) -> dict[str, float]:
  """`diversity` by LPIPS.

  Args:
    lpips: the network.
    shown: images [H, W, 3] in [-1, 1].
    photos: [H, W, 3] in [-1, 1]; images are grouped by their nearest photo.
    stop: request to stop, checked between comparisons.

  Returns: "diversity", and "groups", the count of groups of three or more
    images; smaller ones count as 0, so few images say little.
  """
  stop = stop or StopRequest()
  looks = [_features(lpips, photo[None]) for photo in photos]
  nearest = []
  for image in shown:
    stop.raise_if_wanted(STOPPED)
    nearest.append(
      int(np.argmin(_to_all(lpips, looks, _features(lpips, image[None]))))
    )

  def between(members):
    stop.raise_if_wanted(STOPPED)
    # Features of one group at a time: a thousand images would take gigabytes.
    known = [_features(lpips, shown[i][None]) for i in members]
    found = [
      _to_all(lpips, known[i + 1 :], known[i]) for i in range(len(members) - 1)
    ]
    return np.concatenate(found) if found else np.zeros(0)

  return {
    "diversity": diversity(nearest, between),
    "groups": float(np.sum(np.bincount(nearest) >= 3)),
  }


def diversity(
  nearest: Sequence[int], between: Callable[[list[int]], Array]
) -> float:
  """How different the images are that resemble the same photo.

  Args:
    nearest: index of each image's most similar photo.
    between: function from images' indices to all pairwise distances.

  Returns: the standard deviation of the distances within each group of images,
    averaged over groups; a group with fewer than two pairs has 0, and photos
    without images are left out.
  Source: My3DGen, section 4.2.
  """
  groups: dict[int, list[int]] = {}
  for i, photo in enumerate(nearest):
    groups.setdefault(photo, []).append(i)
  spreads = [
    float(np.std(between(members))) if len(members) > 1 else 0.0
    for members in groups.values()
  ]
  return float(np.mean(spreads))


@jax.jit
def _features(lpips: Network, x: Array) -> Any:
  return lpips(x, method="features")


def _to_all(lpips: Network, many: Sequence[Any], one: Any) -> np.ndarray:
  """Distances of one image's features to others', [len(many)]."""
  found = []
  for first in range(0, len(many), _ROWS):
    rows = list(many[first : first + _ROWS])
    count = len(rows)
    rows += rows[-1:] * (_ROWS - count)  # one shape, one program
    found.append(np.asarray(_distances(lpips, rows, one))[:count])
  return np.concatenate(found) if found else np.zeros(0)


@jax.jit
def _distances(lpips: Network, many: Sequence[Any], one: Any) -> jax.Array:
  many = jax.tree.map(lambda *rows: jnp.concatenate(rows), *many)
  return lpips(many, one, method="distance")

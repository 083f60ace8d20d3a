"""Chooses photos that cover all poses of a head."""

import numpy as np

from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array


def angles(label: Array) -> tuple[float, float, float]:
  """The head pose that a camera label sees.

  Args:
    label: [25], the camera label.

  Returns: degrees: yaw (positive: the camera is at +x, the face is turned to
    the image's left), pitch (positive: the camera looks from above), roll
    (positive: the head is tilted clockwise in the image).
  """
  cam2world = np.asarray(cameras.unpack_label(label)[0], np.float64)
  x, y, z = cam2world[:3, 3]
  up = cam2world[1, :2]  # the world's up, in the image's axes
  return (
    float(np.degrees(np.arctan2(x, z))),
    float(np.degrees(np.arctan2(y, np.hypot(x, z)))),
    float(np.degrees(np.arctan2(up[0], -up[1]))),
  )


def farthest(poses: Array, weights: Array, count: int) -> list[int]:
  """Chooses poses that are as far from each other as possible.

  The first is the one with the largest weight; then always the one whose
  distance to the nearest chosen one, times its weight, is largest.

  Args:
    poses: [N, D], degrees.
    weights: [N], >= 0, e.g. sharpness of the frames.
    count: number of poses; all if there are no more.

  Returns: indices, in the order in which they were chosen.
  """
  poses, weights = np.asarray(poses, np.float64), np.asarray(weights)
  chosen: list[int] = []
  nearest = np.full(len(poses), np.inf)
  for _ in range(min(count, len(poses))):
    # A distance larger than any between the others counts as that.
    score = weights * np.minimum(nearest, 360.0)
    score[chosen] = -1
    # If none is far away anymore, the heaviest.
    best = int(np.lexsort((weights, score))[-1])
    chosen.append(best)
    nearest = np.minimum(nearest, np.linalg.norm(poses - poses[best], axis=1))
  return chosen


def representative(poses: Array, count: int) -> list[int]:
  """Chooses representative poses: rare ones are not preferred.

  The poses are repeatedly divided across the wider axis until there are `count`
  groups of about the same size; the most central of each is chosen.

  Args:
    poses: [N, D], degrees.
    count: number of poses, <= N.

  Returns: indices, ascending.
  """
  poses = np.asarray(poses, np.float64)
  result = []
  groups = [(np.arange(len(poses)), count)] if count else []
  while groups:
    members, wanted = groups.pop()
    here = poses[members]
    if wanted == 1:
      off = np.linalg.norm(here - np.median(here, axis=0), axis=1)
      result.append(int(members[np.argmin(off)]))
      continue
    axis = int(np.argmax(np.ptp(here, axis=0)))
    order = members[np.argsort(here[:, axis], kind="stable")]
    first = wanted // 2
    cut = round(len(order) * first / wanted)
    groups += [(order[:cut], first), (order[cut:], wanted - first)]
  return sorted(result)

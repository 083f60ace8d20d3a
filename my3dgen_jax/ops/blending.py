"""Blends a part of one image into another without a visible seam."""

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from scipy import ndimage

from my3dgen_jax.errors import UserError


def seamless(
  photo: np.ndarray, generated: np.ndarray, hole: np.ndarray
) -> np.ndarray:
  """Fills a hole with the other image's differences between neighbors.

  The correction added to the generated part is the smoothest one that meets
  the photo: it solves Laplace's equation in the hole, with the surrounding
  photo as boundary values. The image's own border imposes no condition.

  Args:
    photo: [H, W, C] real numbers, used outside the hole.
    generated: [H, W, C].
    hole: [H, W] bool; at least one pixel is outside.

  Returns: [H, W, C] float64; exactly the photo outside the hole.
  Raises: UserError: the hole covers the whole image.
  Source: Perez et al. 2003 (Poisson image editing), section 2.
  """
  if hole.all():
    raise UserError("hole: it covers the whole photo; leave some of it outside")
  result = np.array(photo, np.float64)
  if not hole.any():
    return result
  count = int(hole.sum())
  number = np.full(hole.shape, -1)  # each unknown's index, row by row
  number[hole] = np.arange(count)
  offset = result - generated
  degree = np.zeros(count)
  known = np.zeros((count, photo.shape[2]))
  pairs = []
  for axis in (0, 1):
    last = [slice(None)] * 2
    first = list(last)
    first[axis], last[axis] = slice(None, -1), slice(1, None)
    for here, there in ((first, last), (last, first)):
      here, there = tuple(here), tuple(there)
      mine, other = number[here], number[there]
      np.add.at(degree, mine[mine >= 0], 1)
      both = (mine >= 0) & (other >= 0)
      pairs.append((mine[both], other[both]))
      edge = (mine >= 0) & (other < 0)
      np.add.at(known, mine[edge], offset[there][edge])
  rows, columns = (np.concatenate(part) for part in zip(*pairs))
  matrix = scipy.sparse.csc_array(
    (-np.ones(len(rows)), (rows, columns)), shape=(count, count)
  )
  matrix += scipy.sparse.diags_array(degree, format="csc")
  # Symmetric positive definite: this ordering is the sparsest, without pivots.
  solved = scipy.sparse.linalg.splu(
    matrix,
    permc_spec="MMD_AT_PLUS_A",
    diag_pivot_thresh=0.0,
    options={"SymmetricMode": True},
  ).solve(known)
  result[hole] = generated[hole] + solved
  return result


def edge_weights(mask: np.ndarray, width: float) -> np.ndarray:
  """A mask with an edge that fades out towards the inside.

  Args:
    mask: [H, W] bool.
    width: the edge's width, pixels, >= 0.

  Returns: [H, W] float32 in [0, 1]; exactly 0 outside the mask, 1 inside it
    beyond the width.
  """
  if mask.all() or width <= 0:
    return mask.astype(np.float32)
  depth = ndimage.distance_transform_edt(mask)
  share = np.clip(depth / (width + 1), 0, 1)
  return (share * share * (3 - 2 * share)).astype(np.float32)

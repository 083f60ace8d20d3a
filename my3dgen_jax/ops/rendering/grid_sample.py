"""Bilinear look-ups in images, zero outside."""

import chex
import jax
import jax.numpy as jnp

from my3dgen_jax.types import Array


def pad_for_sampling(images: Array) -> jax.Array:
  """Adds the ring of zeros that `sample_padded` reads beyond the border.

  Args:
    images: [..., H, W, C].

  Returns: [..., H + 2, W + 2, C].
  """
  return jnp.pad(
    images, [(0, 0)] * (images.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
  )


def taps(
  height: int, width: int, x: Array, y: Array, dtype: chex.ArrayDType
) -> list[tuple[jax.Array, jax.Array]]:
  """The four pixels around each point, and their bilinear weights.

  Coordinates are clipped to the ring of zeros, so the four taps need no
  masks. Pixel centers are at (i + 0.5) of the unpadded image's size.

  Args:
    height: height of the padded image, pixels.
    width: width of the padded image, pixels.
    x: [M], column; -1 and 1 are the unpadded image's left and right edges.
    y: [M], row; -1 and 1 are its top and bottom edges.
    dtype: dtype of the weights.

  Returns: four pairs of arrays [M]: row-major pixel index, and weight.
  """

  def split(coordinate, size):
    position = jnp.clip((coordinate + 1) * ((size - 2) / 2) + 0.5, 0, size - 1)
    # At most the last but one: the second tap is the next pixel.
    first = jnp.minimum(jnp.floor(position), size - 2)
    return first.astype(jnp.int32), (position - first).astype(dtype)

  column, right = split(x, width)
  row, down = split(y, height)
  index = row * width + column
  return [
    (index, (1 - down) * (1 - right)),
    (index + 1, (1 - down) * right),
    (index + width, down * (1 - right)),
    (index + width + 1, down * right),
  ]


def sample_padded(table: Array, x: Array, y: Array) -> jax.Array:
  """Reads a padded image bilinearly.

  Args:
    table: [H + 2, W + 2, C], from `pad_for_sampling`.
    x: [M], column; see `taps`.
    y: [M], row.

  Returns: [M, C], of table's dtype.
  """
  height, width, channels = table.shape
  flat = table.reshape(height * width, channels)
  first, second, third, fourth = (
    flat.at[index].get(mode="promise_in_bounds") * weight[:, None]
    for index, weight in taps(height, width, x, y, table.dtype)
  )
  return (first + second) + (third + fourth)


def grid_sample(images: Array, grid: Array) -> jax.Array:
  """Reads images bilinearly, zero outside.

  Args:
    images: [N, H, W, C].
    grid: [N, M, 2], (column, row) in [-1, 1] from edge to edge.

  Returns: [N, M, C].
  Raises: AssertionError on a rank or batch mismatch.
  """
  chex.assert_rank([images, grid], [4, 3])
  chex.assert_equal_shape_prefix([images, grid], 1)
  return jax.vmap(sample_padded)(
    pad_for_sampling(images), grid[..., 0], grid[..., 1]
  )

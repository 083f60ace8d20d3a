"""Bilinear look-ups in images, zero outside."""

import chex
import jax
import jax.numpy as jnp


def pad_for_sampling(images: chex.Array) -> jax.Array:
  """Adds the ring of zeros that `sample_padded` reads beyond the border.

  Args:
    images: [..., H, W, C].

  Returns: [..., H + 2, W + 2, C].
  """
  return jnp.pad(images,
                 [(0, 0)] * (images.ndim - 3) + [(1, 1), (1, 1), (0, 0)])


def sample_padded(table: chex.Array, x: chex.Array,
                  y: chex.Array) -> jax.Array:
  """Reads a padded image bilinearly.

  Coordinates are clipped to the ring of zeros, so the four taps need no
  masks. Pixel centres lie at (i + 0.5) of the unpadded image's size.

  Args:
    table: [H + 2, W + 2, C], from `pad_for_sampling`.
    x: [M], column, -1 and 1 being the unpadded image's left and right edge.
    y: [M], row, likewise from top to bottom.

  Returns: [M, C], of table's dtype.
  """
  height, width, channels = table.shape
  flat = table.reshape(height * width, channels)

  def split(coordinate, size):  # size: padded
    position = jnp.clip((coordinate + 1) * ((size - 2) / 2) + 0.5, 0, size - 1)
    # Not beyond the last but one: the second tap is the next pixel.
    first = jnp.minimum(jnp.floor(position), size - 2)
    return first.astype(jnp.int32), (position - first).astype(table.dtype)

  column, right = split(x, width)
  row, down = split(y, height)
  index = row * width + column

  def tap(offset, weight):
    return flat.at[index + offset].get(
        mode="promise_in_bounds") * weight[:, None]

  return ((tap(0, (1 - down) * (1 - right)) + tap(1, (1 - down) * right))
          + (tap(width, down * (1 - right)) + tap(width + 1, down * right)))


def grid_sample(images: chex.Array, grid: chex.Array) -> jax.Array:
  """Reads images bilinearly, zero outside.

  Args:
    images: [N, H, W, C].
    grid: [N, M, 2], (column, row) in [-1, 1] from edge to edge.

  Returns: [N, M, C].
  Raises: AssertionError on a rank or batch mismatch.
  """
  chex.assert_rank([images, grid], [4, 3])
  chex.assert_equal_shape_prefix([images, grid], 1)
  return jax.vmap(sample_padded)(pad_for_sampling(images), grid[..., 0],
                                 grid[..., 1])

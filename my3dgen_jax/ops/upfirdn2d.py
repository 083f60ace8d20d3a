"""Resampling with the filter [1, 3, 3, 1], on images and in convolutions.

Everything is separable and written with slices, so that XLA compiles it to
plain arithmetic on every backend. Images are NHWC; kernels HWIO.
"""

import functools

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.ops import convolution
from my3dgen_jax.tracing import derivatives
from my3dgen_jax.tracing.programs import one_program
from my3dgen_jax.types import Array, LowRank

FILTER_TAPS = (1.0, 3.0, 3.0, 1.0)

_ROWS, _COLUMNS = 1, 2


def _pad(x: jax.Array, axis: int, before: int, after: int) -> jax.Array:
  widths = [(0, 0, 0)] * x.ndim
  widths[axis] = (before, after, 0)
  return lax.pad(x, jnp.zeros((), x.dtype), widths)


def _window(
  x: jax.Array, axis: int, start: int, size: int, stride: int = 1
) -> jax.Array:
  return lax.slice_in_dim(
    x, start, start + stride * (size - 1) + 1, stride, axis
  )


@derivatives.custom_vjp
def upsample2(x: Array) -> jax.Array:
  """Doubles an image, [N, H, W, C] -> [N, 2H, 2W, C], zeros outside."""
  return _upsampled(x)


@one_program()
def _upsampled(x: Array) -> jax.Array:
  def phases(x, axis):
    size = x.shape[axis]
    padded = _pad(x, axis, 1, 1)
    before, here, after = (_window(padded, axis, i, size) for i in range(3))
    here = 0.75 * here
    return 0.25 * before + here, here + 0.25 * after

  return convolution.interleave(
    [phases(row, _COLUMNS) for row in phases(x, _ROWS)]
  )


# Upsampling inserts zeros and filters with gain 2 per axis, so its transpose
# filters and then takes every second pixel.
upsample2.defvjp(
  lambda x: (upsample2(x), None),
  lambda _, cotangent: (4 * downsample2(cotangent),),
)


@one_program(static_argnums=(1, 2, 3, 4, 5))
def _filter(
  x: jax.Array,
  axis: int,
  before: int,
  after: int,
  stride: int = 1,
  gain: float = 1.0,
) -> jax.Array:
  """Pads, then takes the weighted mean of four neighbors along an axis."""
  padded = _pad(x, axis, before, after)
  size = (padded.shape[axis] - len(FILTER_TAPS)) // stride + 1
  scale = gain / sum(FILTER_TAPS)
  first, second, third, fourth = (
    _window(padded, axis, i, size, stride) for i in range(len(FILTER_TAPS))
  )
  # The taps are symmetric: two products are enough for four taps.
  return (FILTER_TAPS[0] * scale) * (first + fourth) + (
    FILTER_TAPS[1] * scale
  ) * (second + third)


@functools.partial(derivatives.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _smooth(
  x: jax.Array, axis: int, before: int, after: int, gain: float
) -> jax.Array:
  """`_filter` with stride 1, whose gradient is again a `_filter`.

  The taps are symmetric, so the transpose differs only in its padding;
  autodiff would pad and add a large array for each tap.
  """
  return _filter(x, axis, before, after, 1, gain)


def _smooth_forward(x, axis, before, after, gain):
  return _smooth(x, axis, before, after, gain), None


def _smooth_backward(axis, before, after, gain, _, cotangent):
  last = len(FILTER_TAPS) - 1
  return (_smooth(cotangent, axis, last - before, last - after, gain),)


_smooth.defvjp(_smooth_forward, _smooth_backward)


def downsample2(x: Array) -> jax.Array:
  """Halves an image, [N, H, W, C] -> [N, H // 2, W // 2, C]."""
  for axis in (_ROWS, _COLUMNS):
    x = _filter(x, axis, 1, 1, 2)
  return x


def filter2d(x: Array) -> jax.Array:
  """Smooths an image, [N, H, W, C], and keeps its size."""
  for axis in (_ROWS, _COLUMNS):
    x = _smooth(x, axis, 2, 1, 1.0)
  return x


def conv_down2(
  x: Array, kernel: Array, *, precision: lax.PrecisionLike | None = None
) -> jax.Array:
  """Filters, then correlates with stride 2.

  Args:
    x: [N, H, W, I].
    kernel: [3, 3, I, O].
    precision: matrix-product precision, see `jax.lax.Precision`.

  Returns: [N, H // 2, W // 2, O].
  """
  chex.assert_rank([x, kernel], 4)
  for axis in (_ROWS, _COLUMNS):
    x = _smooth(x, axis, 2, 2, 1.0)
  return convolution.conv2d(
    x, kernel, stride=2, padding=((0, 0), (0, 0)), precision=precision
  )


def conv_up2(
  x: Array,
  kernel: Array,
  *,
  base: Array | None = None,
  low_rank: LowRank | None = None,
  styles: Array | None = None,
  precision: lax.PrecisionLike | None = None,
) -> jax.Array:
  """Transposed convolution with stride 2, then the filter at gain 2 per axis.

  With y[n] = sum_i x[i] k[n - 2i] for n = 0 … 2H, the result is
  z[m] = (y[m-1] + 3 y[m] + 3 y[m+1] + y[m+2]) / 4, y being zero outside.

  Args:
    x: [N, H, W, I].
    kernel: [3, 3, I, O].
    base: see `convolution.conv2d`.
    low_rank: see `convolution.conv2d`.
    styles: see `convolution.conv2d`.
    precision: matrix-product precision, see `jax.lax.Precision`.

  Returns: [N, 2H, 2W, O].
  """
  chex.assert_rank([x, kernel], 4)
  chex.assert_shape(kernel, (3, 3, x.shape[-1], None))
  y = convolution.conv_transposed(
    x, kernel, base=base, low_rank=low_rank, styles=styles, precision=precision
  )
  for axis in (_COLUMNS, _ROWS):
    y = _smooth(y, axis, 1, 0, 2.0)
  return y

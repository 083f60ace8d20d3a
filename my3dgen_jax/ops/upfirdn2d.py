"""Resampling with the filter [1, 3, 3, 1], of images and inside convolutions.

Everything is separable and written with slices, so that XLA compiles it to
plain arithmetic on every backend. Images are NHWC; kernels HWIO.
"""

import functools
from typing import Optional, Sequence, Tuple

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.types import LowRank, sealed

FILTER_TAPS = (1.0, 3.0, 3.0, 1.0)

_ROWS, _COLUMNS = 1, 2
_NARROW = 64  # channels up to which XLA's kernel gradient is good on a CPU


def conv2d(x: chex.Array, kernel: chex.Array, *, stride: int = 1,
           padding: Sequence[Tuple[int, int]] = ((1, 1), (1, 1)),
           low_rank: Optional[LowRank] = None,
           precision: Optional[lax.PrecisionLike] = None) -> jax.Array:
  """Correlation of x, [N, H, W, I], with the kernel, [kh, kw, I, O].

  Args:
    x: [N, H, W, I].
    kernel: [kh, kw, I, O].
    stride: of the output.
    padding: (before, after) of rows and of columns.
    low_rank: added to the kernel. Its gradient comes from narrow products
      and needs none of the kernel; only with stride 1.
    precision: of the products.

  Returns: [N, H', W', O].
  """
  padding = tuple(map(tuple, padding))
  if low_rank is not None:
    chex.assert_equal(stride, 1)
    a, b = (part.astype(x.dtype) for part in (low_rank.a, low_rank.b))
    return _conv_low_rank(x, kernel, a, b, padding, precision)
  if stride == 1:
    return _conv(x, kernel, padding, precision)
  return _plain_conv(x, kernel, stride, padding, precision)


def _plain_conv(x, kernel, stride, padding, precision):
  if kernel.shape[:2] == (1, 1) and stride == 1:
    # A product, which a CPU computes several times faster under that name.
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    return jnp.matmul(x, kernel[0, 0], precision=precision)
  return lax.conv_general_dilated(
      x, kernel, (stride, stride), padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"), precision=precision)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv(x, kernel, padding, precision):
  """A convolution of stride 1 whose kernel's gradient is made of products."""
  return _plain_conv(x, kernel, 1, padding, precision)


def _conv_forward(x, kernel, padding, precision):
  return _conv(x, kernel, padding, precision), (x, kernel)


def _conv_backward(padding, precision, residuals, cotangent):
  x, kernel = residuals
  return (_input_gradient(x, kernel, cotangent, padding, precision),
          _kernel_gradient(x, cotangent, kernel.shape, padding, precision))


_conv.defvjp(_conv_forward, _conv_backward)


def _input_gradient(x, kernel, cotangent, padding, precision):
  _, pull_back = jax.vjp(
      lambda x: _plain_conv(x, kernel, 1, padding, precision), x)
  return pull_back(cotangent)[0]


def _kernel_gradient(x, cotangent, shape, padding, precision):
  """The gradient of the kernel, [kh, kw, I, O].

  XLA's CPU code for it, a convolution with a kernel as large as the image, is
  several times (for up-convolutions a hundred times) slower than a matrix
  product for each tap; other backends have good code of their own.
  """
  def products(x, cotangent):
    x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
    rows, columns = cotangent.shape[1:3]
    return jnp.stack([jnp.stack([
        jnp.einsum("nhwi,nhwo->io",
                   x[:, i:i + rows, j:j + columns], cotangent,
                   precision=precision)
        for j in range(shape[1])]) for i in range(shape[0])])

  def native(x, cotangent):
    _, pull_back = jax.vjp(
        lambda kernel: _plain_conv(x, kernel, 1, padding, precision),
        jnp.zeros(shape, x.dtype))
    return pull_back(cotangent)[0]

  if max(shape[2:]) > _NARROW:
    return lax.platform_dependent(x, cotangent, cpu=products, default=native)
  return native(x, cotangent)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _conv_low_rank(x, kernel, a, b, padding, precision):
  """A convolution with kernel + a @ b."""
  return _plain_conv(x, _changed(kernel, a, b, precision), 1, padding,
                     precision)


def _changed(kernel, a, b, precision):
  return sealed(kernel + jnp.matmul(a, b, precision=precision))


def _conv_low_rank_forward(x, kernel, a, b, padding, precision):
  return (_conv_low_rank(x, kernel, a, b, padding, precision),
          (x, kernel, a, b))


def _conv_low_rank_backward(padding, precision, residuals, cotangent):
  x, kernel, a, b = residuals
  changed = _changed(kernel, a, b, precision)
  of_a, of_b = _low_rank_gradients(x, a, b, cotangent, padding, precision)
  return (
      _input_gradient(x, changed, cotangent, padding, precision),
      # Not computed unless somebody asks for it.
      _kernel_gradient(x, cotangent, kernel.shape, padding, precision),
      of_a, of_b)


def _low_rank_gradients(x, a, b, cotangent, padding, precision):
  """The gradients of a, [kh, kw, I, R], and of b, [R, O].

  All taps together are one product with x, for each of the two: what is
  shifted, tap by tap, is narrow, and wide arrays are read once and never
  copied. (A matrix product's first factor may be transposed in memory: so the
  narrow one comes first.)
  """
  height, width, inputs, rank = a.shape
  rows, columns = x.shape[1:3]
  taps = [(i, j) for i in range(height) for j in range(width)]

  # x at a pixel meets the cotangent of the outputs that its taps reach.
  outer = jnp.matmul(cotangent, b.T, precision=precision)
  outer = lax.pad(outer, jnp.zeros((), outer.dtype), [(0, 0, 0), *(
      (size - 1 - before, size - 1 - after, 0) for size, (before, after)
      in zip((height, width), padding)), (0, 0, 0)])
  shifted = jnp.concatenate([
      outer[:, height - 1 - i:, width - 1 - j:][:, :rows, :columns]
      for i, j in taps], axis=-1)
  of_a = jnp.einsum("nhws,nhwi->si", shifted, x, precision=precision)

  # The convolution with a, its taps summed after the product.
  products = jnp.matmul(x, jnp.moveaxis(a, 2, 0).reshape(inputs, -1),
                        precision=precision)
  products = jnp.pad(products, ((0, 0), *padding, (0, 0)))
  rows, columns = cotangent.shape[1:3]
  inner = sum(
      products[:, i:i + rows, j:j + columns, tap * rank:(tap + 1) * rank]
      for tap, (i, j) in enumerate(taps))
  of_b = jnp.einsum("nhwr,nhwo->ro", inner, cotangent, precision=precision)
  of_a = of_a.reshape(height, width, rank, inputs)
  return jnp.swapaxes(of_a, 2, 3), of_b


_conv_low_rank.defvjp(_conv_low_rank_forward, _conv_low_rank_backward)


def _pad(x: jax.Array, axis: int, before: int, after: int) -> jax.Array:
  widths = [(0, 0)] * x.ndim
  widths[axis] = (before, after)
  return jnp.pad(x, widths)


def _window(x: jax.Array, axis: int, start: int, size: int,
            stride: int = 1) -> jax.Array:
  return lax.slice_in_dim(x, start, start + stride * (size - 1) + 1, stride,
                          axis)


def _interleave(phases: Sequence[Sequence[jax.Array]]) -> jax.Array:
  """Weaves 2x2 phases [N, H, W, C] into [N, 2H, 2W, C]."""
  n, h, w, c = phases[0][0].shape
  woven = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
  return woven.reshape(n, 2 * h, 2 * w, c)


def upsample2(x: chex.Array) -> jax.Array:
  """Doubles an image, [N, H, W, C] -> [N, 2H, 2W, C], zeros outside."""
  def phases(x, axis):
    size = x.shape[axis]
    padded = _pad(x, axis, 1, 1)
    before, here, after = (_window(padded, axis, i, size) for i in range(3))
    return 0.25 * before + 0.75 * here, 0.75 * here + 0.25 * after

  return _interleave([phases(row, _COLUMNS) for row in phases(x, _ROWS)])


def _filter(x: jax.Array, axis: int, before: int, after: int, *,
            stride: int = 1, gain: float = 1.0) -> jax.Array:
  """Pads, then takes the weighted mean of four neighbours along an axis."""
  padded = _pad(x, axis, before, after)
  size = (padded.shape[axis] - len(FILTER_TAPS)) // stride + 1
  scale = gain / sum(FILTER_TAPS)
  return sum(tap * scale * _window(padded, axis, i, size, stride)
             for i, tap in enumerate(FILTER_TAPS))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _smooth(x: jax.Array, axis: int, before: int, after: int,
            gain: float) -> jax.Array:
  """`_filter` of stride 1, with a gradient that is one, too.

  The taps are symmetric, so the transpose differs in its padding alone;
  autodiff would pad and add a large array for each tap.
  """
  return _filter(x, axis, before, after, gain=gain)


def _smooth_forward(x, axis, before, after, gain):
  return _smooth(x, axis, before, after, gain), None


def _smooth_backward(axis, before, after, gain, _, cotangent):
  last = len(FILTER_TAPS) - 1
  return (_smooth(cotangent, axis, last - before, last - after, gain),)


_smooth.defvjp(_smooth_forward, _smooth_backward)


def downsample2(x: chex.Array) -> jax.Array:
  """Halves an image, [N, H, W, C] -> [N, H // 2, W // 2, C]."""
  for axis in (_ROWS, _COLUMNS):
    x = _filter(x, axis, 1, 1, stride=2)
  return x


def filter2d(x: chex.Array) -> jax.Array:
  """Smooths an image of any size, [N, H, W, C], at the same size."""
  for axis in (_ROWS, _COLUMNS):
    x = _smooth(x, axis, 2, 1, 1.0)
  return x


def conv_down2(x: chex.Array, kernel: chex.Array, *,
               precision: Optional[lax.PrecisionLike] = None) -> jax.Array:
  """Filters, then correlates with stride 2.

  Args:
    x: [N, H, W, I].
    kernel: [3, 3, I, O].
    precision: of the products.

  Returns: [N, H // 2, W // 2, O].
  """
  chex.assert_rank([x, kernel], 4)
  for axis in (_ROWS, _COLUMNS):
    x = _smooth(x, axis, 2, 2, 1.0)
  return conv2d(x, kernel, stride=2, padding=((0, 0), (0, 0)),
                precision=precision)


def conv_up2(x: chex.Array, kernel: chex.Array, *,
             low_rank: Optional[LowRank] = None,
             precision: Optional[lax.PrecisionLike] = None) -> jax.Array:
  """Transposed convolution with stride 2, then the filter at gain 2 an axis.

  With y[n] = sum_i x[i] k[n - 2i] for n = 0 … 2H, the result is
  z[m] = (y[m-1] + 3 y[m] + 3 y[m+1] + y[m+2]) / 4, y zero outside. The even
  and the odd entries of y are correlations of their own (2 taps and 1 tap),
  so in 2-D four small correlations of x at its own size give all of y, with
  no product by the zeros that an upsampled x would hold.

  Args:
    x: [N, H, W, I].
    kernel: [3, 3, I, O].
    low_rank: added to the kernel, see `conv2d`.
    precision: of the products.

  Returns: [N, 2H, 2W, O].
  """
  chex.assert_rank([x, kernel], 4)
  chex.assert_shape(kernel, (3, 3, x.shape[-1], None))
  both = ((1, 1), slice(None, None, -2))  # even entries: k[2] then k[0]
  middle = ((0, 0), slice(1, 2))  # odd entries: k[1]

  def phase(rows, columns):
    taps = rows[1], columns[1]
    change = low_rank and LowRank(a=low_rank.a[taps], b=low_rank.b)
    return conv2d(x, kernel[taps], padding=(rows[0], columns[0]),
                  low_rank=change, precision=precision)

  # y has one odd row and column less than even ones; zeros take their place.
  y = _interleave([
      [phase(both, both), _pad(phase(both, middle), _COLUMNS, 0, 1)],
      [_pad(phase(middle, both), _ROWS, 0, 1),
       jnp.pad(phase(middle, middle), ((0, 0), (0, 1), (0, 1), (0, 0)))]])
  for axis in (_COLUMNS, _ROWS):
    y = _smooth(y, axis, 1, 0, 2.0)
  return y

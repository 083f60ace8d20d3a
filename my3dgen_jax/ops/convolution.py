"""Convolutions of stride 1 and transposed ones of stride 2, with gradients.

On a CPU, a wide kernel's gradient is computed as one matrix product per tap, a
low-rank change's gradient as a few narrow products, and a transposed
convolution is split into phases; on accelerators all of this is left to the
vendor libraries.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.ops import own_changes
from my3dgen_jax.tracing.derivatives import custom_vjp
from my3dgen_jax.tracing.platforms import by_platform
from my3dgen_jax.types import Array, LowRank

Padding = tuple[tuple[int, int], tuple[int, int]]

# Images of up to this many pixels are computed as rows of a matrix product on
# an accelerator: one shape less to autotune, three times over.
_FEW_PIXELS = 16
_NARROW = 64  # largest channel count with a fast XLA kernel gradient on a CPU


def conv2d(
  x: Array,
  kernel: Array,
  *,
  stride: int = 1,
  padding: Sequence[tuple[int, int]] = ((1, 1), (1, 1)),
  base: Array | None = None,
  low_rank: LowRank | None = None,
  styles: Array | None = None,
  precision: lax.PrecisionLike | None = None,
) -> jax.Array:
  """Correlation of x, [N, H, W, I], with the kernel, [kh, kw, I, O].

  Args:
    x: [N, H, W, I], in the compute dtype.
    kernel: [kh, kw, I, O].
    stride: step between outputs, along rows and columns.
    padding: (before, after) for rows and for columns.
    base: the kernel without its low-rank change; None: there is no change.
    low_rank: kernel - base. On a CPU its gradient is then computed from narrow
      products, without the kernel's gradient; only with stride 1.
    styles: [N, I], factors of each sample's input channels; None: no scaling.
      Only with stride 1. An accelerator does not keep the scaled x.
    precision: matrix-product precision, see `jax.lax.Precision`.

  Returns: [N, H', W', O].
  """
  padding = tuple(map(tuple, padding))
  if stride != 1:
    assert low_rank is None and styles is None, "only with stride 1"
    return _plain(x, kernel.astype(x.dtype), stride, padding, precision)
  key: Any = precision  # hashable, although its type does not say so
  function = (
    _conv(padding, key, low_rank is not None)
    if low_rank is None or styles is None
    else _own_conv(padding, key)
  )
  return function(x, styles, *_kernels(x.dtype, kernel, base, low_rank))


def conv_transposed(
  x: Array,
  kernel: Array,
  *,
  base: Array | None = None,
  low_rank: LowRank | None = None,
  styles: Array | None = None,
  precision: lax.PrecisionLike | None = None,
) -> jax.Array:
  """y[n] = sum_i x[i] k[n - 2i] along rows and columns.

  Args:
    x: [N, H, W, I].
    kernel: [3, 3, I, O].
    base: see `conv2d`.
    low_rank: see `conv2d`.
    styles: see `conv2d`.
    precision: matrix-product precision, see `jax.lax.Precision`.

  Returns: [N, 2H + 2, 2W + 2, O]; the last row and column are zeros.
  """
  key: Any = precision
  function = (
    _transposed(key, low_rank is not None)
    if low_rank is None or styles is None
    else _own_transposed(key)
  )
  return function(x, styles, *_kernels(x.dtype, kernel, base, low_rank))


def first_rows_gradient(
  layer: Callable[..., jax.Array], rows: int
) -> Callable[..., jax.Array]:
  """Limits a batched layer's gradients to the first rows of its batch.

  For images that are compared with targets that need no gradient: both run as
  one operation, and half of its gradient is known to be zero.

  Args:
    layer: (x [N, ...], *parameters) -> [N, ...].
    rows: number of images that gradients pass to; the other N - rows get zeros.
  """

  @custom_vjp
  def function(x, *parameters):
    return layer(x, *parameters)

  def forward(x, *parameters):
    return function(x, *parameters), (x[:rows], *parameters)

  def backward(residuals, cotangent):
    of_x, *of_parameters = jax.vjp(layer, *residuals)[1](cotangent[:rows])
    rest = cotangent.shape[0] - rows
    return (
      lax.pad(
        of_x,
        jnp.zeros((), of_x.dtype),
        [(0, rest, 0)] + [(0, 0, 0)] * (of_x.ndim - 1),
      ),
      *of_parameters,
    )

  function.defvjp(forward, backward)
  return function


def _kernels(dtype, kernel, base, low_rank):
  """The kernels that the functions below take beside x, all in x's dtype."""
  if low_rank is None:
    return (kernel.astype(dtype),)
  return tuple(
    array.astype(dtype) for array in (kernel, base, low_rank.a, low_rank.b)
  )


def _scaled(x, styles):
  return x if styles is None else x * styles[:, None, None, :].astype(x.dtype)


def _on_scaled(cpu, default):
  """`by_platform` for functions of the scaled x and the kernels."""
  return by_platform(
    cpu=lambda x, styles, *kernels: cpu(_scaled(x, styles), *kernels),
    default=lambda x, styles, *kernels: default(_scaled(x, styles), *kernels),
    recompute=True,
  )


@functools.cache
def _conv(
  padding: Padding, precision: lax.PrecisionLike | None, is_low_rank: bool
) -> Callable[..., jax.Array]:
  """`conv2d` with stride 1; one function for all calls that share it."""
  on_cpu = _narrow_conv if is_low_rank else _wide_conv

  def elsewhere(x, kernel, *_):
    size = kernel.shape[:2]
    if size != (1, 1) and x.shape[1] * x.shape[2] <= _FEW_PIXELS:
      return _as_product(x, kernel, padding, precision)
    return _plain(x, kernel, 1, padding, precision)

  return _on_scaled(
    cpu=lambda x, *kernels: on_cpu(x, *kernels, padding, precision),
    default=elsewhere,
  )


@functools.cache
def _own_conv(padding: Padding, precision: Any) -> Callable[..., jax.Array]:
  """`_conv` with a low-rank change, also for stacks of changes."""
  return own_changes.convolution(
    _conv(padding, precision, True),
    _conv(padding, precision, False),
    functools.partial(own_changes.summed_taps, padding=padding),
    precision,
  )


@functools.cache
def _own_transposed(precision: Any) -> Callable[..., jax.Array]:
  """`_transposed` with a low-rank change, also for stacks of changes."""
  return own_changes.convolution(
    _transposed(precision, True),
    _transposed(precision, False),
    own_changes.spread_taps,
    precision,
  )


@functools.cache
def _transposed(
  precision: lax.PrecisionLike | None, is_low_rank: bool
) -> Callable[..., jax.Array]:
  """`conv_transposed`; one function for all calls that share it."""
  on_cpu = _narrow_conv if is_low_rank else _wide_conv

  def phases(x, *kernels):
    """Computes the even and odd entries of y as separate correlations.

    They have 2 taps and 1 tap, so in 2-D four small correlations of x at its
    own size give all of y, without multiplying the zeros between x's entries.
    """
    both = ((1, 1), slice(None, None, -2))  # even entries: k[2] then k[0]
    middle = ((0, 0), slice(1, 2))  # odd entries: k[1]

    def phase(rows, columns):
      taps = rows[1], columns[1]
      # All kernels except the last, [R, O], have taps.
      own = [kernel[taps] for kernel in kernels[:3]] + list(kernels[3:])
      return on_cpu(x, *own, (rows[0], columns[0]), precision)

    # y has one odd row and column fewer than even ones; zeros fill them.
    after = lambda rows, columns: ((0, rows), (0, columns))
    return interleave(
      [
        [phase(both, both), _padded(phase(both, middle), after(0, 1))],
        [
          _padded(phase(middle, both), after(1, 0)),
          _padded(phase(middle, middle), after(1, 1)),
        ],
      ]
    )

  def whole(x, kernel, *_):
    # XLA correlates, so the kernel is flipped; a padding of 3 instead of 2
    # adds the row and column of zeros.
    return lax.conv_general_dilated(
      x,
      kernel[::-1, ::-1],
      (1, 1),
      ((2, 3), (2, 3)),
      lhs_dilation=(2, 2),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      precision=precision,
    )

  return _on_scaled(cpu=phases, default=whole)


def interleave(phases: Sequence[Sequence[jax.Array]]) -> jax.Array:
  """Interleaves 2x2 phases [N, H, W, C] into [N, 2H, 2W, C]."""
  n, h, w, c = phases[0][0].shape
  woven = jnp.stack([jnp.stack(row, axis=3) for row in phases], axis=2)
  return woven.reshape(n, 2 * h, 2 * w, c)


def _padded(x: jax.Array, padding: Padding) -> jax.Array:
  """Pads rows and columns with zeros; fewer operations than `jnp.pad`."""
  if not any(map(any, padding)):
    return x
  return lax.pad(
    x,
    jnp.zeros((), x.dtype),
    [(0, 0, 0), *((before, after, 0) for before, after in padding), (0, 0, 0)],
  )


def _plain(x, kernel, stride, padding, precision):
  if kernel.shape[:2] == (1, 1) and stride == 1:
    # A 1x1 kernel: a CPU computes it several times faster as a matrix product.
    x = _padded(x, padding)
    return jnp.matmul(x, kernel[0, 0], precision=precision)
  return lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    padding,
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision=precision,
  )


def _as_product(x, kernel, padding, precision):
  """A convolution of few pixels as one product with all taps."""
  height, width, inputs, outputs = kernel.shape
  x = _padded(x, padding)
  rows, columns = (x.shape[1] - height + 1, x.shape[2] - width + 1)
  patches = jnp.concatenate(
    [
      x[:, i : i + rows, j : j + columns]
      for i in range(height)
      for j in range(width)
    ],
    axis=-1,
  )
  return jnp.matmul(
    patches,
    kernel.reshape(height * width * inputs, outputs),
    precision=precision,
  )


# The rest of this file is for CPUs.


@functools.partial(custom_vjp, nondiff_argnums=(2, 3))
def _wide_conv(x, kernel, padding, precision):
  """Stride-1 convolution with its kernel gradient as matrix products."""
  return _plain(x, kernel, 1, padding, precision)


def _wide_conv_forward(x, kernel, padding, precision):
  return _wide_conv(x, kernel, padding, precision), (x, kernel)


def _wide_conv_backward(padding, precision, residuals, cotangent):
  x, kernel = residuals
  return (
    _input_gradient(x, kernel, cotangent, padding, precision),
    _kernel_gradient(x, cotangent, kernel.shape, padding, precision),
  )


_wide_conv.defvjp(_wide_conv_forward, _wide_conv_backward)


@functools.partial(custom_vjp, nondiff_argnums=(5, 6))
def _narrow_conv(x, kernel, base, a, b, padding, precision):
  """Stride-1 convolution with kernel = base + a @ b.

  The gradient goes to base, a and b; their sum, the kernel, gets none.
  """
  del base, a, b
  return _plain(x, kernel, 1, padding, precision)


def _narrow_conv_forward(x, kernel, base, a, b, padding, precision):
  return (
    _narrow_conv(x, kernel, base, a, b, padding, precision),
    (x, kernel, a, b),
  )


def _narrow_conv_backward(padding, precision, residuals, cotangent):
  x, kernel, a, b = residuals
  return (
    _input_gradient(x, kernel, cotangent, padding, precision),
    jnp.zeros_like(kernel),
    # Not computed unless it is used.
    _kernel_gradient(x, cotangent, kernel.shape, padding, precision),
    *_low_rank_gradients(x, a, b, cotangent, padding, precision),
  )


_narrow_conv.defvjp(_narrow_conv_forward, _narrow_conv_backward)


def _input_gradient(x, kernel, cotangent, padding, precision):
  _, pull_back = jax.vjp(lambda x: _plain(x, kernel, 1, padding, precision), x)
  return pull_back(cotangent)[0]


def _kernel_gradient(x, cotangent, shape, padding, precision):
  """The kernel's gradient, [kh, kw, I, O].

  XLA's CPU code computes it as a convolution with a kernel as large as the
  image, which is several times (for transposed convolutions a hundred times)
  slower than one matrix product per tap.
  """
  if max(shape[2:]) <= _NARROW:
    _, pull_back = jax.vjp(
      lambda kernel: _plain(x, kernel, 1, padding, precision),
      jnp.zeros(shape, x.dtype),
    )
    return pull_back(cotangent)[0]
  x = _padded(x, padding)
  rows, columns = cotangent.shape[1:3]
  return jnp.stack(
    [
      jnp.stack(
        [
          jnp.einsum(
            "nhwi,nhwo->io",
            x[:, i : i + rows, j : j + columns],
            cotangent,
            precision=precision,
          )
          for j in range(shape[1])
        ]
      )
      for i in range(shape[0])
    ]
  )


def _low_rank_gradients(x, a, b, cotangent, padding, precision):
  """The gradients of a, [kh, kw, I, R], and of b, [R, O].

  For each of the two, all taps together are one product with x: only the
  narrow array is shifted tap by tap, and wide arrays are read once and never
  copied. (A matrix product's first factor may be transposed in memory, so the
  narrow one comes first.)
  """
  height, width, inputs, rank = a.shape
  rows, columns = x.shape[1:3]
  taps = [(i, j) for i in range(height) for j in range(width)]

  # x at a pixel meets the cotangent of the outputs that its taps reach.
  outer = jnp.matmul(cotangent, b.T, precision=precision)
  outer = lax.pad(
    outer,
    jnp.zeros((), outer.dtype),
    [
      (0, 0, 0),
      *(
        (size - 1 - before, size - 1 - after, 0)
        for size, (before, after) in zip((height, width), padding)
      ),
      (0, 0, 0),
    ],
  )
  shifted = jnp.concatenate(
    [
      outer[:, height - 1 - i :, width - 1 - j :][:, :rows, :columns]
      for i, j in taps
    ],
    axis=-1,
  )
  of_a = jnp.einsum("nhws,nhwi->si", shifted, x, precision=precision)

  # The convolution with a, with its taps summed after the product.
  products = jnp.matmul(
    x, jnp.moveaxis(a, 2, 0).reshape(inputs, -1), precision=precision
  )
  products = _padded(products, padding)
  rows, columns = cotangent.shape[1:3]
  inner = sum(
    products[:, i : i + rows, j : j + columns, tap * rank : (tap + 1) * rank]
    for tap, (i, j) in enumerate(taps)
  )
  of_b = jnp.einsum("nhwr,nhwo->ro", inner, cotangent, precision=precision)
  of_a = of_a.reshape(height, width, rank, inputs)
  return jnp.swapaxes(of_a, 2, 3), of_b

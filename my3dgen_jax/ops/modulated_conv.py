"""StyleGAN2's modulated convolution, with weights shared across the batch."""

import functools
from collections.abc import Sequence

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.ops import convolution, own_changes, products, upfirdn2d
from my3dgen_jax.tracing.platforms import (
  by_platform,
  for_each,
  one_by_one,
  together,
)
from my3dgen_jax.types import Array, LowRank


def demodulation(kernel: Array, styles: Array) -> jax.Array:
  """The factor that gives each output channel unit variance.

  Args:
    kernel: [k, k, I, O].
    styles: [N, I].

  Returns: [N, O], rsqrt(sum over taps and inputs of (kernel style)^2 + 1e-8).
  Source: StyleGAN2, equation 3.
  """
  return demodulations([(kernel, styles)])[0]


def _squares(kernel: Array) -> jax.Array:
  """The sum of a kernel's squares over taps, [I, O]."""
  # On a CPU, XLA takes fifty times as long for a single reduction (22 ms for a
  # 3 x 3 x 512 x 512 kernel).
  return functools.reduce(
    jnp.add,
    [
      jnp.square(kernel[i, j])
      for i in range(kernel.shape[0])
      for j in range(kernel.shape[1])
    ],
  )


_own_power = own_changes.power(_squares)


def _on_cpu(layer: tuple[Array, Array]) -> jax.Array:
  kernel, styles = layer
  power = _squares(kernel)
  # Highest precision whatever the setting: a sum of a few hundred squares
  # costs nothing and scales a whole channel.
  total = jnp.matmul(jnp.square(styles), power, precision=lax.Precision.HIGHEST)
  return lax.rsqrt(total + 1e-8)


def _elsewhere(layers: Sequence[tuple[Array, Array]]) -> list[jax.Array]:
  def factor(layer):
    power, styles = layer
    total = products.scaled_rows(
      jnp.square(styles), power, precision=lax.Precision.HIGHEST
    )
    return lax.rsqrt(total + 1e-8)

  powers = one_by_one(lambda kernel: jnp.sum(jnp.square(kernel), axis=(0, 1)))(
    [kernel for kernel, _ in layers]
  )
  return together(factor)(
    [(power, styles) for power, (_, styles) in zip(powers, layers)]
  )


# `demodulation` of many (kernel, styles).
demodulations = by_platform(cpu=one_by_one(_on_cpu), default=_elsewhere)


def own_demodulation(
  kernel: Array, styles: Array, base: Array, low_rank: LowRank
) -> jax.Array:
  """`demodulation` for kernel = base + low_rank, many at once in `jax.vmap`."""
  power = _own_power(kernel, base, low_rank.a, low_rank.b)
  total = jnp.matmul(jnp.square(styles), power, precision=lax.Precision.HIGHEST)
  return lax.rsqrt(total + 1e-8)


def own_kernel(layer: tuple[Array, Array]) -> jax.Array:
  """A kernel [1, 1, I, O] with each sample's styles, [N, I]: [N, I, O].

  The kernel is so small that one per sample is cheaper than scaling x.
  """
  kernel, styles = layer
  return kernel[0, 0] * styles[:, :, None]


# `own_kernel` of many (kernel, styles).
own_kernels = for_each(cpu=own_kernel, default=own_kernel)


def pointwise(
  x: Array, kernel: Array, *, precision: lax.PrecisionLike | None = None
) -> jax.Array:
  """x, [N, H, W, I], times each sample's kernel, [N, I, O]."""
  return jnp.einsum(
    "nhwi,nio->nhwo", x, kernel.astype(x.dtype), precision=precision
  )


def modulated_conv2d(
  x: Array,
  kernel: Array,
  styles: Array,
  *,
  up: int = 1,
  demodulate: bool = True,
  base: Array | None = None,
  low_rank: LowRank | None = None,
  precision: lax.PrecisionLike | None = None,
) -> jax.Array:
  """Convolves each sample with its own scaling of a shared kernel.

  Scaling the activations before (by the style) and after (by the
  demodulation) is equivalent to scaling the kernel, and needs no kernel per
  sample.

  Args:
    x: [N, H, W, I], in the compute dtype.
    kernel: [k, k, I, O] float32, k odd.
    styles: [N, I] float32.
    up: upsampling factor, 1 or 2.
    demodulate: scale every output channel to unit variance.
    base: see `convolution.conv2d`.
    low_rank: kernel - base; both or neither.
    precision: matrix-product precision, see `jax.lax.Precision`.

  Returns: [N, H * up, W * up, O], of x's dtype.
  Raises: AssertionError on shapes that do not match, or another `up`.
  Source: StyleGAN2, equations 1 to 3.
  """
  chex.assert_rank([x, kernel], 4)
  chex.assert_shape(styles, (x.shape[0], kernel.shape[2]))
  assert up in (1, 2), f"up: expected 1 or 2, got {up}"
  dtype = x.dtype
  if kernel.shape[:2] == (1, 1) and up == 1:
    own = own_kernel((kernel, styles))
    if demodulate:
      own = own * demodulation(kernel, styles)[:, None, :]
    return pointwise(x, own, precision=precision)
  shared = dict(
    base=base, low_rank=low_rank, styles=styles, precision=precision
  )
  if up == 2:
    x = upfirdn2d.conv_up2(x, kernel, **shared)
  else:
    pad = kernel.shape[0] // 2
    x = convolution.conv2d(x, kernel, padding=((pad, pad),) * 2, **shared)
  if demodulate:
    x = x * demodulation(kernel, styles)[:, None, None, :].astype(dtype)
  return x

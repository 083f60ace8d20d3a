"""StyleGAN2's modulated convolution, with weights shared by the batch."""

import functools
from typing import Optional

import chex
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.ops import convolution, products, upfirdn2d
from my3dgen_jax.ops.platforms import by_platform
from my3dgen_jax.types import LowRank


def demodulation(kernel: chex.Array, styles: chex.Array) -> jax.Array:
  """The factor that gives each output channel unit variance.

  Args:
    kernel: [k, k, I, O].
    styles: [N, I].

  Returns: [N, O], rsqrt(sum over taps and inputs of (kernel style)^2 + 1e-8).
  Source: StyleGAN2, equation 3.
  """
  power = _power(kernel)
  # Exact products whatever the setting: a sum of squares of a few hundred
  # terms costs nothing and scales a whole channel.
  total = products.few_rows(jnp.square(styles), power,
                            precision=lax.Precision.HIGHEST)
  return lax.rsqrt(total + 1e-8)


def _sum_of_taps(kernel):
  # XLA takes fifty times as long on a CPU for one reduction (22 ms for a
  # kernel of 3 x 3 x 512 x 512).
  return functools.reduce(jnp.add, [
      jnp.square(kernel[i, j]) for i in range(kernel.shape[0])
      for j in range(kernel.shape[1])])


# Squares of a kernel, [k, k, I, O], summed over its taps.
_power = by_platform(
    cpu=_sum_of_taps,
    default=lambda kernel: jnp.sum(jnp.square(kernel), axis=(0, 1)))


def modulated_conv2d(x: chex.Array, kernel: chex.Array, styles: chex.Array,
                     *, up: int = 1, demodulate: bool = True,
                     base: Optional[chex.Array] = None,
                     low_rank: Optional[LowRank] = None,
                     precision: Optional[lax.PrecisionLike] = None
                     ) -> jax.Array:
  """Convolves each sample with its own scaling of one kernel.

  Scaling the activations before (by the style) and after (by the
  demodulation) is the same function as scaling the kernel, and needs no
  kernel per sample. A 1x1 kernel is so small that one per sample is cheaper
  than a pass over the activations.

  Args:
    x: [N, H, W, I], of the dtype to compute in.
    kernel: [k, k, I, O] float32, k odd.
    styles: [N, I] float32.
    up: 1 or 2; 2 doubles the size.
    demodulate: scale every output channel to unit variance.
    base: see `convolution.conv2d`.
    low_rank: kernel - base; both or neither.
    precision: of the products.

  Returns: [N, H * up, W * up, O], of x's dtype.
  Raises: AssertionError on shapes that do not fit, or another `up`.
  Source: StyleGAN2, equations 1 to 3.
  """
  chex.assert_rank([x, kernel], 4)
  chex.assert_shape(styles, (x.shape[0], kernel.shape[2]))
  assert up in (1, 2), f"up: expected 1 or 2, got {up}"
  dtype = x.dtype
  if kernel.shape[:2] == (1, 1) and up == 1:
    own = kernel[0, 0] * styles[:, :, None]
    if demodulate:
      own = own * demodulation(kernel, styles)[:, None, :]
    return jnp.einsum("nhwi,nio->nhwo", x, own.astype(dtype),
                      precision=precision)
  shared = dict(base=base, low_rank=low_rank, styles=styles,
                precision=precision)
  if up == 2:
    x = upfirdn2d.conv_up2(x, kernel, **shared)
  else:
    pad = kernel.shape[0] // 2
    x = convolution.conv2d(x, kernel, padding=((pad, pad),) * 2, **shared)
  if demodulate:
    x = x * demodulation(kernel, styles)[:, None, None, :].astype(dtype)
  return x

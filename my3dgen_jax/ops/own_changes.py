"""One shared kernel with a separate low-rank change for each person.

    lora = my3dgen_jax.lora.stack([of_one, of_another])      # [K, ...]
    jax.vmap(generator)(variables with lora, ws, c)

For a stack under `jax.vmap` the frozen kernel is applied once to the whole
batch, and each person's pair as two narrow products: a full kernel per person
would need a grouped convolution and K times the memory.

    x (W + A B) = x W + (x A) B
    sum over taps of (W + A B)^2 = that of W^2 + 2 W (A B) + (A B)^2

Source: S-LoRA (Sheng et al. 2023), for matrix products; extended here to
convolutions and their demodulation.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.tracing.stacks import stackable

# Positions of the base, and of each person's own arguments, in (x, styles,
# kernel, base, a, b) and in (kernel, base, a, b).
_CONV_BASE, _CONV_OWN = 3, (2, 4, 5)
_POWER_BASE, _POWER_OWN = 1, (0, 2, 3)


def convolution(
  function: Callable[..., jax.Array],
  plain: Callable[..., jax.Array],
  gather: Callable[[jax.Array], jax.Array],
  precision: lax.PrecisionLike | None,
) -> Callable[..., jax.Array]:
  """A convolution with a low-rank change that shares the kernel in stacks.

  Args:
    function: (x [N, H, W, I], styles [N, I], kernel = base + a b, base,
      a [kh, kw, I, R], b [R, O]) to [N, H', W', O].
    plain: the same convolution, taking (x, styles, base).
    gather: maps each pixel's products with each tap, [N, H, W, kh, kw, R], to
      their sums at the outputs, [N, H', W', R].
    precision: matrix-product precision, see `jax.lax.Precision`.
  """

  def stacked(x, styles, kernel, base, a, b):
    del kernel
    people, count = x.shape[:2]
    merged = x.reshape((-1,) + x.shape[2:])
    wide = plain(merged, styles.reshape((-1,) + styles.shape[2:]), base)
    scaled = x * styles[:, :, None, None, :].astype(x.dtype)
    products = jnp.einsum(
      "knhwi,kuvir->knhwuvr", scaled, a, precision=precision
    )
    inner = gather(products.reshape((-1,) + products.shape[2:]))
    inner = inner.reshape((people, count) + inner.shape[1:])
    narrow = jnp.einsum("knhwr,kro->knhwo", inner, b, precision=precision)
    return wide.reshape(narrow.shape) + narrow

  return stackable(function, stacked, shared=_CONV_BASE, own=_CONV_OWN)


def summed_taps(
  products: jax.Array, padding: tuple[tuple[int, int], tuple[int, int]]
) -> jax.Array:
  """`gather` for a convolution of stride 1."""
  height, width = products.shape[3:5]
  padded = lax.pad(
    products,
    jnp.zeros((), products.dtype),
    [
      (0, 0, 0),
      *((before, after, 0) for before, after in padding),
      *[(0, 0, 0)] * 3,
    ],
  )
  rows, columns = (padded.shape[1] - height + 1, padded.shape[2] - width + 1)
  return functools.reduce(
    jnp.add,
    [
      padded[:, i : i + rows, j : j + columns, i, j]
      for i in range(height)
      for j in range(width)
    ],
  )


def spread_taps(products: jax.Array) -> jax.Array:
  """`gather` for the transposed convolution of stride 2 with 3 x 3 taps."""

  def along(axis, taps):
    """Taps 0 and 2 meet at even outputs; tap 1 is alone at odd ones."""
    first, middle, last = (
      lax.index_in_dim(taps, i, 3, False) for i in range(3)
    )
    padded = lambda x, before: lax.pad(
      x,
      jnp.zeros((), x.dtype),
      [
        (before, 1 - before, 0) if i == axis else (0, 0, 0)
        for i in range(x.ndim)
      ],
    )
    even, odd = padded(first, 0) + padded(last, 1), padded(middle, 0)
    woven = jnp.stack([even, odd], axis=axis + 1)
    shape = list(even.shape)
    shape[axis] *= 2
    return woven.reshape(shape)

  return along(2, along(1, products))


def power(
  squares: Callable[[jax.Array], jax.Array],
) -> Callable[..., jax.Array]:
  """The sum over taps of (base + a b)^2, sharing the base's part in stacks.

  Args:
    squares: maps a kernel, [kh, kw, I, O], to its sum of squares over taps,
      [I, O].

  Returns: the function of (kernel = base + a b, base, a, b).
  """

  def function(kernel, base, a, b):
    del base, a, b
    return squares(kernel)

  def stacked(kernel, base, a, b):
    del kernel
    exact = functools.partial(jnp.einsum, precision=lax.Precision.HIGHEST)
    cross = exact("uvio,kuvir->kior", base, a)
    own = exact("kuvir,kuvis->kirs", a, a)
    return (
      squares(base)
      + 2 * exact("kior,kro->kio", cross, b)
      + exact("kirs,kro,kso->kio", own, b, b)
    )

  return stackable(function, stacked, shared=_POWER_BASE, own=_POWER_OWN)

"""Bias, activation, gain and clamp: the last step of every layer."""

import functools
from collections.abc import Sequence
from typing import Literal

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from my3dgen_jax.tracing import derivatives
from my3dgen_jax.tracing.platforms import either
from my3dgen_jax.types import Array

LEAKY_SLOPE = 0.2


def bias_act(
  x: Array,
  bias: Array | None = None,
  *,
  activation: Literal["linear", "lrelu"] = "linear",
  clamp: float | None = None,
) -> jax.Array:
  """Adds a bias, applies the activation with its gain, then clamps.

  Args:
    x: [..., C].
    bias: [C] or None.
    activation: "lrelu" has slope 0.2 and gain sqrt(2), which keeps the
      variance of its input; "linear" has gain 1.
    clamp: bound on the absolute value, after the gain; None: no bound.

  Returns: [..., C], of x's dtype.
  Source: StyleGAN2 (Karras et al. 2020), appendix B.
  """
  if bias is not None:
    chex.assert_shape(bias, (x.shape[-1],))
    x = x + bias.astype(x.dtype)
  if activation == "lrelu":
    # One product instead of two: both branches carry the gain.
    gain = 2.0**0.5
    x = x * jnp.where(x >= 0, gain, gain * LEAKY_SLOPE).astype(x.dtype)
  if clamp is not None:
    x = jnp.clip(x, -clamp, clamp)
  return x


@functools.partial(derivatives.jit, static_argnums=5)
def scale_noise_bias_act(
  x: Array,
  scale: Array,
  noise: Array | None,
  strength: Array,
  bias: Array,
  clamp: float | None,
) -> jax.Array:
  """Demodulation, noise, bias, leaky ReLU and clamp: all after a convolution.

  Computes `bias_act(x * scale + strength * noise, bias, activation="lrelu")`
  with a hand-written gradient that keeps only x and makes the three arguments'
  sums over pixels in one pass. Arguments that do not depend on the sample come
  broadcast over the batch; their gradients are then summed where they were
  broadcast, for many layers at once.

  Args:
    x: [N, H, W, C].
    scale: [N, C] float32, the factor of each sample's channels.
    noise: [H, W] or [N, H, W] float32, or None.
    strength: [N, C] float32, the noise's factor; the same in all channels.
    bias: [N, C] float32.
    clamp: see `bias_act`.

  Returns: [N, H, W, C], of x's dtype.
  """
  # In `jit`, so that layers of one shape are traced once.
  return _scale_noise_bias_act(x, scale, noise, strength, bias, clamp)


@functools.partial(derivatives.custom_vjp, nondiff_argnums=(5,))
def _scale_noise_bias_act(x, scale, noise, strength, bias, clamp):
  return bias_act(
    _before_activation(x, scale, noise, strength, bias),
    activation="lrelu",
    clamp=clamp,
  )


def _before_activation(x, scale, noise, strength, bias):
  over_pixels = lambda rows: rows[:, None, None, :]
  x = x * over_pixels(scale).astype(x.dtype)
  if noise is not None:
    maps = strength[:, :1, None] * noise  # one for all channels
    x = x + maps[..., None].astype(x.dtype)
  return x + over_pixels(bias).astype(x.dtype)


def _scale_noise_bias_act_forward(x, scale, noise, strength, bias, clamp):
  return (
    _scale_noise_bias_act(x, scale, noise, strength, bias, clamp),
    (x, scale, noise, strength, bias),
  )


def _scale_noise_bias_act_backward(clamp, residuals, cotangent):
  x, scale, noise, strength, bias = residuals
  _, pull_back = jax.vjp(
    lambda y: bias_act(y, activation="lrelu", clamp=clamp),
    _before_activation(x, scale, noise, strength, bias),
  )
  (of_y,) = pull_back(cotangent)
  of_x = of_y * scale[:, None, None, :].astype(x.dtype)

  of_y = of_y.astype(jnp.float32)
  products = [of_y * x.astype(jnp.float32), of_y]
  if noise is None:
    of_scale, of_bias = _sums_over_pixels(products)
    return of_x, of_scale, None, jnp.zeros_like(strength), of_bias
  of_scale, of_bias, of_strength = _sums_over_pixels(
    products + [of_y * noise[..., None]]
  )
  # Not computed unless it is used.
  of_noise = strength[:, :1, None] * jnp.sum(of_y, axis=-1)
  if noise.ndim == 2:
    of_noise = jnp.sum(of_noise, axis=0)
  return of_x, of_scale, of_noise, of_strength, of_bias


_scale_noise_bias_act.defvjp(
  _scale_noise_bias_act_forward, _scale_noise_bias_act_backward
)


def _sums_over_pixels(images: Sequence[jax.Array]) -> list[jax.Array]:
  """Sums each of the images, [N, H, W, C], over its pixels: [N, C]."""

  def one_reduction(*images):
    # Otherwise a GPU reduces each of them in two separate steps.
    return lax.reduce(
      images,
      (np.float32(0),) * len(images),
      lambda these, those: tuple(map(jnp.add, these, those)),
      (1, 2),
    )

  return list(
    either(
      *images,
      cpu=lambda *images: tuple(
        jnp.sum(image, axis=(1, 2)) for image in images
      ),
      default=one_reduction,
    )
  )

"""Bias, activation, gain and clamp: the end of every layer."""

from typing import Literal, Optional

import chex
import jax
import jax.numpy as jnp

LEAKY_SLOPE = 0.2


def bias_act(x: chex.Array, bias: Optional[chex.Array] = None, *,
             activation: Literal["linear", "lrelu"] = "linear",
             clamp: Optional[float] = None) -> jax.Array:
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

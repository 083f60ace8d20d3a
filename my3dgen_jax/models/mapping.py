"""The mapping network: maps a latent z and a camera label c to w."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.config import MappingConfig
from my3dgen_jax.models.layers import FullyConnected
from my3dgen_jax.types import Array


def normalize_2nd_moment(x: Array) -> jax.Array:
  """Scales [..., D] so that the mean square over D is one."""
  mean_square = jnp.mean(jnp.square(x), axis=-1, keepdims=True)
  return jnp.multiply(x, lax.rsqrt(mean_square + 1e-8))


class MappingNetwork(nn.Module):
  """Maps (z, c) to ws: one w, repeated for every row that the layers read.

  Attributes:
    config: layers, learning rate, label scaling.
    w_dim: size of w.
    num_ws: number of rows of ws.
    precision: matrix-product precision, see `jax.lax.Precision`.
  """

  config: MappingConfig
  w_dim: int
  num_ws: int
  precision: Any = None

  @nn.compact
  def __call__(
    self,
    z: Array,
    c: Array,
    *,
    truncation_psi: chex.Numeric = 1.0,
    truncation_cutoff: int | None = None,
  ) -> jax.Array:
    """Maps [N, z_dim] and [N, 25] to [N, num_ws, w_dim].

    Args:
      z: latents, standard normal.
      c: camera labels that the faces are conditioned on.
      truncation_psi: 1 leaves w unchanged, 0 gives the mean face.
      truncation_cutoff: number of rows truncated, from the first; None: all.
    """
    w_avg = self.variable(
      "buffers", "w_avg", jnp.zeros, (self.w_dim,), jnp.float32
    ).value.astype(jnp.float32)
    c = jnp.zeros_like(c) if self.config.zero_label else c * self.config.c_scale
    embedded = FullyConnected(
      self.w_dim, precision=self.precision, name="embed"
    )(c)
    x = jnp.concatenate(
      [normalize_2nd_moment(z), normalize_2nd_moment(embedded)], axis=-1
    )
    for i in range(self.config.num_layers):
      x = FullyConnected(
        self.w_dim,
        activation="lrelu",
        lr_multiplier=self.config.lr_multiplier,
        precision=self.precision,
        name=f"fc{i}",
      )(x)
    ws = jnp.repeat(x[:, None], self.num_ws, axis=1)
    if isinstance(truncation_psi, (int, float)) and truncation_psi == 1:
      return ws
    truncated = w_avg + truncation_psi * (ws - w_avg)
    if truncation_cutoff is None:
      return truncated
    cut = jnp.arange(self.num_ws)[:, None] < truncation_cutoff
    return jnp.where(cut, truncated, ws)

"""Distances between images, for training and evaluation.

from my3dgen_jax import losses
lpips = losses.load_lpips("checkpoints/lpips_alex")
distance = lpips(x, y)                                          # [N]
"""

from my3dgen_jax.losses.dists import Dists, load_dists
from my3dgen_jax.losses.identity import (
  Identity,
  identity_loss,
  load_identity,
  similarity,
)
from my3dgen_jax.losses.lpips import load_lpips, Lpips
from my3dgen_jax.losses.reconstruction import mean_squared_error, psnr, ssim
from my3dgen_jax.losses.regularizers import (
  density_roughness,
  noise_autocorrelation,
)

__all__ = [
  "Dists",
  "Identity",
  "Lpips",
  "density_roughness",
  "identity_loss",
  "load_dists",
  "load_identity",
  "load_lpips",
  "mean_squared_error",
  "noise_autocorrelation",
  "psnr",
  "similarity",
  "ssim",
]

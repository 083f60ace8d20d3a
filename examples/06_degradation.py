"""Restores a photo from a custom degradation.

python examples/06_degradation.py       writes out/06_degradation.png
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax import cameras, latents, load_generator
from my3dgen_jax.data import images
from my3dgen_jax.demo.shipped import PRIOR


def striped(x):
  """Removes every second pair of rows, and fades colors."""
  rows = (jnp.arange(x.shape[1]) // 2) % 2
  return 0.6 * x * rows[:, None, None]


OUT = pathlib.Path("out")


def main(steps=6):
  OUT.mkdir(exist_ok=True)
  generator, variables = load_generator(PRIOR)
  c = cameras.label(0.1)[None]
  z = jax.random.normal(jax.random.key(0), (6, generator.config.z_dim))
  # A run has a person's anchors.
  anchors = jax.jit(generator.map_latents)(variables, z, c)
  hull = latents.Hull.of(anchors, beta=0.02)

  @jax.jit
  def show(alpha, variables):
    return generator.synthesize(variables, hull.latents(alpha), c).image

  photo = show(hull.sample(jax.random.key(1), 1), variables)
  seen = striped(photo)

  def loss(raw, variables):
    alpha = latents.constrained(raw, hull.beta)
    return jnp.mean((striped(show(alpha, variables)) - seen) ** 2)

  gradient = jax.jit(jax.value_and_grad(loss))
  raw = jnp.full((1, hull.size), 1 / hull.size)
  for i in range(steps):
    value, slope = gradient(raw, variables)
    raw = raw - 0.1 * slope / jnp.linalg.norm(slope)
    print(f"step {i}: {value:.5f}")
  found = show(latents.constrained(raw, hull.beta), variables)
  strip = jnp.concatenate([seen[0], found[0], photo[0]], axis=1)
  images.write_png(
    OUT / "06_degradation.png", images.to_uint8(np.asarray(strip))
  )


if __name__ == "__main__":
  main()

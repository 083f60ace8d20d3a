"""Edits a smile within the personal hull, with a direction of the prior.

python examples/07_hull_edit.py         writes out/07_hull_edit.png
"""

import pathlib

import jax
import jax.numpy as jnp

from my3dgen_jax import cameras, latents, load_generator
from my3dgen_jax.data import images
from my3dgen_jax.demo.edits import shipped_directions
from my3dgen_jax.demo.shipped import PRIOR
from my3dgen_jax.models.checkpoint import generator_digest

OUT = pathlib.Path("out")


def main():
  OUT.mkdir(exist_ok=True)
  generator, variables = load_generator(PRIOR)
  c = cameras.label(0.0)[None]
  z = jax.random.normal(jax.random.key(3), (12, generator.config.z_dim))
  anchors = generator.map_latents(variables, z, c)
  hull = latents.Hull.of(anchors, beta=0.05)

  direction = shipped_directions(generator_digest(PRIOR))[0]
  gamma, cosine = hull.coordinates(direction.vector)
  print(f"{direction.name}: cosine of {cosine:.2f} with the span of the hull")
  alpha = hull.project(anchors[:1] * 0.5 + anchors[1:2] * 0.5)
  least, most = hull.reach(alpha, gamma)
  print(f"strengths within the hull: {least[0]:.2f} to {most[0]:.2f}")

  strengths = jnp.linspace(least[0], most[0], 5)
  edited = hull.edit(jnp.repeat(alpha, 5, axis=0), gamma, strengths)
  out = jax.jit(generator.synthesize)(variables, hull.latents(edited), c)
  strip = jnp.concatenate(list(out.image), axis=1)
  images.write_png(OUT / "07_hull_edit.png", images.to_uint8(strip))


if __name__ == "__main__":
  main()

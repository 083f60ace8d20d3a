"""Renders a face of the shipped prior from five cameras, with planes made once.

python examples/01_render.py            writes out/01_render.png
"""

import pathlib

import jax
import jax.numpy as jnp

from my3dgen_jax import cameras, load_generator
from my3dgen_jax.data import images
from my3dgen_jax.demo.shipped import PRIOR

OUT = pathlib.Path("out")


def main():
  OUT.mkdir(exist_ok=True)
  generator, variables = load_generator(PRIOR)
  yaw = jnp.array([-0.4, -0.2, 0.0, 0.2, 0.4])
  c = cameras.label(yaw, 0.0, generator.config.rendering)
  z = jax.random.normal(jax.random.key(0), (1, generator.config.z_dim))
  ws = jax.jit(generator.map_latents)(variables, z, c[:1])
  planes = jax.jit(generator.make_planes)(variables, ws)  # once per face
  out = jax.jit(generator.render)(variables, planes, ws, c)  # any camera
  print(f"image {out.image.shape}, depth {out.image_depth.shape}")
  strip = jnp.concatenate(list(out.image), axis=1)
  images.write_png(OUT / "01_render.png", images.to_uint8(strip))


if __name__ == "__main__":
  main()

"""Renders four people at once on one base: `vmap` over stacked adapters.

python examples/04_many_people.py
"""

import jax
import jax.numpy as jnp

from my3dgen_jax import cameras, load_generator, lora, LoraConfig
from my3dgen_jax.demo.shipped import PRIOR


def main(people=4):
  base, variables = load_generator(PRIOR)
  config = LoraConfig(rank=1)
  fresh = lora.init(jax.random.key(0), base.config, config)

  @jax.jit  # one program for all leaves
  def stand_in(key):
    return jax.tree.map(
      lambda leaf: leaf + 0.05 * jax.random.normal(key, leaf.shape), fresh
    )

  trees = [stand_in(key) for key in jax.random.split(jax.random.key(1), people)]
  stacked = lora.stack(trees)
  generator, _ = lora.personal(base, variables, (fresh, config))
  c = cameras.label(0.0)[None]
  z = jax.random.normal(jax.random.key(2), (1, base.config.z_dim))
  ws = jax.jit(base.map_latents)(variables, z, c)

  def face(tree, variables):
    own = lora.merge_collections(variables, tree)
    return generator.synthesize(own, ws, c).image[0]

  faces = jax.jit(jax.vmap(face, (0, None)))(stacked, variables)
  first = jax.jit(face)(trees[0], variables)
  print(f"{people} people: {faces.shape}")
  print(
    "rendered alone, the first differs by",
    float(jnp.abs(faces[0] - first).max()),
  )


if __name__ == "__main__":
  main()

"""Two people on one base: saves, loads, merges and interpolates adapters.

python examples/02_person.py
"""

import functools
import pathlib

import jax
import jax.numpy as jnp

from my3dgen_jax import cameras, load_generator, lora, LoraConfig
from my3dgen_jax.demo.shipped import PRIOR

OUT = pathlib.Path("out")
base, variables = load_generator(PRIOR)


@functools.partial(jax.jit, static_argnums=1)  # one program for all leaves
def stand_in(key, config):
  """Random changes, instead of those that tuning finds for a person."""
  tree = lora.init(key, base.config, config)
  return jax.tree.map(
    lambda leaf: leaf + 0.05 * jax.random.normal(key, leaf.shape), tree
  )


def main():
  OUT.mkdir(exist_ok=True)
  for name, rank in (("ann", 1), ("bob", 2)):
    config = LoraConfig(rank=rank)
    lora.save(
      OUT / f"{name}.safetensors",
      stand_in(jax.random.key(rank), config),
      config,
    )
  ann = lora.load(OUT / "ann.safetensors", base.config)
  bob = lora.load(OUT / "bob.safetensors", base.config)
  print("numbers of ann:", lora.count(ann.lora).total)

  # Each adapter has its own rank, layout and alpha.
  generator, own = lora.personal(base, variables, ann)
  z = jax.random.normal(jax.random.key(0), (1, base.config.z_dim))
  c = cameras.label(0.0)[None]
  ws = jax.jit(generator.map_latents)(own, z, c)
  planes = jax.jit(generator.make_planes)(own, ws)
  # The same with merged weights: a plain generator.
  merged = lora.merge_into_params(variables, ann.lora, ann.config)
  again = jax.jit(base.make_planes)(merged, ws)
  print("merged differs by", float(jnp.abs(planes - again).max()))

  between, config = lora.interpolate(ann[:2], bob[:2], 0.5)
  print("halfway: rank", config.rank)
  changes = lora.relative_change(variables["params"], between, config)
  print({block: f"{change:.2f} %" for block, change in changes.items()})


if __name__ == "__main__":
  main()

"""Tunes an adapter with a custom loop, loss and optax chain.

python examples/03_own_loss.py
"""

import jax
import jax.numpy as jnp
import optax

from my3dgen_jax import cameras, load_generator, lora, LoraConfig, losses
from my3dgen_jax.demo.shipped import LPIPS, PRIOR


def main(steps=4):
  generator, base = load_generator(PRIOR)
  lpips = losses.load_lpips(LPIPS)
  config = LoraConfig(rank=1)
  tree = lora.init(jax.random.key(0), generator.config, config)
  personal, _ = lora.personal(generator, base, (tree, config))

  c = cameras.label(jnp.array([-0.2, 0.2]))
  map_latents = jax.jit(generator.map_latents)
  ws, other = (
    map_latents(
      base, jax.random.normal(key, (1, generator.config.z_dim)), c[:1]
    )
    for key in jax.random.split(jax.random.key(1))
  )
  target = jax.jit(generator.synthesize)(base, other, c).image

  def loss(tree, base, lpips):
    out = personal.synthesize(lora.merge_collections(base, tree), ws, c)
    edges = lambda x: jnp.abs(x[:, 1:] - x[:, :-1])  # a custom term
    return jnp.mean(lpips(out.image, target)) + 0.1 * jnp.mean(
      (edges(out.image) - edges(target)) ** 2
    )

  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.adamw(optax.cosine_decay_schedule(5e-3, steps), weight_decay=1e-4),
  )
  state = optimizer.init(tree)  # only of the adapter

  @jax.jit  # the networks are arguments, or they would be compiled in
  def step(tree, state, base, lpips):
    value, gradient = jax.value_and_grad(loss)(tree, base, lpips)
    updates, state = optimizer.update(gradient, state, tree)
    return optax.apply_updates(tree, updates), state, value

  for i in range(steps):
    tree, state, value = step(tree, state, base, lpips)
    print(f"step {i}: {value:.4f}")


if __name__ == "__main__":
  main()

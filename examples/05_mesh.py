"""Computes data-parallel gradients of an adapter on a mesh of all devices.

XLA_FLAGS=--xla_force_host_platform_device_count=4 python examples/05_mesh.py
"""

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from my3dgen_jax import cameras, load_generator, lora, LoraConfig
from my3dgen_jax.demo.shipped import PRIOR


def main():
  mesh = jax.make_mesh((jax.device_count(),), ("data",))
  base, variables = load_generator(PRIOR)
  config = LoraConfig(rank=1)
  tree = lora.init(jax.random.key(0), base.config, config)
  generator, _ = lora.personal(base, variables, (tree, config))

  count = jax.device_count()
  c = cameras.label(0.1 * jnp.arange(count))
  z = jax.random.normal(jax.random.key(1), (count, base.config.z_dim))
  ws = jax.jit(base.map_latents)(variables, z, c)

  def loss(tree, variables, ws, c):
    own = lora.merge_collections(variables, tree)
    out = generator.synthesize(own, ws, c, neural_rendering_resolution=32)
    return jnp.mean(out.image_raw**2)

  put = lambda x, *axes: jax.device_put(x, NamedSharding(mesh, P(*axes)))
  gradient = jax.jit(jax.grad(loss))(
    put(tree), put(variables), put(ws, "data"), put(c, "data")
  )
  norm = jax.jit(optax.global_norm)(gradient)
  print(f"{mesh}: gradient of norm {float(norm):.4f}, the same on all devices")


if __name__ == "__main__":
  main()

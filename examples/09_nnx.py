"""Trains an adapter as a Flax NNX module.

python examples/09_nnx.py
"""

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from my3dgen_jax import cameras, load_generator, lora, LoraConfig
from my3dgen_jax.demo.shipped import PRIOR


def main(steps=3):
  base, variables = load_generator(PRIOR)
  config = LoraConfig(rank=1)
  tree = lora.init(jax.random.key(0), base.config, config)
  generator, variables = lora.personal(base, variables, (tree, config))
  model = nnx.bridge.ToNNX(generator, rngs=nnx.Rngs(0))
  for name, value in nnx.bridge.variables.linen_vars_to_nnx_attrs(
    variables
  ).items():
    setattr(model, name, nnx.data(value))

  c = cameras.label(0.0)[None]
  z = jax.random.normal(jax.random.key(1), (1, base.config.z_dim))
  ws = model(z, c, method="mapping")
  adapter = nnx.variable_type_from_name("lora")
  optimizer = nnx.Optimizer(model, optax.adam(1e-2), wrt=adapter)

  @nnx.jit
  def step(model, optimizer):
    def loss(model):
      out = model(ws, c, method="synthesis", neural_rendering_resolution=32)
      return jnp.mean((out.image_raw - 0.5) ** 2)  # a brighter picture

    value, gradient = nnx.value_and_grad(
      loss, argnums=nnx.DiffState(0, adapter)
    )(model)
    optimizer.update(model, gradient)
    return value

  for i in range(steps):
    print(f"step {i}: {step(model, optimizer):.4f}")
  found = nnx.bridge.variables.nnx_attrs_to_linen_vars(
    {name: getattr(model, name) for name in variables["lora"]}
  )
  print("numbers in the adapter:", lora.count(found["lora"]).total)


if __name__ == "__main__":
  main()

"""Uses the renderer with custom planes and decoder, to fit a ball.

python examples/10_own_planes.py        writes out/10_own_planes.png
"""

import pathlib

import jax
import jax.numpy as jnp
import optax

from my3dgen_jax import cameras, rendering
from my3dgen_jax.data import images

CONFIG = rendering.RenderConfig(
  depth_resolution=16, depth_resolution_importance=0, white_back=True
)


def decoder(params, features):
  """Maps features [M, P] to density [M, 1] and color [M, 3] in [0, 1]."""
  hidden = jnp.tanh(features @ params["first"])
  return hidden @ params["density"], jax.nn.sigmoid(hidden @ params["color"])


OUT = pathlib.Path("out")


def main(steps=8, side=24):
  OUT.mkdir(exist_ok=True)
  keys = jax.random.split(jax.random.key(0), 4)
  field = {
    "planes": 0.1 * jax.random.normal(keys[0], (1, 3, 32, 32, 8)),
    "decoder": {
      "first": jax.random.normal(keys[1], (8, 16)),
      "density": jax.random.normal(keys[2], (16, 1)),
      "color": jax.random.normal(keys[3], (16, 3)),
    },
  }
  c = cameras.label(jnp.array([-0.4, 0.0, 0.4]))
  middle = jnp.linspace(-1, 1, side)
  ball = (middle[:, None] ** 2 + middle**2 < 0.3)[..., None]
  target = jnp.where(ball, jnp.array([1.0, -0.5, -0.5]), 1.0)

  def show(field):
    own = jax.tree_util.Partial(decoder, field["decoder"])
    return rendering.render(
      field["planes"], own, c, resolution=side, config=CONFIG
    ).features

  loss = lambda field: jnp.mean((show(field) - target) ** 2)
  optimizer = optax.adam(0.1)

  @jax.jit
  def step(field, state):
    value, gradient = jax.value_and_grad(loss)(field)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(field, updates), state, value

  state = optimizer.init(field)
  for i in range(steps):
    field, state, value = step(field, state)
    print(f"step {i}: {value:.4f}")
  strip = jnp.concatenate(list(jax.jit(show)(field)), axis=1)
  images.write_png(OUT / "10_own_planes.png", images.to_uint8(strip))


if __name__ == "__main__":
  main()

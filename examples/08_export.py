"""Exports the renderer to files that do not need this package: `jax.export`.

python examples/08_export.py            writes out/08_planes.bin, …
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
from jax import export

from my3dgen_jax import cameras, load_generator
from my3dgen_jax.demo.shipped import PRIOR

PLATFORMS = ("cpu", "cuda", "tpu")


def main():
  generator, variables = load_generator(PRIOR)
  config = generator.config
  (batch,) = export.symbolic_shape("batch")
  like = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)
  side, channels = config.backbone.resolution, config.backbone.plane_channels
  arguments = {
    "planes": [like(1, config.num_ws, config.w_dim)],
    "render_planes": [
      like(1, 3, side, side, channels),
      like(1, config.num_ws, config.w_dim),
      like(batch, 25),  # any number of cameras
    ],
  }
  for method, shapes in arguments.items():
    function = functools.partial(generator.apply, variables, method=method)
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(*shapes)
    path = pathlib.Path(f"out/08_{method}.bin")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(exported.serialize())
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB for {PLATFORMS}")

  paint, render = (
    export.deserialize(pathlib.Path(f"out/08_{method}.bin").read_bytes())
    for method in arguments
  )
  z = jax.random.normal(jax.random.key(0), (1, config.z_dim))
  ws = generator.map_latents(variables, z, cameras.label(0.0)[None])
  for count in (1, 2):
    c = cameras.label(0.3 * jnp.arange(count))
    print(count, render.call(paint.call(ws), ws, c).image.shape)


if __name__ == "__main__":
  main()

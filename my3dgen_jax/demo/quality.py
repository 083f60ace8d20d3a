"""Quality of the demo's prior: scores and pictures of held-out people."""

import os
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.demo import people, prior, render
from my3dgen_jax.losses.reconstruction import psnr
from my3dgen_jax.types import Array, Network

_AT_ONCE = 8  # people drawn by one call; one shape compiles once
_TURNS = (-0.35, 0.0, 0.35)  # yaws of the pictures, radians
_SEED = 10_000  # seed of held-out people
_SAMPLES = 16


@jax.jit
def _show(generator: Network, z: Array, c: Array) -> jax.Array:
  ws = generator(z, people.face_camera(0.0, 0.0)[None], method="mapping")
  return generator(ws, c, method="synthesis").image


@jax.jit
def _draw(keys: chex.PRNGKey) -> Any:
  """Draws people without marks: z, c and the people themselves."""
  keys = jax.vmap(lambda key: jax.random.split(key, 3))(keys).T
  person = jax.vmap(lambda key: people.sample_person(key, kinds=()))(keys[0])
  return (
    prior.latents(keys[1][0], person),
    jax.vmap(people.sample_camera)(keys[2]),
    person,
  )


@jax.jit
def _compare(x: Array, rendering: render.Rendering) -> dict[str, Any]:
  photo = rendering.image
  return {"psnr": psnr(x, photo), "psnr_person": psnr(x, photo, rendering.mask)}


def measure(generator: Network, *, count: int) -> dict[str, float]:
  """Measures how well held-out people are shown, given their true z.

  Args:
    generator: the prior's generator.
    count: number of people, a multiple of 8, each with their own camera.

  Returns: "psnr", the mean over people, dB, and its standard error
    "psnr_error"; "psnr_person", the PSNR of pixels that the person covers; and
    "people", the count.
  """
  rows = []
  for keys in jax.random.split(jax.random.key(_SEED), count).reshape(
    -1, _AT_ONCE
  ):
    z, c, person = _draw(keys)
    rendering = render.render(person, c, resolution=prior.MODEL.img_resolution)
    rows.append(
      jax.tree.map(np.asarray, _compare(_show(generator, z, c), rendering))
    )
  found = {
    name: np.concatenate([row[name] for row in rows]) for name in rows[0]
  }
  return {
    "psnr": float(found["psnr"].mean()),
    "psnr_error": float(found["psnr"].std(ddof=1) / count**0.5),
    "psnr_person": float(found["psnr_person"].mean()),
    "people": count,
  }


def write_sheet(path: str | os.PathLike, generator: Network):
  """Writes a picture of held-out people, as they are and as learned.

  Args:
    path: the PNG file to write: a row of photos, a row of the generator's
      pictures from the same cameras, and a row from the side.
    generator: the prior's generator.
  """
  z, c, person = _draw(jax.random.split(jax.random.key(_SEED), _AT_ONCE))
  turned = jnp.repeat(
    people.face_camera(_TURNS[-1], 0.0)[None], _AT_ONCE, axis=0
  )
  photos = render.render(person, c, resolution=prior.MODEL.img_resolution)
  _write(
    path, [photos.image, _show(generator, z, c), _show(generator, z, turned)]
  )


def write_samples(path: str | os.PathLike, generator: Network):
  """Writes a picture of 16 random z, each from three sides."""
  z = jax.random.normal(jax.random.key(_SEED), (_SAMPLES, prior.MODEL.z_dim))
  views = [
    [
      _show(
        generator,
        part,
        jnp.repeat(people.face_camera(yaw, 0.0)[None], _AT_ONCE, axis=0),
      )
      for yaw in _TURNS
    ]
    for part in z.reshape(-1, _AT_ONCE, z.shape[-1])
  ]
  # Rows of four people, the views of each side by side.
  rows = jnp.stack([jnp.concatenate(side) for side in zip(*views)], axis=1)
  _write(path, rows.reshape(4, -1, *rows.shape[2:]))


def _write(path: str | os.PathLike, rows: Any):
  # Needs Pillow, which training does not.
  from my3dgen_jax.data import images  # pylint: disable=import-outside-toplevel

  images.write_png(
    path,
    images.make_grid(
      [[images.to_uint8(image) for image in row] for row in rows]
    ),
  )

"""Training batches of people: points and pictures."""

import functools
from typing import Any

import chex
import flax.struct
import jax

from my3dgen_jax.demo import people, points, prior, render
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array


@flax.struct.dataclass
class Batch:
  """People with their points and pictures.

  Attributes:
    z: [N, z_dim].
    field: points of each person, [N, M, ...].
    c: [N, 25], camera labels; None: no pictures.
    rendering: pictures from these cameras, or None.
  """

  z: Array
  field: points.FieldPoints
  c: Any = None
  rendering: Any = None


@functools.partial(jax.jit, static_argnames=("num_points", "side", "part"))
def draw_batch(
  keys: chex.PRNGKey, *, num_points: int, side: int = 0, part: float = 1
) -> Batch:
  """Draws people without marks.

  Args:
    keys: [N], one key per person.
    num_points: points per person.
    side: side of a whole picture, pixels; 0: no pictures.
    part: side of the crops, as a share; 1: whole pictures.
  """
  keys = jax.vmap(lambda key: jax.random.split(key, 5))(keys).T
  person = jax.vmap(lambda key: people.sample_person(key, kinds=()))(keys[0])
  field = jax.lax.map(
    lambda one: points.field_points(one[0], one[1], num_points),
    (keys[1], person),
  )
  z = jax.vmap(
    lambda key, one: prior.latents(key, jax.tree.map(lambda x: x[None], one))[0]
  )(keys[2], person)
  if not side:
    return Batch(z=z, field=field)
  c = jax.vmap(people.sample_camera)(keys[3])
  if part < 1:
    corner = jax.vmap(
      lambda key: jax.random.uniform(key, (2,), maxval=1 - part)
    )(keys[4])
    c = cropped(c, corner, part)
  return Batch(
    z=z,
    field=field,
    c=c,
    rendering=render.render(person, c, resolution=int(side * part)),
  )


def cropped(c: Array, corner: Array, part: float) -> jax.Array:
  """Labels of cameras that see a square crop of other cameras' images.

  Args:
    c: [N, 25], labels of the other cameras.
    corner: [N, 2], x and y of the square's top left corner, as shares of a
      side.
    part: side of the square, as a share.
  """
  cam2world, intrinsics = cameras.unpack_label(c)
  moved = intrinsics.at[:, :2, 2].add(-corner)
  return cameras.pack_label(cam2world, moved.at[:, :2].divide(part))

"""Renders procedural people: exact mask, depth and shaded color."""

import functools
import types
from collections.abc import Callable

import chex
import flax.struct
import jax
import jax.numpy as jnp
from jax import lax

from my3dgen_jax.demo import heads, people, shapes
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays as rays_lib
from my3dgen_jax.types import Array

_BLOCK = 4  # pixels along a side that share the first part of the march
_COARSE_STEPS = 26
# Most rays arrive soon; rays that creep along an edge need many steps, and
# would draw a bright or dotted line there if they were stopped. So rays march
# in rounds of 1 / _PARTS of the rays: first all rays in turn, then those that
# have not arrived. A single loop for all rounds keeps compilation short.
_PARTS = 32
_STEPS = (9,) * _PARTS + (16,) * 6 + (64,) * 3
# Distance from the world's origin at which marching starts, outside any person.
_REACH = 0.75
_TOLERANCE = 5e-4  # rays this close have arrived, world units
_HIT = 2e-3


@flax.struct.dataclass
class Rendering:
  """Pictures with exact masks and depths.

  Attributes:
    image: [N, H, W, 3] in [-1, 1].
    mask: [N, H, W, 1], the share of a pixel that the person covers.
    depth: [N, H, W, 1], mean distance from the camera, world units, including
      the wall behind the person.
  """

  image: jax.Array
  mask: jax.Array
  depth: jax.Array


def render(
  person: people.Person, c: Array, *, resolution: int, supersampling: int = 2
) -> Rendering:
  """Renders people.

  Args:
    person: N people, every array with a leading axis N.
    c: [N, 25], camera labels.
    resolution: side of the images, pixels; times `supersampling`, a multiple of
      8.
    supersampling: rays per pixel along each side.
  """
  chex.assert_rank(c, 2)
  side = resolution * supersampling
  chex.assert_is_divisible(side, 2 * _BLOCK)

  def pixels(values):
    values = values.reshape(
      -1, resolution, supersampling, resolution, supersampling, values.shape[-1]
    )
    return values.mean(axis=(2, 4))

  return jax.tree.map(pixels, _render_rays(person, c, side))


@functools.partial(jax.jit, static_argnums=2)
def _render_rays(person: people.Person, c: jax.Array, side: int) -> Rendering:
  """Renders with one ray per pixel: [N, side * side, ...]."""
  return lax.map(lambda one: _render_one(*one, side), (person, c))


def _render_one(person: people.Person, c: jax.Array, side: int) -> Rendering:
  head = heads.build(person)
  cam2world, intrinsics = (x[None] for x in cameras.unpack_label(c))
  coarse = rays_lib.generate_rays(cam2world, intrinsics, side // _BLOCK)
  fine = rays_lib.generate_rays(cam2world, intrinsics, side)
  origin, directions = fine.origins[0, 0], fine.directions[0]
  pixel = 1 / (side * intrinsics[0, 0, 0])  # at distance 1

  start = _cone_march(head, origin, coarse.directions[0], 0.75 * _BLOCK * pixel)
  start = jnp.repeat(
    jnp.repeat(start.reshape(side // _BLOCK, -1), _BLOCK, 0), _BLOCK, 1
  ).reshape(-1)
  wall = wall_depth(origin, directions)
  t, hit = _march_in_rounds(head, origin, directions, start, wall, 0.8 * pixel)
  depth = jnp.where(hit, t, wall)
  points = origin + depth[:, None] * directions
  image = jnp.where(
    hit[:, None],
    heads.shaded(head, tuple(points.T)),
    heads.wall_color(person, points),
  )
  return Rendering(
    image=image, mask=hit[:, None].astype(jnp.float32), depth=depth[:, None]
  )


def wall_depth(origin: jax.Array, directions: jax.Array) -> jax.Array:
  """Distance to the wall, [M], along rays [M, 3] from one origin [3]."""
  from_pivot = origin - jnp.asarray(people.PIVOT)
  along = directions @ from_pivot
  rest = along**2 - from_pivot @ from_pivot + heads.WALL_RADIUS**2
  return jnp.sqrt(jnp.maximum(rest, 0)) - along


def _cone_march(
  head: types.SimpleNamespace,
  origin: jax.Array,
  directions: jax.Array,
  spread: jax.Array,
) -> jax.Array:
  """Distance, [M], up to which cones around rays do not touch the person.

  Args:
    head: result of `heads.build`.
    origin: [3], the rays' origin.
    directions: [M, 3], the rays' directions.
    spread: radius of a cone at distance 1.
  """
  first = jnp.linalg.norm(origin) - _REACH
  place = _along(origin, directions)

  def step(_, t):
    free = heads.distance(head, place(t)) - spread * t
    return t + jnp.maximum(free, 0)

  return lax.fori_loop(
    0, _COARSE_STEPS, step, jnp.full(directions.shape[:1], first)
  )


def _march_in_rounds(
  head: types.SimpleNamespace,
  origin: jax.Array,
  directions: jax.Array,
  t: jax.Array,
  wall: jax.Array,
  least_step: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """As `march`, with more steps for the few rays that need them.

  Returns: distances, [M], and whether each ray hits the person, [M].
  """
  size = t.size // _PARTS
  steps = jnp.asarray(_STEPS)

  def those_left(n, t, off):
    # The search starts at another place each time, so that no ray starves.
    first = n * 5 * size % t.size
    left = jnp.roll((off > _TOLERANCE) & (t < wall), -first)
    (found,) = jnp.nonzero(left, size=size, fill_value=0)
    return (found + first) % t.size

  def march_some(n, state):
    t, off = state
    chosen = lax.cond(
      n < _PARTS,
      lambda: n * size + jnp.arange(size),
      lambda: those_left(n, t, off),
    )
    further, last = march(
      head,
      origin,
      directions[chosen],
      t[chosen],
      steps=steps[n],
      least_step=least_step,
    )
    return t.at[chosen].set(further), off.at[chosen].set(last)

  t, off = lax.fori_loop(
    0, len(_STEPS), march_some, (t, jnp.full_like(t, jnp.inf))
  )
  return t, (jnp.abs(off) < _HIT) & (t < wall)


def march(
  head: types.SimpleNamespace,
  origin: jax.Array,
  directions: jax.Array,
  start: jax.Array,
  *,
  steps: chex.Numeric,
  least_step: chex.Numeric,
) -> tuple[jax.Array, jax.Array]:
  """Follows rays to the surface (sphere tracing).

  A ray along an edge would creep forever; steps of at least `least_step` carry
  it past, and a ray that has stepped inside comes back.

  Args:
    head: result of `heads.build`.
    origin: [3] or [M, 3], the rays' origins.
    directions: [M, 3], the rays' directions.
    start: [M], initial distances, outside the surface.
    steps: number of steps, possibly traced.
    least_step: smallest step, world units.

  Returns: distances, [M], which keep growing if a ray hits nothing; and the
    signed distance from the surface there, [M].
  """
  place = _along(origin, directions)

  def step(_, state):
    # Moving first lets XLA compute the body once for both results.
    t, off = state
    forward = jnp.maximum(off, jnp.where(off > _TOLERANCE, least_step, 0))
    t = t + jnp.where(off > 0, forward, off)
    return t, heads.distance(head, place(t))

  return lax.fori_loop(0, steps, step, (start, jnp.zeros_like(start)))


def _along(
  origin: jax.Array, directions: jax.Array
) -> Callable[[jax.Array], shapes.Point]:
  """A function from distances along rays, [M], to points.

  Coordinates are separate arrays, for speed.
  """
  starts = tuple(jnp.moveaxis(origin, -1, 0))
  slopes = tuple(directions.T)
  return lambda t: tuple(o + t * d for o, d in zip(starts, slopes))

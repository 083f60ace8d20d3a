"""Labeled photos of many procedural people, drawn once and kept on disk.

    FOLDER/
      plan.json        the plan; another plan needs another folder
      part00000.npy    uint8 [at most 64, S, S, 3]; if the last ones are
                       missing, drawing resumes there

People have variants that differ only in their marks, so a network must look at
marks to tell them apart. Only the images are stored; everything else follows
from the plan.
"""

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Callable
from typing import Literal

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.demo import people, render
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.types import Array

PLAN_FILE = "plan.json"
_PART = 64  # photos per part
_SHARE = 0.35  # share of people with each kind of mark
_IDENTITY, _MARKS, _PHOTO, _CAMERA = range(4)  # streams of random numbers


@dataclasses.dataclass(frozen=True)
class Plan:
  """The contents of a gallery.

  Attributes:
    people: number of identity vectors.
    photos: photos per variant.
    seed: seed of all draws; galleries with different seeds share no people.
    variants: "twins": two variants with random kinds of marks, of which at
      least one kind is in only one of them; "kinds": one variant without marks,
      and one with each kind.
    resolution: side of a photo, pixels.
    supersampling: see `render`.
  """

  people: int
  photos: int
  seed: int
  variants: Literal["twins", "kinds"] = "twins"
  resolution: int = 128
  supersampling: int = 1

  @property
  def num_variants(self) -> int:
    """Number of variants of each identity vector."""
    return 2 if self.variants == "twins" else 1 + len(people.MARKS)

  @property
  def size(self) -> int:
    """Total number of photos."""
    return self.people * self.num_variants * self.photos


@flax.struct.dataclass
class Gallery:
  """Photos and the people in them; an identity's variants are adjacent.

  Attributes:
    images: [N, S, S, 3] uint8.
    person: the N people in the photos.
    label: [N], number of the variant, counted over all people.
    owner: [N], number of the identity vector.
  """

  images: Array
  person: people.Person
  label: Array
  owner: Array


def open_gallery(
  folder: str | os.PathLike,
  plan: Plan,
  stop: StopRequest,
  *,
  title: str = "drawing",
) -> Gallery:
  """Reads a gallery, after drawing missing parts.

  Args:
    folder: the gallery's folder, created if missing.
    plan: the gallery's plan.
    stop: request to stop, checked after every part.
    title: title of the progress line.

  Raises:
    UserError: the folder contains another plan's photos.
    Interrupted: `stop` was requested; the parts drawn so far are kept.
    OSError: the folder cannot be read or written.
  """
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  _check_plan(folder, plan)
  numbers = np.arange(plan.size)
  paths = [folder / f"part{n:05d}.npy" for n in range(-(-plan.size // _PART))]
  missing = [n for n, path in enumerate(paths) if not path.exists()]
  progress = Progress(
    title, len(paths), "parts", start=len(paths) - len(missing)
  )
  for place, n in enumerate(missing):
    chosen = numbers[n * _PART : (n + 1) * _PART]
    with replacing(paths[n]) as file:
      np.save(file, draw(plan, chosen))
    progress.update(len(paths) - len(missing) + place + 1)
    stop.raise_if_wanted(
      "stopped while drawing people; the same command resumes"
    )
  person, _, label, owner = jax.device_get(_subjects(plan, numbers))
  return Gallery(
    np.concatenate([np.load(path) for path in paths]), person, label, owner
  )


def _check_plan(folder: pathlib.Path, plan: Plan):
  path = folder / PLAN_FILE
  found = dataclasses.asdict(plan)
  if path.exists():
    if json.loads(path.read_text(encoding="utf-8")) != found:
      raise UserError(
        f"{folder}: has photos drawn with other settings; remove it, or give "
        "another folder"
      )
    return
  with replacing(path) as file:
    file.write(json.dumps(found).encode())


def draw(plan: Plan, numbers: Array) -> np.ndarray:
  """Photographs people on all devices.

  Args:
    plan: the gallery's plan.
    numbers: [N], numbers of the photos.

  Returns: [N, S, S, 3] uint8; a photo does not depend on the others.
  """
  count = jax.local_device_count()
  # One shape compiles once: a short part is padded, and cut afterward.
  filled = np.resize(numbers, -(-_PART // count) * count)
  person, c, _, _ = _subjects(plan, filled)
  spread = jax.tree.map(
    lambda x: x.reshape(count, -1, *x.shape[1:]), (person, c)
  )
  images = np.asarray(_drawing(plan.resolution, plan.supersampling)(*spread))
  return images.reshape(-1, *images.shape[2:])[: len(numbers)]


@functools.cache
def _drawing(
  resolution: int, supersampling: int
) -> Callable[[people.Person, jax.Array], jax.Array]:
  """A function that renders people, [D, N], as uint8 on all devices."""

  def one_device(person, c):
    image = render.render(
      person, c, resolution=resolution, supersampling=supersampling
    ).image
    return jnp.clip(jnp.rint((image + 1) * 127.5), 0, 255).astype(jnp.uint8)

  return devices.spread(one_device)


@functools.partial(jax.jit, static_argnums=0)
def _subjects(
  plan: Plan, numbers: Array
) -> tuple[people.Person, jax.Array, jax.Array, jax.Array]:
  """Person, camera, label and owner of photos, [N] each."""
  label = numbers // plan.photos
  owner = label // plan.num_variants

  def stream(which, number):
    return jax.random.fold_in(
      jax.random.fold_in(jax.random.key(plan.seed), which), number
    )

  def one(number, label, owner):
    person = people.Person(
      identity=people.sample_identity(stream(_IDENTITY, owner)),
      photo=people.sample_photo(stream(_PHOTO, number)),
      marks=_marks(plan, stream(_MARKS, owner), label % plan.num_variants),
    )
    return person, people.sample_camera(stream(_CAMERA, number))

  person, c = jax.vmap(one)(numbers, label, owner)
  return person, c, label, owner


def _marks(plan: Plan, key: chex.PRNGKey, variant: jax.Array) -> people.Marks:
  """The marks of one identity vector's variant."""
  kinds = jnp.arange(len(people.MARKS))
  if plan.variants == "kinds":
    has, draw_key = kinds == variant - 1, key
  else:
    keys = jax.vmap(lambda n: jax.random.split(jax.random.fold_in(key, n)))(
      jnp.arange(2)
    )
    first, own = (
      jax.random.bernoulli(keys[n, 0], _SHARE, kinds.shape)
      for n in (0, variant)
    )
    certain = jax.random.randint(key, (), 0, len(people.MARKS))
    # The first twin's own draw decides; the second twin has the opposite.
    has = jnp.where(kinds == certain, first[certain] ^ (variant == 1), own)
    draw_key = keys[variant, 1]
  all_marks = people.sample_marks(draw_key)
  return people.Marks(
    **{
      kind: jnp.where(has[n], getattr(all_marks, kind), 0.0)
      for n, kind in enumerate(people.MARKS)
    }
  )

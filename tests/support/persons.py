"""Persons as the applications get them, without a run's folder."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from my3dgen_jax.apps.person import Person
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.types import Network
from tests.support import albums, person


@dataclasses.dataclass(frozen=True)
class Colors:
  """In a face recognition network's place: a face is its mean color."""

  def embed(self, variables: Any, images: jax.Array) -> jax.Array:
    """[N, H, W, 3] -> [N, 3] of unit length."""
    del variables
    mean = jnp.mean(images, axis=(1, 2)) + 2
    return mean / jnp.linalg.norm(mean, axis=-1, keepdims=True)


def tiny_person(
  count: int = 4, *, devices: int = 1, raw: int = person.RAW, **changes: Any
) -> Person:
  """A person of `person.make(count)`, whose photos' latents are its anchors.

  Args:
    count: photos; `photo00.png` and so on.
    devices: that are used.
    raw: side of the raw images, pixels.
    **changes: of the fields of `Person`.
  """
  made = person.make(count, raw=raw)
  return dataclasses.replace(
    Person(
      name="runs/tiny",
      generator=made.true,
      digest="tiny",
      origin=Origin(
        adapter="0123456789abcdef", base="fedcba9876543210", task="load"
      ),
      anchors=Anchors(albums.names(count), made.ws, made.c),
      devices=devices_lib.local_devices(devices),
    ),
    **changes,
  )


def with_identity(one: Person, album: Any) -> Person:
  """The same with a network that tells people apart, and reference photos.

  Args:
    one: without.
    album: folder of the photos.
  """
  model = one.generator.module.config
  opened = open_album(
    album, num_ws=model.num_ws, w_dim=model.w_dim, min_photos=1
  )
  return dataclasses.replace(
    one,
    identity=Network({}, Colors()),
    settings={"album": str(album)},
    photos={
      "reference": {
        name: opened.digest(i) for i, name in enumerate(opened.names)
      }
    },
  )

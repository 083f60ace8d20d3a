"""Albums of procedural people, in EG3D's format, as a user's own would be."""

import os
import pathlib
from typing import Union

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.data import dataset_json
from my3dgen_jax.demo import people, render

_AT_ONCE = 4  # photos rendered by one call; one shape compiles once


@flax.struct.dataclass
class Photos:
  """Photos of one person and what took them.

  Attributes:
    person: N times the same person, each with its own `photo`.
    c: [N, 25], labels as an album has them, with the camera error.
    true_c: [N, 25], the cameras that took the photos.
    rendering: `render.Rendering`.
  """

  person: people.Person
  c: jax.Array
  true_c: jax.Array
  rendering: render.Rendering


def take_photos(key: chex.PRNGKey, person: people.Person, count: int, *,
                resolution: int, supersampling: int = 2,
                camera_error: float = 0.01) -> Photos:
  """Photographs one person in other light, moods, ages and clothes.

  Args:
    key: PRNG key; photo n is the same however many are taken.
    person: without a batch axis; its own `photo` is not used.
    count: how many photos.
    resolution: side of a photo, pixels.
    supersampling: as for `render`.
    camera_error: how far labels are off, radians (standard deviation).
  """
  total = -(-count // _AT_ONCE) * _AT_ONCE
  keys = jax.vmap(lambda n: jax.random.split(jax.random.fold_in(key, n), 3))(
      jnp.arange(total))
  photo = jax.vmap(people.sample_photo)(keys[:, 0])
  true_c = jax.vmap(people.sample_camera)(keys[:, 1])
  c = jax.vmap(people.disturbed_camera, in_axes=(0, 0, None))(
      keys[:, 2], true_c, camera_error)
  many = jax.tree.map(
      lambda x: jnp.broadcast_to(x, (total, *x.shape)), person)
  many = many.replace(photo=photo)
  parts = [
      render.render(jax.tree.map(lambda x: x[i:i + _AT_ONCE], many),
                    true_c[i:i + _AT_ONCE], resolution=resolution,
                    supersampling=supersampling)
      for i in range(0, total, _AT_ONCE)]
  rendering = jax.tree.map(lambda *x: jnp.concatenate(x), *parts)
  return jax.tree.map(lambda x: x[:count], Photos(
      person=many, c=c, true_c=true_c, rendering=rendering))


def write_album(folder: Union[str, os.PathLike], photos: Photos, *,
                masks: bool = False):
  """Writes an album that `data.album.Album.open` reads.

  Args:
    folder: made if it is not there.
    photos: of `take_photos`.
    masks: whether to write the person's outline beside each photo.

  Raises: OSError if the folder cannot be written.
  """
  # Needs Pillow, which drawing people does not.
  # pylint: disable-next=import-outside-toplevel
  from my3dgen_jax.data import images
  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  labels = {}
  for n, c in enumerate(np.asarray(photos.c)):
    name = f"photo{n:03d}"
    labels[f"{name}.png"] = c
    images.write_png(folder / f"{name}.png",
                     images.to_uint8(photos.rendering.image[n]))
    if masks:
      images.write_png(folder / f"{name}_mask.png",
                       images.to_uint8(photos.rendering.mask[n] * 2 - 1))
  dataset_json.write(folder / dataset_json.FILE_NAME, labels)

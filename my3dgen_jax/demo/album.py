"""Albums of procedural people, in EG3D's format, like a user's own."""

import os
import pathlib
import tempfile
from collections.abc import Sequence

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.album_files import (
  PROCEDURAL_FILE,
  REFERENCE_FILE,
  TEST_FILE,
)
from my3dgen_jax.demo import people, render
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.progress import compiling
from my3dgen_jax.storage.files import holds_nothing

_AT_ONCE = 5  # photos rendered by one call; one shape compiles once
_RESOLUTION = 128  # side of the demo's photos, as of its prior's pictures
TRAINING = 30  # training photos of the demo's album
# Numbers of the other photos, by part.
_COUNTS = {"test": 10, "reference": 10}
_KINDS = 3  # kinds of marks per person
_VISIBLE = 0.1  # smallest change of a pixel by a mark, in a range of 2
_ABOUT = 2  # pixels by which these areas are dilated


@flax.struct.dataclass
class Photos:
  """Photos of one person and their cameras.

  Attributes:
    person: the same person N times, each with its own `photo`.
    c: [N, 25], labels as in an album, with the camera error.
    true_c: [N, 25], labels of the cameras that took the photos.
    rendering: the photos, `render.Rendering`.
  """

  person: people.Person
  c: jax.Array
  true_c: jax.Array
  rendering: render.Rendering


def take_photos(
  key: chex.PRNGKey,
  person: people.Person,
  count: int,
  *,
  resolution: int,
  supersampling: int = 2,
  camera_error: float = 0.01,
) -> Photos:
  """Photographs one person in different light, moods, ages and clothes.

  Args:
    key: the PRNG key; photo n does not depend on `count`.
    person: a person without a batch axis; their own `photo` is not used.
    count: number of photos.
    resolution: side of a photo, pixels.
    supersampling: see `render`.
    camera_error: standard deviation of the labels' errors, radians.
  """
  total = -(-count // _AT_ONCE) * _AT_ONCE
  keys = jax.vmap(lambda n: jax.random.split(jax.random.fold_in(key, n), 3))(
    jnp.arange(total)
  )
  photo = jax.vmap(people.sample_photo)(keys[:, 0])
  true_c = jax.vmap(people.sample_camera)(keys[:, 1])
  c = jax.vmap(people.disturbed_camera, in_axes=(0, 0, None))(
    keys[:, 2], true_c, camera_error
  )
  many = jax.tree.map(lambda x: jnp.broadcast_to(x, (total, *x.shape)), person)
  many = many.replace(photo=photo)
  rendering = _rendered(many, true_c, resolution, supersampling)
  return jax.tree.map(
    lambda x: x[:count],
    Photos(person=many, c=c, true_c=true_c, rendering=rendering),
  )


def _rendered(
  person: people.Person, c: jax.Array, resolution: int, supersampling: int = 2
) -> render.Rendering:
  """`render.render` in batches; the number of people is a multiple of these."""
  parts = []
  for i in range(0, c.shape[0], _AT_ONCE):
    with compiling("drawing"):
      parts.append(
        render.render(
          jax.tree.map(lambda x: x[i : i + _AT_ONCE], person),
          c[i : i + _AT_ONCE],
          resolution=resolution,
          supersampling=supersampling,
        )
      )
  return jax.tree.map(lambda *x: jnp.concatenate(x), *parts)


def demo_person(number: int) -> people.Person:
  """A person with three kinds of marks, who is not in any training.

  Args:
    number: the person's number, >= 0.
  """
  key = jax.random.fold_in(jax.random.key(0x3D), number)
  order = jax.random.permutation(jax.random.fold_in(key, 1), len(people.MARKS))
  kinds = [people.MARKS[i] for i in np.sort(order[:_KINDS])]
  return people.sample_person(jax.random.fold_in(key, 2), kinds)


def marks_mask(photos: Photos) -> jax.Array:
  """Mask of visible marks, [N, H, W, 1] in {0, 1}, from photos without them."""
  image = photos.rendering.image
  count = image.shape[0]
  plain = photos.person.replace(marks=people.no_marks((count,)))
  plain = _rendered(plain, photos.true_c, image.shape[1]).image
  other = jnp.max(jnp.abs(image - plain), axis=-1, keepdims=True) > _VISIBLE
  size = 2 * _ABOUT + 1
  return jax.lax.reduce_window(
    other.astype(jnp.float32),
    -jnp.inf,
    jax.lax.max,
    (1, size, size, 1),
    (1, 1, 1, 1),
    "SAME",
  )


def demo_photos(
  number: int, training: int = TRAINING
) -> tuple[list[str], Photos]:
  """The photos of a demo's album and their names, without suffixes.

  Args:
    number: the person's number.
    training: number of training photos, at least `TRAINING`; the first ones do
      not depend on it.
  """
  key = jax.random.fold_in(jax.random.key(0x3D + 1), number)
  names = [f"photo{n:03d}" for n in range(TRAINING)]
  names += [
    f"{part}{n:03d}" for part, count in _COUNTS.items() for n in range(count)
  ]
  names += [f"photo{n:03d}" for n in range(TRAINING, training)]
  return names, take_photos(
    key, demo_person(number), len(names), resolution=_RESOLUTION
  )


def write_demo_album(
  folder: str | os.PathLike, number: int, training: int = TRAINING
):
  """Writes the album of a demo's person.

  It has 30 training, 10 test and 10 reference photos; the names of the last two
  are in `test.txt` and `reference.txt`. Test photos have masks of the person's
  marks. An existing album is kept.

  Args:
    folder: the folder to create.
    number: the person's number, >= 0.
    training: see `demo_photos`.

  Raises: UserError: the folder cannot be written, or contains other files.
  """
  folder = pathlib.Path(folder).expanduser().absolute()
  if (folder / dataset_json.FILE_NAME).is_file():
    _mark(folder)  # albums of earlier versions do not have the file
    return
  if folder.exists() and not holds_nothing(folder):
    raise UserError(
      f"{folder}: is not empty and not an album; choose another folder for the "
      "demo's album"
    )
  names, photos = demo_photos(number, training)
  try:
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename on the same disk.
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
      new = pathlib.Path(temporary) / "album"
      write_album(new, photos, names=names)
      _mark(new)
      for part, file in (("test", TEST_FILE), ("reference", REFERENCE_FILE)):
        (new / file).write_text(
          "".join(f"{name}\n" for name in names if name.startswith(part))
        )
      chosen = [i for i, name in enumerate(names) if name.startswith("test")]
      _write_masks(
        new,
        [names[i] for i in chosen],
        "marks",
        marks_mask(jax.tree.map(lambda x: x[np.array(chosen)], photos)),
      )
      new.rename(folder)
  except OSError as error:
    raise UserError(
      f"{folder}: the demo's album cannot be written: {error.strerror}"
    ) from None


def _mark(folder: pathlib.Path):
  """Marks an album as showing no real person."""
  path = folder / PROCEDURAL_FILE
  if not path.exists():
    try:
      path.write_text(
        "Drawn by my3dgen_jax.demo: the people in these photos are not real.\n"
      )
    except OSError:  # another user's folder; then only scores are left out
      return


def write_album(
  folder: str | os.PathLike,
  photos: Photos,
  *,
  masks: bool = False,
  names: Sequence[str] = (),
):
  """Writes an album that `data.albums.open_album` reads.

  Args:
    folder: the album's folder, created if missing.
    photos: photos from `take_photos`.
    masks: whether to write a mask of the person beside each photo.
    names: names of the files, without suffixes; default: photo000, photo001, …

  Raises: OSError: the folder cannot be written.
  """
  # Needs Pillow, which rendering people does not.
  # pylint: disable-next=import-outside-toplevel
  from my3dgen_jax.data import images

  folder = pathlib.Path(folder)
  folder.mkdir(parents=True, exist_ok=True)
  names = names or [f"photo{n:03d}" for n in range(photos.c.shape[0])]
  for name, image in zip(names, photos.rendering.image):
    images.write_png(folder / f"{name}.png", images.to_uint8(image))
  if masks:
    _write_masks(folder, names, "mask", photos.rendering.mask)
  dataset_json.write(
    folder / dataset_json.FILE_NAME,
    {f"{name}.png": c for name, c in zip(names, np.asarray(photos.c))},
  )


def _write_masks(
  folder: pathlib.Path, names: Sequence[str], suffix: str, masks: jax.Array
):
  """Writes masks, [N, H, W, 1] in [0, 1], as `NAME_suffix.png`."""
  # pylint: disable-next=import-outside-toplevel
  from my3dgen_jax.data import images

  for name, mask in zip(names, masks):
    images.write_png(
      folder / f"{name}_{suffix}.png", images.to_uint8(mask * 2 - 1)
    )

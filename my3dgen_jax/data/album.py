"""An album: the photos of one person, each with its camera.

A folder in EG3D's format, or a zip of one, which is read in place:

    dataset.json         cameras, see `dataset_json`
    NAME.png             the photos: png, jpg, jpeg or webp; sub-folders too
    NAME_latent.npy      optional: the photo's anchor in W or W+
        NAME_mask.png        optional: gray, white where the loss is computed
        NAME_marks.png       optional: gray, white on details that only this
                             person has; measured separately, never trained on

A folder written by `tfds_builder.prepare` opens the same way.

    album = open_album("obama", img_resolution=512)
    album.verify()
    train, test, reference = album.split(test=5)
    batch = train.batch([0, 3, 1])

Any problem with an album is an `AlbumError` of one line that names the file.
`albums.open_album` checks all names, labels, latents and image headers;
`verify` decodes every pixel; call both before any long work.
"""

import dataclasses
import hashlib
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import flax.struct
import numpy as np
from PIL import Image

from my3dgen_jax.data.album_files import (
  AlbumError,
  check_header,
  EXTENSIONS,
  FORMATS,
  MASK_MODES,
  Photo,
  PHOTO_MODES,
  pixels_of,
  stem,
)
from my3dgen_jax.data.images import to_float
from my3dgen_jax.data.photo_selection import find, Selection, spread
from my3dgen_jax.ops import cameras
from my3dgen_jax.types import Array

_CACHE_BYTES = 2**30  # of decoded pixels; 50 photos of 512 x 512 need 5 %


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
  """One photo, decoded.

  Attributes:
    name: unique in the album, a relative path with its extension.
    image: [H, W, 3] float32 in [-1, 1].
    c: [25] float32, the camera label.
    mask: [H, W, 1] float32 in [0, 1]; 1 where the loss is computed, and
      everywhere if the photo has no mask.
    ws: [num_ws, w_dim] float32, its anchor, or None.
    marks: [H, W, 1] float32 in [0, 1]; 1 on details that only this person has;
      or None.
  """

  name: str
  image: np.ndarray
  c: np.ndarray
  mask: np.ndarray
  ws: np.ndarray | None
  marks: np.ndarray | None = None


@flax.struct.dataclass
class Batch:
  """A batch of photos for training.

  Attributes:
    image: [N, H, W, 3] float32 in [-1, 1].
    c: [N, 25] float32, camera labels.
    mask: [N, H, W, 1] float32 in [0, 1]; 1 where the loss is computed.
  """

  image: Array
  c: Array
  mask: Array


class Split(NamedTuple):
  """The parts of an album.

  Attributes:
    train: the photos to train on.
    test: the held-out photos.
    reference: the photos that the identity score compares with.
  """

  train: "Album"
  test: "Album"
  reference: "Album"


@dataclasses.dataclass(frozen=True, eq=False)
class Album(Sequence[Item]):
  """A person's photos with their cameras, sorted by name.

  Attributes:
    place: the folder or file, as named in messages.
    photos: what is known about each, not decoded.
    img_resolution: side of every photo, pixels.
    is_procedural: whether the demo drew the photos; no one in them is real.
  """

  place: str
  photos: tuple[Photo, ...]
  img_resolution: int
  is_procedural: bool = False
  _decoded: dict[str, tuple[np.ndarray, np.ndarray]] = dataclasses.field(
    default_factory=dict, repr=False
  )

  @classmethod
  def from_photos(
    cls,
    place: str,
    photos: Iterable[Photo],
    *,
    img_resolution: int | None = None,
    min_photos: int = 2,
  ) -> "Album":
    """Checks the photos' headers; `albums.open_album` reads a folder.

    Args:
      place: the folder or file, as named in messages.
      photos: the photos, in any order.
      img_resolution: required side, pixels; None: any, the same for all.
      min_photos: smallest number of photos, >= 1.

    Raises:
      AlbumError: too few photos; two with the same stem; a photo that is
        damaged, not 8-bit RGB, not square or of another size; or such a mask.
    """
    photos = tuple(sorted(photos, key=lambda photo: photo.name))
    if not photos:
      raise AlbumError(f"{place}: has no photos ({', '.join(EXTENSIONS)})")
    if len(photos) < min_photos:
      raise AlbumError(
        f"{place}: has {len(photos)} photo{'s' * (len(photos) > 1)}, at least "
        f"{min_photos} are needed; add photos of the same person"
      )
    by_stem = {}
    for photo in photos:
      other = by_stem.setdefault(stem(photo.name), photo)
      if other is not photo:
        raise AlbumError(
          f"{photo.image.place}: has the same name as {other.name} except for "
          "the suffix, so their anchors would have the same name; rename one"
        )
    size, reason = img_resolution, "that the generator makes"
    for photo in photos:
      with photo.image.reading() as file:
        image = Image.open(file, formats=FORMATS)
        if size is None:
          size, reason = image.width, f"that {photo.name} has"
        check_header(image, photo.image.place, PHOTO_MODES, size, reason)
      for mask in (photo.mask, photo.marks):
        if mask is not None:
          with mask.reading() as file:
            check_header(
              Image.open(file, formats=FORMATS),
              mask.place,
              MASK_MODES,
              size,
              "of its photo",
            )
    return cls(place, photos, size)

  def __len__(self) -> int:
    return len(self.photos)

  def __getitem__(self, index: int) -> Item:
    """The photo at `index`, decoded.

    Raises:
      IndexError: there is none.
      AlbumError: its file is damaged.
    """
    photo = self.photos[operator.index(index)]
    image, mask = self._decode(photo)
    marks = photo.marks and self._decode_marks(photo)
    return Item(
      name=photo.name,
      image=to_float(image),
      c=photo.c,
      mask=mask[..., None] / np.float32(255),
      ws=photo.ws,
      marks=None if marks is None else marks[..., None] / np.float32(255),
    )

  @property
  def names(self) -> tuple[str, ...]:
    return tuple(photo.name for photo in self.photos)

  @property
  def c(self) -> np.ndarray:
    """[N, 25] float32, all camera labels."""
    return np.array([photo.c for photo in self.photos], np.float32).reshape(
      -1, cameras.LABEL_SIZE
    )

  def batch(self, indices: Array) -> Batch:
    """Decodes and stacks photos.

    Args:
      indices: [...], one index or more.

    Returns: arrays [..., H, W, 3], [..., 25] and [..., H, W, 1].
    Raises:
      AlbumError: a damaged file.
    """
    indices = np.asarray(indices)
    items = [self[i] for i in indices.ravel()]

    def stack(arrays):
      arrays = np.stack(arrays)
      return arrays.reshape(indices.shape + arrays.shape[1:])

    return Batch(
      image=stack([item.image for item in items]),
      c=stack([item.c for item in items]),
      mask=stack([item.mask for item in items]),
    )

  def verify(self):
    """Decodes every photo, mask and marks image.

    Raises: AlbumError: names the first that is damaged or fully masked.
    """
    for photo in self.photos:
      self._decode(photo)
      if photo.marks is not None:
        self._decode_marks(photo)

  def forget_pixels(self):
    """Frees the memory of decoded photos, also for albums split from it."""
    self._decoded.clear()

  def subset(self, indices: Sequence[int]) -> "Album":
    """The photos at `indices`, sorted by name; may be none."""
    return dataclasses.replace(
      self, photos=tuple(self.photos[i] for i in sorted(set(indices)))
    )

  def without_latents(self) -> "Album":
    """The same photos, without the latents stored next to them."""
    return dataclasses.replace(
      self,
      photos=tuple(
        dataclasses.replace(photo, ws=None) for photo in self.photos
      ),
    )

  def select(self, selection: Selection, *, seed: int = 0) -> "Album":
    """Selects some of the photos; the selection is specified as in `split`.

    Raises: AlbumError: a name is missing or given twice; no photo is left.
    """
    if isinstance(selection, (int, float)):
      indices = spread("photos", range(len(self)), selection, len(self), seed)
    else:
      indices = find(self.names, "photos", self.place, selection)
    if not indices:
      raise AlbumError("photos: selects none; at least one is needed")
    return self.subset(indices)

  def digest(self, index: int) -> str:
    """Hash of a photo's content: pixels, camera, mask, latent."""
    item = self[index]
    digest = hashlib.sha256()
    for array in (item.image, item.c, item.mask, item.ws):
      if array is not None:
        digest.update(np.ascontiguousarray(array, np.float32))
    return digest.hexdigest()[:16]

  def split(
    self,
    *,
    test: Selection = 0,
    reference: Selection | None = None,
    train: Selection | None = None,
    seed: int = 0,
  ) -> Split:
    """Divides the album into training, held-out and reference photos.

    Photos selected by number are spread evenly over the sorted names, because
    neighbors are often from one occasion; `seed` decides which.

    Args:
      test: number of photos, or a fraction in [0, 1), or their names, or the
        path of a text file with one name per line (`#` starts a comment).
        Extensions may be omitted.
      reference: photos that neither train nor test includes, specified like
        `test`; None: all photos of the album, as in the paper.
      train: photos among the rest, specified like `test`; None: all of them.
      seed: seed of the selection, >= 0.

    Returns: disjoint parts, except for a `reference` of None.
    Raises:
      AlbumError: a name is missing or given twice; nothing is left to train
        on.
    """
    wanted = (
      {"test": test}
      if reference is None
      else {"test": test, "reference": reference}
    )
    parts: dict[str, list[int]] = {}
    taken: dict[int, str] = {}
    # Names first, so that a part by number chooses among the rest.
    for part, selection in sorted(
      wanted.items(), key=lambda x: isinstance(x[1], (int, float))
    ):
      if isinstance(selection, (int, float)):
        free = [i for i in range(len(self)) if i not in taken]
        parts[part] = spread(part, free, selection, len(self), seed)
      else:
        parts[part] = find(self.names, part, self.place, selection)
      for i in parts[part]:
        if i in taken:
          raise AlbumError(
            f"{part}: {self.photos[i].name!r} is in "
            f"{taken[i]} already; the parts must be disjoint"
          )
        taken[i] = part
    left = [i for i in range(len(self)) if i not in taken]
    if not left:
      raise AlbumError(
        f"{' and '.join(parts)}: take all {len(self)} photos of "
        f"{self.place}; leave at least one to train on"
      )
    if isinstance(train, (int, float)):
      left = spread("train", left, train, len(self), seed)
    elif train is not None:
      left = find(self.names, "train", self.place, train)
      for i in left:
        if i in taken:
          raise AlbumError(
            f"train: {self.photos[i].name!r} is in {taken[i]} "
            "already; the parts must be disjoint"
          )
    if not left:
      raise AlbumError("train: selects no photo; at least one is needed")
    return Split(
      train=self.subset(left),
      test=self.subset(parts["test"]),
      reference=self if reference is None else self.subset(parts["reference"]),
    )

  def _decode(self, photo: Photo) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] and [H, W], cached while there is room."""
    if photo.name in self._decoded:
      return self._decoded[photo.name]
    size = self.img_resolution
    image = pixels_of(photo.image, PHOTO_MODES, size)
    if photo.mask is None:
      mask = np.broadcast_to(np.uint8(255), (size, size))
    else:
      mask = pixels_of(photo.mask, MASK_MODES, size)
      if not mask.any():
        raise AlbumError(
          f"{photo.mask.place}: is black everywhere, so the "
          "photo would not count; white is what counts"
        )
    if (len(self._decoded) + 1) * size**2 * 4 <= _CACHE_BYTES:
      self._decoded[photo.name] = image, mask
    return image, mask

  def _decode_marks(self, photo: Photo) -> np.ndarray:
    """uint8 [H, W]; rarely needed, so not cached."""
    return pixels_of(photo.marks, MASK_MODES, self.img_resolution)

"""An album: the photos of one person, each with its camera.

A folder in EG3D's format, or a zip of one, which is read in place:

    dataset.json         cameras, see `dataset_json`
    NAME.png             the photos: png, jpg, jpeg or webp; sub-folders too
    NAME_latent.npy      optional: the photo's anchor in W or W+
    NAME_mask.png        optional: grey, white where the loss looks
    NAME_marks.png       optional: grey, white where a detail shows that is
                         this person's alone; measured apart, never trained on

A folder that `tfds_builder.prepare` has written opens the same way.

    album = Album.open("obama", img_resolution=512)
    album.verify()
    train, test, reference = album.split(test=5)
    batch = train.batch([0, 3, 1])

Whatever is wrong with an album is an `AlbumError` of one line that names the
file. `Album.open` checks all names, labels, latents and image headers;
`verify` decodes every pixel; both belong before any long work.
"""

import contextlib
import dataclasses
import functools
import hashlib
import io
import operator
import os
import pathlib
from typing import (BinaryIO, Callable, Dict, Iterable, Iterator, List,
                    Mapping, NamedTuple, Optional, Sequence, Tuple, Union)
import zipfile

import chex
import flax.struct
import numpy as np
from PIL import Image, ImageOps

from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.images import to_float
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
LATENT_SUFFIX = "_latent.npy"
MASK_SUFFIX = "_mask.png"
MARKS_SUFFIX = "_marks.png"
# Where tfds_builder.prepare puts an album, and a file that is always there.
PREPARED_FOLDER = "my3dgen_album/1.0.0"
ALBUM_FOLDER = "album"  # in the folder that `apps.preparation` writes
PREPARED_FILE = "dataset_info.json"

_FORMATS = ("PNG", "JPEG", "WEBP")
_PHOTO_MODES = ("RGB",)
_MASK_MODES = ("L", "1")
_MODES = {"L": "grey", "1": "black and white", "LA": "grey with transparency",
          "RGBA": "RGBA, with transparency", "P": "a palette image",
          "CMYK": "CMYK"}
_ORIENTATION = 0x0112  # EXIF's tag for how the camera was held; 1: upright
_CACHE_BYTES = 2**30  # of decoded pixels kept; 50 photos of 512 need 5 %
_MAX_FILE_BYTES = 2**28  # what a zip may claim that one file unpacks to

# How many, what share, which names, or the text file that lists them.
Selection = Union[int, float, Sequence[str], str, os.PathLike]


class AlbumError(UserError):
  """An album that cannot be used; one line that names the file."""


@contextlib.contextmanager
def failures_named(place: str) -> Iterator[None]:
  """Whatever fails inside is an AlbumError of one line about `place`."""
  try:
    yield
  except UserError:
    raise
  except Image.UnidentifiedImageError:
    raise AlbumError(
        f"{place}: is damaged, or no PNG, JPEG or WebP image") from None
  # Pillow, NumPy and zipfile raise a good dozen types for damaged files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = (getattr(error, "strerror", None) or str(error)
              or type(error).__name__)
    raise AlbumError(f"{place}: cannot be read, replace or remove it: "
                     + " ".join(reason.split())) from error


@dataclasses.dataclass(frozen=True)
class File:
  """A file in a folder, a zip or a prepared data set.

  Attributes:
    place: what messages call it.
    open: opens it for reading; may raise whatever reading can raise.
  """

  place: str
  open: Callable[[], BinaryIO]

  @contextlib.contextmanager
  def reading(self) -> Iterator[BinaryIO]:
    """The open file; whatever fails inside is an AlbumError of one line."""
    with failures_named(self.place), self.open() as file:
      yield file


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
  """What an album knows of a photo before its pixels are decoded.

  Attributes:
    name: unique, a relative path with its extension.
    c: [25] float32, the camera label.
    image: the file.
    mask: its mask, or None.
    marks: where details of this person alone show, or None.
    ws: [num_ws, w_dim] float32, its anchor, or None.
  """

  name: str
  c: np.ndarray
  image: File
  mask: Optional[File] = None
  marks: Optional[File] = None
  ws: Optional[np.ndarray] = None


@dataclasses.dataclass(frozen=True, eq=False)
class Item:
  """One photo, decoded.

  Attributes:
    name: unique in the album, a relative path with its extension.
    image: [H, W, 3] float32 in [-1, 1].
    c: [25] float32, the camera label.
    mask: [H, W, 1] float32 in [0, 1]; 1 where the loss looks, and everywhere
      if the photo has no mask.
    ws: [num_ws, w_dim] float32, its anchor, or None.
    marks: [H, W, 1] float32 in [0, 1]; 1 where details of this person alone
      show; or None.
  """

  name: str
  image: np.ndarray
  c: np.ndarray
  mask: np.ndarray
  ws: Optional[np.ndarray]
  marks: Optional[np.ndarray] = None


@flax.struct.dataclass
class Batch:
  """Photos as training sees them.

  Attributes:
    image: [N, H, W, 3] float32 in [-1, 1].
    c: [N, 25] float32, camera labels.
    mask: [N, H, W, 1] float32 in [0, 1]; 1 where the loss looks.
  """

  image: chex.Array
  c: chex.Array
  mask: chex.Array


class Split(NamedTuple):
  """The parts of an album.

  Attributes:
    train: the photos that training sees.
    test: those held out to measure it.
    reference: those the identity score compares with.
  """

  train: "Album"
  test: "Album"
  reference: "Album"


def stem(name: str) -> str:
  """A photo's name without its extension, as its latent's and mask's."""
  return name.removesuffix(pathlib.PurePosixPath(name).suffix)


def parse_selection(text: str) -> Selection:
  """What a flag's text selects: "5" photos, a share "0.1", or a text file."""
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      pass
  return text


@dataclasses.dataclass(frozen=True, eq=False)
class Album(Sequence[Item]):
  """A person's photos with their cameras, in the order of their names.

  Attributes:
    place: the folder or file, as messages call it.
    photos: what is known of each, undecoded.
    img_resolution: side of every photo, pixels.
  """

  place: str
  photos: Tuple[Photo, ...]
  img_resolution: int
  _decoded: Dict[str, Tuple[np.ndarray, np.ndarray]] = dataclasses.field(
      default_factory=dict, repr=False)

  @classmethod
  def from_photos(cls, place: str, photos: Iterable[Photo], *,
                  img_resolution: Optional[int] = None,
                  min_photos: int = 2) -> "Album":
    """Checks the headers of photos; `open` is what reads a folder.

    Args:
      place: the folder or file, as messages call it.
      photos: in any order.
      img_resolution: the side they must have, pixels; None: all the same.
      min_photos: how many there must be, >= 1.

    Raises:
      AlbumError: too few photos; two of one stem; one that is damaged, not
        8-bit RGB, not square or of another size; or such a mask.
    """
    photos = tuple(sorted(photos, key=lambda photo: photo.name))
    if not photos:
      raise AlbumError(f"{place}: holds no photos ({', '.join(EXTENSIONS)})")
    if len(photos) < min_photos:
      raise AlbumError(
          f"{place}: holds {len(photos)} photo{'s' * (len(photos) > 1)}, at "
          f"least {min_photos} are needed; add photos of the same person")
    by_stem = {}
    for photo in photos:
      other = by_stem.setdefault(stem(photo.name), photo)
      if other is not photo:
        raise AlbumError(
            f"{photo.image.place}: has the same name as {other.name} but for "
            "the extension, so their anchors would have one name; rename one")
    size, reason = img_resolution, "that the generator makes"
    for photo in photos:
      with photo.image.reading() as file:
        image = Image.open(file, formats=_FORMATS)
        if size is None:
          size, reason = image.width, f"that {photo.name} has"
        _check_header(image, photo.image.place, _PHOTO_MODES, size, reason)
      for mask in (photo.mask, photo.marks):
        if mask is not None:
          with mask.reading() as file:
            _check_header(Image.open(file, formats=_FORMATS), mask.place,
                          _MASK_MODES, size, "of its photo")
    return cls(place, photos, size)

  @classmethod
  def open(cls, path: Union[str, os.PathLike], *,
           img_resolution: Optional[int] = None, num_ws: Optional[int] = None,
           w_dim: Optional[int] = None, min_photos: int = 2) -> "Album":
    """Opens an album and checks all but the pixels.

    Args:
      path: a folder, a zip, or a folder that `apps.preparation` or
        `tfds_builder.prepare` has written.
      img_resolution: side that the photos must have, pixels; None: any, the
        same for all.
      num_ws: rows of the generator's ws. Latents are read only where this
        and `w_dim` are given.
      w_dim: the generator's width of w.
      min_photos: how many photos there must be, >= 1.

    Raises:
      AlbumError: as `from_photos`; also labels missing or too many, latents
        of another size or with NaN, a zip that is damaged or climbs out of
        itself.
      DatasetJsonError: `dataset.json` cannot be used.
    """
    path = pathlib.Path(path).expanduser()
    with failures_named(str(path)):
      prepared = [folder for folder in (path, path / PREPARED_FOLDER)
                  if (folder / PREPARED_FILE).is_file()]
      is_folder, is_file = path.is_dir(), path.is_file()
      inner = path / ALBUM_FOLDER
      if (not (path / dataset_json.FILE_NAME).exists()
          and (inner / dataset_json.FILE_NAME).is_file()):
        path = inner
    if prepared:
      # Needs tensorflow-datasets, which not every machine has; and that
      # module is built on this one.
      # pylint: disable-next=import-outside-toplevel
      from my3dgen_jax.data import tfds_builder
      return tfds_builder.open_prepared(
          prepared[0], img_resolution=img_resolution, num_ws=num_ws,
          w_dim=w_dim, min_photos=min_photos)
    if is_folder:
      files = _folder_files(path)
    elif is_file:
      files = _zip_files(path)
    else:
      raise AlbumError(f"{path}: no such folder or zip; expected an album: "
                       f"photos and their {dataset_json.FILE_NAME}")
    return cls.from_photos(
        str(path), _photos(str(path), files, num_ws, w_dim),
        img_resolution=img_resolution, min_photos=min_photos)

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
    return Item(name=photo.name, image=to_float(image),
                c=photo.c, mask=mask[..., None] / np.float32(255),
                ws=photo.ws,
                marks=None if marks is None
                else marks[..., None] / np.float32(255))

  @property
  def names(self) -> Tuple[str, ...]:
    return tuple(photo.name for photo in self.photos)

  @property
  def c(self) -> np.ndarray:
    """[N, 25] float32, all camera labels."""
    return np.array([photo.c for photo in self.photos],
                    np.float32).reshape(-1, cameras.LABEL_SIZE)

  def batch(self, indices: chex.Array) -> Batch:
    """Decodes and stacks photos.

    Args:
      indices: [...] of at least one index.

    Returns: arrays [..., H, W, 3], [..., 25] and [..., H, W, 1].
    Raises:
      AlbumError: a damaged file.
    """
    indices = np.asarray(indices)
    items = [self[i] for i in indices.ravel()]

    def stack(arrays):
      arrays = np.stack(arrays)
      return arrays.reshape(indices.shape + arrays.shape[1:])

    return Batch(image=stack([item.image for item in items]),
                 c=stack([item.c for item in items]),
                 mask=stack([item.mask for item in items]))

  def verify(self):
    """Decodes every photo, mask and picture of marks.

    Raises: AlbumError: names the first that is damaged or all masked.
    """
    for photo in self.photos:
      self._decode(photo)
      if photo.marks is not None:
        self._decode_marks(photo)

  def subset(self, indices: Sequence[int]) -> "Album":
    """The photos at `indices`, in the order of their names; may be none."""
    return dataclasses.replace(
        self, photos=tuple(self.photos[i] for i in sorted(set(indices))))

  def without_latents(self) -> "Album":
    """The same photos, as if no latents lay beside them."""
    return dataclasses.replace(self, photos=tuple(
        dataclasses.replace(photo, ws=None) for photo in self.photos))

  def select(self, selection: Selection, *, seed: int = 0) -> "Album":
    """Some of the photos, or all of them; what to say is as for `split`.

    Raises: AlbumError: a name that is not there or comes twice; none is left.
    """
    if isinstance(selection, (int, float)):
      indices = _spread("photos", range(len(self)), selection, len(self), seed)
    else:
      indices = self._find("photos", selection)
    if not indices:
      raise AlbumError("photos: selects none; at least one is needed")
    return self.subset(indices)

  def digest(self, index: int) -> str:
    """What a photo brings (pixels, camera, mask, latent), hashed."""
    item = self[index]
    digest = hashlib.sha256()
    for array in (item.image, item.c, item.mask, item.ws):
      if array is not None:
        digest.update(np.ascontiguousarray(array, np.float32))
    return digest.hexdigest()[:16]

  def split(self, *, test: Selection = 0, reference: Optional[Selection] = None,
            train: Optional[Selection] = None, seed: int = 0) -> Split:
    """Divides the album into photos to train on, to test on, to compare with.

    Photos selected by number are spread evenly over the sorted names, as
    neighbours are often of one occasion; `seed` decides which.

    Args:
      test: how many photos, what share in [0, 1), their names, or the path of
        a text file with a name a line (`#` starts a comment). Extensions of
        names may be left out.
      reference: the same, for photos that neither train nor test sees; None:
        all photos of the album, as in the paper.
      train: the same, of what is left; None: all of that.
      seed: >= 0.

    Returns: disjoint parts, but for a `reference` of None.
    Raises:
      AlbumError: a name that is not there or comes twice; nothing is left to
        train on.
    """
    wanted = {"test": test} if reference is None else {
        "test": test, "reference": reference}
    parts: Dict[str, List[int]] = {}
    taken: Dict[int, str] = {}
    # Names first: a part by number then chooses among what they leave.
    for part, selection in sorted(
        wanted.items(), key=lambda x: isinstance(x[1], (int, float))):
      if isinstance(selection, (int, float)):
        free = [i for i in range(len(self)) if i not in taken]
        parts[part] = _spread(part, free, selection, len(self), seed)
      else:
        parts[part] = self._find(part, selection)
      for i in parts[part]:
        if i in taken:
          raise AlbumError(f"{part}: {self.photos[i].name!r} is in "
                           f"{taken[i]} already; the parts must be disjoint")
        taken[i] = part
    left = [i for i in range(len(self)) if i not in taken]
    if not left:
      raise AlbumError(
          f"{' and '.join(parts)}: take all {len(self)} photos of "
          f"{self.place}; leave at least one to train on")
    if isinstance(train, (int, float)):
      left = _spread("train", left, train, len(self), seed)
    elif train is not None:
      left = self._find("train", train)
      for i in left:
        if i in taken:
          raise AlbumError(f"train: {self.photos[i].name!r} is in {taken[i]} "
                           "already; the parts must be disjoint")
    if not left:
      raise AlbumError("train: names no photo; at least one is needed")
    return Split(train=self.subset(left), test=self.subset(parts["test"]),
                 reference=self if reference is None
                 else self.subset(parts["reference"]))

  def _find(self, part: str, selection: Union[Sequence[str], str,
                                              os.PathLike]) -> List[int]:
    """Indices of the photos named, directly or by a file."""
    where = part
    if isinstance(selection, (str, os.PathLike)):
      where = str(selection)
      try:
        path = pathlib.Path(selection).expanduser()
        lines = path.read_text(encoding="utf-8-sig")
      except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "is no UTF-8 text"
        raise AlbumError(
            f"{where}: cannot be read as {part}, a file of photo names: "
            f"{reason}") from None
      stripped = (line.strip() for line in lines.splitlines())
      selection = [line for line in stripped
                   if line and not line.startswith("#")]
    known = {stem(name): i for i, name in enumerate(self.names)}
    known.update((name, i) for i, name in enumerate(self.names))
    indices = []
    for name in selection:
      i = known.get(dataset_json.normal_name(name))
      if i is None:
        raise AlbumError(f"{where}: {name!r} is not in {self.place}, which "
                         f"has {_some(self.names)}")
      if i in indices:
        raise AlbumError(f"{where}: {name!r} comes twice")
      indices.append(i)
    return indices

  def _decode(self, photo: Photo) -> Tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] and [H, W], kept while there is room for them."""
    if photo.name in self._decoded:
      return self._decoded[photo.name]
    size = self.img_resolution
    image = _pixels(photo.image, _PHOTO_MODES, size)
    if photo.mask is None:
      mask = np.broadcast_to(np.uint8(255), (size, size))
    else:
      mask = _pixels(photo.mask, _MASK_MODES, size)
      if not mask.any():
        raise AlbumError(f"{photo.mask.place}: is black everywhere, so the "
                         "photo would not count; white is what counts")
    if (len(self._decoded) + 1) * size**2 * 4 <= _CACHE_BYTES:
      self._decoded[photo.name] = image, mask
    return image, mask

  def _decode_marks(self, photo: Photo) -> np.ndarray:
    """uint8 [H, W]; seldom needed, so not kept."""
    return _pixels(photo.marks, _MASK_MODES, self.img_resolution)


def _some(names: Sequence[str]) -> str:
  """The first names of a list, and how many more there are."""
  text = ", ".join(names[:3])
  return text if len(names) <= 3 else f"{text} and {len(names) - 3} more"


def _spread(part: str, free: Sequence[int], amount: Union[int, float],
            total: int, seed: int) -> List[int]:
  """`amount` of the indices `free`: one at random from each of equal runs."""
  if isinstance(amount, bool) or not (
      amount >= 0 and (isinstance(amount, int) or amount < 1)):
    raise AlbumError(f"{part}: expected a number of photos or a share in "
                     f"[0, 1), got {amount}")
  count = amount
  if isinstance(amount, float):
    count = max(1, round(amount * total)) if amount else 0
  if count > len(free):
    raise AlbumError(f"{part}: {count} photos are wanted, of {total} "
                     f"{len(free)} are free")
  if not count:
    return []
  if seed < 0:
    raise AlbumError(f"seed: expected a whole number >= 0, got {seed}")
  edges = [k * len(free) // count for k in range(count + 1)]
  # Only the bits of NumPy's generators are the same in all its versions.
  bits = np.random.Philox(np.random.SeedSequence(seed)).random_raw(count)
  return [free[low + int(draw) % (high - low)]
          for low, high, draw in zip(edges, edges[1:], bits)]


def _check_header(image: Image.Image, place: str, modes: Sequence[str],
                  size: int, reason: str):
  if image.mode not in modes or "transparency" in image.info:
    mode = _MODES.get(image.mode, image.mode)
    if "transparency" in image.info:
      mode = "an image with a transparent colour"
    wanted = ("8-bit RGB without transparency" if modes is _PHOTO_MODES
              else "8-bit grey without transparency")
    raise AlbumError(f"{place}: is {mode}; save it as {wanted}")
  if image.width != image.height:
    raise AlbumError(f"{place}: is {image.width}x{image.height} pixels, not "
                     f"square; crop and resize it to {size}x{size}")
  if image.width != size:
    raise AlbumError(f"{place}: is {image.width}x{image.height} pixels, not "
                     f"{size}x{size}, the size {reason}; resize it")


def _pixels(file: File, modes: Sequence[str], size: int) -> np.ndarray:
  """Decodes an image the way a viewer shows it, uint8, read-only."""
  with file.reading() as opened:
    # To the end, because a zip's checksum is compared there.
    image = Image.open(io.BytesIO(opened.read()), formats=_FORMATS)
    _check_header(image, file.place, modes, size, "of the album")
    pixels = np.array(ImageOps.exif_transpose(image).convert(modes[0]))
  pixels.flags.writeable = False
  return pixels


def upright_bytes(file: File) -> bytes:
  """The image file's bytes, those of a PNG if it lies on its side by EXIF.

  Raises: AlbumError: the file is damaged.
  """
  with file.reading() as opened:
    data = opened.read()
    image = Image.open(io.BytesIO(data), formats=_FORMATS)
    if image.getexif().get(_ORIENTATION, 1) == 1:
      return data
    png = io.BytesIO()
    ImageOps.exif_transpose(image).save(png, format="PNG")
    return png.getvalue()


def check_latent(latent: np.ndarray, place: str, num_ws: int, w_dim: int
                 ) -> np.ndarray:
  """Checks an anchor and brings it to the shape of ws.

  Args:
    latent: floats, [1, num_ws, w_dim], [num_ws, w_dim], or one w for all
      rows: [1, w_dim] or [w_dim].
    place: the file, the start of the message.
    num_ws: rows of the generator's ws.
    w_dim: the generator's width of w.

  Returns: [num_ws, w_dim] float32, read-only.
  Raises:
    AlbumError: another type or shape; NaN or infinity.
  """
  shapes = ((1, num_ws, w_dim), (num_ws, w_dim), (1, w_dim), (w_dim,))
  if (not isinstance(latent, np.ndarray) or latent.dtype.kind != "f"
      or latent.shape not in shapes):
    got = (f"{latent.dtype} {list(latent.shape)}"
           if isinstance(latent, np.ndarray) else "an archive")
    raise AlbumError(
        f"{place}: expected floats of shape "
        f"{' or '.join(str(list(shape)) for shape in shapes)}, got {got}; it "
        "belongs to another generator: remove it or project the photo again")
  with np.errstate(over="ignore"):  # becomes infinity, refused below
    ws = latent.astype(np.float32)
  ws = np.broadcast_to(ws.reshape(-1, w_dim), (num_ws, w_dim))
  if not np.isfinite(ws).all():
    raise AlbumError(f"{place}: holds NaN or infinity; remove it or project "
                     "the photo again")
  return ws


def _read_latent(file: File, num_ws: int, w_dim: int) -> np.ndarray:
  with file.reading() as opened:
    latent = np.load(io.BytesIO(opened.read()), allow_pickle=False)
  return check_latent(latent, file.place, num_ws, w_dim)


def _photos(place: str, files: Mapping[str, File], num_ws: Optional[int],
            w_dim: Optional[int]) -> List[Photo]:
  """Brings files together: each photo with its label, mask and latent."""
  labels = {}
  if dataset_json.FILE_NAME in files:
    file = files[dataset_json.FILE_NAME]
    with file.reading() as opened:
      labels = dataset_json.parse(opened.read(), file.place)
  images = [name for name in files if name.lower().endswith(EXTENSIONS)]

  def beside(suffix):
    # A label makes `me_with_mask.png` a photo.
    return {name[:-len(suffix)]: files[name] for name in images
            if name.endswith(suffix) and name not in labels}

  masks, marks = beside(MASK_SUFFIX), beside(MARKS_SUFFIX)
  latents = {name[:-len(LATENT_SUFFIX)]: files[name] for name in files
             if name.endswith(LATENT_SUFFIX)}
  names = [name for name in images if name in labels
           or not name.endswith((MASK_SUFFIX, MARKS_SUFFIX))]
  if names and dataset_json.FILE_NAME not in files:
    raise AlbumError(
        f"{place}: holds no {dataset_json.FILE_NAME}, the cameras of its "
        f"{len(names)} photos; write it as EG3D's preprocessing does")
  unlabelled = sorted(set(names) - set(labels))
  if unlabelled:
    raise AlbumError(
        f"{files[unlabelled[0]].place}: has no label in "
        f"{dataset_json.FILE_NAME}{_and_more(unlabelled)}; add its camera or "
        "move the photo away")
  absent = sorted(set(labels) - set(names)) if names else ()
  if absent:
    raise AlbumError(
        f"{files[dataset_json.FILE_NAME].place}: has a label for "
        f"{absent[0]!r}, which is not there{_and_more(absent)}; add the photo "
        "or remove its label")
  stems = {stem(name) for name in names}
  for kind, others in (("mask", masks), ("picture of marks", marks),
                       ("latent", latents)):
    for other in sorted(set(others) - stems):
      raise AlbumError(f"{others[other].place}: is the {kind} of no photo, as "
                       f"there is no {other}.png, .jpg or .webp; remove it")
  read_latents = num_ws is not None and w_dim is not None
  return [Photo(name=name, c=labels[name], image=files[name],
                mask=masks.get(stem(name)), marks=marks.get(stem(name)),
                ws=_read_latent(latents[stem(name)], num_ws, w_dim)
                if read_latents and stem(name) in latents else None)
          for name in names]


def _and_more(names: Sequence[str]) -> str:
  return f" (the first of {len(names)})" if len(names) > 1 else ""


def _is_hidden(parts: Sequence[str]) -> bool:
  """Finder and Explorer leave `.DS_Store`, `__MACOSX/` and the like."""
  return any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _open_file(path: pathlib.Path) -> BinaryIO:
  # Opening a named pipe would wait for ever.
  if path.exists() and not path.is_file():
    raise AlbumError(f"{path}: is no ordinary file")
  return open(path, "rb")


def _folder_files(folder: pathlib.Path) -> Dict[str, File]:
  """All files below a folder, by normalised relative name."""

  def fail(error):
    raise AlbumError(f"{error.filename}: cannot be read: {error.strerror}")

  files = {}
  for root, _, names in os.walk(folder, onerror=fail):
    for name in names:
      path = pathlib.Path(root, name)
      relative = path.relative_to(folder)
      if not _is_hidden(relative.parts):
        _add(files, dataset_json.normal_name(relative.as_posix()),
             File(str(path), functools.partial(_open_file, path)))
  return files


def _zip_files(path: pathlib.Path) -> Dict[str, File]:
  """All files in a zip, by normalised name; a folder around all is left out.

  Raises: AlbumError: no zip; damaged; a name that would climb out.
  """
  with failures_named(str(path)):
    with open(path, "rb") as file:
      if file.read(2) != b"PK":
        raise AlbumError(f"{path}: is neither a folder nor a zip")
    archive = zipfile.ZipFile(path)
  files = {}
  for entry in archive.infolist():
    name = dataset_json.normal_name(entry.filename)
    place = f"{path}/{name}"
    parts = pathlib.PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or name[1:2] == ":":
      raise AlbumError(f"{place}: points outside of the zip; do not trust it")
    if entry.is_dir() or _is_hidden(parts):
      continue
    if entry.file_size > _MAX_FILE_BYTES:
      raise AlbumError(f"{place}: unpacks to {entry.file_size / 1e6:.0f} MB, "
                       "which no photo needs; remove it")
    _add(files, name, File(place, functools.partial(archive.open, entry)))
  top = {name.split("/")[0] for name in files}
  if len(top) == 1 and dataset_json.FILE_NAME not in files:
    prefix = f"{top.pop()}/"
    files = {name.removeprefix(prefix): file for name, file in files.items()}
  return files


def _add(files: Dict[str, File], name: str, file: File):
  if name in files:
    raise AlbumError(f"{file.place}: the name comes twice; rename one")
  files[name] = file

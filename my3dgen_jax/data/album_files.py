"""Contents of an album's folder or zip: files, photos and their labels.

Any problem with one is an `AlbumError` of one line that names the file.
"""

import contextlib
import dataclasses
import functools
import io
import os
import pathlib
import zipfile
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from my3dgen_jax.data import dataset_json, latent_files
from my3dgen_jax.errors import CheckpointError, plain, UserError
from my3dgen_jax.storage import json_files, zip_names
from my3dgen_jax.storage.files import is_system_file

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp")
LATENT_SUFFIX = "_latent.npy"
MASK_SUFFIX = "_mask.png"
MARKS_SUFFIX = "_marks.png"
TRANSFORMS_FILE = "transforms.json"
# Where tfds_builder.prepare puts an album, and a file that is always in there.
PREPARED_FOLDER = "my3dgen_album/1.0.0"
ALBUM_FOLDER = "album"  # in the folder that `apps.preparation` writes
PREPARED_FILE = "dataset_info.json"
# Names of photos to hold out, and to compare identity with.
TEST_FILE, REFERENCE_FILE = "test.txt", "reference.txt"
PROCEDURAL_FILE = "procedural.txt"  # marks albums that the demo has drawn

FORMATS = ("PNG", "JPEG", "WEBP")

PHOTO_MODES = ("RGB",)
MASK_MODES = ("L", "1")
_MODES = {
  "L": "grey",
  "1": "black and white",
  "LA": "gray with transparency",
  "RGBA": "RGBA, with transparency",
  "P": "a palette image",
  "CMYK": "CMYK",
}
_ORIENTATION = 0x0112  # EXIF's tag for how the camera was held; 1: upright
_LONGEST_REASON = 200  # characters: some libraries quote what they have read
_MAX_FILE_BYTES = 2**28  # largest unpacked file accepted from a zip


class AlbumError(UserError):
  """An album that cannot be used; one line that names the file."""


@contextlib.contextmanager
def failures_named(place: str) -> Iterator[None]:
  """Converts any failure inside to a one-line AlbumError about `place`."""
  try:
    yield
  except UserError:
    raise
  except Image.UnidentifiedImageError:
    raise AlbumError(
      f"{place}: is damaged, or not a PNG, JPEG or WebP image"
    ) from None
  # Pillow, NumPy and zipfile raise a dozen types of errors for damaged files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = (
      getattr(error, "strerror", None) or str(error) or type(error).__name__
    )
    raise AlbumError(
      f"{place}: cannot be read, replace or remove it: "
      + plain(" ".join(reason.split()), _LONGEST_REASON)
    ) from error


@dataclasses.dataclass(frozen=True)
class File:
  """A file in a folder, a zip or a prepared data set.

  Attributes:
    place: its name in messages.
    open: opens it for reading; may raise anything that reading can raise.
  """

  place: str
  open: Callable[[], BinaryIO]

  @contextlib.contextmanager
  def reading(self) -> Iterator[BinaryIO]:
    """The open file; any failure inside becomes a one-line AlbumError."""
    with failures_named(self.place), self.open() as file:
      yield file


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
  """What an album knows about a photo before decoding its pixels.

  Attributes:
    name: unique, a relative path with its extension.
    c: [25] float32, the camera label.
    image: the image file.
    mask: the mask file, or None.
    marks: image file of details that only this person has, or None.
    ws: [num_ws, w_dim] float32, its anchor, or None.
  """

  name: str
  c: np.ndarray
  image: File
  mask: File | None = None
  marks: File | None = None
  ws: np.ndarray | None = None


def stem(name: str) -> str:
  """A photo's name without extension, shared with its latent and mask."""
  return name.removesuffix(pathlib.PurePosixPath(name).suffix)


def check_header(
  image: Image.Image, place: str, modes: Sequence[str], size: int, reason: str
):
  """Checks mode and size, as given in the header; raises AlbumError."""
  # WebP has no gray mode.
  is_grey_webp = modes is MASK_MODES and image.format == "WEBP"
  if (
    image.mode not in modes and not (is_grey_webp and image.mode == "RGB")
  ) or "transparency" in image.info:
    mode = _MODES.get(image.mode, image.mode)
    if "transparency" in image.info:
      mode = "an image with a transparent color"
    wanted = (
      "8-bit RGB without transparency"
      if modes is PHOTO_MODES
      else "8-bit gray without transparency"
    )
    raise AlbumError(f"{place}: is {mode}; save it as {wanted}")
  if image.width != image.height:
    raise AlbumError(
      f"{place}: is {image.width}x{image.height} pixels, not "
      f"square; crop and resize it to {size}x{size}"
    )
  if image.width != size:
    raise AlbumError(
      f"{place}: is {image.width}x{image.height} pixels, not "
      f"{size}x{size}, the size {reason}; resize it"
    )


def pixels_of(file: File, modes: Sequence[str], size: int) -> np.ndarray:
  """Decodes an image as a viewer shows it, uint8, read-only."""
  with file.reading() as opened:
    # Read to the end, because a zip's checksum is compared there.
    image = Image.open(io.BytesIO(opened.read()), formats=FORMATS)
    check_header(image, file.place, modes, size, "of the album")
    pixels = np.array(ImageOps.exif_transpose(image).convert(modes[0]))
  pixels.flags.writeable = False
  return pixels


def upright_bytes(file: File) -> bytes:
  """The file's bytes, or a PNG's if EXIF says that the image is rotated.

  Raises: AlbumError: the file is damaged.
  """
  with file.reading() as opened:
    data = opened.read()
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.getexif().get(_ORIENTATION, 1) == 1:
      return data
    png = io.BytesIO()
    ImageOps.exif_transpose(image).save(png, format="PNG")
    return png.getvalue()


def check_latent(
  latent: np.ndarray, place: str, num_ws: int, w_dim: int
) -> np.ndarray:
  """Checks an anchor and converts it to the shape of ws.

  Args:
    latent: floats, [1, num_ws, w_dim], [num_ws, w_dim], or one w for all
      rows: [1, w_dim] or [w_dim].
    place: the file, which begins the message.
    num_ws: number of rows of the generator's ws.
    w_dim: size of the generator's w.

  Returns: [num_ws, w_dim] float32, read-only.
  Raises:
    AlbumError: another dtype or shape; NaN or infinity.
  """
  shapes = ((1, num_ws, w_dim), (num_ws, w_dim), (1, w_dim), (w_dim,))
  if (
    not isinstance(latent, np.ndarray)
    or latent.dtype.kind != "f"
    or latent.shape not in shapes
  ):
    got = (
      f"{latent.dtype} {list(latent.shape)}"
      if isinstance(latent, np.ndarray)
      else "an archive"
    )
    raise AlbumError(
      f"{place}: expected floats of shape "
      f"{' or '.join(str(list(shape)) for shape in shapes)}, got {got}; it "
      "belongs to another generator: remove it or project the photo again"
    )
  with np.errstate(over="ignore"):  # becomes infinity, refused below
    ws = latent.astype(np.float32)
  ws = np.broadcast_to(ws.reshape(-1, w_dim), (num_ws, w_dim))
  if not np.isfinite(ws).all():
    raise AlbumError(
      f"{place}: holds NaN or infinity; remove it or project the photo again"
    )
  return ws


def _read_latent(file: File, num_ws: int, w_dim: int) -> np.ndarray:
  with file.reading() as opened:
    try:
      latent = latent_files.read(opened)
    except CheckpointError as error:
      raise AlbumError(f"{file.place}: {error}; replace or remove it") from None
  return check_latent(latent, file.place, num_ws, w_dim)


def labelled_photos(
  place: str,
  files: Mapping[str, File],
  num_ws: int | None,
  w_dim: int | None,
  convention: Sequence[str] = (),
) -> list[Photo]:
  """Combines files: each photo with its label, mask and latent."""
  labelled = _file_of_labels(files)
  labels_place = labelled.place if labelled else dataset_json.FILE_NAME
  images = [name for name in files if name.lower().endswith(EXTENSIONS)]
  labels = {}
  if labelled is not None:
    with labelled.reading() as opened:
      labels = with_names_of(
        dataset_json.parse(
          opened.read(json_files.MOST_BYTES + 1), labelled.place, convention
        ),
        images,
      )
  latents = _beside(files, (), latent_files.SUFFIXES, many=True)
  masks = _beside(files, labels, _endings(MASK_SUFFIX))
  marks = _beside(files, labels, _endings(MARKS_SUFFIX))
  aside = {file.place for file in (*masks.values(), *marks.values())}
  names = [name for name in images if files[name].place not in aside]
  if names and labelled is None:
    raise AlbumError(
      f"{place}: has no {dataset_json.FILE_NAME} with the cameras of its "
      f"{len(names)} photos; write it as EG3D's preprocessing does"
    )
  unlabelled = sorted(set(names) - set(labels))
  if unlabelled:
    raise AlbumError(
      f"{files[unlabelled[0]].place}: has no label in "
      f"{pathlib.PurePath(labels_place).name}{_and_more(unlabelled)}; add "
      "its camera or move the photo away"
    )
  absent = sorted(set(labels) - set(names)) if names else ()
  if absent:
    raise AlbumError(
      f"{labels_place}: has a label for "
      f"{absent[0]!r}, which is not there{_and_more(absent)}; add the photo "
      "or remove its label"
    )
  stems = {stem(name) for name in names}
  read_latents = num_ws is not None and w_dim is not None
  of_torch = _beside(files, (), latent_files.TORCH_SUFFIXES, many=True)
  for name in sorted(stems & (set(of_torch) - set(latents))):
    if read_latents:
      raise AlbumError(latent_files.convert_hint(of_torch[name].place))
  for kind, others in (
    ("mask", masks),
    ("marks image", marks),
    ("latent", latents),
  ):
    for other in sorted(set(others) - stems):
      raise AlbumError(
        f"{others[other].place}: is a {kind} without a photo: "
        f"there is no {other}.png, .jpg or .webp; remove it"
      )
  return [
    Photo(
      name=name,
      c=labels[name],
      image=files[name],
      mask=masks.get(stem(name)),
      marks=marks.get(stem(name)),
      ws=_read_latent(latents[stem(name)], num_ws, w_dim)
      if read_latents and stem(name) in latents
      else None,
    )
    for name in names
  ]


def _file_of_labels(files: Mapping[str, File]) -> File | None:
  return files.get(dataset_json.FILE_NAME) or files.get(TRANSFORMS_FILE)


def _endings(suffix: str) -> tuple[str, ...]:
  """The suffix, e.g. `_mask.png`, in all image formats."""
  return tuple(suffix.removesuffix(".png") + end for end in EXTENSIONS)


def _beside(
  files: Mapping[str, File],
  labels: Container[str],
  suffixes: Sequence[str],
  *,
  many: bool = False,
) -> dict[str, File]:
  """Files that belong to photos, by the photos' stems.

  Args:
    files: files by name.
    labels: labeled names, so that `me_with_mask.png` can be a photo.
    suffixes: ends of the files' names, lowercase.
    many: whether a photo may have several; the first suffix wins.

  Raises: AlbumError: a photo has two, and `many` is not set.
  """
  found: dict[str, File] = {}
  for suffix in suffixes:
    for name, file in files.items():
      if name.lower().endswith(suffix) and name not in labels:
        other = found.setdefault(name[: -len(suffix)], file)
        if other is not file and not many:
          raise AlbumError(
            f"{file.place}: is a second one beside {other.place}; keep one"
          )
  return found


def with_names_of(
  labels: Mapping[str, np.ndarray], images: Sequence[str]
) -> dict[str, np.ndarray]:
  """Labels by the photos' names in the album.

  Tools write the path that a photo had on their machine, and NeRF tools omit
  extensions.
  """
  known = set(images)
  by_stem = {}
  for name in images:
    by_stem.setdefault(stem(name), name)
  renamed = {}
  for name, label in labels.items():
    found = name
    if name not in known:
      parts = pathlib.PurePosixPath(name).parts
      tails = ["/".join(parts[i:]) for i in range(len(parts))]
      is_absolute = name.startswith("/") or name[1:2] == ":"
      for tail in tails if is_absolute else tails[:1]:
        if tail in known or tail in by_stem:
          found = tail if tail in known else by_stem[tail]
          break
    if found in renamed or found != name and found in labels:
      found = name
    renamed[found] = label
  return renamed


def _and_more(names: Sequence[str]) -> str:
  return f" (the first of {len(names)})" if len(names) > 1 else ""


def _is_hidden(parts: Sequence[str]) -> bool:
  """Whether it is `.DS_Store`, `__MACOSX/` or another hidden file."""
  return any(part.startswith(".") or is_system_file(part) for part in parts)


def _open_file(path: pathlib.Path) -> BinaryIO:
  # Opening a named pipe would block forever.
  if path.exists() and not path.is_file():
    raise AlbumError(f"{path}: is not a regular file")
  return open(path, "rb")


def folder_files(folder: pathlib.Path) -> dict[str, File]:
  """All files below a folder, by normalized relative name."""

  def fail(error):
    raise AlbumError(f"{error.filename}: cannot be read: {error.strerror}")

  files = {}
  for root, _, names in os.walk(folder, onerror=fail):
    for name in names:
      path = pathlib.Path(root, name)
      relative = path.relative_to(folder)
      if not _is_hidden(relative.parts):
        _add(
          files,
          dataset_json.normal_name(relative.as_posix()),
          File(str(path), functools.partial(_open_file, path)),
        )
  return files


def zip_files(path: pathlib.Path) -> dict[str, File]:
  """All files in a zip, by normalized name; a single outer folder is dropped.

  Raises: AlbumError: not a zip; damaged; a name that leads outside.
  """
  with failures_named(str(path)):
    with open(path, "rb") as file:
      if file.read(2) != b"PK":
        raise AlbumError(f"{path}: is neither a folder nor a zip")
    archive = zipfile.ZipFile(path)
    entries = zip_names.decoded(archive)
  files = {}
  for entry, name in entries:
    name = dataset_json.normal_name(name)
    place = f"{path}/{name}"
    parts = pathlib.PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or name[1:2] == ":":
      raise AlbumError(f"{place}: points outside the zip; do not trust it")
    if not name or name.endswith("/") or _is_hidden(parts):
      continue
    if entry.file_size > _MAX_FILE_BYTES:
      raise AlbumError(
        f"{place}: unpacks to {entry.file_size / 1e6:.0f} MB, "
        "which no photo needs; remove it"
      )
    _add(files, name, File(place, functools.partial(archive.open, entry)))
  top = {name.split("/")[0] for name in files}
  if len(top) == 1 and _file_of_labels(files) is None:
    prefix = f"{top.pop()}/"
    files = {name.removeprefix(prefix): file for name, file in files.items()}
  return files


def _add(files: dict[str, File], name: str, file: File):
  if name in files:
    raise AlbumError(f"{file.place}: the name appears twice; rename one")
  files[name] = file

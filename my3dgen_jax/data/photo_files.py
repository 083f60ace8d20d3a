"""Reads photos of any origin as arrays: upright, 8-bit RGB, sRGB.

    found = photo_files.find("holiday")
    photo = photo_files.read_photo(found.photos[0])
    photo.pixels                                    # [H, W, 3] uint8

Supports what cameras, phones, scanners and web sites produce: JPEG (also CMYK),
PNG, WebP, TIFF, BMP, GIF and JPEG 2000; AVIF with Pillow 11.3 or newer, HEIC
with pillow-heif. Only pixels are read: where and with what a photo was taken
stays in its file.
"""

import collections
import contextlib
import dataclasses
import io
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from my3dgen_jax.data.decoding import photo_formats
from my3dgen_jax.data.decoding.color_spaces import ColorSpace, HDR
from my3dgen_jax.errors import one_line, UserError
from my3dgen_jax.storage.files import is_system_file

EXTENSIONS = (
  ".jpg",
  ".jpeg",
  ".jpe",
  ".jfif",
  ".mpo",
  ".png",
  ".webp",
  ".avif",
  ".heic",
  ".heif",
  ".hif",  # Canon's and Sony's name
  ".tif",
  ".tiff",
  ".bmp",
  ".gif",
  ".jp2",
)
VIDEO_EXTENSIONS = (
  ".mp4",
  ".mov",
  ".m4v",
  ".avi",
  ".mkv",
  ".webm",
  ".3gp",
  ".mpg",
  ".mpeg",
  ".mts",
  ".m2ts",
  ".wmv",
)
# Raw formats of cameras: Canon, Nikon, Sony, Adobe, …
RAW_EXTENSIONS = (
  ".cr2",
  ".cr3",
  ".nef",
  ".arw",
  ".dng",
  ".raf",
  ".orf",
  ".rw2",
  ".pef",
  ".srw",
)
# Decoding takes half a gigabyte for a moment. Phones make 12 to 50 million;
# larger JPEGs are decoded at a half, a quarter or an eighth of the side.
MAX_PIXELS = 64_000_000
# Some formats need several times that memory during decoding.
_MAX_PIXELS = {"JPEG2000": 24_000_000, "WEBP": 36_000_000}
# Progressive JPEGs keep all coefficients in memory at once.
_WHOLE_PROGRESSIVE = 36_000_000

# Larger HDR photos are decoded to 8 bits: 16 would need twice the memory.
_WHOLE_HDR = 24_000_000

_FORMATS = ("PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF", "HEIF")
_SHRINK = (1, 2, 4, 8)
_ROWS = 256  # rows of a photo whose colors are converted at a time
_ORIENTATION = 0x0112
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
  """A photo as a viewer shows it.

  Attributes:
    pixels: [H, W, 3] uint8.
    shrunk: how many of the file's pixels, along a side, became one: 1, except
      for huge JPEGs.
  """

  pixels: np.ndarray
  shrunk: int = 1


@dataclasses.dataclass(frozen=True)
class Found:
  """Contents of a folder, by the files' names.

  Attributes:
    photos: photos, sorted by name.
    videos: videos, sorted by name.
    others: number of files that are neither.
    endings: number of those per extension, lowercase; "": none.
    unreadable: folders that could not be read, a line each.
  """

  photos: tuple[pathlib.Path, ...]
  videos: tuple[pathlib.Path, ...] = ()
  others: int = 0
  unreadable: tuple[str, ...] = ()
  endings: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def passed_over(self) -> str:
    """One line about the files that are neither; "": there are none."""
    if not self.others:
      return ""
    by_count = sorted(self.endings.items(), key=lambda item: (-item[1], item))
    kinds = [
      f"{count} {name or 'without extension'}" for name, count in by_count
    ]
    more = f", and {len(kinds) - 5} other extensions" if len(kinds) > 5 else ""
    raw = any(name in RAW_EXTENSIONS for name in self.endings)
    return (
      f"{self.others} other files skipped ({', '.join(kinds[:5])}{more})"
      + "; export raw photos as JPEG" * raw
    )


def find(
  place: str | os.PathLike, *, without: str | os.PathLike | None = None
) -> Found:
  """Finds photos and videos in a folder and below, or takes one file.

  Hidden files and folders are skipped, and so are links to folders.

  Args:
    place: a folder, or one photo or video.
    without: a folder to skip, wherever it is.

  Raises: UserError: there is no such folder or file.
  """
  place = pathlib.Path(place).expanduser()
  if place.is_dir():
    unreadable: list[str] = []
    paths = []
    passed = (
      None if without is None else pathlib.Path(without).expanduser().resolve()
    )
    for root, folders, names in os.walk(
      place, onerror=lambda error: unreadable.append(one_line(error))
    ):
      folders[:] = sorted(
        name
        for name in folders
        if not _is_hidden(name) and pathlib.Path(root, name).resolve() != passed
      )
      paths += [
        pathlib.Path(root, name) for name in names if not _is_hidden(name)
      ]
    paths.sort(key=lambda path: path.relative_to(place).parts)
  elif place.exists():
    paths, unreadable = [place], []
  else:
    raise UserError(f"{place}: no such folder, photo or video")
  photos = tuple(path for path in paths if path.suffix.lower() in EXTENSIONS)
  videos = tuple(
    path for path in paths if path.suffix.lower() in VIDEO_EXTENSIONS
  )
  known = {*photos, *videos}
  others = [path for path in paths if path not in known]
  return Found(
    photos,
    videos,
    len(others),
    tuple(unreadable),
    collections.Counter(path.suffix.lower() for path in others),
  )


def _is_hidden(name: str) -> bool:
  """Whether a name is one that is not meant as a photo."""
  return name.startswith(".") or is_system_file(name)


def read_photo(path: str | os.PathLike) -> Photo:
  """Reads a photo as a viewer shows it.

  It is rotated as its EXIF says and converted to sRGB by its profile, or by
  other color information (HEIC's and AVIF's nclx, PNG's cICP, gAMA and cHRM),
  including HDR; transparency is over white; of several pages the first is
  read.

  Args:
    path: the file.

  Raises: UserError: it cannot be read, is damaged, truncated or not a photo,
    has more than `MAX_PIXELS`, or needs a library that is missing; names the
    file and the reason.
  """
  path = pathlib.Path(path)
  with warnings.catch_warnings(), _failures_named(path):
    # Pillow warns about large photos and odd EXIF; the first are refused below.
    warnings.simplefilter("ignore")
    pixels, orientation, shrunk = _decoded(path)
    return Photo(_upright(pixels, orientation), shrunk)


def _decoded(path: pathlib.Path) -> tuple[np.ndarray, int, int]:
  """A photo as stored in the file, EXIF's orientation, and `Photo.shrunk`."""
  with _opened(path) as image:
    if image.mode == "F":
      raise UserError(f"{path}: has 32 bits per pixel; save it with 8 or 16")
    if image.format == "JPEG":
      photo_formats.check_scans(path)
    shrunk = _fit(image, path)
    space = photo_formats.color_space(image, path)
    hdr = space is not None and space.transfer in HDR
    small = image.width * image.height <= _WHOLE_HDR
    if image.format == "HEIF" and hdr and small:
      pixels = _hdr_heif(path, space)
    elif photo_formats.has_wide_planes(image):
      whole = photo_formats.read_wide_planes(image, path)
      pixels = _eight_bit_srgb(whole, path, space)
    else:
      image.load()
      pixels = _eight_bit_srgb(image, path, space)
    # Not before: TIFFs are rotated while they are loaded.
    return pixels, _orientation(image), shrunk


@contextlib.contextmanager
def _failures_named(path: pathlib.Path) -> Iterator[None]:
  """Converts any failure inside to a one-line UserError about the file."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  try:
    yield
  except UserError:
    raise
  except Image.UnidentifiedImageError:
    raise photo_formats.unknown(path) from None
  except Image.DecompressionBombError:
    raise _too_large(path) from None
  except MemoryError:
    raise UserError(f"{path}: does not fit into memory") from None
  # Pillow raises a dozen types of errors for damaged files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = (
      getattr(error, "strerror", None) or str(error) or type(error).__name__
    )
    if "truncated" in reason:
      reason = "is truncated"
    raise UserError(
      f"{path}: cannot be read: " + " ".join(reason.split())
    ) from None


def _opened(path: pathlib.Path) -> Any:
  """Opens an image and reads only its header."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image, JpegImagePlugin

  if path.exists() and not path.is_file():  # a named pipe would block forever
    raise UserError(f"{path}: is not a regular file")
  with open(path, "rb") as file:
    head = file.read(32)
  if not head:
    raise UserError(f"{path}: is empty")
  if head.startswith(photo_formats.JPEG):
    # Directly: `Image.open` refuses large ones, which are shrunk here, and
    # takes those with a second image inside for another format.
    return JpegImagePlugin.JpegImageFile(path)
  brand = photo_formats.brand(head)
  if brand in photo_formats.HEIF_BRANDS:
    photo_formats.pillow_heif(path).register_heif_opener()
  Image.init()
  if brand in photo_formats.AVIF_BRANDS and "AVIF" not in Image.OPEN:
    raise UserError(f"{path}: AVIF needs Pillow 11.3 or newer")
  return Image.open(
    path, formats=[name for name in _FORMATS if name in Image.OPEN]
  )


def _fit(image: Any, path: pathlib.Path) -> int:
  """Has an image decoded smaller if it is too large; returns the factor.

  Raises: UserError: that is not possible.
  """
  width, height = image.size
  limit = _MAX_PIXELS.get(image.format, MAX_PIXELS)
  whole = limit
  if image.format == "JPEG":
    if "progressive" in image.info:  # kept whole during decoding
      whole = min(limit, _WHOLE_PROGRESSIVE)
    else:
      limit *= _SHRINK[-1] ** 2
  if width * height <= limit:
    for shrunk in _SHRINK if image.format == "JPEG" else _SHRINK[:1]:
      if width * height <= whole * shrunk**2:
        if shrunk > 1:
          image.draft(None, (width // shrunk, height // shrunk))
        return shrunk
  raise _too_large(path, f", {width} x {height}", whole)


def _too_large(path: pathlib.Path, size: str = "", limit: int = 0) -> UserError:
  return UserError(
    f"{path}: has too many pixels{size}; make it smaller, to "
    f"at most {(limit or MAX_PIXELS) // 10**6} million"
  )


def _orientation(image: Any) -> int:
  """EXIF's orientation: 1 is upright."""
  try:
    return int(image.getexif().get(_ORIENTATION, 1))
  # Damaged EXIF can raise anything; the pixels are still there.
  except Exception:  # pylint: disable=broad-exception-caught
    return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
  """Rotates and mirrors [H, W, 3] as EXIF says."""
  if orientation in (5, 6, 7, 8):
    pixels = pixels.swapaxes(0, 1)
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  if orientation in (2, 3, 6, 7):
    pixels = pixels[:, ::-1]
  return np.ascontiguousarray(pixels)


def _hdr_heif(path: pathlib.Path, space: ColorSpace) -> np.ndarray:
  """Reads HEIC with all its bits: 8 would be too few for tone mapping."""
  image = photo_formats.pillow_heif(path).open_heif(
    path, convert_hdr_to_8bit=False
  )
  return space.to_srgb(np.asarray(image)[..., :3])


def _eight_bit_srgb(
  image: Any, path: pathlib.Path, space: ColorSpace | None
) -> np.ndarray:
  """Brings any mode to 8-bit sRGB, [H, W, 3], some rows at a time."""
  width, height = image.size
  result = np.empty((height, width, 3), np.uint8)
  transform = None
  for top in range(0, height, _ROWS):
    bottom = min(height, top + _ROWS)
    rows = _eight_bits(image.crop((0, top, width, bottom)), image, path)
    if not top:
      transform = _profile_transform(rows, image.info.get("icc_profile"))
    if transform:
      rows = transform.apply(rows)
    rows = np.asarray(rows.convert("RGB"))
    result[top:bottom] = space.to_srgb(rows) if space else rows
  return result


def _eight_bits(rows: Any, whole: Any, path: pathlib.Path) -> Any:
  """Converts any mode to L, RGB or CMYK."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  if rows.mode == "I" or rows.mode.startswith("I;16"):
    values = np.asarray(rows).astype(np.int64)
    last, inverted = photo_formats.tiff_white(whole, path)
    if values.min() < 0 or values.max() > last:
      raise UserError(f"{path}: has 32 bits per pixel; save it with 8 or 16")
    grey = ((values * 255 + last // 2) // last).astype(np.uint8)
    return Image.fromarray(~grey if inverted else grey)
  if rows.mode in _TRANSPARENT or "transparency" in whole.info:
    over = rows.convert("RGBA")
    return Image.alpha_composite(
      Image.new("RGBA", over.size, "white"), over
    ).convert("RGB")
  if rows.mode not in ("L", "RGB", "CMYK"):
    return rows.convert("L" if rows.mode == "1" else "RGB")
  return rows


def _profile_transform(image: Any, profile: bytes | None) -> Any:
  """The transform from L, RGB or CMYK to sRGB; None: not needed."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import ImageCms

  if not profile:
    return None
  try:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    if "sRGB" in ImageCms.getProfileDescription(source):
      return None
    return ImageCms.buildTransform(
      source, ImageCms.createProfile("sRGB"), image.mode, "RGB"
    )
  # A profile that is damaged, or for another kind of image.
  except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
    return None

"""Anybody's photos as arrays: upright, 8-bit RGB, sRGB.

    found = photo_files.find("holiday")
    photo = photo_files.read_photo(found.photos[0])
    photo.pixels                                    # [H, W, 3] uint8

What a camera, a phone, a scanner or a web site leaves: JPEG (also CMYK),
PNG, WebP, TIFF, BMP, GIF and JPEG 2000; AVIF where Pillow is 11.3 or newer,
HEIC where pillow-heif is installed. Nothing but pixels comes out: where and
by what a photo was taken stays in its file.
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
  ".hif",  # as Canon and Sony call it
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
# What cameras keep before it is a picture: Canon, Nikon, Sony, Adobe, …
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
# Decoded, that is half a gigabyte for a moment. Phones make 12 to 50 million;
# from larger JPEGs a half, a quarter or an eighth of the side is decoded.
MAX_PIXELS = 64_000_000

_FORMATS = ("PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "AVIF", "HEIF")
_JPEG = b"\xff\xd8\xff"
_SHRINK = (1, 2, 4, 8)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")
_TRANSPARENT = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclasses.dataclass(frozen=True, eq=False)
class Photo:
  """A photo as it is looked at.

  Attributes:
    pixels: [H, W, 3] uint8.
    shrunk: how many of the file's pixels, along a side, became one: 1, but
      for huge JPEGs.
  """

  pixels: np.ndarray
  shrunk: int = 1


@dataclasses.dataclass(frozen=True)
class Found:
  """What a folder holds, by the files' names.

  Attributes:
    photos: in the order of their names.
    videos: likewise.
    others: how many files are neither.
    endings: how many of those have each ending, in small letters; "": none.
    unreadable: what folders could not be looked into, a line each.
  """

  photos: tuple[pathlib.Path, ...]
  videos: tuple[pathlib.Path, ...] = ()
  others: int = 0
  unreadable: tuple[str, ...] = ()
  endings: Mapping[str, int] = dataclasses.field(default_factory=dict)

  def passed_over(self) -> str:
    """What is neither, as one line says it; "": there is nothing."""
    if not self.others:
      return ""
    by_count = sorted(self.endings.items(), key=lambda item: (-item[1], item))
    kinds = [f"{count} {name or 'without ending'}" for name, count in by_count]
    more = f", and {len(kinds) - 5} other endings" if len(kinds) > 5 else ""
    raw = any(name in RAW_EXTENSIONS for name in self.endings)
    return (
      f"{self.others} other files passed over ({', '.join(kinds[:5])}{more})"
      + "; export raw photos as JPEG" * raw
    )


def find(
  place: str | os.PathLike, *, without: str | os.PathLike | None = None
) -> Found:
  """Looks for photos and videos in a folder and all below; or takes a file.

  Hidden files and folders are passed over, links to folders, too.

  Args:
    place: a folder, or one photo or video.
    without: a folder that is passed over, wherever it is.

  Raises: UserError: there is no such thing.
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
  """What nobody means as a photo."""
  return name.startswith(".") or is_system_file(name)


def read_photo(path: str | os.PathLike) -> Photo:
  """Reads a photo as a viewer shows it.

  Turned as its EXIF says, with its colors brought to sRGB by the profile in
  it; transparent parts lie over white; of several pages it is the first.

  Args:
    path: the file.

  Raises: UserError, which names the file and says why: it cannot be read, is
    damaged, cut off or no photo, has more than `MAX_PIXELS`, or needs a
    library that is missing.
  """
  path = pathlib.Path(path)
  with _failures_named(path), warnings.catch_warnings():
    # Pillow warns of large photos and odd EXIF; the first are refused below.
    warnings.simplefilter("ignore")
    with _opened(path) as image:
      shrunk = _fit(image, path)
      image.load()
      _turn_upright(image)
      return Photo(np.array(_srgb(_eight_bits(image, path))), shrunk)


@contextlib.contextmanager
def _failures_named(path: pathlib.Path) -> Iterator[None]:
  """Whatever fails inside is a UserError of one line about the file."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  try:
    yield
  except UserError:
    raise
  except Image.UnidentifiedImageError:
    raise UserError(
      f"{path}: is damaged, or no photo whatever its name says"
    ) from None
  except Image.DecompressionBombError:
    raise _too_large(path) from None
  except MemoryError:
    raise UserError(f"{path}: does not fit into the memory") from None
  # Pillow raises a good dozen types for damaged files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = (
      getattr(error, "strerror", None) or str(error) or type(error).__name__
    )
    if "truncated" in reason:
      reason = "is cut off"
    raise UserError(
      f"{path}: cannot be read: " + " ".join(reason.split())
    ) from None


def _opened(path: pathlib.Path) -> Any:
  """The image, of which only the header is read."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image, JpegImagePlugin

  if path.exists() and not path.is_file():  # a named pipe would wait for ever
    raise UserError(f"{path}: is no ordinary file")
  with open(path, "rb") as file:
    head = file.read(32)
  if not head:
    raise UserError(f"{path}: is empty")
  if head.startswith(_JPEG):
    # Directly: `Image.open` refuses large ones, which are shrunk here, and
    # takes those with a second picture inside for something else.
    return JpegImagePlugin.JpegImageFile(path)
  brand = head[8:12] if head[4:8] == b"ftyp" else b""
  if brand in _HEIF_BRANDS:
    _register_heif(path)
  Image.init()
  if brand in _AVIF_BRANDS and "AVIF" not in Image.OPEN:
    raise UserError(f"{path}: AVIF needs Pillow 11.3 or newer")
  return Image.open(
    path, formats=[name for name in _FORMATS if name in Image.OPEN]
  )


def _register_heif(path: pathlib.Path):
  try:
    # pylint: disable-next=import-outside-toplevel
    import pillow_heif
  except ImportError:
    raise UserError(
      f'{path}: HEIC needs pillow-heif: pip install ".[prepare]"'
    ) from None
  pillow_heif.register_heif_opener()


def _fit(image: Any, path: pathlib.Path) -> int:
  """Has an image decoded smaller, if it is too large; by how much, per side.

  Raises: UserError: that is not possible.
  """
  width, height = image.size
  # Progressive JPEGs are kept whole while they are decoded.
  can_shrink = image.format == "JPEG" and "progressive" not in image.info
  for shrunk in _SHRINK if can_shrink else _SHRINK[:1]:
    if width * height <= MAX_PIXELS * shrunk**2:
      if shrunk > 1:
        image.draft(None, (width // shrunk, height // shrunk))
      return shrunk
  raise _too_large(path, f", {width} x {height}")


def _too_large(path: pathlib.Path, size: str = "") -> UserError:
  return UserError(
    f"{path}: has too many pixels{size}; make it smaller, to "
    f"at most {MAX_PIXELS // 10**6} million"
  )


def _turn_upright(image: Any):
  # pylint: disable-next=import-outside-toplevel
  from PIL import ImageOps

  try:
    ImageOps.exif_transpose(image, in_place=True)
  # Whatever damaged EXIF leads to; the pixels are there.
  except Exception:  # pylint: disable=broad-exception-caught
    pass


def _eight_bits(image: Any, path: pathlib.Path) -> Any:
  """Brings any mode to L, RGB or CMYK, with the profile still in it."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  profile = image.info.get("icc_profile")
  if image.mode == "I" or image.mode.startswith("I;16"):
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
      raise UserError(f"{path}: has 32 bits a pixel; save it with 8 or 16")
    image = Image.fromarray(((values + 128) // 257).astype(np.uint8))
  elif image.mode == "F":
    raise UserError(f"{path}: has 32 bits a pixel; save it with 8 or 16")
  elif image.mode in _TRANSPARENT or "transparency" in image.info:
    over = image.convert("RGBA")
    image = Image.alpha_composite(
      Image.new("RGBA", over.size, "white"), over
    ).convert("RGB")
  elif image.mode not in ("L", "RGB", "CMYK"):
    image = image.convert("L" if image.mode == "1" else "RGB")
  if profile:
    image.info["icc_profile"] = profile
  return image


def _srgb(image: Any) -> Any:
  """Any of L, RGB and CMYK as RGB that screens show rightly."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import ImageCms

  profile = image.info.get("icc_profile")
  if profile:
    try:
      source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
      if "sRGB" not in ImageCms.getProfileDescription(source):
        return ImageCms.profileToProfile(
          image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    # A profile that is damaged, or of another kind of image.
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
      pass
  return image.convert("RGB")

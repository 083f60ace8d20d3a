"""Recognizes photo formats, and reads their headers before decoding.

Pillow decodes; this file covers what it does not report, or gets wrong: the
number of scans in a JPEG, the colors of AVIF and PNG, TIFF's 16-bit planes, and
the kind of a file that it does not know.
"""

import importlib
import mmap
import os
import pathlib
import re
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from my3dgen_jax.data.decoding import color_spaces
from my3dgen_jax.data.decoding.color_spaces import ColorSpace
from my3dgen_jax.errors import one_line, UserError, without_package

JPEG = b"\xff\xd8\xff"
HEIF_BRANDS = (
  *(b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"),
  *(b"mif1", b"mif2", b"msf1", b"miaf", b"avci", b"avcs", b"jpeg", b"j2ki"),
)
AVIF_BRANDS = (b"avif", b"avis")
PNG = b"\x89PNG\r\n\x1a\n"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# A progressive JPEG is decoded once more for each scan: cameras and web sites
# make 3 to 12, and no more than one per coefficient bit is useful.
MAX_SCANS = 100
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # ends a scan's data
_SCAN, _END, _NO_LENGTH = 0xDA, 0xD9, (0x01, *range(0xD0, 0xD9))

_SAVE_AS = "; save it as JPEG or PNG"
_VIDEO = "is a video despite its name; give it a video's extension"
_RAW = "is a raw photo; export it as JPEG"
# How unsupported files begin, and the message about them.
_OTHERS = (
  (rb"\xff\x0a|\x00\x00\x00\x0cJXL ", "is JPEG XL, not read here" + _SAVE_AS),
  (rb"....ftypcrx|FUJIFILMCCD-RAW", _RAW),
  (rb"II[*]\x00\x10\x00\x00\x00CR|IIRO|IIU\x00", _RAW),
  (rb"....ftyp(isom|iso\d|mp4\d|avc1|qt  |M4V|3gp|dash)", _VIDEO),
  (rb"\x1aE\xdf\xa3|RIFF....AVI ", _VIDEO),
  (rb"%PDF", "is a PDF" + _SAVE_AS),
  (rb"8BPS|8BPB", "is a Photoshop file" + _SAVE_AS),
  (rb"v/1\x01|#[?]RADIANCE|#[?]RGBE", "is an EXR or HDR file" + _SAVE_AS),
  (rb"\s*(<[?]xml|<svg)", "is an SVG drawing, or XML; save it as PNG"),
  (rb"(?i)\s*(<!doctype html|<html)", "is a web page; save the photo in it"),
  (rb"\x00\x00\x01\x00", "is an icon" + _SAVE_AS),
  (rb"P[1-7]\s", "is a PNM file" + _SAVE_AS),
  (rb"BPG\xfb", "is BPG, not read here" + _SAVE_AS),
)

# TIFF's tags.
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES = 256, 257, 258, 262, 277
_PLANES, _TILE_WIDTH, _NUMBER_KIND = 284, 322, 339
_KINDS = {1: "whole numbers", 2: "signed numbers", 3: "floating point"}


def brand(head: bytes) -> bytes:
  """The first brand of a file in boxes (HEIC, AVIF, MP4), or b""."""
  return head[8:12] if head[4:8] == b"ftyp" else b""


def pillow_heif(path: pathlib.Path) -> Any:
  """The library that reads HEIC.

  Raises: UserError: it is missing; names the file.
  """
  try:
    return importlib.import_module("pillow_heif")
  except ImportError as error:
    raise without_package(
      error,
      "pillow-heif",
      f'{path}: HEIC needs pillow-heif: pip install ".[prepare]"',
    ) from None


def unknown(path: pathlib.Path) -> UserError:
  """An error that says what a file is, if no reader knows it."""
  with open(path, "rb") as file:
    head = file.read(64)
  for start, what in _OTHERS:
    if re.match(start, head, re.DOTALL):
      return UserError(f"{path}: {what}")
  if head.startswith(TIFF):
    return UserError(f"{path}: {_unknown_tiff(path)}")
  if brand(head) in HEIF_BRANDS:
    return UserError(f"{path}: {_unknown_heif(path)}")
  return UserError(f"{path}: is damaged, or not a photo despite its name")


def _unknown_heif(path: pathlib.Path) -> str:
  try:
    pillow_heif(path).open_heif(path)
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = one_line(error)
    if "nsupported" in reason:
      return f"is HEIF of a kind that cannot be read here ({reason}){_SAVE_AS}"
    return f"is damaged: {reason}"
  return "is HEIF of a kind that cannot be read here" + _SAVE_AS


def _unknown_tiff(path: pathlib.Path) -> str:
  # pylint: disable-next=import-outside-toplevel
  from PIL import TiffImagePlugin

  try:
    with open(path, "rb") as file:
      head = file.read(8)
      if head[2] == 43:
        head += file.read(8)
      tags = TiffImagePlugin.ImageFileDirectory_v2(head)
      file.seek(tags.next)
      tags.load(file)
    bits = tags.get(_BITS, (1,))
    kind = tags.get(_NUMBER_KIND, (1,))[0]
    samples, _ = tags.get(_SAMPLES, len(bits)), tags[_WIDTH]
  except Exception:  # pylint: disable=broad-exception-caught
    return "is damaged, or not a photo despite its name"
  return (
    f"is a TIFF of a kind that cannot be read here ({samples} x {bits[0]} "
    f"bits, {_KINDS.get(kind, 'numbers of an unknown kind')}); save it with "
    "8 or 16 bits per channel"
  )


def check_scans(path: pathlib.Path):
  """Scans a JPEG's markers, without decoding anything.

  Raises: UserError: it has more than `MAX_SCANS` scans.
  """
  with (
    open(path, "rb") as file,
    mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
  ):
    scans, place = 0, 2
    while marker := _MARKER.search(data, place):
      code, place = data[marker.start() + 1], marker.end()
      if code == _END:
        break
      if code in _NO_LENGTH:
        continue
      place += int.from_bytes(data[place : place + 2], "big")
      scans += code == _SCAN
      if scans > MAX_SCANS:
        raise UserError(
          f"{path}: has more than {MAX_SCANS} scans, which would take minutes "
          "to decode; save it again"
        )


def color_space(image: Any, path: pathlib.Path) -> ColorSpace | None:
  """A photo's color space, if it has no ICC profile.

  Args:
    image: the image as Pillow opened it.
    path: its file.

  Returns: the color space; None: sRGB, or an ICC profile applies.
  Raises: UserError: the color space is not supported.
  """
  codes = None
  if image.format == "PNG":
    chunks = dict(_png_chunks(path))
    if b"cICP" in chunks:  # takes precedence over a profile
      codes = tuple(chunks[b"cICP"][:2])
      image.info.pop("icc_profile", None)
    elif not {"icc_profile", "srgb"} & image.info.keys():
      return _png_gamma(image.info)
  elif image.info.get("icc_profile"):
    return None
  elif image.format == "HEIF":
    nclx = image.info.get("nclx_profile") or {}
    codes = tuple(
      nclx.get(name, 2)
      for name in ("color_primaries", "transfer_characteristics")
    )
  elif image.format == "AVIF":
    codes = _nclx(path)
  if codes is None:
    return None
  try:
    return color_spaces.of_codes(primaries=codes[0], transfer=codes[1])
  except UserError as error:
    raise UserError(f"{path}: {error}") from None


def _png_chunks(path: pathlib.Path) -> Iterator[tuple[bytes, bytes]]:
  """Yields the small chunks before the pixels."""
  with open(path, "rb") as file:
    file.seek(len(PNG))
    while len(head := file.read(8)) == 8:
      length, name = struct.unpack(">I4s", head)
      if name in (b"IDAT", b"IEND"):
        break
      if length <= 64:
        yield name, file.read(length)
        file.seek(4, os.SEEK_CUR)
      else:
        file.seek(length + 4, os.SEEK_CUR)


def _png_gamma(info: dict[str, Any]) -> ColorSpace | None:
  """The color space of gAMA and cHRM, as browsers interpret them."""
  encoding, points = info.get("gamma"), info.get("chromaticity")
  plain = ColorSpace()
  gamma = 1 / encoding if encoding and 0.2 < encoding < 5 else 0.0
  if abs(gamma - 2.2) < 0.02:  # the usual approximation of sRGB
    gamma = 0.0
  primaries = plain.primaries
  if points and len(points) == 8:
    white, *colors = zip(points[::2], points[1::2])
    told = (*colors, white)
    if all(0 < y <= x + y <= 1 for x, y in told) and (
      np.abs(np.subtract(told, primaries)).max() > 0.005
    ):
      primaries = told
  if not gamma and primaries == plain.primaries:
    return None
  return ColorSpace(primaries, 0 if gamma else plain.transfer, gamma)


def _nclx(path: pathlib.Path) -> tuple[int, int] | None:
  """Primaries and transfer function of AVIF's first "nclx" property."""
  with open(path, "rb") as file:
    data = file.read(1 << 20)  # an image's properties come before it
  for meta in _boxes(data, b"meta"):
    for iprp in _boxes(meta[4:], b"iprp"):
      for ipco in _boxes(iprp, b"ipco"):
        for colr in _boxes(ipco, b"colr"):
          if colr[:4] == b"nclx" and len(colr) >= 8:
            return struct.unpack(">HH", colr[4:8])
  return None


def _boxes(data: bytes, name: bytes) -> Iterator[bytes]:
  """Yields the contents of boxes with a name (ISO/IEC 14496-12)."""
  place = 0
  while place + 8 <= len(data):
    size, kind = struct.unpack(">I4s", data[place : place + 8])
    if size < 8:  # extends to the end, or is longer than anything here
      size = len(data) - place
    if kind == name:
      yield data[place + 8 : place + size]
    place += size


def tiff_white(image: Any, path: pathlib.Path) -> tuple[int, bool]:
  """How to read a photo with one channel of more than 8 bits.

  Returns: its largest number, and whether that is black instead of white.
  Raises: UserError: its numbers do not define a brightness.
  """
  tags = getattr(image, "tag_v2", {})
  bits = tags.get(_BITS, (16,))[0]
  if tags.get(_NUMBER_KIND, (1,))[0] == 2 and bits <= 16:
    raise UserError(f"{path}: has signed numbers; save it with 8 or 16 bits")
  return (1 << min(bits, 16)) - 1, tags.get(_PHOTOMETRIC) == 0


def has_wide_planes(image: Any) -> bool:
  """Whether Pillow would garble a TIFF: uncompressed 16-bit channels, stored
  one after the other, which it reads as 8 bits."""
  tags = getattr(image, "tag_v2", {})
  return (
    tags.get(_PLANES) == 2
    and tags.get(_SAMPLES, 1) > 1
    and max(tags.get(_BITS, (8,))) == 16
    and all(tile[0] == "raw" for tile in image.tile)
  )


def read_wide_planes(image: Any, path: pathlib.Path) -> Any:
  """Reads a photo of `has_wide_planes`, with 8 bits per channel.

  Raises: UserError: it is truncated, or has other channels than a photo.
  """
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  tags = image.tag_v2
  width, height, samples = tags[_WIDTH], tags[_HEIGHT], tags[_SAMPLES]
  stride = tags.get(_TILE_WIDTH, width)
  channels = len(image.getbands())
  if channels > samples:
    raise UserError(f"{path}: has {samples} channels; save it as RGB")
  pixels = np.zeros((height, width, channels), np.uint8)
  each = len(image.tile) // samples
  with open(path, "rb") as file:
    for n, tile in enumerate(image.tile[: each * channels]):
      (left, top, right, bottom), offset = tile[1:3]
      count = (bottom - top) * stride
      file.seek(offset)
      values = np.frombuffer(
        file.read(2 * count), "<u2" if tags.prefix == b"II" else ">u2"
      )
      if len(values) < count:
        raise UserError(f"{path}: cannot be read: is truncated")
      values = values.reshape(bottom - top, stride)[:, : right - left]
      pixels[top:bottom, left:right, n // each] = values >> 8
  result = Image.frombytes(image.mode, (width, height), pixels.tobytes())
  result.info.update(image.info)
  return result

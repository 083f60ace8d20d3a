"""Fonts for text on images, in any script."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# System fonts by file name, those that cover most scripts first. Pillow knows
# where the system keeps them.
_FONTS = (
  "NotoSansCJK-Regular.ttc",
  "NotoSansCJKsc-Regular.otf",
  "Arial Unicode.ttf",
  "PingFang.ttc",
  "Hiragino Sans GB.ttc",
  "AppleSDGothicNeo.ttc",
  "msyh.ttc",
  "msgothic.ttc",
  "malgun.ttf",
  "wqy-zenhei.ttc",
  "segoeui.ttf",
  "NotoSans-Regular.ttf",
  "NotoSansArabic-Regular.ttf",
  "NotoSansThai-Regular.ttf",
  "NotoSansDevanagari-Regular.ttf",
  "unifont.otf",
  "DejaVuSans.ttf",
)
_NOBODY_S = "\U0010ffff"  # in no font: shows what is drawn for missing glyphs


def font_for(text: str, size: int) -> Font:
  """A font that has a text's letters.

  Args:
    text: the text to be written.
    size: size, pixels.

  Returns: the first of Pillow's own and the system's that has most of them.
  """
  own = _own(size)
  if text.isascii():
    return own
  letters = "".join(sorted(set(text)))
  return max(_all(size), key=lambda font: _count(font, letters))


@functools.cache
def _own(size: int) -> Font:
  return ImageFont.load_default(size)


@functools.cache
def _all(size: int) -> tuple[Font, ...]:
  found = [_own(size)]
  for name in _FONTS:
    try:
      found.append(ImageFont.truetype(name, size))
    except OSError:  # this system does not have it
      continue
  return tuple(found)


@functools.lru_cache(maxsize=256)
def _count(font: Font, letters: str) -> int:
  """How many letters a font draws, other than as missing glyphs."""
  missing = _drawn(font, _NOBODY_S)
  return sum(
    not np.array_equal(_drawn(font, letter), missing) for letter in letters
  )


def _drawn(font: Font, letter: str) -> np.ndarray:
  image = Image.new("L", (64, 64))
  ImageDraw.Draw(image).text((8, 8), letter, 255, font)
  return np.asarray(image)

"""Pictures of many photos, to be looked through at a glance."""

import dataclasses
import os
import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from my3dgen_jax.data import images
from my3dgen_jax.data.fonts import font_for

_COLUMNS = 8
_SIDE = 160  # of a tile, pixels
_LINES = 3
_FONT = 12
_LINE_HEIGHT = 14
_LETTERS = 26  # in a line
_GAP = 4
_PAGE = 240  # tiles; more would be no glance


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
  """One photo of a sheet.

  Attributes:
    image: [H, W, 3] uint8 of any size, or None: a grey square.
    title: e.g. its name; shortened where it is too long.
    text: up to two lines under it, broken where that is needed.
    color: of the text.
  """

  image: np.ndarray | None
  title: str
  text: str = ""
  color: str = "black"


def write(
  folder: str | os.PathLike, name: str, tiles: Sequence[Tile]
) -> list[str]:
  """Writes `NAME.png` and, of many photos, `NAME_2.png` and so on.

  Args:
    folder: it is there.
    name: without its extension.
    tiles: in their order.

  Returns: the files' names; none where there is no photo.
  Raises: OSError if the folder cannot be written.
  """
  names = []
  for start in range(0, len(tiles), _PAGE):
    number = start // _PAGE + 1
    names.append(f"{name}.png" if number == 1 else f"{name}_{number}.png")
    images.write_png(
      pathlib.Path(folder) / names[-1], sheet(tiles[start : start + _PAGE])
    )
  return names


def sheet(tiles: Sequence[Tile]) -> np.ndarray:
  """All tiles in rows, [H, W, 3] uint8."""
  columns = min(_COLUMNS, len(tiles))
  width = _SIDE + _GAP
  height = _SIDE + _LINES * _LINE_HEIGHT + _GAP
  page = Image.new(
    "RGB",
    (columns * width + _GAP, -(-len(tiles) // columns) * height + _GAP),
    "white",
  )
  draw = ImageDraw.Draw(page)
  for i, tile in enumerate(tiles):
    left = i % columns * width + _GAP
    top = i // columns * height + _GAP
    page.paste("lightgrey", (left, top, left + _SIDE, top + _SIDE))
    if tile.image is not None:
      image = Image.fromarray(small(tile.image))
      page.paste(
        image,
        (left + (_SIDE - image.width) // 2, top + (_SIDE - image.height) // 2),
      )
    lines = [
      _shortened(tile.title),
      *textwrap.wrap(
        tile.text, _LETTERS, max_lines=_LINES - 1, placeholder=" …"
      ),
    ]
    for n, line in enumerate(lines):
      draw.text(
        (left, top + _SIDE + n * _LINE_HEIGHT),
        line,
        tile.color,
        font_for(line, _FONT),
      )
  return np.asarray(page)


def small(image: np.ndarray) -> np.ndarray:
  """A photo as sheets show it: of many, only this need be in memory.

  Args:
    image: [H, W, 3] uint8.

  Returns: of the same shape, at most 160 pixels along a side; what is as
    small already is as it was.
  """
  result = Image.fromarray(image)
  result.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
  return np.asarray(result)


def _shortened(title: str) -> str:
  """The end says more than the beginning: names are numbered there."""
  return title if len(title) <= _LETTERS else "…" + title[1 - _LETTERS :]

"""Contact sheets of many photos."""

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
_SIDE = 160  # side of a tile, pixels
_LINES = 3
_FONT = 12
_LINE_HEIGHT = 14
_LETTERS = 26  # characters per line
_GAP = 4
_PAGE = 240  # tiles per page


@dataclasses.dataclass(frozen=True, eq=False)
class Tile:
  """One photo of a sheet.

  Attributes:
    image: [H, W, 3] uint8 of any size; None: a gray square.
    title: a title, e.g. the photo's name; shortened if too long.
    text: up to two lines below it, wrapped if needed.
    color: the text's color.
  """

  image: np.ndarray | None
  title: str
  text: str = ""
  color: str = "black"


def write(
  folder: str | os.PathLike, name: str, tiles: Sequence[Tile]
) -> list[str]:
  """Writes `NAME.png` and, for many photos, `NAME_2.png`, …

  Args:
    folder: an existing folder.
    name: the file's name, without its extension.
    tiles: the tiles, in order.

  Returns: the files' names; none if there are no photos.
  Raises: OSError: the folder cannot be written.
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
  """A photo at a sheet's size, so that many fit in memory.

  Args:
    image: [H, W, 3] uint8.

  Returns: [h, w, 3] uint8, at most 160 pixels along a side; smaller images are
    unchanged.
  """
  result = Image.fromarray(image)
  result.thumbnail((_SIDE, _SIDE), Image.Resampling.BICUBIC)
  return np.asarray(result)


def _shortened(title: str) -> str:
  """Shortens a title at its start: names are numbered at their end."""
  return title if len(title) <= _LETTERS else "…" + title[1 - _LETTERS :]

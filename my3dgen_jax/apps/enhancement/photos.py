"""Photos of any size, in colours or grey, as enhancing takes them."""

import functools
import io
import json
import os
import pathlib
from typing import BinaryIO, Optional, Union

import numpy as np
from PIL import Image

from my3dgen_jax.data import dataset_json, photo_files
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.album_files import MASK_SUFFIX, File, Photo, stem
from my3dgen_jax.errors import UserError

_GREY_MODES = ("L", "LA", "1", "I;16")


def one_photo(path: Union[str, os.PathLike],
              camera: Optional[Union[str, os.PathLike]] = None) -> Album:
  """An album of one photo, of any size, in colours or grey.

  Args:
    path: the photo. `NAME_mask.png` beside it is its mask.
    camera: JSON, a list of 25 numbers or a `dataset.json`; None: the
      `dataset.json` beside the photo.

  Raises: UserError: there is no camera; AlbumError: the photo cannot be used.
  """
  path = pathlib.Path(path).expanduser()
  place = pathlib.Path(camera).expanduser() if camera else (
      path.parent / dataset_json.FILE_NAME)
  if not camera and not place.exists():
    raise UserError(f"{path}: has no camera: there is no {place.name} beside "
                    "it; give one by --camera, a file of 25 numbers, or let "
                    "prepare make one from the photo")
  text = place.read_text(encoding="utf-8", errors="replace")
  try:
    is_list = isinstance(json.loads(text), list)
  except (ValueError, RecursionError):
    is_list = False  # the next reader says what is wrong
  if is_list:
    text = f'{{"labels": [[{json.dumps(path.name)}, {text}]]}}'
  labels = dataset_json.parse(text, str(place))
  name = dataset_json.normal_name(path.name)
  if name not in labels:
    raise UserError(f"{place}: has no camera of {path.name}; add its label, "
                    "or let prepare make one from the photo")
  place = path.with_name(stem(path.name) + MASK_SUFFIX)
  mask = None
  # A label makes `me_with_mask.png` another photo.
  if place.exists() and dataset_json.normal_name(place.name) not in labels:
    mask = File(str(place), lambda: open(place, "rb"))
  return Album.from_photos(str(path), [Photo(
      path.name, labels[name],
      File(str(path), functools.partial(_open_photo, path)), mask)],
                           min_photos=1)


def _open_photo(path: pathlib.Path) -> BinaryIO:
  """A photo's file, or a PNG of three equal channels in place of a grey one.
  """
  with Image.open(path) as picture:
    is_grey = picture.mode in _GREY_MODES
  if not is_grey:
    return open(path, "rb")
  png = io.BytesIO()
  Image.fromarray(photo_files.read_photo(path).pixels).save(png, "PNG")
  png.seek(0)
  return png


def lanczos(seen: np.ndarray, side: int) -> np.ndarray:
  """A photo in full size and three channels.

  Args:
    seen: uint8 [h, w, C], three channels or grey.
    side: pixels.

  Returns: uint8 [side, side, 3]; enlarged by Lanczos's filter, of three
    periods.
  """
  if seen.shape[-1] == 1:
    seen = np.broadcast_to(seen, seen.shape[:-1] + (3,))
  if seen.shape[:2] == (side, side):
    return np.array(seen)
  return np.asarray(Image.fromarray(np.ascontiguousarray(seen)).resize(
      (side, side), Image.LANCZOS))

"""Photos of any size, in color or gray, as input to enhancing."""

import dataclasses
import functools
import io
import os
import pathlib
from collections.abc import Callable
from typing import BinaryIO, Literal

import numpy as np
from PIL import Image

from my3dgen_jax.config import setting
from my3dgen_jax.data import dataset_json, photo_files
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.album_files import (
  File,
  MASK_SUFFIX,
  Photo,
  PROCEDURAL_FILE,
  stem,
  with_names_of,
)
from my3dgen_jax.data.cameras import conventions
from my3dgen_jax.data.faces import mediapipe_models
from my3dgen_jax.errors import FlagError, UserError
from my3dgen_jax.storage import json_files

_GREY_MODES = ("L", "LA", "1", "I;16")


@dataclasses.dataclass(frozen=True)
class PhotoSource:
  """One photo instead of an album, and what finds the person in photos."""

  small: str | None = setting(
    None, "Photo of any size, in color or gray, to use instead of an album."
  )
  camera: str | None = setting(
    None,
    "Camera file for --small: JSON, 25 numbers; default: dataset.json beside "
    "the photo.",
  )
  mask: str | None = setting(
    None,
    "Gray picture of the generator's size: white where the photo is known "
    "(inpaint; default: NAME_mask.png beside the photo) or where the person is "
    "(other tasks; default: --segmenter finds it).",
  )
  segmenter: Literal["depth", "mediapipe"] = setting(
    "depth",
    "Segmenter of the person if there is no --mask: the generator's depth, or "
    "MediaPipe's segmenter.",
  )

  def validate(self, *, has_album: bool) -> "PhotoSource":
    """Returns itself; raises FlagError unless a photo or an album is given."""
    if has_album == bool(self.small):
      raise FlagError("give photos with --album, or one with --small")
    if self.camera and not self.small:
      raise FlagError("--camera goes with --small; albums have a dataset.json")
    return self

  def person_finder(self) -> Callable[[np.ndarray], np.ndarray] | None:
    """MediaPipe's, see `mediapipe_models.person_segmenter`; None: depth's."""
    if self.segmenter == "depth":
      return None
    return mediapipe_models.person_segmenter()


def one_photo(
  path: str | os.PathLike,
  camera: str | os.PathLike | None = None,
  convention: str = "",
) -> Album:
  """An album of one photo of any size, in color or gray.

  Args:
    path: the photo; `NAME_mask.png` beside it is its mask.
    camera: JSON, a list of 25 numbers or a `dataset.json`; None: the
      `dataset.json` beside the photo.
    convention: the cameras' convention, see `data.albums.open_album`.

  Raises: UserError: there is no camera; AlbumError: the photo cannot be used.
  """
  path = pathlib.Path(path).expanduser()
  place = (
    pathlib.Path(camera).expanduser()
    if camera
    else (path.parent / dataset_json.FILE_NAME)
  )
  if not camera and not place.exists():
    raise UserError(
      f"{path}: has no camera: there is no {place.name} beside "
      "it; give one with --camera, a file of 25 numbers, or let "
      "prepare make one from the photo"
    )
  content = json_files.read(place)
  if isinstance(content, list):
    content = {"labels": [[path.name, content]]}
  words = conventions.parse(convention)
  name = dataset_json.normal_name(path.name)
  labels = with_names_of(
    dataset_json.labels_of(content, str(place), words), [name]
  )
  if name not in labels:
    raise UserError(
      f"{place}: has no camera for {path.name}; add its label, "
      "or let prepare make one from the photo"
    )
  conventions.check(
    labels[name][None],
    [name],
    str(place),
    words=dataset_json.convention_of(content, words),
  )
  place = path.with_name(stem(path.name) + MASK_SUFFIX)
  mask = None
  # With a label, `me_with_mask.png` is a photo, not a mask.
  if place.exists() and dataset_json.normal_name(place.name) not in labels:
    mask = File(str(place), lambda: open(place, "rb"))
  album = Album.from_photos(
    str(path),
    [
      Photo(
        path.name,
        labels[name],
        File(str(path), functools.partial(_open_photo, path)),
        mask,
      )
    ],
    min_photos=1,
  )
  return dataclasses.replace(
    album, is_procedural=(path.parent / PROCEDURAL_FILE).is_file()
  )


def _open_photo(path: pathlib.Path) -> BinaryIO:
  """A photo's file; for a gray one, a PNG of three equal channels."""
  with Image.open(path) as picture:
    is_grey = picture.mode in _GREY_MODES
  if not is_grey:
    return open(path, "rb")
  png = io.BytesIO()
  Image.fromarray(photo_files.read_photo(path).pixels).save(png, "PNG")
  png.seek(0)
  return png


def lanczos(seen: np.ndarray, side: int) -> np.ndarray:
  """A photo at full size, with three channels.

  Args:
    seen: uint8 [h, w, C], three channels or gray.
    side: the new side, pixels.

  Returns: uint8 [side, side, 3], enlarged by a Lanczos-3 filter.
  """
  if seen.shape[-1] == 1:
    seen = np.broadcast_to(seen, seen.shape[:-1] + (3,))
  if seen.shape[:2] == (side, side):
    return np.array(seen)
  return np.asarray(
    Image.fromarray(np.ascontiguousarray(seen)).resize(
      (side, side), Image.LANCZOS
    )
  )

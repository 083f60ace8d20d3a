"""Opens albums, whatever way they are stored."""

import dataclasses
import os
import pathlib
import re

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import dataset_json, tfds_builder
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.album_files import (
  ALBUM_FOLDER,
  AlbumError,
  failures_named,
  folder_files,
  labelled_photos,
  PREPARED_FILE,
  PREPARED_FOLDER,
  PROCEDURAL_FILE,
  zip_files,
)
from my3dgen_jax.data.cameras import conventions


def open_album(
  path: str | os.PathLike,
  *,
  img_resolution: int | None = None,
  num_ws: int | None = None,
  w_dim: int | None = None,
  min_photos: int = 2,
  convention: str = "",
  rendering: RenderConfig | None = None,
) -> Album:
  """Opens an album and checks everything except the pixels.

  Args:
    path: a folder, a zip, or a folder written by `apps.preparation` or
      `tfds_builder.prepare`.
    img_resolution: required side of the photos, pixels; None: any, the same
      for all.
    num_ws: number of rows of the generator's ws. Latents are read only if this
      and `w_dim` are given.
    w_dim: size of the generator's w.
    min_photos: smallest number of photos, >= 1.
    convention: convention of the cameras, words of `cameras.conventions`
      separated by commas; "": ours. Only for a folder or zip of photos.
    rendering: the generator's rendering config, to check that its rays reach
      the heads; None: not checked.

  Raises:
    AlbumError: as `Album.from_photos`; also missing or extra labels, labels
      that see no upright head, latents of another size or with NaN, a zip that
      is damaged or leads outside itself.
    DatasetJsonError: `dataset.json` cannot be used.
    UserError: `convention` is not valid.
  """
  words = conventions.parse(convention)
  path = pathlib.Path(path).expanduser()
  with failures_named(str(path)):
    prepared = [
      folder
      for folder in (path, path / PREPARED_FOLDER)
      if (folder / PREPARED_FILE).is_file()
    ]
    is_folder, is_file = path.is_dir(), path.is_file()
    inner = path / ALBUM_FOLDER
    if (
      not (path / dataset_json.FILE_NAME).exists()
      and (inner / dataset_json.FILE_NAME).is_file()
    ):
      path = inner
  if prepared:
    if words:
      raise AlbumError(
        f"{path}: was prepared with labels in our own convention; leave "
        "camera_convention out"
      )
    album = tfds_builder.open_prepared(
      prepared[0],
      img_resolution=img_resolution,
      num_ws=num_ws,
      w_dim=w_dim,
      min_photos=min_photos,
    )
    conventions.check(album.c, album.names, album.place, rendering)
    return dataclasses.replace(
      album, is_procedural=(prepared[0] / PROCEDURAL_FILE).is_file()
    )
  if is_folder:
    files = folder_files(path)
  elif is_file:
    files = zip_files(path)
  else:
    raise AlbumError(
      f"{path}: no such folder or zip; expected an album: "
      f"photos and their {dataset_json.FILE_NAME}"
    )
  album = Album.from_photos(
    str(path),
    labelled_photos(str(path), files, num_ws, w_dim, words),
    img_resolution=img_resolution,
    min_photos=min_photos,
  )
  if dataset_json.FILE_NAME not in files:  # from NeRF tools
    words = words or (conventions.OPENGL,)
  conventions.check(album.c, album.names, album.place, rendering, words=words)
  return dataclasses.replace(
    album,
    is_procedural=PROCEDURAL_FILE in files or _is_named_as_the_demo_s(album),
  )


def _is_named_as_the_demo_s(album: Album) -> bool:
  """Whether a demo version without `PROCEDURAL_FILE` has drawn it."""
  kinds = set()
  for name in album.names:
    match = re.fullmatch(r"(photo|test|reference)\d{3}\.png", name)
    kinds.add(match and match[1])
  return kinds == {"photo", "test", "reference"}

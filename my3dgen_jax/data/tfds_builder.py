"""Albums as TensorFlow data sets: one file, random access, no TensorFlow.

    folder = prepare(open_album("obama", num_ws=14, w_dim=512), "data/obama")
    album = open_album("data/obama", img_resolution=512)  # the same photos

or, without this package:

    source = tfds.data_source("my3dgen_album", data_dir="data/obama",
                              split="train")
    source[3]["image"], source[3]["c"]

Records are stored as `array_record`, in the order of the photos' names. The
image files are stored unchanged, so nothing has to encode them, which is what
TensorFlow would be needed for. Nothing is looked up on the network.

`tensorflow_datasets` is imported where it is used: a machine that only trains
from folders does not need it.
"""

import contextlib
import functools
import io
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

from my3dgen_jax.data import album_files, dataset_json
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.album_files import AlbumError, File, Photo
from my3dgen_jax.ops import cameras

SPLIT = "train"  # all photos; the held-out ones are chosen at training time
_NAME, _VERSION = album_files.PREPARED_FOLDER.split("/")
_DISK_ALLOWANCE = 2**20  # bytes for everything that is not photos


def _tfds() -> Any:
  try:
    # pylint: disable-next=import-outside-toplevel
    import tensorflow_datasets as tfds
  except ImportError as error:
    raise AlbumError(
      "prepared albums need tensorflow-datasets: "
      f"pip install tensorflow-datasets ({error})"
    ) from error
  return tfds


@functools.cache
def _builder_class() -> Any:
  tfds = _tfds()

  # Not registered: tfds.data_source should read the files, not try to make a
  # builder, which would ask for an album.
  class My3dgenAlbum(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """One person's photos with their cameras."""

    VERSION = tfds.core.Version(_VERSION)
    name = _NAME
    # There are no downloads. tfds would look for their checksums next to this
    # file, and that needs a package that it does not install.
    url_infos = None

    def __init__(self, *, album: Album, data_dir: str | os.PathLike):
      self._album = album
      super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> Any:
      size = self._album.img_resolution
      photos = self._album.photos
      features = {
        "image": tfds.features.Image(shape=(size, size, 3)),
        "c": tfds.features.Tensor(
          shape=(cameras.LABEL_SIZE,), dtype=np.float32
        ),
        "name": tfds.features.Text(),
      }
      if any(photo.mask is not None for photo in photos):
        features["mask"] = tfds.features.Image(shape=(size, size, 1))
      if any(photo.marks is not None for photo in photos):
        features["marks"] = tfds.features.Image(shape=(size, size, 1))
      shapes = {photo.ws.shape for photo in photos if photo.ws is not None}
      if shapes:
        # [0, …] if only other photos have an anchor.
        features["ws"] = tfds.features.Tensor(
          shape=(None, *shapes.pop()), dtype=np.float32
        )
      return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict(features),
        description="Photos of one person with EG3D camera labels.",
        disable_shuffling=True,
      )

    def _split_generators(self, dl_manager: Any) -> Any:
      del dl_manager  # the album is already here
      return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, Any]]:
      features = self.info.features
      for i, photo in enumerate(self._album.photos):
        example = {
          "image": album_files.upright_bytes(photo.image),
          "c": photo.c,
          "name": photo.name,
        }
        if "mask" in features:
          # All photos have masks then; white is the same as no mask.
          example["mask"] = _grey(self._album[i].mask)
        if "marks" in features:
          marks = self._album[i].marks
          example["marks"] = _grey(
            np.zeros_like(self._album[i].mask) if marks is None else marks
          )
        if "ws" in features:
          example["ws"] = (
            np.zeros((0, *features["ws"].shape[1:]), np.float32)
            if photo.ws is None
            else photo.ws[None]
          )
        yield i, example

  return My3dgenAlbum


def _grey(mask: np.ndarray) -> Image.Image:
  """[H, W, 1] in [0, 1] as a Pillow image."""
  return Image.fromarray((mask[..., 0] * 255).astype(np.uint8))


def builder(album: Album, data_dir: str | os.PathLike) -> Any:
  """An album's `tfds.core.GeneratorBasedBuilder`.

  Args:
    album: the album with the photos.
    data_dir: the folder in which the data set's `my3dgen_album/1.0.0` is.

  Returns: a builder whose file format is array_record, named "my3dgen_album",
    with one split, "train", and the features `image` (uint8 [H, W, 3]), `c`
    (float32 [25]), `name`, and if the album has them `mask`, `marks` (uint8
    [H, W, 1]) and `ws` (float32 [0 or 1, num_ws, w_dim]).
  Raises:
    AlbumError: tensorflow-datasets is not installed.
  """
  return _builder_class()(album=album, data_dir=os.fspath(data_dir))


def prepare(album: Album, data_dir: str | os.PathLike) -> pathlib.Path:
  """Writes an album as a TensorFlow data set, all of it or nothing.

  Args:
    album: the album; every pixel is checked first.
    data_dir: the folder, created if missing.

  Returns: the data set's folder, `data_dir/my3dgen_album/1.0.0`.
  Raises:
    AlbumError: a photo is damaged; the data set already exists; the disk is
      full or cannot be written; tensorflow-datasets is not installed.
  """
  tfds = _tfds()
  data_dir = pathlib.Path(data_dir).absolute()
  target = data_dir / album_files.PREPARED_FOLDER
  if target.exists():
    raise AlbumError(
      f"{target}: exists already; choose another folder or remove it"
    )
  album.verify()
  sizes = sum(
    _size(file)
    for photo in album.photos
    for file in (photo.image, photo.mask, photo.marks)
    if file is not None
  )
  try:
    data_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data_dir).free
    if free < sizes + _DISK_ALLOWANCE:
      raise AlbumError(
        f"{target}: no space left: {(sizes + _DISK_ALLOWANCE) / 1e6:.0f} MB "
        f"are needed, {free / 1e6:.0f} MB are free"
      )
    # In the target's folder, so that the last step is a rename on one disk.
    with tempfile.TemporaryDirectory(
      prefix=f".{_NAME}.", dir=data_dir
    ) as temporary:
      made = builder(album, temporary)
      # Otherwise it prints a report on downloads, of which there are none.
      with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
      ):
        made.download_and_prepare(
          download_dir=os.path.join(temporary, "downloads"),
          download_config=tfds.download.DownloadConfig(try_download_gcs=False),
        )
      if album.is_procedural:
        pathlib.Path(made.data_dir, album_files.PROCEDURAL_FILE).touch()
      target.parent.mkdir(exist_ok=True)
      os.rename(made.data_dir, target)
  except AlbumError:
    raise
  # tfds and array_record raise many types of errors when a disk is full.
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = getattr(error, "strerror", None) or str(error)
    raise AlbumError(
      f"{target}: cannot be written: " + " ".join(reason.split())
    ) from error
  return target


def _size(file: File) -> int:
  with file.reading() as opened:
    return opened.seek(0, os.SEEK_END)


def open_prepared(
  folder: str | os.PathLike,
  *,
  img_resolution: int | None = None,
  num_ws: int | None = None,
  w_dim: int | None = None,
  min_photos: int = 2,
) -> Album:
  """Opens what `prepare` has written; called by `albums.open_album`.

  Args:
    folder: the folder with `dataset_info.json`.
    img_resolution: see `albums.open_album`.
    num_ws: number of rows of the generator's ws.
    w_dim: size of the generator's w.
    min_photos: smallest number of photos, >= 1.

  Returns: an album with the same items as the one that was prepared.
  Raises:
    AlbumError: as `albums.open_album`; not a data set of this project, or a
      damaged one; tensorflow-datasets is not installed.
  """
  tfds = _tfds()
  folder = str(folder)
  with album_files.failures_named(folder):
    made = tfds.builder_from_directory(folder)
    features = set(made.info.features)
    if made.name != _NAME or not {"image", "c", "name"} <= features:
      raise AlbumError(
        f"{folder}: is the data set {made.name!r}, not an album ({_NAME!r})"
      )
    # `Album` decodes the images, so that they equal those of the folder.
    source = made.as_data_source(
      SPLIT,
      decoders={
        name: tfds.decode.SkipDecoding()
        for name in features & {"image", "mask", "marks"}
      },
    )
    photos = [
      _photo(source, i, folder, num_ws, w_dim) for i in range(len(source))
    ]
  return Album.from_photos(
    folder, photos, img_resolution=img_resolution, min_photos=min_photos
  )


def _photo(
  source: Any, index: int, folder: str, num_ws: int | None, w_dim: int | None
) -> Photo:
  record = source[index]
  name = record["name"].decode()
  place = f"{folder}: {name}"
  c = record["c"]
  dataset_json.check_label(c, place)

  def file(feature, where):
    return File(where, lambda: io.BytesIO(source[index][feature]))

  ws = None
  if num_ws is not None and w_dim is not None and len(record.get("ws", ())):
    ws = album_files.check_latent(record["ws"], f"{place}: ws", num_ws, w_dim)
  others = {
    feature: file(feature, f"{place}: {feature}")
    for feature in ("mask", "marks")
    if feature in record
  }
  return Photo(name=name, c=c, image=file("image", place), ws=ws, **others)

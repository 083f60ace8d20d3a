"""The files of a result: the album, what was set aside, contact sheets."""

import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence

import numpy as np

from my3dgen_jax.apps.preparation import contact_sheets, outcome
from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.apps.preparation.contact_sheets import Tile
from my3dgen_jax.apps.preparation.records import MIRRORED_SUFFIX, Record
from my3dgen_jax.data import album_files, dataset_json, images
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.faces import landmarks
from my3dgen_jax.ops import cameras

SET_ASIDE_FOLDER = "set_aside"
REPORT_FILE, LANDMARKS_FILE = "report.csv", "landmarks.json"
UNFINISHED = "unfinished"


def write(records: Sequence[Record], config: PrepareConfig, out: pathlib.Path):
  """Writes everything to a temporary place, then moves it into place.

  Args:
    records: the photos; the kept ones make the album.
    config: the settings, with the crops' size and mirroring.
    out: the result's folder.

  Raises: AlbumError: the written album cannot be opened.
  """
  fresh = out / UNFINISHED / "result"
  shutil.rmtree(fresh, ignore_errors=True)
  kept = [record for record in records if record.kept]
  others = [record for record in records if not record.kept]
  if kept:
    _write_album(kept, config, fresh / album_files.ALBUM_FOLDER)
  _write_crops(
    [(record, record.name) for record in others if record.seen is not None],
    fresh / SET_ASIDE_FOLDER,
  )
  (fresh / REPORT_FILE).write_text(outcome.csv_text(records), encoding="utf-8")
  landmarks.write_json(
    fresh / LANDMARKS_FILE,
    {
      record.file: [seen.face for seen in record.look.faces]
      for record in records
      if record.look is not None
      and record.look.path is not None
      and record.video is None
    },
  )
  contact_sheets.write(
    fresh,
    "kept",
    [
      Tile(
        _picture(record),
        record.name,
        "yaw {:+.0f}° pitch {:+.0f}°".format(*record.angles)
        + (f", turned {record.turned}°" if record.turned else "")
        + ("" if record.part == "train" else f", {record.part}"),
        "black" if record.part == "train" else "darkblue",
      )
      for record in kept
    ],
  )
  contact_sheets.write(
    fresh,
    "set_aside",
    [
      Tile(_picture(record), record.name, record.reason, "darkred")
      for record in others
    ],
  )
  _put_in_place(fresh, out)


def _index(record: Record) -> int:
  """Index of the face that counts."""
  return record.look.faces.index(record.seen)


def _picture(record: Record) -> np.ndarray | None:
  """A small picture for contact sheets; filled areas are dimmed."""
  if record.seen is not None:
    crop = record.look.crop(_index(record))
    return contact_sheets.small(
      np.where(crop.mask > 0, crop.image, crop.image // 2 + 64)
    )
  return record.look.small() if record.look is not None else None


def _write_album(
  kept: Sequence[Record], config: PrepareConfig, folder: pathlib.Path
):
  named = [(record, record.name) for record in kept]
  mirrored = [
    (record, record.name + MIRRORED_SUFFIX)
    for record in kept
    if config.mirror and record.part == "train"
  ]
  _write_crops(named + mirrored, folder)
  for part, file in (
    ("test", album_files.TEST_FILE),
    ("reference", album_files.REFERENCE_FILE),
  ):
    lines = [f"{record.name}.png\n" for record in kept if record.part == part]
    if lines:
      (folder / file).write_text("".join(lines), encoding="utf-8")
  open_album(folder, img_resolution=config.size, min_photos=1)


def _write_crops(named: Sequence[tuple[Record, str]], folder: pathlib.Path):
  """Writes crops, masks and labels; mirrored if the name says so."""
  folder.mkdir(parents=True, exist_ok=True)
  labels = {}
  for record, name in named:
    crop, label = record.look.crop(_index(record)), record.seen.label
    image, mask = crop.image, crop.mask
    if name != record.name:
      image, mask = image[:, ::-1], mask[:, ::-1]
      label = np.asarray(cameras.mirror(label))
    images.write_png(folder / f"{name}.png", np.ascontiguousarray(image))
    if not mask.all():
      images.write_png(
        folder / (name + album_files.MASK_SUFFIX), np.uint8(255) * (mask > 0)
      )
    labels[f"{name}.png"] = label
  dataset_json.write(folder / dataset_json.FILE_NAME, labels)


def _put_in_place(fresh: pathlib.Path, out: pathlib.Path):
  """Replaces an earlier result by a fresh one."""
  old = out / UNFINISHED / "old"
  shutil.rmtree(old, ignore_errors=True)
  old.mkdir()
  for path in _results(out):
    # Whatever went wrong this time, an existing album is still good.
    if path.name != album_files.ALBUM_FOLDER or (fresh / path.name).exists():
      path.rename(old / path.name)
  for path in fresh.iterdir():
    path.rename(out / path.name)
  shutil.rmtree(old, ignore_errors=True)
  fresh.rmdir()


def is_ours(out: pathlib.Path) -> bool:
  """Whether a folder was written, or begun, by `prepare`."""
  return (out / UNFINISHED).is_dir() or all(
    (out / name).exists() for name in (REPORT_FILE, LANDMARKS_FILE)
  )


def _results(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """The files of an earlier `prepare`."""
  for path in list(out.iterdir()):
    if path.name in (
      album_files.ALBUM_FOLDER,
      SET_ASIDE_FOLDER,
      REPORT_FILE,
      LANDMARKS_FILE,
    ) or re.fullmatch(r"(kept|set_aside)(_\d+)?\.png", path.name):
      yield path

"""Landmarks clicked by hand: for cats, and where a detector found no face.

out/cat_marks.json, out/face_marks.json   a landmarks file, kept after each
                                          photo; a later run reads it
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from my3dgen_jax.apps.marking import kinds
from my3dgen_jax.apps.marking import server as marking
from my3dgen_jax.apps.marking.marks import Item, Marks
from my3dgen_jax.apps.preparation import given_landmarks
from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.apps.preparation.records import Record
from my3dgen_jax.data import photo_files
from my3dgen_jax.data.faces import cat_detector
from my3dgen_jax.data.faces.landmarks import Face, Given
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import StopRequest

_FRAMES = 20  # of a video to mark by hand, at most
_LOOKED_AT = 12  # photos without a face to search for cats
# How reasons begin that marks would resolve.
_NOT_FOUND = ("no face was found", "has no landmarks", "bad landmarks")


class MarkFaces(Protocol):
  """Lets the user mark faces; see `apps.marking.server.mark_in_browser`."""

  def __call__(
    self,
    marks: Marks,
    stop: StopRequest,
    *,
    detect: marking.Detect | None,
    log: Callable[[str], None],
  ):
    """Returns when the user is done; raises as `mark_in_browser`."""


def marks_file(config: PrepareConfig) -> pathlib.Path:
  """The file of marks."""
  return pathlib.Path(config.out).expanduser() / f"{config.domain}_marks.json"


def cats_known(
  records: Sequence[Record],
  config: PrepareConfig,
  known: Given | None,
  mark: MarkFaces,
  stop: StopRequest,
  log: Callable[[str], None],
) -> Given:
  """Landmarks of cats: given ones, earlier marks, and new marks.

  The page opens if a photo has none and no landmarks were given, or if the user
  asks for it.

  Args:
    records: the photos.
    config: the settings.
    known: landmarks from `given_landmarks.known_faces`.
    mark: function that opens the page.
    stop: request to stop, checked while the page is open.
    log: called with lines of progress.

  Raises: as `mark`.
  """
  have = known or Given({}, {})
  owners = given_landmarks.owners_of(
    [record for record in records if not record.reason]
  )
  wanted = [
    record
    for record in _few_frames(records)
    if not record.reason and not _has(record, have, owners)
  ]
  marks = _marks_of(wanted, config)
  if marks.count() < len(wanted) and (known is None or config.mark):
    if not cat_detector.available():
      log(
        "cats' faces are not detected, as OpenCV is missing: pip install "
        '".[prepare]"; you can still mark them by hand'
      )
    mark(marks, stop, detect=cat_detector.find_cats, log=log)
  for record in wanted:
    if marks.of(record.file) == []:
      record.reason = "skipped while marking"
  return Given({**have.faces, **marks.given().faces}, have.faults)


def _has(record: Record, known: Given, owners: dict[str, list[Record]]) -> bool:
  found = given_landmarks.faces_of(record, known, owners)
  record.reason = ""
  return found is not None


def _few_frames(records: Sequence[Record]) -> list[Record]:
  """All photos, and some frames of each video."""
  videos: dict[pathlib.Path, list[Record]] = {}
  for record in records:
    if record.video is not None:
      videos.setdefault(record.video, []).append(record)
  chosen = {
    id(frames[i])
    for frames in videos.values()
    for i in np.linspace(
      0, len(frames) - 1, min(_FRAMES, len(frames)), dtype=int
    )
  }
  return [one for one in records if one.video is None or id(one) in chosen]


def _marks_of(records: Sequence[Record], config: PrepareConfig) -> Marks:
  return Marks(
    marks_file(config),
    [Item(record.file, record.path) for record in records],
    kinds.kind_of(config.domain),
  )


def faces_marked(config: PrepareConfig) -> dict[str, list[Face]]:
  """Faces of people marked in an earlier run, by photo.

  Raises: UserError: the file is damaged.
  """
  found = _marks_of([], config).given().faces
  return {name: faces for name, faces in found.items() if faces}


def mark_the_rest(
  records: Sequence[Record],
  config: PrepareConfig,
  mark: MarkFaces,
  stop: StopRequest,
  log: Callable[[str], None],
) -> list[Record]:
  """Lets the user mark people that the detector missed.

  Args:
    records: the photos, after detection.
    config: the settings.
    mark: function that opens the page.
    stop: request to stop, checked while the page is open.
    log: called with lines of progress.

  Returns: the newly marked photos; `faces_marked` has the marks.
  Raises: as `mark`.
  """
  wanted = [record for record in _few_frames(records) if _not_found(record)]
  marks = _marks_of(wanted, config)
  if marks.count() < len(wanted):
    mark(marks, stop, detect=None, log=log)
  return [record for record in wanted if marks.of(record.file)]


def _not_found(record: Record) -> bool:
  return record.reason.startswith(_NOT_FOUND)


def hint_of_cats(
  records: Sequence[Record], config: PrepareConfig
) -> str | None:
  """Hints that photos without a person's face show cats, if they do."""
  missed = [
    record for record in records if _not_found(record) and record.video is None
  ]
  if config.domain != "face" or 2 * len(missed) < len(records) or not missed:
    return None
  step = -(-len(missed) // _LOOKED_AT)
  looked_at = missed[::step]
  cats = sum(_shows_a_cat(record.path) for record in looked_at)
  # The detector sees a cat in 3 of 10 photos of people, and in 8 of 10 of cats.
  if 2 * cats <= len(looked_at):
    return None
  return (
    f"{cats} of {len(looked_at)} photos without a person's face seem to show "
    "a cat: --domain=cat makes an album of one"
  )


def _shows_a_cat(path: pathlib.Path) -> bool:
  try:
    pixels = photo_files.read_photo(path).pixels
    return bool(cat_detector.find_cats(pixels))
  except UserError:
    return False

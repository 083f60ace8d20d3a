"""Landmarks given by the user, and the photos they belong to."""

import pathlib
from collections.abc import Sequence

from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.apps.preparation.records import Record, relative_name
from my3dgen_jax.data import album_files
from my3dgen_jax.data.faces import cat_face, landmarks
from my3dgen_jax.data.faces.landmarks import Face, Given
from my3dgen_jax.errors import UserError


def known_faces(
  config: PrepareConfig, photos: Sequence[pathlib.Path]
) -> Given | None:
  """Reads the given landmarks.

  Args:
    config: the settings; `detections` is their place, `domain` their kind.
    photos: the photos' files, beside which cats' landmarks are searched.

  Returns: faces by photo's name; None: to be detected or marked.
  Raises: UserError: the landmarks cannot be read.
  """
  cat = config.domain == "cat"
  count = cat_face.POINTS if cat else landmarks.FACE_POINTS
  if config.detections:
    place = pathlib.Path(config.detections).expanduser()
    if not place.exists():
      raise UserError(f"{place}: no such folder or file of landmarks")
    if not place.is_dir():
      return landmarks.read_json(place, count)
    beside = sorted(place.glob(f"*{cat_face.SUFFIX}")) if cat else ()
    if not beside:
      return landmarks.read_folder(place, count)
    return landmarks.read_files([(path.stem, path) for path in beside], count)
  if not cat:
    return None
  root = pathlib.Path(config.photos).expanduser()
  beside = [
    (relative_name(path, root), path.with_name(path.name + cat_face.SUFFIX))
    for path in photos
  ]
  beside = [(name, path) for name, path in beside if path.exists()]
  if not beside:
    return None
  return landmarks.read_files(beside, count)


def faces_of(
  record: Record, known: Given, owners: dict[str, list[Record]]
) -> list[Face] | None:
  """The landmarks of one photo and no other.

  Args:
    record: the photo.
    known: the given landmarks.
    owners: result of `owners_of` for all photos.

  Returns: the faces; None: nothing usable, with the reason in the record.
  """
  names = [
    name
    for name in _landmark_names(record)
    if name in known.faces or name in known.faults
  ]
  for name in names:
    if len(owners[name]) > 1 or owners[name][0] is not record:
      continue
    if name in known.faces:
      return known.faces[name]
    record.reason = f"bad landmarks: {known.faults[name]}"
    return None
  if names:
    other = next(other for other in owners[names[0]] if other is not record)
    record.reason = (
      f"landmarks of {names[0]!r} may be those of "
      f"{other.file}; name both with their folders, in a JSON "
      "file"
    )
  else:
    record.reason = "has no landmarks among those given"
  return None


def _landmark_names(record: Record) -> tuple[str, ...]:
  """A photo's path in its folder or its name, with or without extension."""
  names = record.file, record.file.rpartition("/")[2]
  return (*names, *(album_files.stem(name) for name in names), record.name)


def owners_of(records: Sequence[Record]) -> dict[str, list[Record]]:
  """The photos that a name may refer to; a full path belongs to one."""
  whole: dict[str, list[Record]] = {}
  parts: dict[str, list[Record]] = {}
  for record in records:
    whole.setdefault(record.file, []).append(record)
    for name in set(_landmark_names(record)):
      parts.setdefault(name, []).append(record)
  return {**parts, **whole}

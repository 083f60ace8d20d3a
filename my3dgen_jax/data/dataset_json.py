"""EG3D's `dataset.json`: the camera label of every photo in a folder.

    {"labels": [["name.png", [25 numbers]], ["folder/name.png", ...], ...]}

Names are relative to the file's folder. Labels are as in `ops.cameras`.
"""

import json
import os
import pathlib
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from my3dgen_jax.data.cameras import conventions, nerfstudio
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from my3dgen_jax.storage import json_files
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.types import Array

FILE_NAME = "dataset.json"


class DatasetJsonError(UserError):
  """A `dataset.json` that cannot be used; names the file and the entry."""


def convention_of(content: Any, given: Sequence[str]) -> Sequence[str]:
  """The words of the convention that a file's cameras use.

  Args:
    content: plain data from the file.
    given: the convention stated by the user; empty: not stated.
  """
  if nerfstudio.is_transforms(content) or nerfstudio.is_camera_path(content):
    return given or (conventions.OPENGL,)
  return given


def normal_name(name: str) -> str:
  """Normalizes the spelling of a file's name.

  Windows separates folders with a backslash; macOS stores "é" as "e" and an
  accent, so a name typed there differs from the one in the file.

  Args:
    name: relative path.

  Returns: the name with forward slashes, no leading "./", in Unicode's form C.
  """
  return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix(
    "./"
  )


def check_label(label: Array, where: str):
  """Checks that a label holds a camera.

  Args:
    label: [25].
    where: the file and entry, which begin the message.

  Raises:
    DatasetJsonError: another shape, NaN or infinity, or not a rigid camera
      with positive focal lengths.
  """
  try:
    cameras.check_label(np.asarray(label)[None], "label")
  except UserError as error:
    text = str(error).removeprefix("label[0]: ").removeprefix("label: ")
    raise DatasetJsonError(f"{where}: {text}") from None


def parse(
  data: str | bytes, where: str, convention: Sequence[str] = ()
) -> dict[str, np.ndarray]:
  """Reads the text of a `dataset.json`, or of a NeRF tool's camera file.

  Args:
    data: the text, or its bytes.
    where: the file, which begins every message.
    convention: words of `cameras.conventions` for the cameras; empty: our
      own, or the convention of the file's kind.

  Returns: as `labels_of`.
  Raises:
    DatasetJsonError: not JSON, or as `labels_of`.
  """
  try:
    content = json_files.parse(data)
  except UserError as error:
    raise DatasetJsonError(f"{where}: {error}") from None
  return labels_of(content, where, convention)


def labels_of(
  content: Any, where: str, convention: Sequence[str] = ()
) -> dict[str, np.ndarray]:
  """Reads the labels from such a file's content.

  Args:
    content: plain data: {"labels": [[name, label], ...]}, or a dict instead of
      pairs; or see `cameras.nerfstudio`.
    where: see `parse`.
    convention: see `parse`.

  Returns: name -> label [25] float32, in our own convention and the file's
    order; the names are `normal_name`s.
  Raises:
    DatasetJsonError: no labels; an entry that is not a pair of a name and a
      camera; a name that appears twice.
  """
  entries = content.get("labels") if isinstance(content, dict) else None
  if isinstance(entries, dict):
    entries = [list(item) for item in entries.items()]
  convention = convention_of(content, convention)
  if nerfstudio.is_transforms(content) or nerfstudio.is_camera_path(content):
    try:
      entries = nerfstudio.entries(content, where)
    except UserError as error:
      raise DatasetJsonError(str(error)) from None
  if not isinstance(entries, list):
    raise DatasetJsonError(
      f"{where}: has no camera labels; expected "
      f'{{"labels": [["name.png", [25 numbers]], ...]}}, got '
      f"{_short(content)}"
    )
  found = {}
  for i, entry in enumerate(entries):
    if (
      not isinstance(entry, list)
      or len(entry) != 2
      or not isinstance(entry[0], str)
      or not entry[0]
    ):
      raise DatasetJsonError(
        f"{where}: entry {i}: expected [name, [25 numbers]], got "
        f"{_short(entry)}"
      )
    name = normal_name(entry[0])
    here = f"{where}: entry {i} ({name!r})"
    if name in found:
      raise DatasetJsonError(f"{here}: the name appears twice; keep one label")
    found[name] = _numbers(entry[1], here)
  labels = {}
  for i, (name, numbers) in enumerate(found.items()):
    label = conventions.to_ours(np.array(numbers), convention).astype(
      np.float32
    )
    try:
      check_label(label, f"{where}: entry {i} ({name!r})")
    except DatasetJsonError as error:
      raise DatasetJsonError(
        f"{error}{conventions.hint(np.array(list(found.values())))}"
      ) from None
    label.flags.writeable = False
    labels[name] = label
  return labels


def _numbers(numbers: Any, here: str) -> list[float]:
  if not isinstance(numbers, list):
    raise DatasetJsonError(
      f"{here}: expected a list of {cameras.LABEL_SIZE} numbers, got "
      f"{_short(numbers)}"
    )
  if len(numbers) != cameras.LABEL_SIZE:
    raise DatasetJsonError(
      f"{here}: expected {cameras.LABEL_SIZE} numbers (cam2world 4x4 and "
      f"intrinsics 3x3, row by row), got {len(numbers)}"
    )
  for k, number in enumerate(numbers):
    # Numbers that do not fit float32 would pass as infinity.
    if (
      isinstance(number, bool)
      or not isinstance(number, (int, float))
      or not abs(number) < 1e38
    ):
      raise DatasetJsonError(
        f"{here}: number {k} must be finite, got {_short(number)}"
      )
  return numbers


def _short(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 40 else text[:37] + "..."


def read(
  path: str | os.PathLike, convention: Sequence[str] = ()
) -> dict[str, np.ndarray]:
  """Reads the file `path`; see `parse`.

  Raises:
    DatasetJsonError: as `parse`; the file is missing or cannot be read.
  """
  try:
    data = json_files.read_bytes(path)
  except UserError as error:
    raise DatasetJsonError(str(error)) from None
  return parse(data, str(path), convention)


def write(path: str | os.PathLike, labels: Mapping[str, Array]):
  """Writes a `dataset.json`, atomically.

  Args:
    path: the file.
    labels: name -> label [25], kept in their order, as float32.

  Raises:
    DatasetJsonError: a label that is not a camera, or two equal names.
    OSError: the folder cannot be written.
  """
  path = pathlib.Path(path)
  entries = {}
  for name, label in labels.items():
    label = np.asarray(label, np.float32)
    name = normal_name(name)
    check_label(label, f"{path}: {name!r}")
    if name in entries:
      raise DatasetJsonError(f"{path}: {name!r}: the name appears twice")
    entries[name] = label.tolist()
  text = json.dumps({"labels": list(entries.items())}, indent=1) + "\n"
  with replacing(path) as file:
    file.write(text.encode())

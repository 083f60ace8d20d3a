"""Selections of an album's photos: a number, a fraction, names, or a file."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.album_files import AlbumError, stem

# A number, a fraction, names, or the text file that lists them.
Selection = int | float | Sequence[str] | str | os.PathLike


def parse_selection(text: str) -> Selection:
  """Parses a flag: "5" photos, a fraction "0.1", or a text file's path."""
  for kind in (int, float):
    try:
      return kind(text)
    except ValueError:
      pass
  return text


def find(
  names: Sequence[str],
  part: str,
  place: str,
  selection: Sequence[str] | str | os.PathLike,
) -> list[int]:
  """Indices of the photos named, directly or in a file.

  Args:
    names: names of all photos.
    part: the part that is selected, as named in messages.
    place: the album, as named in messages.
    selection: names, or the path of a text file of them.

  Raises: AlbumError: a name is missing or given twice.
  """
  where = part
  if isinstance(selection, (str, os.PathLike)):
    where = str(selection)
    try:
      path = pathlib.Path(selection).expanduser()
      lines = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
      reason = getattr(error, "strerror", None) or "is not UTF-8 text"
      raise AlbumError(
        f"{where}: cannot be read as {part}, a file of photo names: {reason}"
      ) from None
    stripped = (line.strip() for line in lines.splitlines())
    selection = [line for line in stripped if line and not line.startswith("#")]
  known = {stem(name): i for i, name in enumerate(names)}
  known.update((name, i) for i, name in enumerate(names))
  indices = []
  for name in selection:
    i = known.get(dataset_json.normal_name(name))
    if i is None:
      raise AlbumError(
        f"{where}: {name!r} is not in {place}, which has {_some(names)}"
      )
    if i in indices:
      raise AlbumError(f"{where}: {name!r} appears twice; keep one")
    indices.append(i)
  return indices


def spread(
  part: str, free: Sequence[int], amount: int | float, total: int, seed: int
) -> list[int]:
  """Some of the indices `free`: a random one from each of equal ranges.

  Args:
    part: the part that is selected, as named in messages.
    free: the indices to choose from.
    amount: number of photos, or a fraction of `total` in [0, 1).
    total: total number of photos.
    seed: seed of the selection, >= 0.

  Raises: AlbumError: the amount is not possible.
  """
  if isinstance(amount, bool) or not (
    amount >= 0 and (isinstance(amount, int) or amount < 1)
  ):
    raise AlbumError(
      f"{part}: expected a number or a fraction in [0, 1), got {amount}"
    )
  count = amount
  if isinstance(amount, float):
    count = max(1, round(amount * total)) if amount else 0
  if count > len(free):
    raise AlbumError(
      f"{part}: {count} photos requested, but {len(free)} of {total} are free"
    )
  if not count:
    return []
  if seed < 0:
    raise AlbumError(f"seed: expected a whole number >= 0, got {seed}")
  edges = [k * len(free) // count for k in range(count + 1)]
  # Only the raw bits of NumPy's generators are the same in all its versions.
  bits = np.random.Philox(np.random.SeedSequence(seed)).random_raw(count)
  return [
    free[low + int(draw) % (high - low)]
    for low, high, draw in zip(edges, edges[1:], bits)
  ]


def _some(names: Sequence[str]) -> str:
  """The first names of a list, and how many more there are."""
  text = ", ".join(names[:3])
  return text if len(names) <= 3 else f"{text} and {len(names) - 3} more"

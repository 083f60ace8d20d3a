"""Which photos of an album are meant: a number, a share, names, or a file."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.album_files import AlbumError, stem

# How many, what share, which names, or the text file that lists them.
Selection = int | float | Sequence[str] | str | os.PathLike


def parse_selection(text: str) -> Selection:
  """What a flag's text selects: "5" photos, a share "0.1", or a text file."""
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
  """Indices of the photos named, directly or by a file.

  Args:
    names: of all photos.
    part: what they are for, as messages call it.
    place: the album, as messages call it.
    selection: names, or the path of a text file of them.

  Raises: AlbumError: a name that is not there or comes twice.
  """
  where = part
  if isinstance(selection, (str, os.PathLike)):
    where = str(selection)
    try:
      path = pathlib.Path(selection).expanduser()
      lines = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
      reason = getattr(error, "strerror", None) or "is no UTF-8 text"
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
      raise AlbumError(f"{where}: {name!r} comes twice")
    indices.append(i)
  return indices


def spread(
  part: str, free: Sequence[int], amount: int | float, total: int, seed: int
) -> list[int]:
  """Some of the indices `free`: one at random from each of equal runs.

  Args:
    part: what they are for, as messages call it.
    free: the indices to choose from.
    amount: how many, or what share of `total` in [0, 1).
    total: photos in all.
    seed: >= 0.

  Raises: AlbumError: an amount that cannot be.
  """
  if isinstance(amount, bool) or not (
    amount >= 0 and (isinstance(amount, int) or amount < 1)
  ):
    raise AlbumError(
      f"{part}: expected a number of photos or a share in [0, 1), got {amount}"
    )
  count = amount
  if isinstance(amount, float):
    count = max(1, round(amount * total)) if amount else 0
  if count > len(free):
    raise AlbumError(
      f"{part}: {count} photos are wanted, of {total} {len(free)} are free"
    )
  if not count:
    return []
  if seed < 0:
    raise AlbumError(f"seed: expected a whole number >= 0, got {seed}")
  edges = [k * len(free) // count for k in range(count + 1)]
  # Only the bits of NumPy's generators are the same in all its versions.
  bits = np.random.Philox(np.random.SeedSequence(seed)).random_raw(count)
  return [
    free[low + int(draw) % (high - low)]
    for low, high, draw in zip(edges, edges[1:], bits)
  ]


def _some(names: Sequence[str]) -> str:
  """The first names of a list, and how many more there are."""
  text = ", ".join(names[:3])
  return text if len(names) <= 3 else f"{text} and {len(names) - 3} more"

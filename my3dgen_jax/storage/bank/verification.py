"""Finds damage in a bank."""

import collections
import itertools
from collections.abc import Sequence
from typing import NamedTuple

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage.bank import index as index_lib
from my3dgen_jax.storage.bank import shards as shards_lib
from my3dgen_jax.storage.bank.index import Index, Layout, Place, Shard

_NAMED = 5  # people named in a message


class Fault(NamedTuple):
  """A damaged file or entry.

  Attributes:
    line: the damage, and its place.
    ids: ids of people whose numbers are lost.
  """

  line: str
  ids: tuple[str, ...] = ()


def faults(index: Index, files: shards_lib.Files) -> list[Fault]:
  """Reads all of a bank, and verifies every checksum.

  Args:
    index: the bank's index.
    files: its shards.

  Returns: one fault per damaged file.
  Raises: UserError: there is no bank; CheckpointError: the index cannot be
    read at all.
  """
  problem = index.problem()
  if problem is not None:
    return [Fault(f"{index.path}: is damaged: {problem}")]
  with index.reading() as connection:
    found = index_lib.shards(connection)
    places = collections.defaultdict(list)
    for place in index_lib.places(connection):
      places[place.shard].append(place)
    layouts = index_lib.layouts(connection)
  result = []
  for shard in found:
    theirs = places.pop(shard.number, [])
    if shard.layout not in layouts:
      reason, bad = "has a layout that the index does not know", theirs
    else:
      reason, bad = _faults_of(files, shard, theirs, layouts[shard.layout])
    if (reason is None and not bad) or _is_gone(index, shard):
      continue
    ids = tuple(dict.fromkeys(place.id for place in bad))
    path = shards_lib.path_of(index.path.parent, shard.number)
    result.append(
      Fault(
        f"{path}: {reason or 'is damaged'}, with the numbers of "
        f"{_people(ids)}; restore the file, or bank remove --damaged",
        ids,
      )
    )
  for number, theirs in places.items():
    ids = tuple(dict.fromkeys(place.id for place in theirs))
    result.append(
      Fault(
        f"{index.path}: is damaged: it does not list shard {number}, with the "
        f"numbers of {_people(ids)}; restore it, or bank remove --damaged",
        ids,
      )
    )
  return result


def _is_gone(index: Index, shard: Shard) -> bool:
  """Whether another command has compacted it in the meantime."""
  with index.reading() as connection:
    return shard not in index_lib.shards(connection)


def _faults_of(
  files: shards_lib.Files, shard: Shard, places: Sequence[Place], layout: Layout
) -> tuple[str | None, list[Place]]:
  """Why a shard cannot be read, or which rows differ from what was added."""
  files.forget(shard.number)  # an open handle would show an older file
  wanted = collections.defaultdict(list)
  for place in places:
    wanted[place.row].append(place)
  bad: list[Place] = []
  try:
    for i, row in enumerate(files.rows(shard.number)):
      theirs = wanted.pop(i, [])
      if theirs and (
        (str(row.dtype), row.size) != (layout.dtype, layout.size)
        or any(shards_lib.checksum(row) != one.checksum for one in theirs)
      ):
        bad += theirs
  except FileNotFoundError:
    return "is missing", list(places)
  except CheckpointError as error:
    return str(error).partition(": ")[2], list(places)
  return None, [*bad, *itertools.chain.from_iterable(wanted.values())]


def _people(ids: Sequence[str]) -> str:
  names = ", ".join(map(repr, ids[:_NAMED]))
  more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
  return f"{len(ids)} people: {names}{more}" if ids else "nobody"

"""Rows of numbers by person, in a folder that can be appended to.

BANK/
  index.sqlite               who has which row, with a checksum of each
  shard-00000001.safetensors …, each one tensor [people, numbers]

Both formats are standard. A shard is written whole, synced and renamed; only
then does a transaction of the index make it count. So a kill at any moment
loses nothing that was confirmed, and leaves at most files that the index does
not name, which the next change removes. SQLite's lock on the index separates
writers; readers see the bank before a change or after it.

Alternatives: an ArrayRecord file is readable only after its writer has closed
it, and has compressed records; one `.safetensors` file per person would be a
million files, and cannot grow; SQLite alone has no memory maps of numbers.

Many small changes do not leave many small files: as soon as there are 16 shards
of about one size, the next change merges them (a log-structured merge), so each
number is written about log16(people) times in all.
"""

import collections
import contextlib
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.storage.bank import index as index_lib
from my3dgen_jax.storage.bank import shards as shards_lib
from my3dgen_jax.storage.bank import verification as checking
from my3dgen_jax.storage.bank.change import (
  Change,
  damaged,
  gather,
  live_rows,
  Row,
  row_bytes,
  SMALL,
)
from my3dgen_jax.storage.bank.index import Layout, Place
from my3dgen_jax.storage.bank.verification import Fault
from my3dgen_jax.storage.files import holds_nothing, is_leftover

_TRIES = 5  # attempts to find a row while others compact


class Found(NamedTuple):
  """A row of the bank.

  Attributes:
    place: place of the row.
    layout: layout of the numbers.
    numbers: a copy of the numbers.
  """

  place: Place
  layout: Layout
  numbers: np.ndarray


class Sizes(NamedTuple):
  """A bank's size.

  Attributes:
    people: number of people.
    removed: rows of removed or replaced people that files still hold.
    numbers: bytes of the present people's numbers.
    files: bytes of all files.
    shards: number of shards.
  """

  people: int
  removed: int
  numbers: int
  files: int
  shards: int


class Store:
  """A bank's folder; safe to use from several threads and processes."""

  def __init__(
    self, folder: str | os.PathLike, *, patience: float = index_lib.PATIENCE
  ):
    """Opens nothing yet.

    Args:
      folder: the bank's folder; "~" is the user's home.
      patience: seconds to wait for other writers.
    """
    self.folder = pathlib.Path(folder).expanduser()
    self._index = index_lib.Index(self.folder, patience=patience)
    self._files = shards_lib.Files(self.folder)
    self._layouts: dict[int, Layout] = {}  # by shard; they never change

  def begin(self, **facts: str):
    """Creates the bank if there is none.

    Args:
      **facts: facts about the whole bank.

    Raises: UserError: the folder holds something else; OSError.
    """
    if index_lib.exists(self.folder):
      with contextlib.suppress(index_lib.NotBegun):
        self.facts()
        return
    else:
      self.folder.mkdir(parents=True, exist_ok=True)
      if not holds_nothing(self.folder):
        raise UserError(
          f"{self.folder}: is not a bank, but holds other files; choose a new "
          "folder"
        )
    with self._index.writing(create=True) as connection:
      if not index_lib.facts(connection):
        index_lib.set_facts(connection, format=index_lib.FORMAT, **facts)

  def facts(self) -> dict[str, str]:
    """Facts about the whole bank; raises UserError, CheckpointError."""
    with self._index.reading() as connection:
      return index_lib.facts(connection)

  def places(self, part: int = 0) -> list[Place]:
    """Places of everyone's numbers, ordered by id."""
    with self._index.reading() as connection:
      return list(index_lib.places(connection, "part = ?", [part]))

  def place(self, person: str, part: int = 0) -> Place | None:
    """Place of a person's numbers, or None."""
    with self._index.reading() as connection:
      return next(
        index_lib.places(connection, "id = ? AND part = ?", [person, part]),
        None,
      )

  def layout(self, place: Place) -> Layout:
    """Layout of the numbers at a place."""
    if place.shard not in self._layouts:
      with self._index.reading() as connection:
        layouts = index_lib.layouts(connection)
        self._layouts.update(
          (shard.number, layouts[shard.layout])
          for shard in index_lib.shards(connection)
          if shard.layout in layouts
        )
    if place.shard not in self._layouts:
      raise CheckpointError(
        f"{self._index.path}: is damaged: it does not describe shard "
        f"{place.shard}"
      )
    return self._layouts[place.shard]

  def read(
    self, person: str, part: int = 0, *, check: bool = False
  ) -> Found | None:
    """A person's numbers, or None.

    Args:
      person: the person's id.
      part: the part of the person's numbers.
      check: verify the checksum, which takes time.

    Raises: CheckpointError: a file is missing or damaged; it names the file.
    """
    missing: FileNotFoundError | None = None
    for _ in range(_TRIES):
      place = self.place(person, part)
      if place is None:
        return None
      try:
        layout = self.layout(place)
        numbers = self._files.row(place.shard, place.row, layout.size)
      except FileNotFoundError as error:
        missing = error  # another command may just have compacted
        continue
      if str(numbers.dtype) != layout.dtype or (
        check and shards_lib.checksum(numbers) != place.checksum
      ):
        raise CheckpointError(damaged(self.folder, place))
      return Found(place, layout, numbers)
    raise CheckpointError(
      f"{missing.filename if missing else self.folder}: is missing, with the "
      f"numbers of {person!r}; restore it, or remove the person"
    )

  def add(self, rows: Iterable[Row], *, replace: bool = False) -> int:
    """Adds people, all of them or none; they are on disk when it returns.

    Args:
      rows: rows, one person's next to each other; consumed while the bank is
        locked.
      replace: replace people who are already there; otherwise refuse them.

    Returns: how many people were added.
    Raises: UserError: a person is already there, or is given twice; whatever
      iterating the rows raises; OSError.
    """
    with self._changing() as change:
      seen: set[str] = set()
      last: str | None = None
      version = index_lib.next_number(change.connection, "changes")
      for row in rows:
        if row.id != last:
          if row.id in seen:
            raise UserError(f"{self.folder}: {row.id!r} is given twice")
          if not replace and self.place(row.id) is not None:
            raise UserError(
              f"{self.folder}: {row.id!r} is there already; replace it with "
              "--replace"
            )
          seen.add(row.id)
          last = row.id
        change.append(row, version)
      change.remove(seen)
      change.finish()
      gather(change)
    return len(seen)

  def remove(self, ids: Sequence[str]) -> int:
    """Removes people: they can no longer be found.

    Their numbers stay in the shards until `compact` rewrites these.

    Args:
      ids: ids of people in the bank.

    Raises: UserError: a person is not there; then no one is removed.
    """
    with self._changing() as change:
      for person in ids:
        if self.place(person) is None:
          raise UserError(f"{self.folder}: has no person {person!r}")
      change.remove(set(ids))
      index_lib.next_number(change.connection, "changes")
    return len(set(ids))

  def compact(self) -> int:
    """Rewrites shards with removed people's numbers, and merges small ones.

    Returns: rows of removed or replaced people that were in the files, and are
      gone now.
    Raises: CheckpointError: a person's numbers are damaged; nothing is changed.
      UserError: the system keeps a file locked.
    """
    with self._changing() as change:
      rows = index_lib.shards(change.connection)
      live = live_rows(change.connection)
      removed = sum(shard.rows - live[shard.number] for shard in rows)
      small = collections.Counter(
        shard.layout for shard in rows if shard.bytes < SMALL
      )
      change.rewrite(
        [
          shard
          for shard in rows
          if live[shard.number] < shard.rows
          or (shard.bytes < SMALL and small[shard.layout] > 1)
        ]
      )
    self._index.shrink()
    # Others may be about to remove what they have rewritten.
    with self._index.writing() as connection:
      self._tidy(connection)
      known = _names(connection)
      left = [path for path in self.folder.iterdir() if _is_left(path, known)]
    for path in left:
      raise UserError(
        f"{path}: cannot be removed, and holds numbers of removed people; "
        "close what has it open, and compact again"
      )
    return removed

  def verify(self) -> list[Fault]:
    """Reads everything, and verifies every checksum."""
    return checking.faults(self._index, self._files)

  def sizes(self) -> Sizes:
    """The bank's size."""
    with self._index.reading() as connection:
      shards = index_lib.shards(connection)
      live = live_rows(connection)
      layouts = index_lib.layouts(connection)
      (people,) = connection.execute(
        "SELECT count(*) FROM people WHERE part = 0"
      ).fetchone()
    return Sizes(
      people=people,
      removed=sum(shard.rows - live[shard.number] for shard in shards),
      numbers=sum(
        live[shard.number] * row_bytes(layouts[shard.layout])
        for shard in shards
      ),
      files=sum(
        path.stat().st_size for path in self.folder.iterdir() if path.is_file()
      ),
      shards=len(shards),
    )

  def close(self):
    """Closes all files; the next use opens them again."""
    self._files.close()
    self._index.close()

  @contextlib.contextmanager
  def _changing(self) -> Iterator["Change"]:
    """A change of shards and index, all of it or nothing."""
    try:
      with self._index.writing() as connection:
        self._tidy(connection)
        change = Change(self.folder, connection, self._files)
        try:
          yield change
          change.finish()
        except BaseException as error:
          change.abandon(error)
          raise
    except BaseException:
      self._files.close()  # shard numbers are reused
      # Only the index knows whether the change was committed.
      with contextlib.suppress(UserError, OSError):
        with self._index.writing() as connection:
          self._tidy(connection)
      raise
    for shard in change.replaced:
      self._files.forget(shard.number)
      _unlink(shards_lib.path_of(self.folder, shard.number))

  def _tidy(self, connection: Any):
    """Removes files left by stopped commands, while no one writes."""
    known = _names(connection)
    for path in self.folder.iterdir():
      if _is_left(path, known):
        _unlink(path)


def _names(connection: Any) -> set[str]:
  """Names of all files that the index knows."""
  return {
    shards_lib.path_of(pathlib.Path(), shard.number).name
    for shard in index_lib.shards(connection)
  }


def _is_left(path: pathlib.Path, known: set[str]) -> bool:
  """Whether a file was left by a stopped command."""
  return is_leftover(path) or (
    shards_lib.is_shard(path) and path.name not in known
  )


def _unlink(path: pathlib.Path):
  # On some systems an open file cannot be removed; the next change tries again.
  with contextlib.suppress(OSError):
    path.unlink()

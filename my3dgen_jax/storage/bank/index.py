"""The index of a bank: who has which row of which shard, an SQLite file."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from my3dgen_jax.errors import CheckpointError, UserError

FILE = "index.sqlite"
FORMAT = "1"
# Seconds in which another command must have ended its change.
PATIENCE = 60.0

_MAKES = "my3dgen bank add makes one"
# The key comes first in a row, and there is no other number for it: an entry
# takes some 40 bytes and the letters of its id. "part" is 0 for the numbers
# that everybody has, and more for what only some have beside them.
_SCHEMA = (
  "CREATE TABLE IF NOT EXISTS facts(name TEXT PRIMARY KEY, value TEXT) "
  "WITHOUT ROWID",
  "CREATE TABLE IF NOT EXISTS layouts(number INTEGER PRIMARY KEY, dtype TEXT, "
  "size INTEGER, description TEXT)",
  "CREATE TABLE IF NOT EXISTS shards(number INTEGER PRIMARY KEY, "
  "layout INTEGER, rows INTEGER, bytes INTEGER)",
  "CREATE TABLE IF NOT EXISTS people(id TEXT, part INTEGER, shard INTEGER, "
  "row INTEGER, checksum INTEGER, version INTEGER, note TEXT, "
  "PRIMARY KEY(id, part)) WITHOUT ROWID",
)


_DTYPES = ("float32", "float16")


class NotBegun(UserError):
  """There is no bank, or one whose making was killed before it began."""


class Layout(NamedTuple):
  """What the rows of a shard are.

  Attributes:
    dtype: of the numbers, as NumPy calls it.
    size: numbers in a row.
    description: what they are; whoever made the bank can read it.
  """

  dtype: str
  size: int
  description: str


class Shard(NamedTuple):
  """A file of rows.

  Attributes:
    number: its name; never used again.
    layout: number of its `Layout`.
    rows: in the file, removed ones too.
    bytes: of the file.
  """

  number: int
  layout: int
  rows: int
  bytes: int


class Place(NamedTuple):
  """Where numbers of somebody are.

  Attributes:
    id: of the person.
    part: which numbers of this person.
    shard: number of the file.
    row: in it.
    checksum: CRC-32 of the row's bytes.
    version: number of the bank's change that brought them; a replacement has
      a higher one than what it replaces.
    note: text that belongs to them, or None.
  """

  id: str
  part: int
  shard: int
  row: int
  checksum: int
  version: int
  note: str | None


class Index:
  """The index; may be asked by several threads.

  SQLite keeps other processes out while one writes, undoes what a killed one
  has begun, and answers in microseconds without reading the whole file.
  """

  def __init__(self, folder: pathlib.Path, *, patience: float = PATIENCE):
    """Opens nothing yet.

    Args:
      folder: of the bank.
      patience: seconds to wait for other writers.
    """
    self.path = folder / FILE
    self._patience = patience
    self._lock = threading.RLock()
    self._connection: Any = None

  @contextlib.contextmanager
  def reading(self) -> Iterator[Any]:
    """A connection whose answers are all of one moment.

    Raises: UserError: there is no index, or another command writes for too
      long; CheckpointError: it is damaged. Both name the file.
    """
    with self._lock, self._named():
      connection = self._opened()
      if connection.in_transaction:  # within `writing`, of the same thread
        yield connection
        return
      connection.execute("BEGIN")
      try:
        yield connection
      finally:
        connection.execute("ROLLBACK")

  @contextlib.contextmanager
  def writing(self, *, create: bool = False) -> Iterator[Any]:
    """A connection whose changes are made at the end, all or none.

    Nobody else writes meanwhile, and everybody reads.

    Args:
      create: begin an index where there is none.

    Raises: as `reading`.
    """
    with self._lock, self._named():
      connection = self._opened(create=create)
      connection.execute("BEGIN IMMEDIATE")
      try:
        if create:
          for statement in _SCHEMA:
            connection.execute(statement)
        yield connection
        connection.execute("COMMIT")
      except BaseException:
        if connection.in_transaction:
          connection.execute("ROLLBACK")
        raise

  def shrink(self):
    """Writes the index anew, without what has been removed from it."""
    with self._lock, self._named():
      self._opened().execute("VACUUM")

  def problem(self) -> str | None:
    """What is wrong with the file itself, or None."""
    with self.reading() as connection:
      found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    return None if found == "ok" else " ".join(found.split())

  def close(self):
    """Closes the file; the next use opens it again."""
    with self._lock:
      if self._connection is not None:
        self._connection.close()
        self._connection = None

  def _opened(self, *, create: bool = False) -> Any:
    if self._connection is not None:
      return self._connection
    # Some builds of Python lack it; and only banks need it.
    import sqlite3  # pylint: disable=import-outside-toplevel

    if not create and not self.path.is_file():
      raise NotBegun(f"{self.path.parent}: there is no bank; {_MAKES}")
    mode = "rwc" if create else "rw"  # "rw" also reads what it may not write
    connection = sqlite3.connect(
      f"{self.path.absolute().as_uri()}?mode={mode}",
      uri=True,
      timeout=self._patience,
      isolation_level=None,  # transactions begin where we say
      check_same_thread=False,
    )
    try:
      for setting in (
        # What is removed is overwritten, not only forgotten.
        "secure_delete = ON",
        # Every commit is on the disk, and so is the folder's list of files.
        "synchronous = EXTRA",
        # A large change must not keep readers out before its end.
        "cache_spill = OFF",
        # A bank that somebody gave away runs no code of theirs.
        "trusted_schema = OFF",
      ):
        connection.execute(f"PRAGMA {setting}")
      self._check(connection, create)
    except BaseException:
      connection.close()
      raise
    self._connection = connection
    return connection

  def _check(self, connection: Any, create: bool):
    tables = {
      name for (name,) in connection.execute("SELECT name FROM sqlite_master")
    }
    if not tables and create:
      return
    if not tables:
      raise NotBegun(f"{self.path.parent}: there is no bank yet; {_MAKES}")
    if not tables >= {"facts", "layouts", "shards", "people"}:
      raise CheckpointError(f"{self.path}: is not the index of a bank")
    found = facts(connection).get("format")
    if found != FORMAT:
      raise CheckpointError(
        f"{self.path}: has format {found!r}, expected {FORMAT!r}; use the "
        "version of my3dgen_jax that made it, or a newer one"
      )

  @contextlib.contextmanager
  def _named(self) -> Iterator[None]:
    """Turns SQLite's errors into lines that name the file."""
    import sqlite3  # pylint: disable=import-outside-toplevel

    try:
      yield
    except sqlite3.Error as error:
      reason = str(error)
      if "locked" in reason:
        raise UserError(
          f"{self.path}: another command has been writing for "
          f"{self._patience:.0f} seconds; try again when it has ended"
        ) from None
      if "readonly" in reason or "unable to open" in reason:
        raise UserError(
          f"{self.path}: cannot be written: {reason}; ask its owner, or copy "
          "the bank's folder"
        ) from None
      if "full" in reason:
        raise UserError(f"{self.path}: {reason}; nothing was changed") from None
      raise CheckpointError(
        f"{self.path}: cannot be read as the index of a bank: {reason}"
      ) from None


def facts(connection: Any) -> dict[str, str]:
  """What holds for the whole bank: texts by name."""
  return {
    str(name): str(value)
    for name, value in connection.execute("SELECT name, value FROM facts")
  }


def set_facts(connection: Any, **values: str):
  """Notes what holds for the whole bank."""
  connection.executemany(
    "INSERT OR REPLACE INTO facts VALUES (?, ?)", values.items()
  )


def next_number(connection: Any, name: str) -> int:
  """A number that this bank has never given before, from 1."""
  number = int(facts(connection).get(name, "0")) + 1
  set_facts(connection, **{name: str(number)})
  return number


def layouts(connection: Any) -> dict[int, Layout]:
  """All layouts by number; raises CheckpointError on what we never wrote."""
  found = {
    number: Layout(*fields)
    for number, *fields in connection.execute(
      "SELECT number, dtype, size, description FROM layouts"
    )
  }
  for dtype, size, description in found.values():
    if (
      dtype not in _DTYPES
      or not _are_whole(size)
      or not isinstance(description, str)
    ):
      raise CheckpointError(f"{FILE}: is damaged: it says {dtype!r}, {size!r}")
  return found


def layout_number(connection: Any, wanted: Layout) -> int:
  """The number of a layout, a new one if there was none like it."""
  for number, known in layouts(connection).items():
    if known == wanted:
      return number
  return connection.execute(
    "INSERT INTO layouts(dtype, size, description) VALUES (?, ?, ?)", wanted
  ).lastrowid


def shards(connection: Any) -> list[Shard]:
  """All shards, in order of their numbers."""
  found = [
    Shard(*row)
    for row in connection.execute(
      "SELECT number, layout, rows, bytes FROM shards ORDER BY number"
    )
  ]
  if not all(_are_whole(*shard) for shard in found):
    raise CheckpointError(f"{FILE}: is damaged: a shard has no number")
  return found


def places(
  connection: Any, condition: str = "1", values: Iterable[Any] = ()
) -> Iterator[Place]:
  """Places, in order of ids.

  Args:
    connection: of `reading` or `writing`.
    condition: SQL, with "?" for values.
    values: likewise.
  """
  for row in connection.execute(
    "SELECT id, part, shard, row, checksum, version, note FROM people "
    f"WHERE {condition} ORDER BY id, part",
    tuple(values),
  ):
    place = Place(*row)
    if not (
      isinstance(place.id, str)
      and _are_whole(place.part, place.shard, place.row, place.version)
      and isinstance(place.checksum, int)
      and isinstance(place.note, str | None)
    ):
      raise CheckpointError(f"{FILE}: is damaged: {place.id!r} has no place")
    yield place


def put(connection: Any, found: Iterable[Place]):
  """Notes where numbers are; replaces what was noted before."""
  connection.executemany(
    "INSERT OR REPLACE INTO people VALUES (?, ?, ?, ?, ?, ?, ?)", found
  )


def _are_whole(*values: Any) -> bool:
  return all(isinstance(value, int) and value >= 0 for value in values)


def exists(folder: str | os.PathLike) -> bool:
  """Whether a bank lies in a folder."""
  return (pathlib.Path(folder).expanduser() / FILE).is_file()

"""A bank's index: who has which row of which shard, an SQLite file."""

import contextlib
import os
import pathlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from my3dgen_jax.errors import CheckpointError, UserError

FILE = "index.sqlite"
FORMAT = "1"
# Seconds to wait for another command's change.
PATIENCE = 60.0

_MAKES = "create one with my3dgen bank add"
# Tables without row ids: an entry takes some 40 bytes plus its id's letters.
# "part" is 0 for the numbers that everyone has, and higher for those that only
# some have in addition.
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
  """There is no bank, or its creation was killed before it began."""


class Layout(NamedTuple):
  """The layout of a shard's rows.

  Attributes:
    dtype: NumPy's name of the numbers' dtype.
    size: numbers in a row.
    description: meaning of the numbers, for the bank's creator to interpret.
  """

  dtype: str
  size: int
  description: str


class Shard(NamedTuple):
  """A file of rows.

  Attributes:
    number: its name; never reused.
    layout: number of its `Layout`.
    rows: rows in the file, including removed ones.
    bytes: size of the file.
  """

  number: int
  layout: int
  rows: int
  bytes: int


class Place(NamedTuple):
  """The place of a person's numbers.

  Attributes:
    id: the person's id.
    part: the part of this person's numbers.
    shard: number of the file.
    row: row in the file.
    checksum: CRC-32 of the row's bytes.
    version: number of the bank's change that added them; a replacement has a
      higher one than what it replaces.
    note: text stored with them, or None.
  """

  id: str
  part: int
  shard: int
  row: int
  checksum: int
  version: int
  note: str | None


class Index:
  """The index; safe to use from several threads.

  SQLite locks out other writers, rolls back what a killed process has begun,
  and answers in microseconds without reading the whole file.
  """

  def __init__(self, folder: pathlib.Path, *, patience: float = PATIENCE):
    """Opens nothing yet.

    Args:
      folder: the bank's folder.
      patience: seconds to wait for other writers.
    """
    self.path = folder / FILE
    self._patience = patience
    self._lock = threading.RLock()
    self._connection: Any = None

  @contextlib.contextmanager
  def reading(self) -> Iterator[Any]:
    """A connection that sees one consistent state.

    Raises: UserError: there is no index, or another command writes for too
      long; CheckpointError: it is damaged. Both name the file.
    """
    with self._lock, self._named():
      connection = self._opened()
      if connection.in_transaction:  # within `writing`, in the same thread
        yield connection
        return
      connection.execute("BEGIN")
      try:
        yield connection
      finally:
        connection.execute("ROLLBACK")

  @contextlib.contextmanager
  def writing(self, *, create: bool = False) -> Iterator[Any]:
    """A connection whose changes are committed at the end, all or none.

    Meanwhile no one else can write, and everyone can read.

    Args:
      create: create the index if there is none.

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
    """Rewrites the index without the space of removed entries."""
    with self._lock, self._named():
      self._opened().execute("VACUUM")

  def problem(self) -> str | None:
    """The problem with the file itself, or None."""
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
    # Some builds of Python lack it, and only banks need it.
    import sqlite3  # pylint: disable=import-outside-toplevel

    if not create and not self.path.is_file():
      raise NotBegun(f"{self.path.parent}: there is no bank; {_MAKES}")
    mode = "rwc" if create else "rw"  # "rw" also reads what it may not write
    connection = sqlite3.connect(
      f"{self.path.absolute().as_uri()}?mode={mode}",
      uri=True,
      timeout=self._patience,
      isolation_level=None,  # transactions begin explicitly
      check_same_thread=False,
    )
    try:
      for setting in (
        # Removed data is overwritten, not only unlinked.
        "secure_delete = ON",
        # Every commit is synced, and so is the folder's entry.
        "synchronous = EXTRA",
        # A large change must not block readers before its end.
        "cache_spill = OFF",
        # A shared bank must not run code.
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
    """Converts SQLite's errors to lines that name the file."""
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
  """Facts about the whole bank: strings by name."""
  return {
    str(name): str(value)
    for name, value in connection.execute("SELECT name, value FROM facts")
  }


def set_facts(connection: Any, **values: str):
  """Records facts about the whole bank."""
  connection.executemany(
    "INSERT OR REPLACE INTO facts VALUES (?, ?)", values.items()
  )


def next_number(connection: Any, name: str) -> int:
  """A number that this bank has never used before, from 1."""
  number = int(facts(connection).get(name, "0")) + 1
  set_facts(connection, **{name: str(number)})
  return number


def layouts(connection: Any) -> dict[int, Layout]:
  """All layouts by number; raises CheckpointError on unexpected content."""
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
  """The number of a layout; adds it if it is new."""
  for number, known in layouts(connection).items():
    if known == wanted:
      return number
  return connection.execute(
    "INSERT INTO layouts(dtype, size, description) VALUES (?, ?, ?)", wanted
  ).lastrowid


def shards(connection: Any) -> list[Shard]:
  """All shards, ordered by number."""
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
  """Places, ordered by id.

  Args:
    connection: the connection of `reading` or `writing`.
    condition: SQL condition, with "?" for values.
    values: values for the condition's "?".
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
  """Records where numbers are, replacing earlier records."""
  connection.executemany(
    "INSERT OR REPLACE INTO people VALUES (?, ?, ?, ?, ?, ?, ?)", found
  )


def _are_whole(*values: Any) -> bool:
  return all(isinstance(value, int) and value >= 0 for value in values)


def exists(folder: str | os.PathLike) -> bool:
  """Whether a folder holds a bank."""
  return (pathlib.Path(folder).expanduser() / FILE).is_file()

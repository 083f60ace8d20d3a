"""A change of a bank: shards written within a transaction."""

import collections
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage.bank import index as index_lib
from my3dgen_jax.storage.bank import shards as shards_lib
from my3dgen_jax.storage.bank.index import Layout, Place, Shard

_FULL = 2**27  # bytes; a shard of this size gets no more rows
SMALL = _FULL // 4  # bytes; smaller shards are merged
_MOST_OPEN = 32  # shards being written at once
_ALIKE = 16  # shards of about one size that trigger a merge


class Row(NamedTuple):
  """A person's numbers.

  Attributes:
    id: the person's id.
    layout: layout of the numbers.
    numbers: [size], of the layout's dtype.
    part: 0 for the numbers that everyone has.
    note: text stored with them.
  """

  id: str
  layout: Layout
  numbers: np.ndarray
  part: int = 0
  note: str | None = None


class Change:
  """Shards being written within a transaction.

  Attributes:
    connection: the transaction's connection.
    replaced: shards that hold no rows once the transaction is committed.
  """

  def __init__(
    self, folder: pathlib.Path, connection: Any, files: shards_lib.Files
  ):
    """Changes nothing yet.

    Args:
      folder: the bank's folder.
      connection: the connection of `Index.writing`.
      files: the bank's shards.
    """
    self.connection = connection
    self.replaced: list[Shard] = []
    self._folder = folder
    self._files = files
    self._open: dict[Layout, tuple[int, shards_lib.Writer]] = {}
    self._done: list[Place] = []

  def append(self, row: Row, version: int):
    """Adds a row, which enters the index when `finish` is called."""
    numbers = np.ascontiguousarray(row.numbers)
    if (str(numbers.dtype), numbers.shape) != (
      row.layout.dtype,
      (row.layout.size,),
    ):
      raise ValueError(f"{row.id}: {numbers.dtype} {numbers.shape}")
    self._append(
      row.layout,
      numbers,
      Place(
        row.id, row.part, 0, 0, shards_lib.checksum(numbers), version, row.note
      ),
    )

  def remove(self, ids: Iterable[str]):
    """Removes people from the index, as it was before the change."""
    self.connection.executemany(
      "DELETE FROM people WHERE id = ?", [(person,) for person in ids]
    )

  def rewrite(self, shards: Sequence[Shard], *, skip_damaged: bool = False):
    """Copies live rows to new shards, which replace the old ones.

    Args:
      shards: the shards to rewrite.
      skip_damaged: leave shards that hold damaged numbers as they are.

    Raises: CheckpointError: numbers are damaged, and may not be skipped.
    """
    layouts = index_lib.layouts(self.connection)
    by_shard = collections.defaultdict(list)
    wanted = {shard.number for shard in shards}
    for place in index_lib.places(self.connection):
      if place.shard in wanted:
        by_shard[place.shard].append(place)
    for shard in shards:
      layout = layouts[shard.layout]
      places = sorted(by_shard[shard.number], key=lambda one: one.row)
      try:
        rows = [self._checked(place, layout) for place in places]
      except CheckpointError:  # `verify` reports it
        if not skip_damaged:
          raise
        continue
      for numbers, place in zip(rows, places):
        self._append(layout, numbers, place)
      self.replaced.append(shard)
    self.finish()
    self.connection.executemany(
      "DELETE FROM shards WHERE number = ?",
      [(shard.number,) for shard in self.replaced],
    )

  def finish(self):
    """Completes the shards being written, and enters them in the index."""
    for layout in list(self._open):
      self._close(layout)
    index_lib.put(self.connection, self._done)
    self._done = []

  def abandon(self, error: BaseException):
    """Deletes the shards being written."""
    for _, writer in self._open.values():
      writer.abandon(error)
    self._open = {}

  def _append(self, layout: Layout, numbers: np.ndarray, place: Place):
    if layout not in self._open:
      while len(self._open) >= _MOST_OPEN:
        self._close(next(iter(self._open)))
      number = index_lib.next_number(self.connection, "shards")
      path = shards_lib.path_of(self._folder, number)
      self._open[layout] = (
        number,
        shards_lib.Writer(path, layout.dtype, layout.size),
      )
    number, writer = self._open[layout]
    self._done.append(place._replace(shard=number, row=writer.rows))
    writer.append(numbers)
    if writer.bytes >= _FULL:
      self._close(layout)

  def _close(self, layout: Layout):
    number, writer = self._open.pop(layout)
    size = writer.finish()
    kind = index_lib.layout_number(self.connection, layout)
    self.connection.execute(
      "INSERT INTO shards VALUES (?, ?, ?, ?)",
      (number, kind, writer.rows, size),
    )

  def _checked(self, place: Place, layout: Layout) -> np.ndarray:
    """A row to copy to another shard, with its checksum verified."""
    try:
      numbers = self._files.row(place.shard, place.row, layout.size)
    except FileNotFoundError as error:
      raise CheckpointError(
        f"{error.filename}: is missing, with the numbers of {place.id!r}; "
        "restore it, or bank remove --damaged"
      ) from None
    if shards_lib.checksum(numbers) != place.checksum:
      raise CheckpointError(damaged(self._folder, place))
    return numbers


def gather(change: Change):
  """Merges shards of about one size, if there are many."""
  alike = collections.defaultdict(list)
  for shard in index_lib.shards(change.connection):
    if shard.bytes < SMALL:
      # Each class reaches to 16 times the size of the previous one.
      alike[shard.layout, shard.bytes.bit_length() // 4].append(shard)
  for shards in alike.values():
    if len(shards) >= _ALIKE:
      change.rewrite(shards, skip_damaged=True)


def live_rows(connection: Any) -> Mapping[int, int]:
  """How many live rows each shard holds."""
  return collections.defaultdict(
    int, connection.execute("SELECT shard, count(*) FROM people GROUP BY shard")
  )


def row_bytes(layout: Layout) -> int:
  """Size of a row, bytes."""
  return layout.size * np.dtype(layout.dtype).itemsize


def damaged(folder: pathlib.Path, place: Place) -> str:
  """The message about a row that differs from what was added."""
  return (
    f"{shards_lib.path_of(folder, place.shard)}: is damaged: the numbers of "
    f"{place.id!r} are not what was added; restore the file, or remove the "
    "person"
  )

"""A bank: adapters of any number of people for one base generator.

    bank = lora.Bank("people.bank")
    bank.add([lora.Entry("obama", adapter, config, base=digest)])
    bank.read("obama")                    # Loaded, as `lora.load` returns
    stacked = bank.stack(["obama", "beyonce"])    # leaves [2, ...], on a device
    cache = lora.DeviceCache(bank)
    cache.read("obama")                   # on the device the next time

For the layout on disk, and what a kill leaves of it, see `storage.bank.store`.
"""

import itertools
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from my3dgen_jax._version import __version__
from my3dgen_jax.config import LoraConfig
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.lora import bank_rows as rows_lib
from my3dgen_jax.lora.bank_rows import Entry, Photos
from my3dgen_jax.lora.files import BASE_DIGEST, Loaded
from my3dgen_jax.storage.bank import index as index_lib
from my3dgen_jax.storage.bank import store as store_lib

_SHORT = 12  # hex digits of a digest shown in messages


class Record(NamedTuple):
  """A person's entry in a bank, without the numbers.

  Attributes:
    id: the person's id.
    config: rank, layout, targets.
    dtype: dtype of the numbers in the bank.
    numbers: how many numbers the adapter has.
    version: version of the bank that added or replaced this person.
    checksum: CRC-32 of the numbers' bytes.
    photos: how many anchors are kept with it.
  """

  id: str
  config: LoraConfig
  dtype: str
  numbers: int
  version: int
  checksum: int
  photos: int


class Bank:
  """A bank; safe to use from several threads and processes."""

  def __init__(
    self, folder: str | os.PathLike, *, patience: float = index_lib.PATIENCE
  ):
    """Opens nothing yet.

    Args:
      folder: the bank's folder; the first `add` creates it.
      patience: seconds to wait for other writers.
    """
    self._store = store_lib.Store(folder, patience=patience)
    self.folder = self._store.folder
    self._base: str | None = None

  @property
  def base(self) -> str:
    """SHA-256 of the weights that its adapters are for.

    Raises: UserError: there is no bank; CheckpointError: it is damaged.
    """
    if self._base is None:
      self._base = self._store.facts().get(BASE_DIGEST, "")
    return self._base

  def __len__(self) -> int:
    return self.sizes().people

  def __contains__(self, person: str) -> bool:
    return self._store.place(rows_lib.as_id(person)) is not None

  def ids(self) -> list[str]:
    """All ids, sorted; raises UserError, CheckpointError."""
    return [place.id for place in self._store.places(rows_lib.ADAPTER)]

  def records(self) -> Iterator[Record]:
    """Records of all people, sorted by id; reads no numbers."""
    with_photos = {
      place.id: place for place in self._store.places(rows_lib.PHOTOS)
    }
    for place in self._store.places(rows_lib.ADAPTER):
      layout = self._store.layout(place)
      note = with_photos.get(place.id)
      yield Record(
        place.id,
        rows_lib.adapter_of(layout.description).config,
        layout.dtype,
        layout.size,
        place.version,
        place.checksum,
        len(rows_lib.photo_names(note.note)) if note else 0,
      )

  def add(self, entries: Iterable[Entry], *, replace: bool = False) -> int:
    """Adds people, all of them or none; they are on disk when it returns.

    Args:
      entries: the people, consumed one by one while others cannot write.
        Adding many at once is cheaper: each `add` waits for the disk about
        three times.
      replace: replace people who are already there; otherwise they are refused.

    Returns: how many people were added.
    Raises: UserError: a person is for another base, is already there, or does
      not fit the dtype; it names the bank and the person. OSError.
    """
    taken = iter(entries)
    first = next(taken, None)
    if first is None:
      return 0
    self._check_said(first)
    self._store.begin(**{BASE_DIGEST: str(first.base), "version": __version__})

    def rows() -> Iterator[store_lib.Row]:
      for entry in itertools.chain([first], taken):
        self._check_said(entry)
        if entry.base != self.base:
          raise UserError(
            f"{self.folder}: is a bank for the base {self.base[:_SHORT]}…, "
            f"but {entry.id!r} is for {str(entry.base)[:_SHORT]}…; add it to a "
            "bank for that base"
          )
        yield from rows_lib.rows_of(self.folder, entry)

    return self._store.add(rows(), replace=replace)

  def remove(self, ids: Sequence[str]) -> int:
    """Removes people; their numbers stay in the files until `compact`.

    Raises: UserError: a person is not there; then no one is removed.
    """
    return self._store.remove([rows_lib.as_id(person) for person in ids])

  def compact(self) -> int:
    """Drops removed people's numbers from the files, and merges small files.

    A process that has read from an old file keeps it open until it ends or
    closes its bank.

    Returns: how many rows of removed or replaced people were dropped.
    Raises: CheckpointError: a person's numbers are damaged; nothing changes.
    """
    return self._store.compact()

  def verify(self) -> list[store_lib.Fault]:
    """Verifies every checksum; returns what is damaged."""
    return self._store.verify()

  def sizes(self) -> store_lib.Sizes:
    """The bank's size, on disk and in people."""
    return self._store.sizes()

  def read(self, person: str, *, check: bool = False) -> Loaded:
    """A person's adapter: one copy out of a memory map, on the host.

    Args:
      person: the person's id.
      check: verify the checksum, which doubles the time.

    Returns: Loaded, whose leaves are NumPy arrays.
    Raises: UserError: the bank has no such person; CheckpointError: the
      numbers are damaged.
    """
    found = self._found(person, check=check)
    adapter = rows_lib.adapter_of(found.layout.description)
    return Loaded(
      rows_lib.tree_of(adapter, found.numbers.astype(np.float32, copy=False)),
      adapter.config,
      {
        BASE_DIGEST: self.base,
        "format": "2",
        "version": str(found.place.version),
      },
    )

  def dtype(self, person: str) -> str:
    """The dtype of a person's numbers; raises UserError: no such person."""
    return self._store.layout(self.place(person)).dtype

  def photos(self, person: str) -> Photos | None:
    """A person's anchors, or None if the bank has none."""
    found = self._store.read(
      rows_lib.as_id(person), rows_lib.PHOTOS, check=True
    )
    if found is None:
      return None
    names = rows_lib.photo_names(found.place.note)
    shape = rows_lib.photo_shape(found.layout.description)
    if len(names) != shape[0]:
      raise CheckpointError(f"{self.folder}: {person!r} has damaged photos")
    count = int(np.prod(shape))
    return Photos(
      names,
      found.numbers[:count].reshape(shape),
      found.numbers[count:].reshape(shape[0], -1),
    )

  def stack(
    self, ids: Sequence[str], *, device: jax.Device | None = None
  ) -> Loaded:
    """Several people's adapters, stacked on a device.

    Args:
      ids: the people, in this order; one may appear twice.
      device: the device to put them on; None: JAX's default.

    Returns: Loaded, whose leaves have the people as their first axis.
    Raises: UserError: no ids are given, a person is not there, or two have
      different ranks or layouts; CheckpointError.
    """
    if not ids:
      raise UserError("ids: expected one person or more, got none")
    found = [self._found(person) for person in ids]
    adapters = [rows_lib.adapter_of(one.layout.description) for one in found]
    for person, adapter in zip(ids, adapters):
      if adapter != adapters[0]:
        raise UserError(
          f"{self.folder}: {ids[0]!r} and {person!r} have different ranks or "
          "layouts, so they cannot be stacked"
        )
    numbers = np.empty((len(ids), found[0].numbers.size), np.float32)
    for row, one in zip(numbers, found):
      row[:] = one.numbers
    return Loaded(
      jax.device_put(rows_lib.tree_of(adapters[0], numbers), device),
      adapters[0].config,
      {BASE_DIGEST: self.base, "format": "2"},
    )

  def close(self):
    """Closes all files; the next use opens them again."""
    self._store.close()

  def place(self, person: str) -> index_lib.Place:
    """Where a person's numbers are; raises UserError: no such person."""
    place = self._store.place(rows_lib.as_id(person))
    if place is None:
      raise self._nobody(person)
    return place

  def _found(self, person: str, *, check: bool = False) -> store_lib.Found:
    found = self._store.read(
      rows_lib.as_id(person), rows_lib.ADAPTER, check=check
    )
    if found is None:
      raise self._nobody(person)
    return found

  def _nobody(self, person: str) -> UserError:
    return UserError(
      f"{self.folder}: has no person {person!r}; list its people with "
      "my3dgen bank list"
    )

  def _check_said(self, entry: Entry):
    if not entry.base:
      raise UserError(
        f"{self.folder}: {entry.id!r} does not say which base it is for; "
        f"save it with metadata={{{BASE_DIGEST!r}: …}}"
      )

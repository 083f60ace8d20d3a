"""A bank: the adapters of any number of people of one base.

    bank = lora.Bank("people.bank")
    bank.add([lora.Entry("obama", adapter, config, base=digest)])
    bank.read("obama")                    # Loaded, as `lora.load` returns
    stacked = bank.stack(["obama", "beyonce"])      # leaves [2, ...], on a device
    cache = lora.DeviceCache(bank)
    cache.read("obama")                   # on the device already, the next time

How it lies on disk, and what a kill leaves of it: `storage.bank.store`.
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

_SHORT = 12  # hex digits of a digest in messages


class Record(NamedTuple):
  """What a bank says of a person.

  Attributes:
    id: of the person.
    config: rank, layout, targets.
    dtype: of the numbers in the bank.
    numbers: how many the adapter has.
    version: number of the bank's change that brought it.
    checksum: CRC-32 of the numbers' bytes.
    photos: how many anchors are kept beside it.
  """

  id: str
  config: LoraConfig
  dtype: str
  numbers: int
  version: int
  checksum: int
  photos: int


class Bank:
  """A bank; may be used by several threads and processes."""

  def __init__(
    self, folder: str | os.PathLike, *, patience: float = index_lib.PATIENCE
  ):
    """Opens nothing yet.

    Args:
      folder: of the bank; made by the first `add`.
      patience: seconds to wait for other writers.
    """
    self._store = store_lib.Store(folder, patience=patience)
    self.folder = self._store.folder
    self._base: str | None = None

  @property
  def base(self) -> str:
    """The SHA-256 of the weights that its people are for.

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
    """Everybody, in order; raises UserError, CheckpointError."""
    return [place.id for place in self._store.places(rows_lib.ADAPTER)]

  def records(self) -> Iterator[Record]:
    """What is known of everybody, in order of ids; no numbers are read."""
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
    """Adds people, all of them or none; they are on the disk when it returns.

    Args:
      entries: taken one after the other, while others cannot write. Many at a
        time cost less each: an `add` waits for the disk some three times.
      replace: people who are there already; without, they are refused.

    Returns: how many people.
    Raises: UserError: somebody is for another base, is there already, or does
      not fit the dtype; names the bank and the person. OSError.
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
            f"{self.folder}: is a bank of the base {self.base[:_SHORT]}…, "
            f"{entry.id!r} is for {str(entry.base)[:_SHORT]}…; add it to a "
            "bank of that one"
          )
        yield from rows_lib.rows_of(self.folder, entry)

    return self._store.add(rows(), replace=replace)

  def remove(self, ids: Sequence[str]) -> int:
    """Removes people; their numbers are in the files until `compact`.

    Raises: UserError: somebody is not there; then nobody is removed.
    """
    return self._store.remove([rows_lib.as_id(person) for person in ids])

  def compact(self) -> int:
    """Takes removed people's numbers out of the files, and gathers small ones.

    A process that has read from a file before keeps it, unseen, until it ends
    or closes its bank.

    Returns: how many rows of people removed or replaced are gone.
    Raises: CheckpointError: somebody's numbers are damaged; nothing changes.
    """
    return self._store.compact()

  def verify(self) -> list[store_lib.Fault]:
    """Compares every checksum; what is damaged, with a line each."""
    return self._store.verify()

  def sizes(self) -> store_lib.Sizes:
    """How large it is, on disk and in people."""
    return self._store.sizes()

  def read(self, person: str, *, check: bool = False) -> Loaded:
    """Somebody's adapter: one copy out of a memory map, on the host.

    Args:
      person: id.
      check: compare the checksum, in as long again.

    Returns: Loaded, whose leaves are NumPy arrays.
    Raises: UserError: the bank has nobody of that id; CheckpointError: the
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
    """That of somebody's numbers; raises UserError: nobody of that id."""
    return self._store.layout(self.place(person)).dtype

  def photos(self, person: str) -> Photos | None:
    """Somebody's anchors, or None where the bank has none."""
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
      ids: whom, in this order; one may come twice.
      device: where to; None: JAX's default.

    Returns: Loaded, whose leaves have the people as their first axis.
    Raises: UserError: nobody is named, somebody is not there, or two are of
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
    """Where somebody's numbers are; raises UserError: nowhere."""
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
      f"{self.folder}: has nobody called {person!r}; my3dgen bank list says "
      "who is there"
    )

  def _check_said(self, entry: Entry):
    if not entry.base:
      raise UserError(
        f"{self.folder}: {entry.id!r} does not say which base it is for; "
        f"save it with metadata={{{BASE_DIGEST!r}: …}}"
      )

"""A cache of the most recently used people, on a device."""

import collections
import threading
from typing import Any

import jax

from my3dgen_jax.errors import UserError
from my3dgen_jax.lora.bank import Bank
from my3dgen_jax.lora.files import Loaded


class DeviceCache:
  """The most recently used people, on a device; safe to use from threads."""

  def __init__(
    self,
    bank: Bank,
    *,
    most_bytes: int = 2**28,
    device: jax.Device | None = None,
  ):
    """Reads nothing yet.

    Args:
      bank: the bank to read from.
      most_bytes: device memory to use, as float32; one person is always kept.
      device: the device; None: JAX's default.
    """
    self._bank = bank
    self._most_bytes = most_bytes
    self._device = device
    self._lock = threading.Lock()
    self._bytes = 0
    self._kept: collections.OrderedDict[str, tuple[Any, int, Loaded]] = (
      collections.OrderedDict()
    )

  def read(self, person: str) -> Loaded:
    """A person's adapter on the device; raises what `Bank.read` raises.

    A person who was replaced meanwhile is read again; a removed one is gone.
    """
    try:
      place = self._bank.place(person)
    except UserError:
      with self._lock:
        self._forget(person)
      raise
    key = place.version, place.checksum
    with self._lock:
      kept = self._kept.get(person)
      if kept is not None and kept[0] == key:
        self._kept.move_to_end(person)
        return kept[2]
      found = self._bank.read(person)
      loaded = found._replace(lora=jax.device_put(found.lora, self._device))
      size = sum(leaf.nbytes for leaf in jax.tree.leaves(loaded.lora))
      self._forget(person)
      self._kept[person] = key, size, loaded
      self._bytes += size
      while self._bytes > self._most_bytes and len(self._kept) > 1:
        self._forget(next(iter(self._kept)))
      return loaded

  def ids(self) -> list[str]:
    """The people on the device, least recently used first."""
    with self._lock:
      return list(self._kept)

  def _forget(self, person: str):
    if person in self._kept:
      self._bytes -= self._kept.pop(person)[1]

"""Networks kept in memory between runs of a process."""

import collections
import os
import pathlib
from collections.abc import Callable, Hashable
from typing import Any

from my3dgen_jax.training import run_folder


class Shelf:
  """Keeps what was read last; its contents must not be changed."""

  def __init__(self, most: int = 6):
    """Makes an empty shelf.

    Args:
      most: networks to keep, >= 1; the last used ones stay.
    """
    self._most = most
    self._kept: collections.OrderedDict[Hashable, Any] = (
      collections.OrderedDict()
    )

  def get(self, name: Hashable, load: Callable[[], Any]) -> Any:
    """The entry of this name, loaded if it is missing."""
    if name not in self._kept:
      self._kept[name] = load()
      while len(self._kept) > self._most:
        self._kept.popitem(last=False)
    self._kept.move_to_end(name)
    return self._kept[name]

  def with_digest(
    self, file: str | os.PathLike, load: Callable[[], Any], *settings: Any
  ) -> tuple[Any, str]:
    """The network of a weights file, and the file's SHA-256.

    Args:
      file: the weights file; hashed each time, so that changes are noticed.
      load: function that loads the network.
      *settings: other values that the network depends on.
    """
    path = pathlib.Path(file).absolute()
    if not path.is_file():
      return load(), ""  # `load` reports what is wrong
    digest = run_folder.file_digest(path)
    return self.get((path, digest, *settings), load), digest

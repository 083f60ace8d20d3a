"""Networks that stay in memory from one run of a process to the next."""

import collections
import os
import pathlib
from collections.abc import Callable, Hashable
from typing import Any

from my3dgen_jax.training import run_folder


class Shelf:
  """Keeps what was read last; nothing that is on it may be changed."""

  def __init__(self, most: int = 6):
    """An empty one.

    Args:
      most: networks to keep, >= 1; those used last.
    """
    self._most = most
    self._kept: collections.OrderedDict[Hashable, Any] = (
      collections.OrderedDict()
    )

  def get(self, name: Hashable, load: Callable[[], Any]) -> Any:
    """What is called so; loaded if it is not there."""
    if name not in self._kept:
      self._kept[name] = load()
      while len(self._kept) > self._most:
        self._kept.popitem(last=False)
    self._kept.move_to_end(name)
    return self._kept[name]

  def with_digest(
    self, file: str | os.PathLike, load: Callable[[], Any], *settings: Any
  ) -> tuple[Any, str]:
    """What a file of weights holds, and its SHA-256.

    Args:
      file: read each time, so that another one of its name is noticed.
      load: reads a network of it.
      *settings: what else the network depends on.
    """
    path = pathlib.Path(file).absolute()
    if not path.is_file():
      return load(), ""  # which says what is wrong
    digest = run_folder.file_digest(path)
    return self.get((path, digest, *settings), load), digest

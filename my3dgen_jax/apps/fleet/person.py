"""What a worker needs to know of a person."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.apps.personalization.settings import (
  CIRCUMSTANCES,
  PersonalizeConfig,
)
from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.config.checks import plain

_RUNS, _BEFORE, _ALBUMS, _LOGS = "runs", "before", "albums", "logs"
_PLACES = ("checkpoint", "lpips", "identity", "encoder", "adapter_init")
_COMPILED = (*_PLACES, "devices", "precision")
_NOT_COMPILED = tuple(set(CIRCUMSTANCES) - set(_COMPILED))


@dataclasses.dataclass(frozen=True)
class Person:
  """A person to make.

  Attributes:
    id: the person's id, valid as a folder name.
    config: the run's settings; the worker chooses `out`.
    prepare: how to prepare the album from photos; None: `config.album` is one.
    demo: number of a procedural person, or None.
    flags: text of a flagfile that reproduces the run.
  """

  id: str
  config: PersonalizeConfig
  prepare: PrepareConfig | None = None
  demo: int | None = None
  flags: str = ""

  @property
  def program(self) -> Hashable:
    """A key, equal for people who share compiled programs."""
    config = plain(self.config)
    for name in _NOT_COMPILED:
      config.pop(name, None)
    for part in ("tuning", "projection"):
      config[part].pop("seed")
    config["tuning"].pop("steps")
    return digest(config)

  @property
  def settings(self) -> str:
    """A digest of all that the result depends on, except the photos' files."""
    config = plain(self.config)
    for name in ("out", "cache", "devices", "log_every", "save_every"):
      config.pop(name)
    prepare = None if self.prepare is None else dataclasses.asdict(self.prepare)
    return digest([config, prepare, self.demo])

  def inputs(self) -> str:
    """A digest of the input files' names, sizes and times.

    Files that cannot be read are left out.
    """
    where = self.prepare.photos if self.prepare else self.config.album
    try:
      return digest(Place(where).files()) if where else ""
    except OSError:
      return ""

  def photos(self, storage: Place) -> str:
    """A digest of the photos and settings of the album; "": no photos.

    Args:
      storage: the fleet's storage, whose own files are not photos.

    Raises: OSError: they cannot be listed.
    """
    if self.prepare is None:
      return ""
    found = Place(self.prepare.photos)
    files = found.files()
    if found.local is not None and storage.local is not None:
      files = {
        name: known
        for name, known in files.items()
        if not (found.local / name).is_relative_to(storage.local)
      }
    if not files:
      return ""
    given = self.prepare.detections
    return digest(
      [
        dataclasses.asdict(self.prepare),
        files,
        Place(given).files() if given else {},
        [self.config.checkpoint, self.config.identity],
      ]
    )


class Hooks(NamedTuple):
  """What a worker calls but this package may not import; can be pickled.

  Attributes:
    start: function called once in a worker's process, before JAX starts.
    draw: function that makes a procedural person's album in a folder, and
      returns the config with it.
  """

  start: Callable[[], None] | None = None
  draw: Callable[[PersonalizeConfig, int, str], PersonalizeConfig] | None = None


class Folders(NamedTuple):
  """Where a storage keeps what belongs to a person.

  Attributes:
    run: the run's folder, see `training.run_folder`.
    before: folder of runs with other settings or photos, 1, 2, …; not beside
      `run`, where they would look like people.
    album: the album that was prepared or drawn.
    log: the run's log file.
  """

  run: Place
  before: Place
  album: Place
  log: Place

  @classmethod
  def of(cls, storage: str | os.PathLike, person: str) -> "Folders":
    """The folders of a person in a storage."""
    root = Place(storage)
    return cls(
      root / _RUNS / person,
      root / _BEFORE / person,
      root / _ALBUMS / person,
      root / _LOGS / f"{person}.log",
    )


def digest(data: Any) -> str:
  """A digest of plain data."""
  text = json.dumps(data, sort_keys=True, default=str)
  return hashlib.sha256(text.encode()).hexdigest()

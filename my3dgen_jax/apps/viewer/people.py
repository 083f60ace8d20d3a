"""Whom a viewer shows: runs and adapters, loaded when they are chosen.

    people = People(["runs"], checkpoint=None, devices=devices)
    people.names()                      # ["obama", "beyonce"]
    shown = people.load("obama")        # .own and .base, which share anchors

What cannot be loaded, because it is still being written or belongs to another
base, is said when somebody chooses it, and may be chosen again later.
"""

import collections
import dataclasses
import os
import pathlib
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.apps.person import load_person, Person
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.lora import shared_basis
from my3dgen_jax.models.checkpoint import weights_digest
from my3dgen_jax.training import run_folder
from my3dgen_jax.types import Network

PathLike = str | os.PathLike

_SUFFIX = ".safetensors"
_DEEPEST = 2  # folders of runs, a folder a person
_KEPT = 4  # people in memory
_MOST_CHOICES = 500  # of a bank, in one list on the page


class Shown(NamedTuple):
  """A person in memory.

  Attributes:
    own: the person with their own generator.
    base: the person with the pretrained generator.
  """

  own: Person
  base: Person


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a person lies on disk.

  Attributes:
    name: the name shown for choosing.
    path: a run's folder, an adapter's file, a bare base's or a bank's folder.
    kind: "run", "adapter", "base" or "bank".
    person: id in the bank.
  """

  name: str
  path: pathlib.Path
  kind: str
  person: str = ""


class People:
  """People by name; may be asked by several threads."""

  def __init__(
    self,
    places: Sequence[PathLike],
    *,
    checkpoint: PathLike | None = None,
    bank: PathLike | None = None,
    of_bank: Sequence[str] = (),
    devices: Sequence[jax.Device] = (),
    precision: str | None = None,
  ):
    """Finds people; loads nothing.

    Args:
      places: runs, adapters' files, or folders of such; none: the bare base.
      checkpoint: current folder of the base; adapters alone and banks need it.
      bank: folder of `lora.Bank`, whose people are shown, too.
      of_bank: ids of the bank's people to show; none: all.
      devices: the devices to use; none: all.
      precision: see `load_person`.

    Raises: UserError, CheckpointError: a place holds nothing of the kind.
    """
    self._roots = [pathlib.Path(place).expanduser() for place in places]
    self._checkpoint = checkpoint
    self._bank = None if bank is None else lora_lib.Bank(bank)
    self._of_bank = tuple(of_bank)
    self._devices = tuple(devices) or tuple(jax.local_devices())
    self._options: dict[str, Any] = {
      "devices": self._devices,
      "precision": precision,
    }
    self._lock = threading.Lock()
    self._bases: dict[str, Person] = {}
    self._loaded: collections.OrderedDict[Any, Shown] = (
      collections.OrderedDict()
    )
    self._places: dict[str, Place] = {}
    self.look_again()

  def look_again(self):
    """Finds what has been added since; raises as `__init__` does."""
    banked = self._banked()
    if banked and not self._roots:
      found = banked
    elif not self._roots:
      if self._checkpoint is None:
        raise UserError("give a run by --run, or a bare base by --checkpoint")
      path = pathlib.Path(self._checkpoint).expanduser()
      found = [Place(path.name, path, "base")]
    else:
      found = find_places(self._roots, _SUFFIX) + banked
    if all(place.kind in ("adapter", "bank") for place in found):
      self._check_base(found[0])
    # Somebody of the bank may be called as a run is.
    self._places = {}
    for place in found:
      name = place.name
      if name in self._places:
        name = f"{name} ({place.path.name})"
      self._places[name] = place

  def _banked(self) -> list[Place]:
    """People of the bank."""
    if self._bank is None and self._of_bank:
      raise UserError("person: names people of a bank; give that by --bank")
    if self._bank is None:
      return []
    ids = list(self._of_bank) or self._bank.ids()
    if len(ids) > _MOST_CHOICES:
      raise UserError(
        f"{self._bank.folder}: holds {len(ids)} people, more than one chooses "
        "from; name some by --person=ANN,BOB"
      )
    for person in self._of_bank:
      self._bank.place(person)
    if not ids:
      raise UserError(f"{self._bank.folder}: has no people")
    return [Place(one, self._bank.folder, "bank", one) for one in ids]

  def _check_base(self, place: Place):
    if self._checkpoint is None:
      raise UserError(
        f"{place.path}: a bank or an adapter alone does not say where its "
        "base is; name that by --checkpoint"
      )

  def names(self) -> list[str]:
    """All that can be chosen."""
    return list(self._places)

  def first(self) -> tuple[str, list[str]]:
    """The first who can be loaded, and why those before cannot.

    Raises: UserError, CheckpointError: nobody can; says it of the first.
    """
    failures: list[UserError] = []
    for name in self.names():
      try:
        self.load(name)
        return name, [str(failure) for failure in failures]
      except UserError as error:
        failures.append(error)
    raise failures[0]

  def load(self, name: str) -> Shown:
    """Somebody, from memory or from disk.

    Raises: UserError, CheckpointError: names the file and what is wrong.
    """
    place = self._places.get(name)
    if place is None:
      raise UserError(f"person: {name!r} no longer exists")
    with self._lock:
      try:
        # Names change as others come; and a run may be made again.
        key = place.path, place.person, self._state_of(place)
        if key not in self._loaded:
          self._loaded[key] = self._read(place)
      except OSError as error:  # e.g. a disk that is gone
        raise UserError(
          f"{error.filename or place.path}: {error.strerror or error}"
        ) from None
      self._loaded.move_to_end(key)
      while len(self._loaded) > _KEPT:
        self._loaded.popitem(last=False)
      return self._loaded[key]

  def _state_of(self, place: Place) -> tuple[int, ...]:
    """Other numbers for another state of what lies there."""
    if place.kind == "bank" and self._bank is not None:
      found = self._bank.place(place.person)
      return found.version, found.checksum
    return _times_of(place)

  def _read(self, place: Place) -> Shown:
    if place.kind == "bank":
      return self._of_a_bank(place)
    if place.kind == "adapter":
      return self._of_adapter(place)
    if place.kind == "base":
      person = self._on_device(
        load_person(checkpoint=place.path, **self._options)
      )
      return Shown(person, person)
    check_finished(place.path)
    digest = run_folder.read_config(place.path)[run_folder.BASE_DIGEST]
    own = self._on_device(
      load_person(run=place.path, checkpoint=self._checkpoint, **self._options)
    )
    if digest not in self._bases:
      self._bases[digest] = self._on_device(
        load_person(
          run=place.path,
          checkpoint=self._checkpoint,
          pretrained=True,
          **self._options,
        )
      )
    base = self._bases[digest]
    if base.generator.module.config != own.generator.module.config:
      # A run may compute in another dtype than others of its base.
      base = dataclasses.replace(
        base, generator=Network(base.generator.variables, own.generator.module)
      )
    return Shown(
      own,
      dataclasses.replace(
        own,
        generator=base.generator,
        digest=digest,
        origin=dataclasses.replace(own.origin, adapter="none"),
      ),
    )

  def _bare(self) -> Person:
    """The base that --checkpoint names."""
    key = str(self._checkpoint)
    if key not in self._bases:
      self._bases[key] = self._on_device(
        load_person(checkpoint=self._checkpoint, **self._options)
      )
    return self._bases[key]

  def _of_a_bank(self, place: Place) -> Shown:
    """Somebody of the bank, with anchors where it has some."""
    self._check_base(place)
    own = self._on_device(
      load_person(
        checkpoint=self._checkpoint,
        bank=place.path,
        person=place.person,
        **self._options,
      )
    )
    base = self._bare()
    return Shown(
      own, dataclasses.replace(base, name=own.name, anchors=own.anchors)
    )

  def _of_adapter(self, place: Place) -> Shown:
    """An adapter on the base that --checkpoint names; it has no anchors."""
    self._check_base(place)
    base = dataclasses.replace(self._bare(), name=str(place.path))
    found = lora_lib.load(
      place.path,
      base.generator.module.config,
      places=[self._checkpoint] if self._checkpoint else [],
    )
    wanted = found.metadata.get(run_folder.BASE_DIGEST, base.digest)
    if wanted != base.digest:
      raise CheckpointError(
        f"{place.path}: is an adapter of another base "
        f"({wanted[: run_folder.ID_LENGTH]}) than {self._checkpoint} "
        f"({base.digest[: run_folder.ID_LENGTH]}); name its own by "
        "--checkpoint"
      )
    variables = lora_lib.merge_into_params(
      base.generator.variables, found.lora, found.config
    )
    return Shown(
      dataclasses.replace(
        base,
        generator=Network(variables, base.generator.module),
        digest=weights_digest(variables),
        origin=Origin(
          adapter=lora_lib.fingerprint(found.lora)[: run_folder.ID_LENGTH],
          base=base.origin.base,
          task="load",
        ),
      ),
      base,
    )

  def _on_device(self, person: Person) -> Person:
    """Weights on the device once, and without what a viewer does not use."""
    return dataclasses.replace(
      person,
      lpips=None,
      identity=None,
      generator=jax.device_put(person.generator, self._devices[0]),
    )


def _times_of(place: Place) -> tuple[int, ...]:
  """When what lies there was written, as files tell it."""
  # Runs that tune all weights, or none, have no adapter, but a summary.
  paths = (
    [
      place.path / name
      for name in (
        run_folder.ADAPTER_FILE,
        run_folder.ANCHORS_FILE,
        run_folder.SUMMARY_FILE,
      )
    ]
    if place.kind == "run"
    else [place.path]
  )
  return tuple(
    path.stat().st_mtime_ns if path.exists() else 0 for path in paths
  )


def find_places(
  roots: Sequence[pathlib.Path], suffix: str = _SUFFIX
) -> list[Place]:
  """Runs and adapters in folders, each by a name of its own.

  Args:
    roots: runs, adapters' files, or folders of such, or of folders of runs.
    suffix: suffix of adapter files.

  Raises: UserError: a root does not exist, or holds nothing.
  """
  found: list[tuple[pathlib.Path, str]] = []
  for root in roots:
    if not root.exists():
      raise UserError(f"{root}: there is no such run or folder of runs")
    here = _inside(root, suffix, _DEEPEST)
    if not here:
      raise UserError(
        f"{root}: holds no run of launch.personalize, and no adapter ({suffix})"
      )
    found += here
  different: dict[pathlib.Path, tuple[pathlib.Path, str]] = {}
  for path, kind in found:  # one may be named twice, e.g. by its whole path
    different.setdefault(path.resolve(), (path, kind))
  found = list(different.values())
  return [
    Place(name, path, kind)
    for name, (path, kind) in zip(
      short_names([path for path, _ in found]), found
    )
  ]


def short_names(paths: Sequence[pathlib.Path]) -> list[str]:
  """What tells paths apart: the fewest last parts, without common ends.

  Two runs a/lora and b/lora are a and b.

  Args:
    paths: all different.
  """
  parts = [
    (path.with_suffix("") if path.suffix == _SUFFIX else path).absolute().parts
    for path in paths
  ]
  if len(set(parts)) < len(parts):  # ann, and beside it ann.safetensors
    parts = [path.absolute().parts for path in paths]
  while len(parts) > 1 and len({part[-1] for part in parts}) == 1:
    parts = [part[:-1] for part in parts]

  def name(part: tuple[str, ...]) -> str:
    for count in range(1, len(part) + 1):
      short = part[-count:]
      if sum(other[-count:] == short for other in parts) == 1:
        return "/".join(short)
    return "/".join(part)

  return [name(part) for part in parts]


def _inside(
  root: pathlib.Path, suffix: str, deep: int
) -> list[tuple[pathlib.Path, str]]:
  """Paths and kinds below a root, in order of their names."""
  try:
    if root.is_file():
      return [(root, "adapter")] if root.suffix == suffix else []
    if not root.is_dir():
      return []
    if (root / run_folder.CONFIG_FILE).is_file():
      run_folder.read_config(root)
      return [(root, "run")]
    children = sorted(root.iterdir()) if deep else []
  except CheckpointError:
    return []  # a generator's folder has a config.json, too
  except OSError:
    return []  # not ours to read
  return [
    one
    for child in children
    if not child.name.startswith(".") and not child.match(shared_basis.PATTERN)
    for one in _inside(child, suffix, deep - 1)
  ]


def check_finished(folder: pathlib.Path):
  """Checks that a run has all that a viewer needs.

  Raises: CheckpointError: it is still being written, or was stopped.
  """
  mode = run_folder.read_config(folder)["settings"]["tuning"]["mode"]
  parts = [
    run_folder.ANCHORS_FILE,
    {"lora": run_folder.ADAPTER_FILE, "full": run_folder.GENERATOR_FOLDER}.get(
      mode
    ),
  ]
  for part in filter(None, parts):
    if not (folder / part).exists():
      raise CheckpointError(
        f"{folder}: has no {part} yet: the run is still being written, or "
        "was stopped; choose it again when it has ended, or resume it "
        "with --resume"
      )

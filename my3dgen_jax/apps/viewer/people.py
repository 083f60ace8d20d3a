"""The people in a viewer: runs and adapters, loaded when they are chosen.

    people = People(["runs"], checkpoint=None, devices=devices)
    people.names()                      # ["obama", "beyonce"]
    shown = people.load("obama")        # .own and .base, which share anchors

A person that cannot be loaded, because the run is still being written or
belongs to another base, causes an error when chosen, and can be chosen again
later.
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
_DEEPEST = 2  # folders of folders of runs, one folder per person
_KEPT = 4  # people in memory
_MOST_CHOICES = 500  # people of a bank in one list on the page


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
  """A person's place on disk.

  Attributes:
    name: the name in the list of people.
    path: a run's folder, an adapter file, or a base's or a bank's folder.
    kind: "run", "adapter", "base" or "bank".
    person: id in the bank.
  """

  name: str
  path: pathlib.Path
  kind: str
  person: str = ""


class People:
  """People by name; thread-safe."""

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
      places: runs, adapter files, or folders of either; none: the bare base.
      checkpoint: current folder of the base; adapter files and banks need it.
      bank: folder of a `lora.Bank` whose people are shown, too.
      of_bank: ids of the bank's people to show; none: all.
      devices: the devices to use; none: all.
      precision: see `load_person`.

    Raises: UserError, CheckpointError: a place has no people.
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
    """Finds people that were added since; raises as `__init__` does."""
    banked = self._banked()
    if banked and not self._roots:
      found = banked
    elif not self._roots:
      if self._checkpoint is None:
        raise UserError(
          "nothing to show; give a run with --run, or a base with --checkpoint"
        )
      path = pathlib.Path(self._checkpoint).expanduser()
      found = [Place(path.name, path, "base")]
    else:
      found = find_places(self._roots, _SUFFIX) + banked
    if all(place.kind in ("adapter", "bank") for place in found):
      self._check_base(found[0])
    # A person in the bank may have the same name as a run.
    self._places = {}
    for place in found:
      name = place.name
      if name in self._places:
        name = f"{name} ({place.path.name})"
      self._places[name] = place

  def _banked(self) -> list[Place]:
    """People of the bank."""
    if self._bank is None and self._of_bank:
      raise UserError("--person needs a bank; give one with --bank")
    if self._bank is None:
      return []
    ids = list(self._of_bank) or self._bank.ids()
    if len(ids) > _MOST_CHOICES:
      raise UserError(
        f"{self._bank.folder}: has {len(ids)} people, too many for one list; "
        "select some with --person=ANN,BOB"
      )
    for person in self._of_bank:
      self._bank.place(person)
    if not ids:
      raise UserError(
        f"{self._bank.folder}: has no people; add some with my3dgen bank add"
      )
    return [Place(one, self._bank.folder, "bank", one) for one in ids]

  def _check_base(self, place: Place):
    if self._checkpoint is None:
      raise UserError(
        f"{place.path}: a bank or an adapter file needs its base generator; "
        "give its folder with --checkpoint"
      )

  def names(self) -> list[str]:
    """All names to choose from."""
    return list(self._places)

  def first(self) -> tuple[str, list[str]]:
    """The first person who can be loaded, and the errors of those before.

    Raises: UserError, CheckpointError: no one can be loaded; the first error.
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
    """A person, from memory or from disk.

    Raises: UserError, CheckpointError: names the file and the reason.
    """
    place = self._places.get(name)
    if place is None:
      raise UserError(f"person: {name!r} no longer exists")
    with self._lock:
      try:
        # Names change when people are added, and a run can be made again.
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
    """Numbers that change when the files of a place change."""
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
      # A run may use another dtype than other runs with its base.
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
    """A person in the bank, with anchors if the bank has them."""
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
    """An adapter file on the base that --checkpoint names; without anchors."""
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
        f"{place.path}: is for the base {wanted[: run_folder.ID_LENGTH]}, not "
        f"for {self._checkpoint} ({base.digest[: run_folder.ID_LENGTH]}); give "
        "the adapter's own base with --checkpoint"
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
    """A person with weights on the device, without networks of metrics."""
    return dataclasses.replace(
      person,
      lpips=None,
      identity=None,
      generator=jax.device_put(person.generator, self._devices[0]),
    )


def _times_of(place: Place) -> tuple[int, ...]:
  """Modification times of a place's files."""
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
  """Runs and adapters in folders, each with a unique name.

  Args:
    roots: runs, adapter files, folders of either, or folders of such folders.
    suffix: suffix of adapter files.

  Raises: UserError: a root does not exist, or contains none.
  """
  found: list[tuple[pathlib.Path, str]] = []
  for root in roots:
    if not root.exists():
      raise UserError(
        f"{root}: does not exist; give a run, an adapter file, or a folder of "
        "either"
      )
    here = _inside(root, suffix, _DEEPEST)
    if not here:
      raise UserError(
        f"{root}: contains neither a run of my3dgen personalize nor an adapter "
        f"file ({suffix})"
      )
    found += here
  different: dict[pathlib.Path, tuple[pathlib.Path, str]] = {}
  for path, kind in found:  # one may be given twice, e.g. with its full path
    different.setdefault(path.resolve(), (path, kind))
  found = list(different.values())
  return [
    Place(name, path, kind)
    for name, (path, kind) in zip(
      short_names([path for path, _ in found]), found
    )
  ]


def short_names(paths: Sequence[pathlib.Path]) -> list[str]:
  """Shortest names that tell paths apart: last parts, without common endings.

  Two runs a/lora and b/lora become a and b.

  Args:
    paths: the paths, all different.
  """
  parts = [
    (path.with_suffix("") if path.suffix == _SUFFIX else path).absolute().parts
    for path in paths
  ]
  if len(set(parts)) < len(parts):  # e.g. ann and ann.safetensors
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
  """Paths and kinds below a root, sorted by name."""
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
    return []  # no permission to read it
  return [
    one
    for child in children
    if not child.name.startswith(".") and not child.match(shared_basis.PATTERN)
    for one in _inside(child, suffix, deep - 1)
  ]


def check_finished(folder: pathlib.Path):
  """Checks that a run has all files that a viewer needs.

  Raises: CheckpointError: the run is still being written, or was stopped.
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
        f"{folder}: has no {part} yet: the run is still being written, or was "
        "stopped; choose it again when it has finished, or resume it with "
        "my3dgen personalize --resume"
      )

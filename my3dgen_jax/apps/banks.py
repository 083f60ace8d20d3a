"""What is done with a bank: people from runs go in, adapters come out."""

import dataclasses
import hashlib
import os
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from my3dgen_jax import lora as lora_lib
from my3dgen_jax.apps.viewer.people import find_places, Place
from my3dgen_jax.config.checks import setting
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.storage import tensor_files
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.anchors import Anchors

ACTIONS = ("add", "list", "remove", "compact", "verify", "export")
_KINDS = {"F32": "float32", "F16": "float16"}
# Letters that some system does not have in files' names.
_UNSAFE = set('%/\\:*?"<>|')
_LONGEST = 180  # bytes of a file's name, of the 255 that systems take


@dataclasses.dataclass(frozen=True)
class AddConfig:
  """What is added, and how it is kept."""

  replace: bool = setting(
    False, "Replace people who are in the bank already; else they are refused."
  )
  dtype: Literal["float32", "float16"] | None = setting(
    None,
    "Numbers of the adapters; default: as in their files, but float32 of those "
    "of int8 and int4.",
  )
  anchors: bool = setting(
    True,
    "Keep the anchors of runs beside the adapters, for the personal hull; they "
    "may take more room than the adapter.",
  )


def add(
  bank: lora_lib.Bank,
  places: Sequence[str | os.PathLike],
  config: AddConfig,
  *,
  names: Sequence[str] = (),
) -> list[str]:
  """Adds people, all of them or none.

  Args:
    bank: made if there is none.
    places: runs, adapters' files, or folders of such.
    config: what of them is kept.
    names: ids, one for each that is found; none: as runs are told apart.

  Returns: a line that says so.
  Raises: UserError, CheckpointError: names what cannot be added.
  """
  found = find_places([pathlib.Path(one).expanduser() for one in places])
  if names and len(names) != len(found):
    raise UserError(
      f"person: expected {len(found)} names for {len(found)} adapters, got "
      f"{len(names)}"
    )
  ids = [
    lora_lib.clean_id(name)
    for name in (names or [place.name for place in found])
  ]

  def entries() -> Iterator[lora_lib.Entry]:
    for person, place in zip(ids, found):
      yield _entry(person, place, config)

  bank.add(entries(), replace=config.replace)
  return [f"{bank.folder}: added {', '.join(ids)}"]


def listed(bank: lora_lib.Bank) -> Iterator[str]:
  """A line for each person, and one for all of them."""
  for one in bank.records():
    yield (
      f"{one.id}: rank {one.config.rank} ({one.config.conv_rank}), "
      f"{one.numbers} numbers, {one.dtype}, {one.photos} anchors, version "
      f"{one.version}, checksum {one.checksum % 2**32:08x}"
    )
  sizes = bank.sizes()
  yield (
    f"{sizes.people} people of the base {bank.base[:12]}, "
    f"{sizes.files / 1e6:.3f} MB in {sizes.shards} shards"
    + (
      f"; {sizes.removed} rows of people removed or replaced are still in the "
      "files, until bank compact"
      if sizes.removed
      else ""
    )
  )


def remove(bank: lora_lib.Bank, ids: Sequence[str]) -> list[str]:
  """Removes people, and says what is left of them; see `Bank.remove`."""
  return [
    f"{bank.folder}: removed {bank.remove(ids)} people; their numbers are in "
    "the files until bank compact"
  ]


def compact(bank: lora_lib.Bank) -> list[str]:
  """Compacts, and says what is gone; see `Bank.compact`."""
  return [
    f"{bank.folder}: {bank.compact()} rows of numbers of people removed or "
    "replaced are gone from all its files"
  ]


def verify(bank: lora_lib.Bank) -> list[str]:
  """Says that nothing is damaged.

  Raises: CheckpointError: something is; of several, others are on stderr.
  """
  faults = bank.verify()
  for fault in faults[:-1]:
    print(f"error: {fault.line}", file=sys.stderr)
  if faults:
    raise CheckpointError(faults[-1].line)
  return [f"{bank.folder}: all {len(bank)} people are as they were added"]


def damaged(bank: lora_lib.Bank) -> list[str]:
  """Whose numbers are damaged; raises UserError where nobody's are."""
  ids = sorted({person for fault in bank.verify() for person in fault.ids})
  if not ids:
    raise UserError(f"{bank.folder}: nobody is damaged")
  return ids


def export(
  bank: lora_lib.Bank, ids: Sequence[str], out: str | os.PathLike
) -> list[pathlib.Path]:
  """Writes adapters as files of their own, and anchors beside them.

  Args:
    bank: where from.
    ids: whom.
    out: folder, made if missing; files of the same names are replaced.

  Returns: the adapters' files.
  Raises: UserError: somebody is not there; CheckpointError; OSError.
  """
  for person in ids:
    bank.place(person)  # before anything is written
  folder = pathlib.Path(out).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  written = []
  for person in ids:
    found = bank.read(person, check=True)
    path = folder / f"{file_name(person)}.safetensors"
    lora_lib.save(
      path,
      found.lora,
      found.config,
      metadata={lora_lib.BASE_DIGEST: bank.base},
      dtype=bank.dtype(person),
    )
    photos = bank.photos(person)
    if photos is not None:
      Anchors(*photos).save(path.with_suffix(".anchors.npz"))
    written.append(path)
  return written


def file_name(person: str) -> str:
  """An id as a file may be called: another for another id."""
  name = "".join(
    f"%{ord(letter):02X}" if letter in _UNSAFE else letter for letter in person
  )
  if name.startswith("."):
    name = f"%2E{name[1:]}"
  if len(name.encode()) > _LONGEST:
    digest = hashlib.sha256(person.encode()).hexdigest()[:16]
    cut = name.encode()[: _LONGEST - 17].decode(errors="ignore")
    name = f"{cut}-{digest}"
  return name


def _entry(person: str, place: Place, config: AddConfig) -> lora_lib.Entry:
  """What lies somewhere, ready to be added."""
  path, base, photos, places = place.path, None, None, []
  if place.kind == "run":
    described = run_folder.read_config(path)
    mode = described["settings"]["tuning"]["mode"]
    if mode != "lora":
      raise UserError(
        f"{path}: is a run of --mode={mode}, which has no adapter; a bank "
        "takes those of --mode=lora"
      )
    base = described[run_folder.BASE_DIGEST]
    if config.anchors:
      anchors = Anchors.load(path / run_folder.ANCHORS_FILE).of(
        tuple(described["photos"]["train"])
      )
      photos = lora_lib.Photos(
        anchors.names, np.asarray(anchors.ws), np.asarray(anchors.c)
      )
    path = path / run_folder.ADAPTER_FILE
    places.append(described["settings"]["checkpoint"])
  found = lora_lib.load(path, places=places)
  return lora_lib.Entry(
    person,
    found.lora,
    found.config,
    base=found.metadata.get(lora_lib.BASE_DIGEST, base),
    photos=photos,
    dtype=config.dtype or _dtype(path),
  )


def _dtype(path: pathlib.Path) -> str:
  """That of an adapter's numbers in its file."""
  with tensor_files.opened(path, "an adapter") as file:
    kinds = {file.get_slice(name).get_dtype() for name in file.keys()}
  return _KINDS.get(kinds.pop(), "float32") if len(kinds) == 1 else "float32"

"""Adds people's runs to an adapter bank, and exports adapters from it."""

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
# Characters that some systems do not allow in file names.
_UNSAFE = set('%/\\:*?"<>|')
_LONGEST = 180  # bytes of a file name; systems allow 255


@dataclasses.dataclass(frozen=True)
class AddConfig:
  """What to add, and how to keep it."""

  replace: bool = setting(
    False, "Replace people who are already in the bank, instead of refusing."
  )
  dtype: Literal["float32", "float16"] | None = setting(
    None,
    "Dtype of the adapters; default: that of their files, but float32 for "
    "int8 and int4.",
  )
  anchors: bool = setting(
    True,
    "Keep the runs' anchors beside the adapters, for the personal hull; they "
    "may be larger than the adapter.",
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
    bank: the bank, created if missing.
    places: runs, adapter files, or folders of them.
    config: what to keep of them.
    names: ids, one per adapter found; none: ids that tell the runs apart.

  Returns: a line that lists them.
  Raises: UserError, CheckpointError: name what cannot be added.
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
  """One line per person, then one for all of them."""
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
      f"; {sizes.removed} rows of removed or replaced people remain in the "
      "files until bank compact"
      if sizes.removed
      else ""
    )
  )


def remove(bank: lora_lib.Bank, ids: Sequence[str]) -> list[str]:
  """Removes people, and says what remains of them; see `Bank.remove`."""
  return [
    f"{bank.folder}: removed {bank.remove(ids)} people; their numbers stay in "
    "the files until bank compact"
  ]


def compact(bank: lora_lib.Bank) -> list[str]:
  """Compacts, and says what was dropped; see `Bank.compact`."""
  return [
    f"{bank.folder}: {bank.compact()} rows of removed or "
    "replaced people are gone from all its files"
  ]


def verify(bank: lora_lib.Bank) -> list[str]:
  """Checks that nothing is damaged.

  Raises: CheckpointError: the first damage; any more are printed to stderr.
  """
  faults = bank.verify()
  for fault in faults[:-1]:
    print(f"error: {fault.line}", file=sys.stderr)
  if faults:
    raise CheckpointError(faults[-1].line)
  return [f"{bank.folder}: all {len(bank)} people are intact"]


def damaged(bank: lora_lib.Bank) -> list[str]:
  """The ids whose adapters are damaged; raises UserError if none are."""
  ids = sorted({person for fault in bank.verify() for person in fault.ids})
  if not ids:
    raise UserError(f"{bank.folder}: nothing is damaged")
  return ids


def export(
  bank: lora_lib.Bank, ids: Sequence[str], out: str | os.PathLike
) -> list[pathlib.Path]:
  """Writes adapters to one file each, and their anchors beside them.

  Args:
    bank: the bank to read.
    ids: the people to export.
    out: folder, created if missing; files of the same names are replaced.

  Returns: the adapter files.
  Raises: UserError: a person is not in the bank; CheckpointError; OSError.
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
  """A file name for an id, different for each id."""
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
  """The adapter at a place, ready to be added."""
  path, base, photos, places = place.path, None, None, []
  if place.kind == "run":
    described = run_folder.read_config(path)
    mode = described["settings"]["tuning"]["mode"]
    if mode != "lora":
      raise UserError(
        f"{path}: a run with --mode={mode} has no adapter; a bank "
        "takes runs with --mode=lora"
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
  """The dtype of an adapter's numbers in its file."""
  with tensor_files.opened(path, "an adapter") as file:
    kinds = {file.get_slice(name).get_dtype() for name in file.keys()}
  return _KINDS.get(kinds.pop(), "float32") if len(kinds) == 1 else "float32"

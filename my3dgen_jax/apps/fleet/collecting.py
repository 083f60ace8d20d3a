"""Collects finished people in a bank in the storage."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterable

from my3dgen_jax import lora
from my3dgen_jax.apps import banks
from my3dgen_jax.apps.fleet.person import Folders
from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.apps.fleet.states import State
from my3dgen_jax.errors import one_line, UserError
from my3dgen_jax.training import run_folder

BANK = "people.bank"
_INDEX = "index.sqlite"
_SHARDS = ".safetensors"
# The files of a run that a bank needs.
_FILES = (
  run_folder.CONFIG_FILE,
  run_folder.ANCHORS_FILE,
  run_folder.ADAPTER_FILE,
)


def collect(storage: str | os.PathLike, states: Iterable[State]) -> list[State]:
  """Adds people who are done and not yet in the bank.

  Args:
    storage: the fleet's storage; a bank must be on a disk, so one at a URL is
      copied here and back.
    states: states of any people; those of people added record it, or give in
      `reason` why the bank refused them. If the bank they record is gone, all
      who are done are added again.

  Returns: the states that changed.
  Raises: OSError; UserError: the bank itself cannot be used.
  """
  done = [state for state in states if state.state == "done"]
  place = Place(storage) / BANK
  if any(state.in_bank for state in done) and not _is_bank(place):
    for state in done:  # the bank was removed
      state.in_bank, state.reason = False, ""
  missing = [state for state in done if not state.in_bank and not state.reason]
  if not missing:
    return []
  if place.local is not None:
    with contextlib.closing(lora.Bank(place.local)) as bank:
      for state in missing:
        run = Folders.of(storage, state.id).run
        _add(bank, run.local or pathlib.Path(), state)
    return missing
  with tempfile.TemporaryDirectory(prefix="my3dgen-fleet-") as scratch:
    root = pathlib.Path(scratch)
    place.fetch(root / BANK)
    with contextlib.closing(lora.Bank(root / BANK)) as bank:
      for state in missing:
        run = Folders.of(storage, state.id).run
        for name in _FILES:
          (run / name).fetch(root / state.id / name)
        _add(bank, root / state.id, state)
    if (root / BANK).exists():
      place.mirror(root / BANK, last=_INDEX, kept=_SHARDS)
  return missing


def _is_bank(place: Place) -> bool:
  if place.local is not None:
    return (place.local / _INDEX).exists()
  return _INDEX in place.files()


def _add(bank: lora.Bank, run: pathlib.Path, state: State):
  try:
    banks.add(bank, [run], banks.AddConfig(replace=True), names=[state.id])
    state.in_bank = True
  except UserError as error:  # has another base, or no adapter
    state.reason = f"not in the bank: {one_line(error)}"

"""Each person's progress: one JSON file each, written only by the fleet."""

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.errors import UserError
from my3dgen_jax.storage import json_files

FOLDER = "people"
_FORMAT = 1

Kind = Literal["waiting", "running", "done", "failed"]
KINDS = ("waiting", "running", "done", "failed")


@dataclasses.dataclass
class State:
  """A person's progress.

  Attributes:
    id: the person's id.
    state: the state's kind.
    reason: why the person failed, or waits again; one line.
    final: whether bad input is the cause, so a retry would not help.
    tries: count of tries.
    seconds: seconds of work, over all tries.
    compile_seconds: seconds of compilation, in the last try.
    scores: scores of held-out photos: {"pretrained", "personalized"} to
      score's name to number.
    settings: digest of the settings; a different one means a new run.
    inputs: digest of the album's or photos' files at the failure.
    place: host and process of the current or last worker.
    in_bank: whether the bank has the adapter.
    updated: seconds since 1970.
  """

  id: str
  state: Kind = "waiting"
  reason: str = ""
  final: bool = False
  tries: int = 0
  seconds: float = 0.0
  compile_seconds: float = 0.0
  scores: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
  settings: str = ""
  inputs: str = ""
  place: str = ""
  in_bank: bool = False
  updated: float = 0.0


class States:
  """The states of a storage."""

  def __init__(self, storage: Place):
    self._folder = storage / FOLDER

  def save(self, state: State):
    """Writes one person's state; raises OSError."""
    state.updated = round(time.time(), 1)
    text = json.dumps({"format": _FORMAT, **dataclasses.asdict(state)})
    (self._folder / f"{state.id}.json").write(f"{text}\n".encode())

  def load(self) -> dict[str, State]:
    """Everyone's state by id, in order; raises UserError if one is damaged."""
    found = (
      self._read(self._folder / name)
      for name in sorted(self._folder.files())
      if name.endswith(".json") and "/" not in name
    )
    return {state.id: state for state in found}

  def _read(self, place: Place) -> State:
    try:
      table = json_files.parse(place.read() or b"")
    except UserError as error:
      raise UserError(
        f"{place}: {error}; remove it to make the person again"
      ) from None
    if not isinstance(table, dict) or table.get("format") != _FORMAT:
      raise UserError(
        f"{place}: is not the state of a person; remove it to make the "
        "person again"
      )
    return _state(place, table)


def _state(place: Place, table: Mapping[str, Any]) -> State:
  """A state from the entries of the right types; the rest keep defaults."""
  blank = State(str(place).rpartition("/")[2].removesuffix(".json"))
  for field in dataclasses.fields(State):
    value, default = table.get(field.name), getattr(blank, field.name)
    if field.name != "id" and isinstance(
      value, (int, float) if isinstance(default, float) else type(default)
    ):
      setattr(blank, field.name, value)
  if blank.state not in KINDS:
    blank.state = "waiting"
  return blank


def counted(states: Iterable[State]) -> dict[str, int]:
  """Count of people by kind of state."""
  counts = dict.fromkeys(KINDS, 0)
  for state in states:
    counts[state.state] += 1
  return counts

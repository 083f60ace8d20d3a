"""How far each person is: a JSON file each, written by the fleet alone."""

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
  """What is known of a person.

  Attributes:
    id: of the person.
    state: how far it is.
    reason: why it failed, or waits again; one line.
    final: it failed by what was given, so trying again would not help.
    tries: how often it was begun.
    seconds: of work, over all tries.
    compile_seconds: what of them went into programs, in the last try.
    scores: of held-out photos: {"pretrained", "personalized"} to names of
      scores to numbers.
    settings: digest of what was wanted; another one is another run.
    inputs: digest of the album's or the photos' files when it failed.
    place: host and process of the worker that is at it, or was.
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
    """Writes one person's; raises OSError."""
    state.updated = round(time.time(), 1)
    text = json.dumps({"format": _FORMAT, **dataclasses.asdict(state)})
    (self._folder / f"{state.id}.json").write(f"{text}\n".encode())

  def load(self) -> dict[str, State]:
    """Everybody's, by id, in order; raises UserError: one is damaged."""
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
        f"{place}: {error}; remove it, and the person waits again"
      ) from None
    if not isinstance(table, dict) or table.get("format") != _FORMAT:
      raise UserError(
        f"{place}: is not the state of a person; remove it, and the person "
        "waits again"
      )
    return _state(place, table)


def _state(place: Place, table: Mapping[str, Any]) -> State:
  """The entries that have the right kinds; others are as at the start."""
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
  """How many people there are of each kind."""
  counts = dict.fromkeys(KINDS, 0)
  for state in states:
    counts[state.state] += 1
  return counts

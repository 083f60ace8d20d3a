"""Makes every missing person of a manifest, with workers that may die."""

import collections
import contextlib
import dataclasses
import signal
import time
from collections.abc import Callable, Mapping, Sequence

from my3dgen_jax.apps.fleet import collecting, table
from my3dgen_jax.apps.fleet.executor import Event, Executor
from my3dgen_jax.apps.fleet.person import Person
from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.apps.fleet.queue import Queue
from my3dgen_jax.apps.fleet.states import Kind, State, States
from my3dgen_jax.config import REQUIRED, setting
from my3dgen_jax.errors import Interrupted, UserError
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.progress import duration
from my3dgen_jax.storage import locks

_LOOK = 1.0  # most seconds between checks for a signal
_TABLE_SECONDS = 5.0  # least seconds between two tables
_TABLE_SHARE = 20  # writing tables takes at most 1 / 20 of the time
_SECONDS_TO_SAVE = 120.0  # for workers to save when asked to stop


@dataclasses.dataclass(frozen=True)
class FleetConfig:
  """What to make, where, and with how many workers."""

  manifest: str = setting(
    REQUIRED,
    "CSV file of people, or its URL: a header line, then one line per person: "
    "id, and photos (to prepare) or album; further columns set flags for that "
    "person.",
  )
  out: str = setting(
    REQUIRED,
    "Folder or URL for all results; in an existing one, only missing people "
    "are made.",
  )
  workers: int | None = setting(
    None,
    "Number of worker processes, each making one person at a time; default: "
    "one per GPU, else one per two cores.",
    low=1,
    high=4096,
  )
  group: int = setting(
    4, "Maximum number of people to give a worker at a time, >= 1.", low=1
  )
  retries: int = setting(
    2,
    "Retries for a person whose worker died or whose disk failed; bad "
    "input is not retried.",
    low=0,
  )
  retry_failed: bool = setting(
    False,
    "Also retry people who failed on bad input that has not changed since.",
  )
  address: str | None = setting(
    None,
    "Ray cluster to join, auto or HOST:PORT; default: start Ray on this "
    "machine, and stop it with the command.",
  )


def run(
  config: FleetConfig,
  people: Sequence[Person],
  executor: Executor,
  *,
  log: Callable[[str], None] = print,
) -> list[State]:
  """Makes the people who are not done.

  Args:
    config: the settings; `out` is created if missing.
    people: people of the manifest.
    executor: an executor that is not started; closed at the end.
    log: called with lines of progress.

  Returns: everyone's state, in the order of the manifest. Results and tables
    are in the storage.
  Raises:
    UserError: workers cannot be started, or another fleet uses the storage.
    Interrupted: SIGTERM or SIGINT; states are saved, and the same call resumes.
  """
  storage = Place(config.out)
  with (
    locks.hold(storage.local)
    if storage.local is not None
    else contextlib.nullcontext(),
    stopping_gently() as stop,
    contextlib.closing(executor),
  ):
    return _Fleet(config, storage, people, executor, log).run(stop)


def status(out: str) -> list[State]:
  """Everyone's state in a storage; also rewrites the tables.

  Raises: UserError: there are no states, or one is damaged.
  """
  storage = Place(out)
  found = list(States(storage).load().values())
  if not found:
    raise UserError(f"{out}: has no people; give a fleet's storage with --out")
  if storage.local is not None:
    try:
      locks.check_free(storage.local)
    except UserError:
      pass
    else:
      for state in found:
        if state.state == "running":
          state.state, state.reason = "waiting", _STOPPED
  table.write(found, storage)
  return found


_STOPPED = "stopped; the same command resumes"


class _Fleet:
  """One call of `run`."""

  def __init__(
    self,
    config: FleetConfig,
    storage: Place,
    people: Sequence[Person],
    executor: Executor,
    log: Callable[[str], None],
  ):
    self._config, self._storage, self._log = config, storage, log
    self._people = {person.id: person for person in people}
    self._executor = executor
    self._store = States(storage)
    self._states: dict[str, State] = {}
    self._counts = collections.Counter[str]()  # of states, by kind
    self._next_table = 0.0  # when it may be written next
    self._queue = Queue({}, workers=1)
    self._places: dict[int, str] = {}
    self._began: dict[int, float] = {}  # when workers began their person
    self._stopped = False

  def run(self, stop: StopRequest) -> list[State]:
    missing = self._begin(self._store.load())
    self._log(f"{self._storage}: {table.sentence(self._states.values())}")
    try:
      if missing:
        if self._storage.local is not None:  # even if the bank was removed
          self._collect(self._states.values())
        self._make(missing, stop)
      self._collect(self._states.values())
    finally:
      self._write_table(now=True)
    if self._stopped:
      raise Interrupted(
        stop.signal or signal.SIGINT, f"{self._storage}: {_STOPPED}"
      )
    return list(self._states.values())

  def _begin(self, known: Mapping[str, State]) -> list[Person]:
    """Compares the manifest with the storage; returns those to make."""
    missing = []
    for person in self._people.values():
      state = known.get(person.id)
      if state is None or not self._is_over(person, state):
        new = State(person.id, settings=person.settings)
        if state is not None:
          new = dataclasses.replace(
            new, seconds=state.seconds, scores=state.scores
          )
        self._store.save(new)
        state = new
        missing.append(person)
      self._states[person.id] = state
      self._counts[state.state] += 1
    return missing

  def _is_over(self, person: Person, state: State) -> bool:
    if state.settings != person.settings:
      return False
    if state.state == "done":
      return True
    return (
      state.state == "failed"
      and state.final
      and not self._config.retry_failed
      and state.inputs == person.inputs()
    )

  def _make(self, missing: Sequence[Person], stop: StopRequest):
    workers = self._executor.start(len(missing))
    self._queue = Queue(
      {person.id: person.program for person in missing},
      workers=workers,
      group=self._config.group,
      retries=self._config.retries,
    )
    self._log(f"{len(missing)} people to personalize, {workers} workers")
    deadline = None
    while not self._queue.is_over:
      if deadline is None and (self._stopped or stop.signal is not None):
        self._log("stopping; states are being saved")
        self._stopped = True
        self._executor.stop()
        deadline = time.monotonic() + _SECONDS_TO_SAVE
      if deadline is not None and (
        self._is_idle() or time.monotonic() > deadline
      ):
        return
      for event in self._executor.wait(_LOOK):
        self._hear(event)
      self._write_table()

  def _is_idle(self) -> bool:
    return all(self._queue.current(worker) is None for worker in self._places)

  def _hear(self, event: Event):
    """Records an event, and gives an idle worker new people."""
    worker = event.worker
    if event.lost:
      self._lose(worker, event)
    elif event.outcome is not None and event.person is not None:
      self._note(worker, self._states[event.person], event.outcome)
    else:
      self._places[worker] = event.place
    self._give(worker)
    if event.lost and not event.replaced:
      for other in list(self._places):  # they may be idle, and get no event
        self._give(other)

  def _give(self, worker: int):
    if worker in self._places and not self._stopped:
      if self._queue.current(worker) is None:
        group = self._queue.take(worker)
        self._executor.submit(worker, [self._people[one] for one in group])
      self._begins(worker)

  def _turn(self, state: State, kind: Kind):
    self._counts[state.state] -= 1
    self._counts[kind] += 1
    state.state = kind

  def _begins(self, worker: int):
    """Marks a worker's first person as running."""
    person = self._queue.current(worker)
    if person is None:
      return
    state = self._states[person]
    place = self._places[worker]
    if (state.state, state.place) != ("running", place):
      self._began[worker] = time.monotonic()
      self._turn(state, "running")
      state.reason, state.place = "", place
      self._store.save(state)

  def _note(self, worker: int, state: State, outcome):
    """Records that a person's work ended, well or not."""
    person = self._people[state.id]
    state.seconds = round(state.seconds + outcome.seconds, 2)
    state.compile_seconds = outcome.compile_seconds
    state.reason = outcome.reason
    if outcome.kind == "stopped":
      self._stopped = True  # a worker in this process sees the signal first
      if self._queue.current(worker) == state.id:
        self._queue.lost(worker)
      self._turn(state, "waiting")
    elif outcome.kind == "done":
      self._queue.ended(worker, state.id)
      self._turn(state, "done")
      state.scores = outcome.scores
    elif outcome.final:
      self._queue.ended(worker, state.id)
      self._turn(state, "failed")
      state.final = True
      state.inputs = person.inputs()
    else:
      again = self._queue.failed(worker, state.id)
      self._turn(state, "waiting" if again else "failed")
    state.tries = self._queue.tries[state.id]
    self._store.save(state)
    self._tell(state)
    if state.state == "done" and self._storage.local is not None:
      self._collect([state])

  def _lose(self, worker: int, event: Event):
    """Records a lost worker; another one continues its person."""
    why = event.lost
    self._places.pop(worker, None)
    person, again = self._queue.lost(worker)
    if not event.replaced:
      self._log(f"worker {worker} does not start ({why}); no further attempts")
    elif person is None:
      self._log(f"worker {worker} died ({why}); replacing it")
    if person is None:
      return
    state = self._states[person]
    seconds = time.monotonic() - self._began.get(worker, time.monotonic())
    state.seconds = round(state.seconds + seconds, 2)
    state.tries = self._queue.tries[person]
    self._turn(state, "waiting" if again else "failed")
    state.reason = f"its worker died: {why}"
    self._store.save(state)
    self._tell(state)

  def _tell(self, state: State):
    over = self._counts["done"] + self._counts["failed"]
    text = state.state if state.state != "waiting" else "waits again"
    detail = f": {state.reason}" if state.reason else ""
    if state.state == "done":
      detail = f" in {duration(state.seconds)}"
    self._log(f"{state.id}: {text}{detail} ({over} of {len(self._states)})")

  def _collect(self, states):
    """Fills the bank; a failure to do so stops no worker."""
    try:
      for state in collecting.collect(self._config.out, list(states)):
        self._store.save(state)
        if not state.in_bank:
          self._log(f"{state.id}: {state.reason}")
    except (UserError, OSError) as error:
      self._log(f"warning: {error}; the same command retries")

  def _write_table(self, *, now: bool = False):
    began = time.monotonic()
    if now or began > self._next_table:
      table.write(list(self._states.values()), self._storage)
      ended = time.monotonic()
      self._next_table = ended + max(
        _TABLE_SECONDS, _TABLE_SHARE * (ended - began)
      )

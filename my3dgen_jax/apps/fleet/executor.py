"""Runs workers: here one in this process; `ray_executor` has many."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from my3dgen_jax.apps.fleet.person import Person
from my3dgen_jax.apps.fleet.worker import Outcome, Worker


class Event(NamedTuple):
  """Something that happened to a worker.

  Attributes:
    worker: its number.
    person: the person whose work ended; None: about the worker itself.
    outcome: how that person's work ended.
    place: host and process, where the worker has started and is idle.
    lost: why the worker died, in one line.
    replaced: whether another worker takes its number.
  """

  worker: int
  person: str | None = None
  outcome: Outcome | None = None
  place: str = ""
  lost: str = ""
  replaced: bool = True


class Executor(Protocol):
  """Runs `Worker`s by number, 0, 1, …"""

  def start(self, people: int) -> int:
    """Starts workers for that many people; returns the count of workers."""

  def submit(self, worker: int, people: Sequence[Person]):
    """Gives an idle worker people to make, in order."""

  def wait(self, seconds: float) -> list[Event]:
    """New events; waits for the first one, at most that long."""

  def stop(self):
    """Asks all workers to save their state and stop."""

  def close(self):
    """Ends all workers at once."""


class InProcess:
  """One worker, in this process; makes a person in each `wait`."""

  def __init__(self, make: Callable[[], Worker]):
    self._make = make
    self._worker: Worker | None = None
    self._people: list[Person] = []

  def start(self, people: int) -> int:
    del people
    return 1

  def submit(self, worker: int, people: Sequence[Person]):
    del worker
    self._people += people

  def wait(self, seconds: float) -> list[Event]:
    del seconds
    if self._worker is None:
      self._worker = self._make()
      return [Event(0, place=self._worker.describe())]
    if not self._people:
      return []
    person = self._people.pop(0)
    return [Event(0, person.id, self._worker.run(person))]

  def stop(self):
    """Does nothing: the worker receives signals too."""

  def close(self):
    if self._worker is not None:
      self._worker.close()

"""Who is next, and how often somebody may be tried. Pure; knows no clock."""

import math
from collections.abc import Hashable, Mapping


class Queue:
  """People who wait, and who is with which worker.

  A worker gets people of one program after the other as long as there are
  such, so that it compiles each program once.
  """

  def __init__(
    self,
    people: Mapping[str, Hashable],
    *,
    workers: int,
    group: int = 1,
    retries: int = 2,
  ):
    """Everybody waits.

    Args:
      people: ids, in order, to what is the same where programs are.
      workers: how many there are.
      group: most people whom a worker is given at a time, >= 1.
      retries: how often somebody is tried again after the first time, >= 0.
    """
    self._waiting = list(people)
    self._programs = people
    self._workers, self._group, self._retries = workers, group, retries
    self._with: dict[int, list[str]] = {}
    self._last: dict[int, Hashable] = {}
    self.tries = dict.fromkeys(people, 0)

  @property
  def is_over(self) -> bool:
    """Whether nobody waits or is being made."""
    return not self._waiting and not any(self._with.values())

  def take(self, worker: int) -> list[str]:
    """People for a worker that has nobody; none: nobody waits."""
    if not self._waiting or self._with.get(worker):
      return []
    wanted = self._last.get(worker)
    if not any(self._programs[one] == wanted for one in self._waiting):
      wanted = self._least_shared(worker)
    # Towards the end groups shrink, so that all workers end at about one time.
    share = math.ceil(len(self._waiting) / (2 * self._workers))
    most = min(self._group, share)
    group = [one for one in self._waiting if self._programs[one] == wanted]
    group = group[:most]
    self._waiting = [one for one in self._waiting if one not in group]
    self._with[worker] = list(group)
    self._last[worker] = wanted
    return group

  def _least_shared(self, worker: int) -> Hashable:
    """The first program that waits, of those that fewest workers have."""
    others = [
      program for other, program in self._last.items() if other != worker
    ]
    return min((self._programs[one] for one in self._waiting), key=others.count)

  def current(self, worker: int) -> str | None:
    """Whom a worker is at; it takes its group in order."""
    return next(iter(self._with.get(worker, [])), None)

  def ended(self, worker: int, person: str):
    """Somebody is done, or has failed for good."""
    self._with[worker].remove(person)
    self.tries[person] += 1

  def failed(self, worker: int, person: str) -> bool:
    """Somebody has failed, perhaps by chance.

    Returns: whether there is another try, after everybody who waits.
    """
    self.ended(worker, person)
    again = self.tries[person] <= self._retries
    if again:
      self._waiting.append(person)
    return again

  def lost(self, worker: int) -> tuple[str | None, bool]:
    """A worker is gone, or has stopped.

    Whom it was at has been tried; the rest of its group has not. They all are
    first in the queue, as much of the one may be saved.

    Returns: whom it was at, if anybody, and whether there is another try.
    """
    at, *rest = self._with.pop(worker, []) or [None]
    self._last.pop(worker, None)
    self._waiting[:0] = [one for one in rest if one is not None]
    if at is None:
      return None, False
    self.tries[at] += 1
    again = self.tries[at] <= self._retries
    if again:
      self._waiting.insert(0, at)
    return at, again

"""Who is next, and how often somebody may be tried. Pure; knows no clock."""

import collections
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
    # By program, so that nothing is looked for among all who wait.
    self._waiting = collections.OrderedDict[Hashable, collections.deque[str]]()
    self._count = 0  # of those who wait
    self._programs = people
    self._workers, self._group, self._retries = workers, group, retries
    self._with: dict[int, list[str]] = {}
    self._last: dict[int, Hashable] = {}
    self.tries = dict.fromkeys(people, 0)
    for person in people:
      self._wait(person)

  @property
  def is_over(self) -> bool:
    """Whether nobody waits or is being made."""
    return not self._waiting and not any(self._with.values())

  def take(self, worker: int) -> list[str]:
    """People for a worker that has nobody; none: nobody waits."""
    if not self._waiting or self._with.get(worker):
      return []
    wanted = self._last.get(worker)
    if wanted not in self._waiting:
      wanted = self._least_shared(worker)
    # Towards the end groups shrink, so that all workers end at about one time.
    share = math.ceil(self._count / (2 * self._workers))
    waiting = self._waiting[wanted]
    most = min(self._group, share, len(waiting))
    group = [waiting.popleft() for _ in range(most)]
    self._count -= most
    if not waiting:
      del self._waiting[wanted]
    self._with[worker] = list(group)
    self._last[worker] = wanted
    return group

  def _least_shared(self, worker: int) -> Hashable:
    """The first program that waits, of those that fewest workers have."""
    others = collections.Counter(
      program for other, program in self._last.items() if other != worker
    )
    for program in self._waiting:  # soon, as workers are few
      if program not in others:
        return program
    return min(self._waiting, key=others.__getitem__)

  def current(self, worker: int) -> str | None:
    """Whom a worker is at; it takes its group in order."""
    return next(iter(self._with.get(worker, [])), None)

  def ended(self, worker: int, person: str):
    """Somebody is done, or has failed for good.

    It may be somebody whom the worker was given before it was `lost`.
    """
    group = self._with.get(worker, [])
    if person in group:
      group.remove(person)
    else:
      self._wait_no_more(person)
    self.tries[person] += 1

  def failed(self, worker: int, person: str) -> bool:
    """Somebody has failed, perhaps by chance.

    Returns: whether there is another try, after everybody who waits.
    """
    self.ended(worker, person)
    again = self.tries[person] <= self._retries
    if again:
      self._wait(person)
    return again

  def lost(self, worker: int) -> tuple[str | None, bool]:
    """A worker is gone, or has stopped.

    Whom it was at has been tried; the rest of its group has not. They all are
    first in the queue, as much of the one may be saved.

    Returns: whom it was at, if anybody, and whether there is another try.
    """
    at, *rest = self._with.pop(worker, []) or [None]
    self._last.pop(worker, None)
    for one in reversed(rest):
      if one is not None:
        self._wait(one, first=True)
    if at is None:
      return None, False
    self.tries[at] += 1
    again = self.tries[at] <= self._retries
    if again:
      self._wait(at, first=True)
    return at, again

  def _wait(self, person: str, *, first: bool = False):
    program = self._programs[person]
    waiting = self._waiting.setdefault(program, collections.deque())
    if first:
      waiting.appendleft(person)
      self._waiting.move_to_end(program, last=False)
    else:
      waiting.append(person)
    self._count += 1

  def _wait_no_more(self, person: str):
    program = self._programs[person]
    waiting = self._waiting.get(program)
    if waiting is not None and person in waiting:
      waiting.remove(person)
      self._count -= 1
      if not waiting:
        del self._waiting[program]

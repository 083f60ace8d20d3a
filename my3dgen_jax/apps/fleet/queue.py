"""Who is next, and how many tries each person has. Pure; uses no clock."""

import collections
import math
from collections.abc import Hashable, Mapping


class Queue:
  """The people who wait, and those with each worker.

  A worker gets people of the same program for as long as there are any, so that
  it compiles each program once.
  """

  def __init__(
    self,
    people: Mapping[str, Hashable],
    *,
    workers: int,
    group: int = 1,
    retries: int = 2,
  ):
    """Starts with everyone waiting.

    Args:
      people: id to program key, in order; equal keys share a program.
      workers: count of workers.
      group: most people to give a worker at a time, >= 1.
      retries: tries after the first, >= 0.
    """
    # By program, so that no lookup goes through everyone who waits.
    self._waiting = collections.OrderedDict[Hashable, collections.deque[str]]()
    self._count = 0  # of people who wait
    self._programs = people
    self._workers, self._group, self._retries = workers, group, retries
    self._with: dict[int, list[str]] = {}
    self._last: dict[int, Hashable] = {}
    self.tries = dict.fromkeys(people, 0)
    for person in people:
      self._wait(person)

  @property
  def is_over(self) -> bool:
    """Whether no one waits or is being made."""
    return not self._waiting and not any(self._with.values())

  def take(self, worker: int) -> list[str]:
    """People for an idle worker; none: no one waits."""
    if not self._waiting or self._with.get(worker):
      return []
    wanted = self._last.get(worker)
    if wanted not in self._waiting:
      wanted = self._least_shared(worker)
    # Groups shrink toward the end, so that all workers finish at about the same
    # time.
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
    """The first waiting program among those with the fewest workers."""
    others = collections.Counter(
      program for other, program in self._last.items() if other != worker
    )
    for program in self._waiting:  # ends soon, as workers are few
      if program not in others:
        return program
    return min(self._waiting, key=others.__getitem__)

  def current(self, worker: int) -> str | None:
    """The person a worker is making; it takes its group in order."""
    return next(iter(self._with.get(worker, [])), None)

  def ended(self, worker: int, person: str):
    """Records that a person is done, or has failed for good.

    It may be someone the worker was given before it was `lost`.
    """
    group = self._with.get(worker, [])
    if person in group:
      group.remove(person)
    else:
      self._wait_no_more(person)
    self.tries[person] += 1

  def failed(self, worker: int, person: str) -> bool:
    """Records that a person has failed, perhaps by chance.

    Returns: whether there is another try, after everyone who waits.
    """
    self.ended(worker, person)
    again = self.tries[person] <= self._retries
    if again:
      self._wait(person)
    return again

  def lost(self, worker: int) -> tuple[str | None, bool]:
    """Records that a worker died or stopped.

    The person it was making counts as tried; the rest of its group does not.
    All of them go to the front, as much of that person's work may be saved.

    Returns: the person it was making, if any, and whether they get another try.
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

"""Kills writers of a bank at any moment; nothing that was confirmed is lost.

    python -m tests.robustness.bank_kills --count=50 --seed=0
    python -m tests.robustness.bank_kills --file_operations

Two processes at a time write to one bank: they add people, one or some at
once, replace and remove them, and compact. Both are killed at moments drawn at
random, again and again, on the same bank. What each was told to be done must be
there, with its numbers, and of what it was doing either all or nothing.
--file_operations kills one writer before each of its files' operations, one
after the other, instead: syncs, renames, removals.
"""

import argparse
import json
import os
import pathlib
import select
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from my3dgen_jax import lora
from my3dgen_jax.config import LoraConfig
from my3dgen_jax.storage.files import is_leftover

_CONFIG = LoraConfig()
_BASE = "0" * 64
_LONGEST = 1.0  # seconds until a kill
_SIZE = 2000  # numbers of a person

State = dict[str, int]  # a person's id to what the numbers are made of


def numbers(person: str, made_of: int) -> np.ndarray:
  """[_SIZE], others for others."""
  seed = zlib.crc32(f"{person} {made_of}".encode())
  return np.random.default_rng(seed).standard_normal(_SIZE, dtype=np.float32)


def entry(person: str, made_of: int) -> lora.Entry:
  """Somebody to be added."""
  tree = {"a": {"lora_a": numbers(person, made_of)}}
  return lora.Entry(person, tree, _CONFIG, base=_BASE)


def apply(bank: lora.Bank, task: Any):
  """Does one change."""
  kind, values = task
  if kind == "put":
    bank.add([entry(*one) for one in values.items()], replace=True)
  elif kind == "remove":
    bank.remove(values)
  else:
    bank.compact()


def after(state: State, task: Any) -> State:
  """What the bank holds once a change is made."""
  kind, values = task
  if kind == "put":
    return {**state, **values}
  return {
    person: made_of
    for person, made_of in state.items()
    if kind != "remove" or person not in values
  }


def tasks(rng: np.random.Generator, writer: str, state: State) -> Iterator[Any]:
  """Changes without end, of people whose ids begin with the writer's letter."""
  mine = {person: one for person, one in state.items() if person[0] == writer}
  while True:
    kind = rng.choice(["put", "put", "put", "remove", "compact"])
    task: Any = "compact", None
    if kind == "put":
      count = int(rng.choice([1, 1, 30]))
      task = (
        kind,
        {
          f"{writer}{int(rng.integers(500))}": int(rng.integers(2**31))
          for _ in range(count)
        },
      )
    elif kind == "remove" and mine:
      task = kind, [str(rng.choice(sorted(mine)))]
    mine = after(mine, task)
    yield task


class Writer:
  """A process that changes a bank, and tells before and after each change."""

  def __init__(self, work: Callable[[Callable[[str], None]], None]):
    """Starts it; `work` is called there with what tells a line."""
    self._read, write = os.pipe()
    self.pid = os.fork()
    if not self.pid:
      try:
        work(lambda line: os.write(write, f"{line}\n".encode()) and None)
        os._exit(0)
      except BaseException as error:  # pylint: disable=broad-exception-caught
        os.write(write, f"{json.dumps(['error', repr(error)])}\n".encode())
        os._exit(1)
    os.close(write)
    self._text = b""

  def lines(self) -> list[Any]:
    """All that it told; ends once it has."""
    while data := os.read(self._read, 2**16):
      self._text += data
    os.close(self._read)
    os.waitpid(self.pid, 0)
    # The last line may be half a line.
    return [json.loads(line) for line in self._text.split(b"\n")[:-1]]

  def has_told(self) -> bool:
    """Waits until it tells something."""
    return bool(select.select([self._read], [], [], 60)[0])


def _work(bank: pathlib.Path, changes: Iterator[Any], tell):
  opened = lora.Bank(bank)
  for task in changes:
    tell(json.dumps(["begin", task]))
    apply(opened, task)
    tell(json.dumps(["done", task]))


def possible(state: State, lines: list[Any]) -> tuple[list[State], list[str]]:
  """What a bank may hold after a writer was killed; and errors it told."""
  begun, faults = None, []
  for kind, task in lines:
    if kind == "error":
      faults.append(task)
    begun = task if kind == "begin" else None
    if kind == "done":
      state = after(state, task)
  return [state, *([after(state, begun)] if begun else [])], faults


def found(bank: pathlib.Path, allowed: list[State]) -> tuple[State, list[str]]:
  """What a bank holds, and what is wrong with it.

  Args:
    bank: its folder.
    allowed: what it may hold.
  """
  opened = lora.Bank(bank)
  ids = opened.ids()
  faults = [fault.line for fault in opened.verify()]
  for state in allowed:
    if sorted(state) == ids and all(
      np.array_equal(
        opened.read(person, check=True).lora["a"]["lora_a"],
        numbers(person, made_of),
      )
      for person, made_of in state.items()
    ):
      return state, faults
  lost = [one for one in allowed[0] if one not in ids]
  return allowed[0], [*faults, f"lost {lost}, or changed; there are {len(ids)}"]


def kill_at_random(
  folder: pathlib.Path, count: int, seed: int, log=print
) -> list[str]:
  """Kills writers in pairs.

  Args:
    folder: empty.
    count: of kills.
    seed: of the moments and of the changes.
    log: called with lines about how far it is.

  Returns: what was wrong, one line each.
  """
  rng = np.random.default_rng(seed)
  bank = folder / "bank"
  state: State = {"a-first": 0, "b-first": 0}
  lora.Bank(bank).add([entry(*one) for one in state.items()])
  faults: list[str] = []
  killed, changes = 0, 0
  while killed < count:
    writers = {
      letter: Writer(
        lambda tell, letter=letter, seed=int(rng.integers(2**31)): _work(
          bank, tasks(np.random.default_rng(seed), letter, state), tell
        )
      )
      for letter in "ab"
    }
    begun = time.monotonic()
    moments = sorted((rng.uniform(0, _LONGEST), one) for one in writers)
    for writer in writers.values():
      writer.has_told()
    for moment, letter in moments:
      time.sleep(max(0.0, begun + moment - time.monotonic()))
      os.kill(writers[letter].pid, signal.SIGKILL)
      killed += 1
    allowed: list[State] = [{}]
    for letter, writer in writers.items():
      lines = writer.lines()
      changes += sum(kind == "done" for kind, _ in lines)
      mine = {one: made for one, made in state.items() if one[0] == letter}
      ends, told = possible(mine, lines)
      faults += told
      allowed = [{**one, **end} for one in allowed for end in ends]
    state, wrong = found(bank, allowed)
    faults += wrong
    log(
      f"{killed} kills, {changes} changes confirmed, {len(state)} people, "
      f"{len(faults)} faults"
    )
  return [*faults, *_leftovers(bank)]


def kill_at_file_operations(folder: pathlib.Path, log=print) -> list[str]:
  """Kills one writer before each operation on files.

  Args:
    folder: empty.
    log: called with a line at the end.

  Returns: what was wrong, one line each.
  """
  plan = [
    ("put", {"ann": 1, "bob": 1}),
    ("put", {"bob": 2, "cat": 1}),
    *(("put", {f"one{i}": 1}) for i in range(16)),  # are gathered
    ("remove", ["ann"]),
    ("compact", None),
  ]
  faults: list[str] = []
  for turn in range(1000):
    bank = folder / f"bank{turn}"
    writer = Writer(
      lambda tell, bank=bank, turn=turn: _dying(bank, plan, turn, tell)
    )
    lines = writer.lines()
    allowed, told = possible({}, lines)
    faults += told
    if lora.Bank(bank).folder.joinpath("index.sqlite").is_file() and any(
      allowed
    ):
      try:
        _, wrong = found(bank, allowed)
      except ValueError as error:
        # Killed before the bank began, so that nobody can be in it.
        wrong = [str(error)] if allowed[0] else []
      faults += [f"before operation {turn}: {line}" for line in wrong]
    lora.Bank(bank).add([entry("last", 1)])
    lora.Bank(bank).compact()
    faults += _leftovers(bank)
    if sum(kind == "done" for kind, _ in lines) == len(plan):
      log(f"killed before each of {turn} operations, {len(faults)} faults")
      return faults
  return [*faults, "it never ends"]


def _dying(bank: pathlib.Path, plan: list[Any], left: int, tell):
  """Works until `left` operations on files are done."""
  count = 0

  def until(function):
    def counted(*arguments, **options):
      nonlocal count
      if count == left:
        os._exit(9)
      count += 1
      return function(*arguments, **options)

    return counted

  for name in ("fsync", "replace", "unlink", "open", "mkdir"):
    setattr(os, name, until(getattr(os, name)))
  _work(bank, iter(plan), tell)


def _leftovers(bank: pathlib.Path) -> list[str]:
  """What no index names, after one more change."""
  opened = lora.Bank(bank)
  opened.compact()
  sizes = opened.sizes()
  shards = list(bank.glob("shard-*"))
  return [f"{path}: left" for path in bank.iterdir() if is_leftover(path)] + [
    f"{len(shards)} shards, {sizes.shards} expected"
  ] * (len(shards) != sizes.shards or sizes.removed > 0)


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--count", type=int, default=50)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--file_operations", action="store_true")
  flags = parser.parse_args()
  log = lambda line: print(line, flush=True)
  with tempfile.TemporaryDirectory() as name:
    if flags.file_operations:
      faults = kill_at_file_operations(pathlib.Path(name), log)
    else:
      faults = kill_at_random(pathlib.Path(name), flags.count, flags.seed, log)
  print("\n".join(faults))
  print(f"{len(faults)} faults")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())

"""Reads thousands of damaged files; each ends in one line, soon and small.

    python -m tests.robustness.damaged --count=10000 --seed=0

Prints what did not: a traceback, more than 20 s, more than 1 GB. A seed and a
number make the same input again: --only=NUMBER.
"""

import argparse
import json
import os
import pathlib
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np

from my3dgen_jax.errors import plain
from tests.robustness import damage

SECONDS, BYTES = 20.0, 2**30
_ROOT = pathlib.Path(__file__).parents[2]


def try_one(sound: pathlib.Path, seed: int, number: int) -> dict[str, Any]:
  """Damages one input and reads it.

  Args:
    sound: folder of sound files, made once: kind/...
    seed: of all inputs.
    number: of this one.

  Returns: "kind", "file", "said": the line that a command would end with,
    or "" if it was read; "traceback" where it would end with that.
  """
  # JAX must not start in the process that counts.
  # pylint: disable=import-outside-toplevel
  from my3dgen_jax.errors import one_line, UserError
  from tests.robustness.inputs import KINDS

  rng = np.random.default_rng((seed, number))
  name = list(KINDS)[number % len(KINDS)]
  kind = KINDS[name]
  with tempfile.TemporaryDirectory() as place:
    folder = pathlib.Path(place) / "input"
    shutil.copytree(sound / name, folder)
    files = sorted(
      {
        path
        for pattern in kind.files
        for path in folder.glob(pattern)
        if path.is_file()
      }
    )
    path = files[rng.integers(len(files))]
    path.write_bytes(damage.damaged(rng, path.name, path.read_bytes()))
    found = {"kind": name, "file": str(path.relative_to(folder)), "said": ""}
    try:
      kind.read(folder)
    except (UserError, OSError, MemoryError) as error:
      found["said"] = one_line(error)
    except Exception:  # pylint: disable=broad-exception-caught
      found["traceback"] = traceback.format_exc()
  return found


def make_sound(folder: pathlib.Path):
  """Writes all kinds, and sees that they are read."""
  # pylint: disable-next=import-outside-toplevel
  from tests.robustness.inputs import KINDS

  for name, kind in KINDS.items():
    (folder / name).mkdir(parents=True)
    kind.make(folder / name)
    kind.read(folder / name)


def _peak() -> int:
  """Bytes that this process has had at most since `_forget_peak`."""
  status = pathlib.Path("/proc/self/status").read_text()
  (line,) = (x for x in status.splitlines() if x.startswith("VmHWM"))
  return 1024 * int(line.split()[1])


def _forget_peak():
  pathlib.Path("/proc/self/clear_refs").write_text("5")


def _work(sound: str, seed: int):
  """Tries the numbers that come in; a line of JSON for each."""
  answers = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)  # whatever libraries print
  # Programs are compiled and libraries imported once, in no input's time.
  # pylint: disable-next=import-outside-toplevel
  from tests.robustness.inputs import KINDS

  for name, kind in KINDS.items():
    kind.read(pathlib.Path(sound) / name)
  answers.write("ready\n")
  answers.flush()
  for line in sys.stdin:
    _forget_peak()
    before, began = _peak(), time.monotonic()
    found = try_one(pathlib.Path(sound), seed, int(line))
    found |= {
      "number": int(line),
      "seconds": time.monotonic() - began,
      "bytes": _peak() - before,
    }
    answers.write(json.dumps(found) + "\n")
    answers.flush()


class _Worker:
  """A process that tries inputs, and may hang or fall."""

  def __init__(self, sound: pathlib.Path, seed: int):
    self._start = lambda: subprocess.Popen(
      [
        sys.executable,
        "-m",
        "tests.robustness.damaged",
        f"--work={sound}",
        f"--seed={seed}",
      ],
      cwd=_ROOT,
      env={**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(_ROOT)},
      stdin=subprocess.PIPE,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    self.process = self._start()
    self._is_ready = False
    self.number: int | None = None
    self._began = 0.0

  def give(self, number: int):
    self.number, self._began = number, time.monotonic()
    self.process.stdin.write(f"{number}\n")
    self.process.stdin.flush()

  def answer(self) -> dict[str, Any] | None:
    """What became of the number, if it is known."""
    number = self.number
    if select.select([self.process.stdout], [], [], 0.005)[0]:
      line = self.process.stdout.readline()
      if line == "ready\n":
        self._is_ready, self._began = True, time.monotonic()
        return None
      self.number = None
      if line:
        return json.loads(line)
      found = {"number": number, "traceback": f"fell: {self.process.wait()}"}
    elif self._is_ready and time.monotonic() - self._began > SECONDS:
      self.process.kill()
      self.number = None
      found = {"number": number, "traceback": "hangs"}
    else:
      return None
    self.process, self._is_ready = self._start(), False
    return found

  def end(self):
    self.process.stdin.close()
    self.process.wait()


def try_all(
  numbers: list[int], seed: int, workers: int
) -> Iterator[dict[str, Any]]:
  """What becomes of inputs, in the order in which they are ready."""
  with tempfile.TemporaryDirectory() as place:
    sound = pathlib.Path(place) / "sound"
    make_sound(sound)
    team = [_Worker(sound, seed) for _ in range(workers)]
    waiting = list(reversed(numbers))
    while waiting or any(one.number is not None for one in team):
      for one in team:
        if one.number is None and waiting:
          one.give(waiting.pop())
        if one.number is not None and (found := one.answer()) is not None:
          yield found
    for one in team:
      one.end()


def is_fault(found: dict[str, Any]) -> bool:
  """Whether an input was not borne as it should be."""
  return (
    "traceback" in found
    or found["seconds"] > SECONDS
    or found["bytes"] > BYTES
    or "\n" in found["said"]
    or len(found["said"]) > 1000
    or plain(found["said"]) != found["said"]
  )


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--count", type=int, default=10_000)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--only", type=int)
  parser.add_argument("--workers", type=int, default=2)
  parser.add_argument("--work", help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.work:
    return _work(flags.work, flags.seed)
  numbers = list(range(flags.count)) if flags.only is None else [flags.only]
  began, refused, faults = time.monotonic(), 0, 0
  slowest = largest = {"seconds": 0.0, "bytes": 0}
  for i, found in enumerate(try_all(numbers, flags.seed, flags.workers)):
    if flags.only is not None:
      print(json.dumps(found, indent=1))
    if is_fault(found):
      faults += 1
      print(
        f"input {found['number']}: {found.get('kind')} {found.get('file')}: "
        f"{found.get('seconds', 0):.1f} s, {found.get('bytes', 0) / 1e6:.0f} "
        f"MB\n{found.get('traceback') or found.get('said')}",
        flush=True,
      )
    if "seconds" in found:
      refused += bool(found["said"])
      slowest = max(slowest, found, key=lambda x: x["seconds"])
      largest = max(largest, found, key=lambda x: x["bytes"])
    if (i + 1) % 1000 == 0:
      print(f"{i + 1} inputs, {faults} faults", flush=True)
  print(
    f"{len(numbers)} inputs, {refused} refused in one line, {faults} faults; "
    f"at most {slowest['seconds']:.1f} s and {largest['bytes'] / 1e6:.0f} MB; "
    f"{time.monotonic() - began:.0f} s in all"
  )
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())

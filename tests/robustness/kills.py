"""Kills runs at any moment; what goes on ends as if nothing had been.

    python -m tests.robustness.kills --count=100 --seed=0

Runs of a small person, with an adapter and with all weights tuned, from their
first file to their report, are killed up to four times each, at moments
drawn over all phases, and resumed. At the end files are compared with those of
a run that nobody touched, byte by byte.
"""

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
import time

import numpy as np

from my3dgen_jax.models.checkpoint import generator_digest
from my3dgen_jax.storage.files import is_leftover
from tests.support import commands, person

_MOST_KILLS = 4  # of one run
_FLAGS = (
  "--checkpoint=../person/base",
  "--album=../person/album",
  "--lpips=../person/lpips",
  "--program_cache=../programs",
  "--test=1",
  "--devices=1",
  "--batch_size=1",
  "--raw_weight=0",
  "--anchor_steps=20",
  "--anchor_w_samples=100",
  "--anchor_batch_size=2",
  "--steps=24",
  "--save_every=4",
  "--log_every=1",
  "--pictures=1",
  "--resume",
  "--report",
)
# Of summary.json: how long it took, which is never the same, and the size of
# a whole generator's folder, whose files Orbax names by chance.
_TIMES = ("seconds", "anchor_seconds", "tuning_seconds", "adapter_bytes")


def _start(folder: pathlib.Path, mode: str) -> commands.Command:
  """A run in a folder of its own: adapters keep the last parts of paths."""
  folder.mkdir(exist_ok=True)
  return commands.Command(
    "personalize",
    *_FLAGS,
    f"--mode={mode}",
    "--out=run",
    "--cache=cache",
    cwd=folder,
  )


def _result(run: pathlib.Path) -> dict[str, bytes]:
  """What a run leaves, but for times, logs of TensorBoard and the page."""
  found = {}
  for path in sorted(run.rglob("*")):
    name = str(path.relative_to(run))
    if (
      not path.is_file()
      or "tfevents" in name
      or name.startswith(("report/", "state/", "config.json", "generator/"))
      or name == "run.flags"
    ):
      continue
    data = path.read_bytes()
    if name == "summary.json":
      summary = json.loads(data)
      data = json.dumps(
        {key: value for key, value in summary.items() if key not in _TIMES}
      ).encode()
    if name.endswith(".npz"):
      with np.load(path) as file:
        data = b"".join(file[key].tobytes() for key in sorted(file.files))
    found[name] = data
  if (run / "generator").is_dir():
    found["generator"] = generator_digest(run / "generator").encode()
  return found


def _left_over(run: pathlib.Path) -> list[str]:
  return [str(path) for path in run.rglob("*") if is_leftover(path)]


def kill_runs(
  folder: pathlib.Path, count: int, seed: int, log=print
) -> tuple[int, list[str]]:
  """Kills runs and compares what they end with.

  Args:
    folder: empty.
    count: of kills.
    seed: of the moments.
    log: called with lines about how far it is.

  Returns: how many runs there were; what was wrong, one line each.
  """
  person.write(folder / "person", latents=False, count=4)
  wanted, seconds = {}, {}
  for mode in ("lora", "full"):
    for _ in range(2):  # the second one takes programs from the first
      began = time.monotonic()
      shutil.rmtree(folder / mode, ignore_errors=True)
      command = _start(folder / mode, mode)
      _, said = command.communicate()
      if command.returncode:
        return 0, [f"{mode}: ends with {command.returncode}: {said}"]
      seconds[mode] = time.monotonic() - began
    wanted[mode] = _result(folder / mode / "run")
  log(
    "a whole run: "
    + ", ".join(f"{mode} {taken:.1f} s" for mode, taken in seconds.items())
  )
  rng = np.random.default_rng(seed)
  killed, runs, faults = 0, 0, []
  while killed < count:
    mode = ("lora", "full")[runs % 2]
    runs += 1
    known = len(faults)
    name = f"run{runs}"
    for tries in range(min(_MOST_KILLS, count - killed)):
      command = _start(folder / name, mode)
      began = time.monotonic()
      deadline = began + rng.uniform(0, 1.05 * seconds[mode])
      while command.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
      ended = command.poll()
      command.kill()
      command.communicate()
      if ended is not None:  # it was done before
        if not tries:  # the machine has less to do than it had
          seconds[mode] = min(seconds[mode], time.monotonic() - began)
        break
      killed += 1
    command = _start(folder / name, mode)
    _, said = command.communicate()
    if command.returncode:
      faults.append(f"{name} ({mode}): ends with {command.returncode}: {said}")
    else:
      found = _result(folder / name / "run")
      different = sorted(
        key
        for key in {*found, *wanted[mode]}
        if found.get(key) != wanted[mode].get(key)
      )
      if different:
        faults.append(f"{name} ({mode}): others: {', '.join(different)}")
      if not (folder / name / "run" / "report" / "index.html").is_file():
        faults.append(f"{name} ({mode}): has no report")
      if left := _left_over(folder / name / "run"):
        faults.append(f"{name} ({mode}): left {', '.join(left)}")
    shutil.rmtree(folder / name, ignore_errors=True)
    log(
      f"{killed} kills, {runs} runs, {len(faults)} faults"
      + "".join(f"\n  {fault}" for fault in faults[known:])
    )
  return runs, faults


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--count", type=int, default=100)
  parser.add_argument("--seed", type=int, default=0)
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    runs, faults = kill_runs(
      pathlib.Path(folder),
      flags.count,
      flags.seed,
      log=lambda line: print(line, flush=True),
    )
  print(f"{flags.count} kills of {runs} runs, {len(faults)} faults")
  return bool(faults)


if __name__ == "__main__":
  sys.exit(main())

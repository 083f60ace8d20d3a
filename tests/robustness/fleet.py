"""A fleet on this machine: one album is damaged, one worker is killed.

    python -m tests.robustness.fleet --out=/tmp/fleet [--steps=12]

Needs Ray (the extra `fleet`). Six people of the demo are made by single
commands, one after the other, then by a fleet of two workers, then by another
one of which a worker is killed as soon as it has saved a state. Then:

- whose album is damaged fails alone, in one line;
- the killed worker is replaced, and all adapters are those of the fleet that
  nobody disturbed, byte by byte;
- the same command again does nothing;
- the table says how long all of it took.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

from my3dgen_jax.demo.album import write_demo_album
from my3dgen_jax.training import checkpoint, loop, run_folder

_PEOPLE = ("ann", "bob", "cy", "dee", "eve", "fay")
_DAMAGED = "dee"
_WORKERS = 2


class Trial:
  """Commands in a folder, and what they say."""

  def __init__(self, folder: pathlib.Path, steps: int):
    self.folder = folder
    self.flags = [
      "--flagfile=demo.flags",
      "--cpu_devices=1",
      "--anchor_steps=3",
      "--train=6",
      "--test=2",
      "--reference=2",
      "--pictures=1",
      "--save_every=4",
      f"--steps={steps}",
      "--cache=",
      "--noreport",
    ]
    self.found: dict[str, object] = {}

  def note(self, name: str, value: object):
    self.found[name] = value
    print(f"{name}: {value}", flush=True)

  def command(self, name: str, *flags: str) -> subprocess.Popen:
    return subprocess.Popen(
      [sys.executable, "-m", f"my3dgen_jax.launch.{name}", *self.flags, *flags],
      cwd=self.folder,
      stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT,
      text=True,
    )

  def fleet(self, out: str) -> subprocess.Popen:
    return self.command(
      "fleet", "--manifest=people.csv", f"--out={out}", f"--workers={_WORKERS}"
    )

  def draw(self):
    lines = ["id,album"]
    for number, person in enumerate(_PEOPLE):
      album = self.folder / "albums" / person
      write_demo_album(album, number)
      lines.append(f"{person},albums/{person}")
    cut = self.folder / "albums" / _DAMAGED / "photo003.png"
    cut.write_bytes(cut.read_bytes()[:1000])
    (self.folder / "people.csv").write_text("\n".join(lines) + "\n")

  def adapters(self, folder: str) -> dict[str, bytes]:
    found = {}
    for person in _PEOPLE:
      path = self.folder / folder / person / run_folder.ADAPTER_FILE
      if path.exists():
        found[person] = path.read_bytes()
    return found

  def singles(self):
    self.timed("warm-up", "personalize", "--album=albums/ann", "--out=warm")
    began = time.monotonic()
    for person in _PEOPLE:
      self.timed(
        person,
        "personalize",
        f"--album=albums/{person}",
        f"--out=single/{person}",
      )
    self.note("six single commands, s", round(time.monotonic() - began, 1))

  def timed(self, name: str, *arguments: str):
    began = time.monotonic()
    said = self.command(*arguments).communicate()[0]
    seconds = round(time.monotonic() - began, 1)
    print(f"  {name}: {seconds} s: {said.splitlines()[-1]}", flush=True)

  def undisturbed(self):
    began = time.monotonic()
    process = self.fleet("calm")
    said = process.communicate()[0]
    print(said)
    self.note("a fleet of 2 workers, s", round(time.monotonic() - began, 1))
    self.note("its exit code", process.returncode)
    calm, single = self.adapters("calm/runs"), self.adapters("single")
    self.note("adapters", sorted(calm))
    self.note("failed", re.findall(r"(?m)^\w+: failed: .*$", said))
    self.note("as single commands', byte by byte", calm == single)

  def disturbed(self):
    began = time.monotonic()
    process = self.fleet("rough")
    victim, step = self.await_saved(process)
    place = json.loads(
      (self.folder / f"rough/people/{victim}.json").read_text()
    )["place"]
    os.kill(int(place.rpartition(":")[2]), signal.SIGKILL)
    self.note("killed", f"the worker of {victim}, with step {step} saved")
    said = process.communicate()[0]
    print(said)
    self.note("with a killed worker, s", round(time.monotonic() - began, 1))
    log = (self.folder / f"rough/logs/{victim}.log").read_text()
    self.note("its log has two beginnings", log.count("photos to tune on") == 2)
    self.note(
      "as the undisturbed fleet's, byte by byte",
      self.adapters("rough/runs") == self.adapters("calm/runs"),
    )

  def await_saved(self, process: subprocess.Popen) -> tuple[str, int]:
    """Somebody who is being made and has saved a state, not the last."""
    while process.poll() is None:
      for person in _PEOPLE:
        run = self.folder / "rough/runs" / person
        steps = checkpoint.steps(run / loop.STATE_FOLDER)
        if steps and not (run / run_folder.ADAPTER_FILE).exists():
          return person, steps[-1]
      time.sleep(0.05)
    raise SystemExit("nobody was caught in the middle")

  def again(self):
    changed = lambda: {
      str(path): path.stat().st_mtime_ns
      for path in (self.folder / "rough").rglob("*")
      if path.is_file() and not path.name.startswith("status.")
    }
    before, began = changed(), time.monotonic()
    said = self.fleet("rough").communicate()[0]
    print(said)
    self.note("the same command again, s", round(time.monotonic() - began, 1))
    self.note(
      "files it has written", len(set(changed().items()) - set(before.items()))
    )


def main():
  parser = argparse.ArgumentParser()
  parser.add_argument("--out", type=pathlib.Path, required=True)
  parser.add_argument("--steps", type=int, default=12)
  options = parser.parse_args()
  for part in ("warm", "single", "calm", "rough"):  # albums may stay
    shutil.rmtree(options.out / part, ignore_errors=True)
  options.out.mkdir(parents=True, exist_ok=True)
  trial = Trial(options.out.absolute(), options.steps)
  trial.draw()
  trial.singles()
  trial.undisturbed()
  trial.disturbed()
  trial.again()
  (options.out / "found.json").write_text(json.dumps(trial.found, indent=2))
  print(json.dumps(trial.found, indent=2))


if __name__ == "__main__":
  main()

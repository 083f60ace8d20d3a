"""Bits of a saved training state are flipped; each flip is noticed.

    python -m tests.robustness.flips --count=150 --seed=0

What is noticed costs the steps since the state before; what is not, a person.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile

import jax
import numpy as np

from my3dgen_jax.training import checkpoint
from my3dgen_jax.training.state import TrainState

_STEPS = (5, 10)


def _state(step: int) -> TrainState:
  rng = np.random.default_rng(step)
  weights = lambda: {
    f"layer{i}": {
      "lora_a": rng.normal(size=(8, 1)).astype(np.float32),
      "lora_b": rng.normal(size=(1, 8)).astype(np.float32),
    }
    for i in range(6)
  }
  return TrainState(
    np.int32(step), weights(), {"mu": weights(), "nu": weights()}
  )


def make_states(folder: pathlib.Path):
  """Saves two states as a run does."""
  for step in _STEPS:
    checkpoint.save_state(folder, _state(step), seconds=float(step))


def flip(rng: np.random.Generator, folder: pathlib.Path) -> pathlib.Path:
  """Flips one bit of the newer state's files; returns which."""
  newest = f"{_STEPS[-1]:08d}"
  files = [
    path
    for path in sorted(folder.rglob("*"))
    if path.is_file()
    and path.relative_to(folder).parts[0].startswith(newest)
    and path.stat().st_size
  ]
  sizes = np.array([path.stat().st_size for path in files], float)
  # Small files as well as those that hold the numbers.
  share = 0.5 / len(files) + 0.5 * sizes / sizes.sum()
  path = files[rng.choice(len(files), p=share)]
  data = bytearray(path.read_bytes())
  data[rng.integers(len(data))] ^= 1 << rng.integers(8)
  path.write_bytes(data)
  return path


def is_noticed(folder: pathlib.Path) -> bool:
  """Whether the older state is taken, to its last bit, and that is said."""
  said: list[str] = []
  found = checkpoint.load_state(folder, _state(0), log=said.append)
  if found is None or int(found.state.step) != _STEPS[0]:
    return False
  same = jax.tree.map(np.array_equal, found.state, _state(_STEPS[0]))
  return all(jax.tree.leaves(same)) and len(said) == 1


def count_noticed(count: int, seed: int) -> int:
  """How many of `count` flips are noticed."""
  noticed = 0
  with tempfile.TemporaryDirectory() as place:
    sound = pathlib.Path(place) / "sound"
    make_states(sound)
    for number in range(count):
      folder = pathlib.Path(place) / "state"
      shutil.copytree(sound, folder)
      path = flip(np.random.default_rng((seed, number)), folder)
      if is_noticed(folder):
        noticed += 1
      else:
        print(f"flip {number}: {path.relative_to(folder)}: not noticed")
      shutil.rmtree(folder)
  return noticed


def main():
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--count", type=int, default=150)
  parser.add_argument("--seed", type=int, default=0)
  flags = parser.parse_args()
  noticed = count_noticed(flags.count, flags.seed)
  print(f"{flags.count} flips, {noticed} noticed")
  return noticed < flags.count


if __name__ == "__main__":
  sys.exit(main())

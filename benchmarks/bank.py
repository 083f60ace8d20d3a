"""Measures the size and speed of a bank of adapters.

    python -m benchmarks.bank --base=tiny --people=100000
    python -m benchmarks.bank --base=ffhqrebalanced512-128 --people=1000

Adds people with random adapters, --batch at a time, each batch synced to disk
before the next; reads random people, warm; then writes and syncs a plain file
of the same size on the same disk, for comparison. The bank is deleted at the
end.
"""

import argparse
import os
import pathlib
import tempfile
import time

import jax
import numpy as np

from my3dgen_jax import lora
from my3dgen_jax.config import LoraConfig, preset
from tests.support.tiny import TINY

_DIFFERENT = 32  # adapters, used in turn: making numbers is not measured
_PIECE = 2**24  # bytes per write of the plain file


def _adapters(base: str, config: LoraConfig, seed: int) -> list:
  rng = np.random.default_rng(seed)
  shapes = lora.abstract(TINY if base == "tiny" else preset(base), config)
  return [
    jax.tree.map(
      lambda leaf: rng.standard_normal(leaf.shape, dtype=np.float32), shapes
    )
    for _ in range(_DIFFERENT)
  ]


def _plain_rate(folder: pathlib.Path, size: int) -> float:
  """Bytes per second when writing and syncing a plain file."""
  piece = os.urandom(_PIECE)
  begun = time.monotonic()
  with open(folder / "plain", "wb") as file:
    for _ in range(max(1, size // _PIECE)):
      file.write(piece)
    file.flush()
    os.fsync(file.fileno())
  taken = time.monotonic() - begun
  (folder / "plain").unlink()
  return max(1, size // _PIECE) * _PIECE / taken


def measure(flags: argparse.Namespace, folder: pathlib.Path):
  """Measures, and prints the results."""
  config = LoraConfig(rank=flags.rank)
  adapters = _adapters(flags.base, config, flags.seed)
  bank = lora.Bank(folder / "bank")
  begun = time.monotonic()
  for first in range(0, flags.people, flags.batch):
    bank.add(
      lora.Entry(
        f"person{i:07}",
        adapters[i % _DIFFERENT],
        config,
        base="0" * 64,
        dtype=flags.dtype,
      )
      for i in range(first, min(first + flags.batch, flags.people))
    )
  seconds = time.monotonic() - begun
  sizes = bank.sizes()
  print(
    f"{flags.base}, rank {flags.rank}, {flags.dtype}: {flags.people} people, "
    f"{sizes.numbers / flags.people / 1e3:.1f} kB each, batches of "
    f"{flags.batch}"
  )
  print(
    f"added: {flags.people / seconds:.0f} people/s, "
    f"{sizes.files / seconds / 1e6:.0f} MB/s"
  )
  print(
    f"size: {sizes.files / 1e6:.1f} MB in {sizes.shards} shards, "
    f"{sizes.files / sizes.numbers:.4f} of the numbers' size"
  )
  rng = np.random.default_rng(flags.seed)
  wanted = [f"person{i:07}" for i in rng.integers(flags.people, size=2000)]
  for check in (False, True):
    for _ in range(2):  # the first one warms up
      times = []
      for person in wanted:
        begun = time.perf_counter()
        bank.read(person, check=check)
        times.append(1e3 * (time.perf_counter() - begun))
    print(
      f"read{', checked' * check}: median {np.median(times):.3f} ms, "
      f"99 % in {np.percentile(times, 99):.3f} ms"
    )
  begun = time.monotonic()
  jax.block_until_ready(bank.stack(wanted[:64]).lora)
  print(f"stack of 64: {1e3 * (time.monotonic() - begun):.1f} ms")
  begun = time.monotonic()
  assert not bank.verify()
  print(f"verified: {time.monotonic() - begun:.1f} s")
  bank.remove(wanted[:1])
  begun = time.monotonic()
  bank.compact()
  after = bank.sizes()
  print(
    f"compacted, one removed: {time.monotonic() - begun:.1f} s, "
    f"{after.files / after.numbers:.4f} of the numbers' size"
  )
  rate = _plain_rate(folder, sizes.files)
  print(
    f"a plain file, synced: {rate / 1e6:.0f} MB/s, "
    f"{rate / sizes.files * flags.people:.0f} people/s"
  )


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--base",
    default="tiny",
    help="Base generator: tiny, or a preset; default: tiny.",
  )
  parser.add_argument(
    "--people",
    type=int,
    default=100_000,
    help="Number of people, >= 1; default: 100,000.",
  )
  parser.add_argument(
    "--rank", type=int, default=1, help="Rank of the adapters; default: 1."
  )
  parser.add_argument(
    "--dtype",
    default="float32",
    help="Dtype in the bank, float32 or float16; default: float32.",
  )
  parser.add_argument(
    "--batch",
    type=int,
    default=1000,
    help="People to add at a time, >= 1; default: 1000.",
  )
  parser.add_argument(
    "--seed", type=int, default=0, help="Seed of the numbers; default: 0."
  )
  parser.add_argument(
    "--folder", default=None, help="Folder to work in; default: /tmp."
  )
  flags = parser.parse_args()
  with tempfile.TemporaryDirectory(dir=flags.folder) as folder:
    measure(flags, pathlib.Path(folder))


if __name__ == "__main__":
  main()

"""Code shared by benchmarks: machine, timing, tables and BENCHMARKS.md."""

import datetime
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

FILE = pathlib.Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
_HEADER = """# Benchmarks

Written by the scripts in `benchmarks/`, one section per script; each script
describes what it measures. Times are medians. Absolute times are of one machine
on one day: compare ratios.
"""


def machine() -> str:
  """Date, commit, processor, device and versions, as one line."""
  commit = (
    subprocess.run(
      ["git", "rev-parse", "--short", "HEAD"],
      capture_output=True,
      text=True,
      check=False,
    ).stdout.strip()
    or "unknown"
  )
  device = jax.devices()[0].device_kind
  return (
    f"{datetime.date.today()}, commit {commit}, {os.cpu_count()} x "
    f"{platform.machine()} cores, device {device}, "
    f"jax {jax.__version__}, Python {platform.python_version()}"
  )


def seconds(function: Callable[..., Any], *arguments: Any, runs: int) -> float:
  """Median time of a compiled function, after one run to warm up."""
  jax.block_until_ready(function(*arguments))
  times = []
  for _ in range(runs):
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def peak_memory_gb() -> float:
  """This process's peak memory, in GB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def against_the_machine(
  call: Callable[[], Any], flops: float, *, runs: int, size: int = 4096
) -> tuple[float, float, float]:
  """Times a program, alternating with a large float32 matrix product.

  The speed of a shared machine changes, so a measurement from a minute later
  would not be comparable.

  Args:
    call: function that runs the program once.
    flops: operations of the program, as counted by XLA.
    runs: number of timed runs of each, after a warm-up.
    size: side of the product's matrices.

  Returns: medians of the program's seconds, of the product's rate in FLOP/s,
    and of the ratio of the program's seconds to the seconds of its operations
    at the product's rate.
  """
  a = jnp.ones((size, size))
  product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
  times, rates = [], []
  for _ in range(runs + 1):
    for function, results in ((call, times), (lambda: product(a), rates)):
      start = time.perf_counter()
      jax.block_until_ready(function())
      results.append(time.perf_counter() - start)
  times, rates = times[1:], [2 * size**3 / value for value in rates[1:]]
  return (
    statistics.median(times),
    statistics.median(rates),
    statistics.median(
      seconds * rate / flops for seconds, rate in zip(times, rates)
    ),
  )


def matmul_flops(size: int = 4096) -> float:
  """FLOP/s of a large float32 matrix product: the machine's peak rate."""
  a = jnp.ones((size, size))
  product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
  return 2 * size**3 / seconds(product, a, runs=5)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table."""
  lines = [header, ["---"] * len(header), *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(title: str, body: str):
  """Prints a section, and writes it to BENCHMARKS.md, replacing the old one."""
  print(f"## {title}\n\n{body}")
  text = FILE.read_text() if FILE.exists() else _HEADER
  parts = text.split("\n## ")
  parts = [part for part in parts if not part.startswith(f"{title}\n")]
  parts.append(f"{title}\n\n{body}")
  FILE.write_text("\n## ".join(part.strip("\n") + "\n" for part in parts))

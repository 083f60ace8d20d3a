"""Machine, timing and BENCHMARKS.md: what the benchmarks have in common."""

import datetime
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import time
from typing import Any, Callable, Sequence

import jax
import jax.numpy as jnp

FILE = pathlib.Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
_HEADER = """# Benchmarks

Written by the scripts in `benchmarks/`, each its own section; see there for
what is timed. Times are medians. Absolute times are of one machine on one
day: compare ratios.
"""


def machine() -> str:
  """Date, commit, processor, device and versions, in one line."""
  commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"],
                          capture_output=True, text=True,
                          check=False).stdout.strip() or "unknown"
  device = jax.devices()[0].device_kind
  return (f"{datetime.date.today()}, commit {commit}, {os.cpu_count()} x "
          f"{platform.machine()} cores, device {device}, "
          f"jax {jax.__version__}, Python {platform.python_version()}")


def seconds(function: Callable[..., Any], *arguments: Any,
            runs: int) -> float:
  """Median time of a compiled function, after one run to warm up."""
  jax.block_until_ready(function(*arguments))
  times = []
  for _ in range(runs):
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    times.append(time.perf_counter() - start)
  return statistics.median(times)


def peak_memory_gb() -> float:
  """The most memory this process has held, in GB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def matmul_flops(size: int = 4096) -> float:
  """Rate of a large float32 product: what the machine can do at best."""
  a = jnp.ones((size, size))
  product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
  return 2 * size**3 / seconds(product, a, runs=5)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table."""
  lines = [header, ["---"] * len(header), *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(title: str, body: str):
  """Prints a section, and puts it into BENCHMARKS.md in place of the old."""
  print(f"## {title}\n\n{body}")
  text = FILE.read_text() if FILE.exists() else _HEADER
  parts = text.split("\n## ")
  parts = [part for part in parts if not part.startswith(f"{title}\n")]
  parts.append(f"{title}\n\n{body}")
  FILE.write_text("\n## ".join(part.strip("\n") + "\n" for part in parts))

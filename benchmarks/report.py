"""Machine, timing and BENCHMARKS.md: what the benchmarks have in common."""

import datetime
import os
import pathlib
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from my3dgen_jax.errors import UserError

FILE = pathlib.Path(__file__).resolve().parent.parent / "BENCHMARKS.md"
_HEADER = """# Benchmarks

Each section is written by a script in `benchmarks/`, which says what it times.
Times are medians. Absolute times hold for one machine on one day: compare
ratios.
"""


def machine() -> str:
  """Date, commit, processor, device and versions, in one line."""
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


def chosen(flag: str, text: str, known: Mapping[str, Any]) -> dict[str, Any]:
  """The ways that a flag names, by name and in its order.

  Args:
    flag: its name, for messages.
    text: names separated by semicolons, or "all".
    known: all ways.

  Raises: UserError: a name is not known.
  """
  if text == "all":
    return dict(known)
  names = [name for name in text.split(";") if name]
  for name in names or [text]:
    if name not in known:
      raise UserError(
        f"--{flag}: unknown way {name!r}; known are {'; '.join(known)}"
      )
  return {name: known[name] for name in names}


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
  """The most memory this process has held, in GB."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def against_the_machine(
  call: Callable[[], Any], flops: float, *, runs: int, size: int = 4096
) -> tuple[float, float, float]:
  """Times a program and, in turn with it, a large float32 product.

  A machine that is shared is now faster, now slower: what was measured a
  minute later says nothing of it.

  Args:
    call: runs the program once.
    flops: operations of the program, as XLA counts them.
    runs: timed runs of each, after a warm-up.
    size: side of the product's matrices.

  Returns: medians of the program's seconds, of the product's rate in FLOP/s,
    and of the ratio: seconds over what the program's arithmetic would take at
    the rate of the product beside it.
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
  """Rate of a large float32 product: what the machine can do at best."""
  a = jnp.ones((size, size))
  product = jax.jit(lambda a: jnp.matmul(a, a, precision="highest"))
  return 2 * size**3 / seconds(product, a, runs=5)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A Markdown table."""
  lines = [header, ["---"] * len(header), *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write_section(title: str, body: str):
  """Prints a section, and replaces the old one in BENCHMARKS.md."""
  print(f"## {title}\n\n{body}")
  text = FILE.read_text() if FILE.exists() else _HEADER
  parts = text.split("\n## ")
  parts = [part for part in parts if not part.startswith(f"{title}\n")]
  parts.append(f"{title}\n\n{body}")
  FILE.write_text("\n## ".join(part.strip("\n") + "\n" for part in parts))

"""Runs functions on many devices, with arrays along a leading device axis.

`spread` is the only place that calls `jax.pmap`.
"""

import contextlib
import ctypes
import functools
import gc
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import processes

AXIS = "devices"

# Every compiled program takes a few memory mappings; Linux allows a process
# 65,530, and beyond that XLA aborts.
_MAPS = pathlib.Path("/proc/self/maps")
_MANY_MAPS = 30_000

_LONG_SECONDS = 3.0  # shorter compilations leave little memory behind


def forget_programs(most: int = _MANY_MAPS):
  """Drops all compiled programs if there are many; those on disk remain.

  Args:
    most: number of memory mappings that may remain.
  """
  if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > most:
    jax.clear_caches()
    gc.collect()


@functools.cache
def trim_after_compiling():
  """Returns memory to the system after each compilation, from now on.

  The C library keeps freed memory: after compiling a tuning step, a gigabyte
  on top of what the step itself needs. The amount depends on how threads
  shared the work, and is zero for programs from a cache. Further calls do
  nothing, nor does any call where the C library has no such function.
  """
  jax.monitoring.register_event_duration_secs_listener(_trim)


def _trim(event: str, duration: float, **_: Any):
  if event.endswith("backend_compile_duration") and duration > _LONG_SECONDS:
    try:
      ctypes.CDLL("libc.so.6").malloc_trim(0)
    except (OSError, AttributeError):  # not glibc
      pass


def cores() -> int:
  """Number of processors that this process may use."""
  if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def spread(
  function: Callable[..., Any],
  *,
  devices: Sequence[jax.Device] | None = None,
  donate: tuple[int, ...] = (),
) -> Callable[..., Any]:
  """Compiles a function so that each device works on its own entry.

  Args:
    function: the work of one device; its collectives are over `AXIS`.
    devices: the devices, in the order of the leading axis; None: all of this
      process. If they belong to several processes, each calls the function at
      the same time with the entries of its own devices, and gets those back.
    donate: positions of arguments whose memory is donated.

  Returns: a function of pytrees of [D, ...] that returns such a pytree.
  """
  return jax.pmap(
    function,
    axis_name=AXIS,
    donate_argnums=donate,
    devices=None if devices is None else tuple(devices),
  )


def photos_that_fit(devices: Sequence[jax.Device], photo_bytes: float) -> int:
  """How many photos fit the devices at once, by their reported memory.

  Args:
    devices: devices of one kind.
    photo_bytes: memory that one photo takes while it is processed, bytes.

  Returns: photos over all devices: per device a power of two, at most 32, that
    fits half its memory; 4 in all if devices do not report memory.
  """
  stats = devices[0].memory_stats() if devices else None
  limit = (stats or {}).get("bytes_limit", 0)
  if not limit:
    return 4
  fitting = min(max(int(limit / 2 / photo_bytes), 1), 32)
  return len(devices) * 2 ** (fitting.bit_length() - 1)


def local_devices(count: int | None = None) -> tuple[jax.Device, ...]:
  """The first `count` devices of this machine; None: all of them.

  Raises: UserError if there are fewer.
  """
  devices = jax.local_devices()
  if count is not None and not 1 <= count <= len(devices):
    raise UserError(
      f"devices: {count} requested, but this machine has {len(devices)}"
    )
  return tuple(devices[:count])


def described(devices: Sequence[jax.Device]) -> str:
  """Describes devices, e.g. "2 x NVIDIA H100 80GB HBM3"."""
  return f"{len(devices)} x {devices[0].device_kind}"


def suiting_precision() -> str | None:
  """The default matrix-product precision here; None: the generator's."""
  return None if jax.default_backend() == "cpu" else "default"


def all_devices(count: int | None = None) -> tuple[jax.Device, ...]:
  """The first `count` devices of each process; None: all of them.

  Raises: UserError if a process has fewer, or some have more than others.
  """
  if processes.count() == 1:
    return local_devices(count)
  each = [jax.local_devices(i) for i in range(processes.count())]
  if len({len(devices) for devices in each}) > 1:
    raise UserError(
      "devices: processes have "
      + ", ".join(str(len(devices)) for devices in each)
      + "; choose the same number for all"
    )
  local_devices(count)  # raises if there are fewer
  return tuple(device for devices in each for device in devices[:count])


def own(devices: Sequence[jax.Device]) -> tuple[jax.Device, ...]:
  """The devices that belong to this process."""
  return tuple(
    device for device in devices if device.process_index == processes.index()
  )


def own_entries(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """The entries of this process's devices, [D, ...] to [D_own, ...]."""
  rows = [
    i
    for i, device in enumerate(devices)
    if device.process_index == processes.index()
  ]
  return (
    tree
    if len(rows) == len(devices)
    else jax.tree.map(lambda leaf: leaf[rows], tree)
  )


def highest(value: int, devices: Sequence[jax.Device]) -> int:
  """The largest value over all processes, which call it together."""
  given = np.full(len(own(devices)), value, np.int32)
  return int(first(_highest(tuple(devices))(scatter(given, own(devices)))))


@functools.lru_cache(maxsize=8)
def _highest(devices: tuple[jax.Device, ...]) -> Callable[..., Any]:
  return spread(lambda value: jax.lax.pmax(value, AXIS), devices=devices)


def connect(devices: Sequence[jax.Device]):
  """Connects the devices of all processes; each of them calls it.

  Gloo, which connects CPUs, waits only half a minute for the last process, and
  prints to stdout when all are there.
  """
  if processes.count() > 1:
    processes.barrier()
    with _without_stdout():
      highest(0, devices)


@contextlib.contextmanager
def _without_stdout() -> Iterator[None]:
  """Silences stdout, including output of C libraries."""
  sys.stdout.flush()
  kept = os.dup(1)
  nowhere = os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(nowhere, 1)
    yield
  finally:
    os.dup2(kept, 1)
    os.close(kept)
    os.close(nowhere)


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """Copies arrays to every device, [...] to [D, ...]."""
  # NumPy's copies, as JAX would compile a program for each shape.
  return jax.tree.map(
    lambda leaf: scatter(np.stack([np.asarray(leaf)] * len(devices)), devices),
    tree,
  )


def scatter(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """Puts one entry of the leading axis on each device, [D, ...]."""
  # The name is that of pmap's own axis: with another name, a program's outputs
  # would be laid out differently from its first inputs, and it would be
  # compiled again.
  mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
  return jax.device_put(tree, sharding)


def first(tree: Any) -> Any:
  """The first device's copy, [D, ...] to [...], on the host."""
  return jax.tree.map(
    lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], tree
  )

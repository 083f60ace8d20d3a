"""Functions on many devices, and arrays along a leading axis of them.

`spread` is the only place that calls `jax.pmap`.
"""

import gc
import pathlib
from typing import Any, Callable, Optional, Sequence, Tuple

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.errors import UserError

AXIS = "devices"

# Every compiled program is a few mappings of memory, of which Linux allows a
# process 65,530; beyond, XLA aborts.
_MAPS = pathlib.Path("/proc/self/maps")
_MANY_MAPS = 30_000


def forget_programs(most: int = _MANY_MAPS):
  """Drops all compiled programs where there are many; none is lost on disk.

  Args:
    most: mappings of memory that may stay.
  """
  if _MAPS.exists() and len(_MAPS.read_bytes().splitlines()) > most:
    jax.clear_caches()
    gc.collect()


def spread(function: Callable[..., Any], *,
           devices: Optional[Sequence[jax.Device]] = None,
           donate: Tuple[int, ...] = ()) -> Callable[..., Any]:
  """Compiles a function so that each device works on its own entry.

  Args:
    function: what one device does; its collectives are over `AXIS`.
    devices: the devices, in the order of the leading axis; None: all of this
      process.
    donate: positions of arguments whose memory is taken over.

  Returns: a function of pytrees of [D, ...] that returns such a pytree.
  """
  return jax.pmap(function, axis_name=AXIS, donate_argnums=donate,
                  devices=None if devices is None else tuple(devices))


def local_devices(count: Optional[int] = None) -> Tuple[jax.Device, ...]:
  """The first `count` devices of this machine; None: all of them.

  Raises: UserError if there are fewer.
  """
  devices = jax.local_devices()
  if count is not None and not 1 <= count <= len(devices):
    raise UserError(f"devices: {count} are wanted, this machine has "
                    f"{len(devices)}")
  return tuple(devices[:count])


def replicate(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """The same arrays on every device, [...] -> [D, ...]."""
  return scatter(jax.tree.map(
      lambda leaf: jnp.stack([leaf] * len(devices)), tree), devices)


def scatter(tree: Any, devices: Sequence[jax.Device]) -> Any:
  """An entry of the leading axis on each device, [D, ...]."""
  # The name is that of pmap's own axis: with another one, what a program
  # returns would lie elsewhere than what it was first given, and it would be
  # compiled again.
  mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
  sharding = jax.sharding.NamedSharding(
      mesh, jax.sharding.PartitionSpec(AXIS))
  return jax.device_put(tree, sharding)


def first(tree: Any) -> Any:
  """The copy of the first device, [D, ...] -> [...], on the host."""
  return jax.tree.map(
      lambda leaf: np.asarray(leaf.addressable_shards[0].data)[0], tree)

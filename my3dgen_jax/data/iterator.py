"""The photos of each training step: shuffled, endless, resumable.

A step's batch is a function of (seed, step), so the whole state is one integer.
`shard` lays the batch out over devices afterward, so any number of devices
sees the same batches.

    batches = ShuffledBatches(size=len(album), batch_size=4, seed=0)
    for step, indices in batches.from_step(start):
      batch = shard(album.batch(indices), num_devices=jax.local_device_count())
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from my3dgen_jax.errors import UserError


@functools.lru_cache(maxsize=8)
def permutation(size: int, *, seed: int, epoch: int) -> np.ndarray:
  """The order of an epoch, which depends only on the arguments.

  Args:
    size: number of photos.
    seed: >= 0.
    epoch: >= 0.

  Returns: [size] int64, read-only, each of 0 … size - 1 once.
  """
  # NumPy guarantees the same bits forever for SeedSequence and Philox, but not
  # for Generator.permutation; a run may be resumed with another NumPy.
  keys = np.random.Philox(np.random.SeedSequence((seed, epoch)))
  order = np.argsort(keys.random_raw(size), kind="stable")
  order.flags.writeable = False
  return order


@dataclasses.dataclass(frozen=True)
class ShuffledBatches:
  """Endless batches of indices; every epoch holds each photo once.

  Epochs follow each other without a gap: a batch that the rest of an epoch
  cannot fill continues in the next one, and a batch may be larger than the
  album.

  Attributes:
    size: number of photos.
    batch_size: photos per step, over all devices and accumulation.
    seed: seed of the shuffling.

  Raises: UserError: a number is too small.
  """

  size: int
  batch_size: int
  seed: int = 0

  def __post_init__(self):
    for name, low in (("size", 1), ("batch_size", 1), ("seed", 0)):
      if getattr(self, name) < low:
        raise UserError(
          f"{name}: expected a whole number >= {low}, got {getattr(self, name)}"
        )

  def at(self, step: int) -> np.ndarray:
    """The batch of a step, from 0: indices, [batch_size] int64."""
    first = step * self.batch_size
    epochs = range(
      first // self.size, (first + self.batch_size - 1) // self.size + 1
    )
    order = np.concatenate(
      [permutation(self.size, seed=self.seed, epoch=epoch) for epoch in epochs]
    )
    start = first - epochs[0] * self.size
    return order[start : start + self.batch_size]

  def from_step(self, step: int = 0) -> Iterator[tuple[int, np.ndarray]]:
    """Yields (step, indices) from this step on, without end."""
    while True:
      yield step, self.at(step)
      step += 1


def shard(
  tree: Any, *, num_devices: int, accumulation: int | None = None
) -> Any:
  """Lays a batch out over devices and, on each, over accumulation steps.

  Args:
    tree: arrays [N, ...], e.g. an `album.Batch`, or indices alone.
    num_devices: size of the leading axis for `jax.pmap`.
    accumulation: number of parts that a device works through in turn; None:
      no axis for them.

  Returns: the tree with arrays [num_devices, per_device, ...], or
      [num_devices, accumulation, per_part, ...]. The order is kept: flattening
      the leading axes gives the batch again.
  Raises:
    UserError: N does not divide by num_devices · accumulation.
  """
  lead = (num_devices,) if accumulation is None else (num_devices, accumulation)

  def split(array):
    if min(lead) < 1 or array.shape[0] % math.prod(lead):
      parts = (
        ""
        if accumulation is None
        else (f" of {accumulation} accumulation steps each")
      )
      raise UserError(
        f"batch_size: {array.shape[0]} does not divide over {num_devices} "
        f"devices{parts}; choose a multiple of {math.prod(lead)}"
      )
    return array.reshape(
      lead + (array.shape[0] // math.prod(lead),) + array.shape[1:]
    )

  return jax.tree.map(split, tree)

"""Seats: the people that a tuning step is for, one or several."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from my3dgen_jax.config import TuningConfig
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.iterator import shard, ShuffledBatches
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs.logs import MetricsLog
from my3dgen_jax.training import checkpoint
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.training.objective import TuningBatch
from my3dgen_jax.training.patience import Patience
from my3dgen_jax.training.state import TrainState


class Member(NamedTuple):
  """One person's tuning.

  Attributes:
    folder: the run's folder for `state/`, `metrics.jsonl` and event files.
    album: photos to tune on.
    anchors: the photos' anchors, in the same order.
    validation: held-out photos with their anchors, for patience, or None.
  """

  folder: pathlib.Path
  album: Album
  anchors: Anchors
  validation: tuple[Album, Anchors] | None = None


@dataclasses.dataclass
class Seat:
  """A place in the batch of people, and the person who has it.

  Attributes:
    number: index of the member.
    member: the person.
    batches: the photos of each step.
    step: steps made.
    seconds: seconds spent before this process.
    log: the metrics' log; None if another process writes it.
    patience: the person's validations, or None.
    began: clock time of the start, seconds.
    is_over: whether the seat is free; its computed values are then ignored.
  """

  number: int
  member: Member
  batches: ShuffledBatches
  step: int
  seconds: float
  log: MetricsLog | None
  patience: Patience | None = None
  began: float = dataclasses.field(default_factory=time.monotonic)
  is_over: bool = False

  def all_seconds(self) -> float:
    """Seconds since the first step, over all interruptions."""
    return self.seconds + time.monotonic() - self.began

  def leave(self):
    """Closes the log; the seat is free."""
    self.is_over = True
    if self.log is not None:
      self.log.__exit__(None, None, None)
      self.log = None


def batch(
  seats: Sequence[Seat],
  *,
  ahead: int = 0,
  tuning: TuningConfig,
  masked: bool,
  devices: Sequence[jax.Device],
) -> TuningBatch:
  """The photos of everyone's next step, laid out over devices and parts.

  Each process reads only the photos for its own devices.

  Args:
    seats: the seats, at least one in use; free ones get another's photos.
    ahead: how many steps after the next one.
    tuning: seed of the depths along the rays, number of parts that each device
      works through, schedule of the learning rate.
    masked: whether anyone's photos have masks; then all get one.
    devices: the devices that share a batch.

  Returns: arrays on the devices, [D, A, N, ...]; for several seats
    [D, K, A, N, ...].
  """
  own = devices_lib.own(devices)
  there = {
    place: _of_one(
      seat.member, seat.batches, seat.step + ahead, tuning, masked, devices
    )
    for place, seat in enumerate(seats)
    if not seat.is_over
  }
  somebodys = next(iter(there.values()))
  each = [
    shard(
      there.get(place, somebodys),
      num_devices=len(own),
      accumulation=tuning.accumulation,
    )
    for place in range(len(seats))
  ]
  return devices_lib.scatter(stacked(each, axis=1), own)


def stacked(trees: Sequence, *, axis: int = 0):
  """Stacks trees along a new axis; a single tree is returned unchanged."""
  if len(trees) == 1:
    return trees[0]
  return jax.tree.map(lambda *leaves: np.stack(leaves, axis), *trees)


def is_masked(members: Sequence[Member]) -> bool:
  """Whether any photo has a mask."""
  return any(
    photo.mask is not None
    for member in members
    for photo in member.album.photos
  )


def saved_state(folder: pathlib.Path, new: TrainState) -> checkpoint.Saved:
  """The saved state, or a new one: process 0's, in all processes."""
  fresh = checkpoint.Saved(new, 0.0)
  return checkpoint.everywhere(
    lambda: checkpoint.load_state(folder, new) or fresh, fresh
  )


def _of_one(
  member: Member,
  batches: ShuffledBatches,
  step: int,
  tuning: TuningConfig,
  masked: bool,
  devices: Sequence[jax.Device],
) -> TuningBatch:
  """A step's photos (step 0, 1, …) for this process's devices, [N, ...]."""
  indices = batches.at(step)
  indices, keys = jax.tree.map(
    np.concatenate,
    devices_lib.own_entries(
      shard(
        (indices, _keys(tuning.seed, step, len(indices))),
        num_devices=len(devices),
      ),
      devices,
    ),
  )
  photos = member.album.batch(indices)
  rate = state_lib.rate_share(tuning, step)
  return TuningBatch(
    image=photos.image,
    c=photos.c,
    ws=member.anchors.ws[indices],
    key=keys,
    mask=photos.mask if masked else None,
    rate=None if rate is None else np.full(len(indices), rate, np.float32),
  )


def _keys(seed: int, step: int, count: int) -> np.ndarray:
  """Data of a PRNG key for each photo of a step's batch, [count, 2]."""
  return np.asarray(_draw_keys(jax.random.key(seed), step, count))


@functools.partial(jax.jit, static_argnums=2)
def _draw_keys(key, step, count):
  return jax.random.key_data(
    jax.random.split(jax.random.fold_in(key, step), count)
  )

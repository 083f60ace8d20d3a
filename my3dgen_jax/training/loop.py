"""Tuning from the first step to the last, over interruptions."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from my3dgen_jax.config import (
  GeneratorConfig,
  LoraConfig,
  LossConfig,
  TuningConfig,
)
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.iterator import shard, ShuffledBatches
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.jobs.logs import MetricsLog
from my3dgen_jax.jobs.progress import compiling, Progress
from my3dgen_jax.training import checkpoint
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.training.objective import TuningBatch
from my3dgen_jax.training.step import make_step
from my3dgen_jax.types import Network

STATE_FOLDER = "state"


@dataclasses.dataclass(frozen=True)
class Tuning:
  """A tuning that can be run, stopped, and run on.

  Attributes:
    config: of the generator; its dtype is computed in.
    base: {"params": …, "buffers": …}; never changed.
    lora_config: of the adapter; None: the weights themselves are tuned.
    tuning: steps, batches, optimiser.
    loss: weights of the terms.
    networks: "lpips" and "identity", where the loss needs them.
    devices: that share a batch.
    save_every: steps between saved states.
    log_every: steps between logged ones.
  """

  config: GeneratorConfig
  base: Any
  lora_config: LoraConfig | None
  tuning: TuningConfig
  loss: LossConfig
  networks: Mapping[str, Network]
  devices: Sequence[jax.Device]
  save_every: int = 500
  log_every: int = 10

  def run(
    self,
    folder: str | os.PathLike,
    album: Album,
    anchors: Anchors,
    stop: StopRequest,
  ) -> checkpoint.Saved:
    """Tunes until `tuning.steps`, from the state in the folder if any.

    Args:
      folder: of the run: `state/`, `metrics.jsonl` and events are here.
      album: photos to tune on.
      anchors: of them, in the same order.
      stop: agreed on after each step.

    Returns: the last state, on the host, and the seconds spent in all.
    Raises:
      Interrupted: `stop` was wanted; the state is saved.
      UserError: the loss is not finite any more (the last good state is
        saved), the batch does not fit the devices.
      CheckpointError: a state cannot be read or written.
    """
    folder = pathlib.Path(folder)
    tuning = self.tuning
    began = time.monotonic()
    trainable, frozen = state_lib.split(
      jax.random.key(tuning.seed), self.config, self.base, self.lora_config
    )
    fresh = state_lib.unravelled(
      state_lib.init_state(trainable, tuning), trainable
    )
    saved = _shared(folder / STATE_FOLDER, fresh)
    start = int(saved.state.step)
    if start > tuning.steps:
      raise UserError(
        f"{folder}: has made {start} steps already, --steps="
        f"{tuning.steps} cannot take them back; start anew in "
        "another --out"
      )
    if start == tuning.steps:
      return saved

    seconds = lambda: saved.seconds + time.monotonic() - began
    on_host = lambda state: state_lib.unravelled(
      devices_lib.first(state), trainable
    )
    writes = processes.is_first()
    save = lambda state: (
      writes
      and checkpoint.save_state(
        folder / STATE_FOLDER, on_host(state), seconds=seconds()
      )
    )
    step = make_step(
      self.config, tuning, self.loss, self.lora_config, self.devices
    )
    own = devices_lib.own(self.devices)
    replicate = functools.partial(devices_lib.replicate, devices=own)
    devices_lib.connect(self.devices)
    state = replicate(state_lib.ravelled(saved.state))
    frozen, networks = replicate((frozen, dict(self.networks)))
    batches = ShuffledBatches(len(album), tuning.batch_size, tuning.seed)
    progress = Progress(
      "tuning",
      tuning.steps * tuning.batch_size,
      "images",
      start=start * tuning.batch_size,
    )
    batch = self._batch(album, anchors, batches, start)
    with (
      MetricsLog(folder, step=start) if writes else contextlib.nullcontext()
    ) as log:
      for done in range(start + 1, tuning.steps + 1):
        with (
          compiling("tuning") if done == start + 1 else contextlib.nullcontext()
        ):
          state, metrics = step(state, frozen, networks, batch)
        if done < tuning.steps:  # decoded while the devices work
          batch = self._batch(album, anchors, batches, done)
        metrics = _as_numbers(metrics)
        if not metrics.pop("finite"):
          save(state)
          raise UserError(
            f"{folder}: the loss of step {done} is not finite; the state "
            "before it is saved; try again in another --out, where the "
            "anchors need not be found again, with a lower "
            "--learning_rate, --dtype=float32, or without the photos of "
            "this step: "
            + ", ".join(album.names[i] for i in batches.at(done - 1))
          )
        if log and (done % self.log_every == 0 or done in (1, tuning.steps)):
          log.write(done, metrics)
        progress.update(done * tuning.batch_size, f"loss {metrics['loss']:.4f}")
        stopping = stop.agreed(self.devices)
        if done % self.save_every == 0 or done == tuning.steps or stopping:
          save(state)
        if stopping and done < tuning.steps:
          stop.raise_if_wanted(
            f"stopped at step {done} of {tuning.steps}; "
            "the same command with --resume goes on"
          )
    return checkpoint.Saved(on_host(state), seconds())

  def _batch(
    self, album: Album, anchors: Anchors, batches: ShuffledBatches, step: int
  ) -> TuningBatch:
    """The photos of step 0, 1, …, laid over devices and parts.

    Each process reads those of its own devices alone.
    """
    indices = batches.at(step)
    own = devices_lib.own(self.devices)
    indices, keys = jax.tree.map(
      np.concatenate,
      devices_lib.own_entries(
        shard(
          (indices, _keys(self.tuning.seed, step, len(indices))),
          num_devices=len(self.devices),
        ),
        self.devices,
      ),
    )
    photos = album.batch(indices)
    masked = any(photo.mask is not None for photo in album.photos)
    batch = TuningBatch(
      image=photos.image,
      c=photos.c,
      ws=anchors.ws[indices],
      key=keys,
      mask=photos.mask if masked else None,
    )
    return devices_lib.scatter(
      shard(batch, num_devices=len(own), accumulation=self.tuning.accumulation),
      own,
    )


def _shared(
  folder: pathlib.Path, new: state_lib.TrainState
) -> checkpoint.Saved:
  """The saved state, or a new one: process 0's, in all processes."""

  def read():
    saved = checkpoint.load_state(folder, new) or checkpoint.Saved(new, 0.0)
    return {
      str(i): np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(saved))
    }

  found = processes.from_first(read)
  state, seconds = jax.tree.unflatten(
    jax.tree.structure(checkpoint.Saved(new, 0.0)),
    [found[str(i)] for i in range(len(found))],
  )
  return checkpoint.Saved(state, float(seconds))


def _keys(seed: int, step: int, count: int) -> np.ndarray:
  """Data of a PRNG key for each photo of a step's batch, [count, 2]."""
  return np.asarray(_draw_keys(jax.random.key(seed), step, count))


@functools.partial(jax.jit, static_argnums=2)
def _draw_keys(key, step, count):
  return jax.random.key_data(
    jax.random.split(jax.random.fold_in(key, step), count)
  )


def _as_numbers(metrics: dict[str, jax.Array]) -> dict[str, float]:
  """The metrics of the first device, which are those of all."""
  return {
    name: float(value) for name, value in devices_lib.first(metrics).items()
  }

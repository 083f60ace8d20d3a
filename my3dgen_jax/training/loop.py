"""The tuning loop, resumable after interruptions, for one person or many."""

import contextlib
import dataclasses
import functools
import itertools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence
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
from my3dgen_jax.data.iterator import ShuffledBatches
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.jobs.logs import MetricsLog
from my3dgen_jax.jobs.progress import compiling, Progress
from my3dgen_jax.training import checkpoint, seats
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.training.patience import make_validation, Patience, Validation
from my3dgen_jax.training.seats import Member, Seat
from my3dgen_jax.training.step import make_step
from my3dgen_jax.types import Network

STATE_FOLDER = "state"

# Device memory per pixel of a photo during its gradient, LPIPS included: 1.72
# GB per 512 x 512 photo by `benchmarks.compile_cost`, rounded up.
_BYTES_A_PIXEL = 7000


@dataclasses.dataclass(frozen=True)
class Tuning:
  """A tuning job that can be stopped and resumed.

  Attributes:
    config: the generator's config; its dtype is the compute dtype.
    base: {"params": …, "buffers": …}; never changed.
    lora_config: the adapter's config; None: tune the weights themselves.
    tuning: steps, batches, optimizer.
    loss: weights of the terms.
    networks: "lpips" and "identity", if the loss needs them.
    devices: the devices that share a batch.
    start: the adapter that everyone starts from; None: a fresh one.
    save_every: steps between checkpoints.
    log_every: steps between logged ones.
  """

  config: GeneratorConfig
  base: Any
  lora_config: LoraConfig | None
  tuning: TuningConfig
  loss: LossConfig
  networks: Mapping[str, Network]
  devices: Sequence[jax.Device]
  start: Any = None
  save_every: int = 500
  log_every: int = 10

  def people_that_fit(self) -> int:
    """How many people tuned together fill half of the devices' memory.

    1 if devices do not report their memory: on a CPU, which one person keeps
    busy, several together take longer than one after another.

    Returns: the same number in all processes, which call it together.
    """
    own = devices_lib.own(self.devices)  # other processes' cannot be queried
    stats = own[0].memory_stats() or {}
    people = 1
    if self.lora_config is not None and stats.get("bytes_limit"):
      photos = devices_lib.photos_that_fit(
        own, _BYTES_A_PIXEL * self.config.img_resolution**2
      )
      photos *= self.tuning.accumulation * len(self.devices) // len(own)
      people = max(photos // self.tuning.batch_size, 1)
    found = processes.from_first(lambda: {"people": np.asarray(people)})
    return int(found["people"])

  def run(
    self,
    folder: str | os.PathLike,
    album: Album,
    anchors: Anchors,
    stop: StopRequest,
  ) -> checkpoint.Saved:
    """Tunes up to `tuning.steps`, from the state in the folder if any.

    Args:
      folder: the run's folder for `state/`, `metrics.jsonl` and event files.
      album: photos to tune on.
      anchors: the photos' anchors, in the same order.
      stop: agreed on by all processes after each step.

    Returns: the last state, on the host, and the total seconds.
    Raises:
      Interrupted: `stop` was requested; the state is saved.
      UserError: the loss is no longer finite (the last good state is
        saved), or the batch does not fit the devices.
      CheckpointError: a state cannot be read or written.
    """
    (result,) = self.run_all(
      [Member(pathlib.Path(folder), album, anchors)], stop
    )
    if isinstance(result, UserError):
      raise result
    return result

  def run_all(
    self, members: Sequence[Member], stop: StopRequest, *, together: int = 1
  ) -> list[checkpoint.Saved | UserError]:
    """Tunes many people, each as `run` does.

    Side by side, they share a program and every product with the base's
    weights. When one finishes or fails, the next takes its place.

    Args:
      members: the people, in the order in which they start.
      stop: agreed on by all processes after each step.
      together: how many at a time; without an adapter, 1.

    Returns: each one's last state, or the error that `run` would raise.
    Raises:
      Interrupted: `stop` was requested; all states are saved.
      CheckpointError: a state cannot be written.
    """
    return _Group(self, members, stop).run(
      together if self.lora_config is not None else 1
    )


class _Group:
  """People being tuned, several at a time."""

  def __init__(self, job: Tuning, members: Sequence[Member], stop: StopRequest):
    self.job, self.members, self.stop = job, members, stop
    self.results: list[Any] = [None] * len(members)
    self.steps, self.batch_size = job.tuning.steps, job.tuning.batch_size
    self.progress = Progress(
      "tuning", len(members) * self.steps * self.batch_size, "images"
    )
    self._validations: dict[int, Validation] = {}
    self.images = 0  # counted by `progress`
    self.own = devices_lib.own(job.devices)

  def run(self, together: int) -> list[Any]:
    """See `Tuning.run_all`."""
    job = self.job
    trainable, frozen = state_lib.split(
      jax.random.key(job.tuning.seed), job.config, job.base, job.lora_config
    )
    self.trainable = trainable if job.start is None else job.start
    waiting = self._waiting()
    there = list(itertools.islice(waiting, together))
    if not there:
      return self.results
    taken = [seat for seat, _ in there]
    with contextlib.ExitStack() as at_last:
      at_last.callback(lambda: [seat.leave() for seat in taken])
      step = make_step(
        job.config,
        job.tuning,
        job.loss,
        job.lora_config,
        job.devices,
        people=len(taken) > 1,
      )
      devices_lib.connect(job.devices)
      state = self._replicated(seats.stacked([vectors for _, vectors in there]))
      frozen, networks = self._replicated((frozen, dict(job.networks)))
      batch, waits = self._batch(taken), compiling("tuning")
      while True:
        with waits:
          state, metrics = step(state, frozen, networks, batch)
        waits = contextlib.nullcontext()
        # Decoded while the devices work.
        batch = None
        if all(seat.is_over or seat.step + 1 < self.steps for seat in taken):
          batch = self._batch(taken, ahead=1)
        validated = self._validated(taken, state, frozen, networks)
        if self._after_step(
          taken, state, devices_lib.first(metrics), validated
        ):
          batch = None
          state = self._taken_anew(taken, state, waiting)
        if all(seat.is_over for seat in taken):
          return self.results
        if batch is None:
          batch = self._batch(taken)

  def _waiting(self) -> Iterator[tuple[Seat, Any]]:
    """Seats of people with steps left, with their states as vectors."""
    job = self.job
    fresh = state_lib.unravelled(
      state_lib.init_state(self.trainable, job.tuning), self.trainable
    )
    for number, member in enumerate(self.members):
      try:
        saved = seats.saved_state(member.folder / STATE_FOLDER, fresh)
        start = int(saved.state.step)
        if start > self.steps:
          raise UserError(
            f"{member.folder}: already has {start} steps, --steps={self.steps} "
            "cannot take them back; start over in another --out"
          )
      except UserError as error:
        self.results[number] = error
        self._skip(self.steps)
        continue
      self._skip(start)
      try:
        patience = self._patience(member, fresh, start)
      except UserError as error:
        self.results[number] = error
        self._skip(self.steps - start)
        continue
      if start == self.steps or patience and patience.is_over:
        best = None if patience is None else patience.best
        self.results[number] = (
          saved if best is None else checkpoint.Saved(best, saved.seconds)
        )
        self._skip(self.steps - start)
        continue
      yield (
        Seat(
          number,
          member,
          ShuffledBatches(len(member.album), self.batch_size, job.tuning.seed),
          start,
          saved.seconds,
          MetricsLog(member.folder, step=start)
          if processes.is_first()
          else None,
          patience,
        ),
        jax.device_get(state_lib.ravelled(saved.state)),
      )

  def _patience(self, member: Member, fresh: Any, step: int) -> Patience | None:
    """The person's validations, resumed after a step; None: there are none."""
    tuning = self.job.tuning
    if not tuning.patience or member.validation is None:
      return None
    return Patience.open(member.folder, tuning.patience, fresh, step)

  def _validated(
    self, taken: Sequence[Seat], state: Any, frozen: Any, networks: Any
  ) -> dict[int, float]:
    """Losses of the validation photos after this step, by seat."""
    found = {}
    for place, seat in enumerate(taken):
      if seat.is_over or seat.patience is None:
        continue
      if (seat.step + 1) % self.job.tuning.validate_every and (
        seat.step + 1 != self.steps
      ):
        continue
      vector = state.result
      found[place] = self._validation(seat).loss(
        vector[:, place] if len(taken) > 1 else vector, frozen, networks
      )
    return found

  def _validation(self, seat: Seat) -> Validation:
    """A person's validation photos, on the devices."""
    if seat.number not in self._validations:
      job, held = self.job, seat.member.validation
      assert held is not None, "only for people with patience"
      self._validations[seat.number] = Validation(
        held[0],
        held[1],
        make_validation(job.config, job.loss, job.lora_config, tuple(self.own)),
        self.own,
      )
    return self._validations[seat.number]

  def _after_step(
    self,
    taken: Sequence[Seat],
    state: Any,
    metrics: dict[str, Any],
    validated: Mapping[int, float],
  ) -> bool:
    """Counts, logs and saves; returns whether a seat has become free."""
    rows = functools.cache(lambda: devices_lib.first(state))  # on the host
    stopping, ended = None, []
    for place, seat in enumerate(taken):
      if seat.is_over:
        continue
      own = functools.cache(
        lambda place=place: state_lib.unravelled(
          _row(rows(), place, len(taken)), self.trainable
        )
      )
      numbers = {
        name: float(value[place] if len(taken) > 1 else value)
        for name, value in metrics.items()
      }
      if finite := bool(numbers.pop("finite")):
        seat.step += 1
        self._count(1, f"loss {numbers['loss']:.4f}")
        if seat.patience and place in validated:
          numbers["validation"] = validated[place]
          seat.patience.add(seat.step, validated[place], own)
        if seat.log and (
          seat.step % self.job.log_every == 0
          or seat.step in (1, self.steps)
          or place in validated
        ):
          seat.log.write(seat.step, numbers)
        if stopping is None:
          stopping = self.stop.agreed(self.job.devices)
      is_last = seat.step == self.steps or bool(
        seat.patience and seat.patience.is_over
      )
      if (
        seat.step % self.job.save_every == 0
        or is_last
        or stopping
        or not finite
      ):
        if processes.is_first():
          checkpoint.save_state(
            seat.member.folder / STATE_FOLDER, own(), seconds=seat.all_seconds()
          )
        if is_last or not finite:
          ended.append(seat)
          self.results[seat.number] = (
            self._result(seat, own()) if finite else _not_finite(seat)
          )
    for seat in ended:
      self._skip(self.steps - seat.step)
      seat.leave()
    if stopping and None in self.results:
      self.stop.raise_if_wanted(self._stopped(taken))
    return bool(ended)

  def _result(self, seat: Seat, state: Any) -> checkpoint.Saved:
    """The result of a person's tuning: the best state, or the last."""
    seconds = seat.all_seconds()
    best = None if seat.patience is None else seat.patience.best
    return checkpoint.Saved(state if best is None else best, seconds)

  def _taken_anew(
    self, taken: list[Seat], state: Any, waiting: Iterator[tuple[Seat, Any]]
  ) -> Any:
    """The state after free seats are given to those who wait."""
    rows = None
    for place, seat in enumerate(taken):
      if seat.is_over and (following := next(waiting, None)):
        taken[place], vectors = following
        if len(taken) == 1:
          return self._replicated(vectors)
        if rows is None:  # arrays from a device cannot be written to
          rows = jax.tree.map(
            lambda leaf: leaf.copy(), devices_lib.first(state)
          )
        jax.tree.map(
          lambda all_rows, own: all_rows.__setitem__(place, own), rows, vectors
        )
    return state if rows is None else self._replicated(rows)

  def _batch(self, taken: Sequence[Seat], ahead: int = 0) -> Any:
    # A person alone in a program needs no masks because of others' photos.
    there = self.members if len(taken) > 1 else [taken[0].member]
    return seats.batch(
      taken,
      ahead=ahead,
      tuning=self.job.tuning,
      masked=seats.is_masked(there),
      devices=self.job.devices,
    )

  def _replicated(self, tree: Any) -> Any:
    return devices_lib.replicate(tree, self.own)

  def _skip(self, steps: int):
    """Counts steps that take no time."""
    self.progress.skip(steps * self.batch_size)
    self.images += steps * self.batch_size

  def _count(self, steps: int, detail: str):
    self.images += steps * self.batch_size
    self.progress.update(self.images, detail)

  def _stopped(self, taken: Sequence[Seat]) -> str:
    if len(self.members) == 1:
      how_far = f"at step {taken[0].step} of {self.steps}"
    else:
      done = sum(result is not None for result in self.results)
      how_far = f"with {done} of {len(self.members)} people done"
    return f"stopped {how_far}; the same command with --resume continues"


def _row(rows: Any, place: int, count: int) -> Any:
  """One person's part of a tree, whose leaves have an axis of people."""
  return jax.tree.map(lambda leaf: leaf[place], rows) if count > 1 else rows


def _not_finite(seat: Seat) -> UserError:
  names = seat.member.album.names
  return UserError(
    f"{seat.member.folder}: the loss of step {seat.step + 1} is not finite; the "
    "state before it is saved; try again in another --out, where the "
    "anchors need not be found again, with a lower "
    "--learning_rate, --dtype=float32, or without the photos of "
    "this step: " + ", ".join(names[i] for i in seat.batches.at(seat.step))
  )

"""The runs of one call, step by step: all anchors, all tuning, all scores."""

import contextlib
import pathlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from my3dgen_jax.apps import strangers
from my3dgen_jax.apps.personalization.job import Job, UNFINISHED
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import processes
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.training import checkpoint, run_folder
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.training.loop import Tuning


class Run(NamedTuple):
  """One of a call's runs.

  Attributes:
    config: the run's settings.
    flags: text of a flagfile that reproduces it, or None.
  """

  config: PersonalizeConfig
  flags: str | None

  @property
  def out(self) -> pathlib.Path:
    """The run's folder."""
    return pathlib.Path(self.config.out).expanduser()


class People:
  """The runs of a call; one that fails does not stop the others.

  Attributes:
    results: each run's summary, or its error; None until there is one.
    measured: indices of the runs that this call has measured.
  """

  def __init__(
    self, runs: Sequence[Run], jobs: Sequence[Job], log: Callable[[str], None]
  ):
    self._runs, self._jobs, self._log = runs, jobs, log
    self._anchors: dict[int, Anchors] = {}
    self._saved: dict[int, checkpoint.Saved | None] = {}
    self._seconds = [0.0] * len(runs)
    self._anchor_seconds = [0.0] * len(runs)
    self.results: list[Any] = [None] * len(runs)
    self.measured: set[int] = set()

  def begin(self, *, seconds: float):
    """Logs the work to do.

    Args:
      seconds: seconds taken so far, for all runs.
    """
    self._seconds = [seconds / len(self._runs)] * len(self._runs)
    for number, (run, job) in enumerate(zip(self._runs, self._jobs)):
      path = run.out / run_folder.SUMMARY_FILE
      if len(self._runs) > 1 and processes.count() == 1 and path.exists():
        # `_begin` leaves only those of these settings.
        self.results[number] = run_folder.read_json(path)
        self._log(f"{run.out.name}: is finished")
        continue
      devices = job.shared.devices
      self._log(
        f"{run.out.name}: "
        * (len(self._runs) > 1)
        + f"{len(job.split.train)} photos to tune on, {len(job.split.test)} "
        f"held out, {len(devices)} device{'s' * (len(devices) > 1)}"
        + f" of {processes.count()} processes"
        * (processes.count() > 1)
      )

  def find_anchors(self, stop: StopRequest):
    """Finds the anchors of everyone's photos."""
    for number, run, job in self._left():
      with self._on_the_way(number):
        began = time.monotonic()
        self._anchors[number] = job.anchors(run.out, stop)
        self._forget_pixels(job)
        self._anchor_seconds[number] = time.monotonic() - began
        self._seconds[number] += self._anchor_seconds[number]

  def tune_and_measure(self, stop: StopRequest, together: int):
    """Tunes and measures everyone; see `personalize_all`."""
    left = list(self._left())
    if not left:
      return
    tuning = left[0][2].tuning()
    if tuning is None or tuning.lora_config is None:
      # All weights of many people would fill memory.
      for one in left:
        self._tune(tuning, [one], stop, 1)
        self._measure([one], stop)
      return
    together = together or tuning.people_that_fit()
    if len(left) > 1:
      self._log(f"{len(left)} people, {min(together, len(left))} at a time")
    self._tune(tuning, left, stop, together)
    self._measure(left, stop)

  def _tune(
    self,
    tuning: Tuning | None,
    left: Sequence[tuple[int, Run, Job]],
    stop: StopRequest,
    together: int,
  ):
    if tuning is None:
      self._saved |= {number: None for number, _, _ in left}
      return
    saved = tuning.run_all(
      [job.member(run.out, self._anchors[number]) for number, run, job in left],
      stop,
      together=together,
    )
    for (number, _, job), state in zip(left, saved):
      self._forget_pixels(job)
      if isinstance(state, UserError):
        self._fail(number, state)
      else:
        self._saved[number] = state
        self._seconds[number] += state.seconds

  def _forget_pixels(self, job: Job):
    """Frees a job's pixels, as many albums may not fit in memory."""
    if len(self._runs) > 1:
      job.album.forget_pixels()

  def _measure(self, left: Sequence[tuple[int, Run, Job]], stop: StopRequest):
    """Writes adapters, compares, draws and summarizes."""
    for number, run, job in left:
      if self.results[number] is not None:
        continue  # has failed
      with self._on_the_way(number):
        began, saved = time.monotonic(), self._saved.pop(number)
        result = job.write_result(run.out, saved)
        summary = job.evaluate(run.out, result, self._anchors[number], stop)
        if summary is None:
          continue
        summary.update(
          adapter_bytes=result.bytes,
          adapter_numbers=result.numbers,
          seconds=round(self._seconds[number] + time.monotonic() - began, 1),
          anchor_seconds=round(self._anchor_seconds[number], 1),
          tuning_seconds=round(saved.seconds, 1) if saved else 0.0,
          **({strangers.WARNINGS: job.warnings} if job.warnings else {}),
        )
        run_folder.write_json(run.out / run_folder.SUMMARY_FILE, summary)
        shutil.rmtree(run.out / UNFINISHED, ignore_errors=True)
        self.results[number] = summary
        self.measured.add(number)
        self._forget_pixels(job)

  def _left(self) -> Iterator[tuple[int, Run, Job]]:
    """The runs that have neither finished nor failed."""
    for number, (run, job) in enumerate(zip(self._runs, self._jobs)):
      if self.results[number] is None:
        yield number, run, job

  @contextlib.contextmanager
  def _on_the_way(self, number: int) -> Iterator[None]:
    """Within the block, a failure concerns one person only."""
    try:
      yield
    except UserError as error:
      self._fail(number, error)

  def _fail(self, number: int, error: UserError):
    # Other processes would wait for one that continues alone.
    if len(self._runs) == 1 or processes.count() > 1:
      raise error
    self.results[number] = error
    self._log(f"{self._runs[number].out.name}: {error}")

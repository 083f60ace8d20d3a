"""Workers as Ray actors, on this machine or a cluster.

Ray starts processes and reports when one dies. The fleet decides who is next,
and what to do with a person whose worker died: Ray never restarts actors, and
keeps no data.
"""

import collections
import contextlib
import importlib
import logging
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

from my3dgen_jax.apps.fleet.executor import Event
from my3dgen_jax.apps.fleet.person import Hooks, Person
from my3dgen_jax.apps.fleet.worker import Outcome, Worker
from my3dgen_jax.errors import one_line, UserError, without_package
from my3dgen_jax.jobs import devices

_CONTROL = "control"  # calls answered while a person is being made
_MOST_FAILED_STARTS = 3  # of a worker, in a row
_PATIENCE = 60.0  # seconds without any worker before a message
_SECONDS_TO_CLOSE = 5.0  # for workers to remove people's photos
_CORES_EACH = 2
_OBJECTS = 100 * 2**20  # bytes of Ray's object store; our data are small
_ENVIRONMENT = {
  "RAY_USAGE_STATS_ENABLED": "0",  # else it reports to its makers
  "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else it warns of a change
}


class RayExecutor:
  """See `executor.Executor`."""

  def __init__(
    self,
    storage: str,
    hooks: Hooks,
    *,
    workers: int | None = None,
    address: str | None = None,
    log: Callable[[str], None] = print,
  ):
    """Starts nothing yet.

    Args:
      storage: the fleet's storage, visible to all nodes.
      hooks: the workers' hooks; can be pickled by reference.
      workers: count of workers; None: chosen by the machine.
      address: address of a cluster; None: Ray is started here.
      log: called with lines about workers.

    Raises: UserError: Ray is not installed.
    """
    self._storage, self._hooks, self._log = storage, hooks, log
    self._wanted, self._address = workers, address
    _set_environment(of_its_own=address is None)
    self._ray = _import_ray()
    self._folder: str | None = None
    self._options: dict[str, Any] = {}
    self._actors: dict[int, Any] = {}
    # Pending calls: a worker's start, or a person it makes.
    self._pending: dict[Any, tuple[int, str | None]] = {}
    self._failed_starts = collections.Counter[int]()
    self._waiting_since = 0.0
    self._threads: int | None = None

  def start(self, people: int) -> int:
    cores = devices.cores()
    self._connect(cores)
    resources = self._ray.cluster_resources()
    gpus = int(resources.get("GPU", 0))
    if os.environ.get("JAX_PLATFORMS", "").split(",")[0] == "cpu":
      gpus = 0
    here = self._address is None
    if not here:
      cores = int(resources.get("CPU", 1))
    suiting = gpus or max(1, cores // _CORES_EACH)
    count = min(people, self._wanted or suiting)
    if gpus and count > gpus:
      raise UserError(
        f"workers: {count} requested, but there are {gpus} GPUs; each worker "
        "needs its own"
      )
    if not gpus:
      self._threads = max(1, cores // count) if here else _CORES_EACH
    self._options = {
      "num_gpus": 1 if gpus else 0,
      "num_cpus": 0 if here or gpus else _CORES_EACH,
      "max_restarts": 0,
      "max_task_retries": 0,
      "concurrency_groups": {_CONTROL: 1},
    }
    for worker in range(count):
      self._begin(worker)
    self._waiting_since = time.monotonic()
    return count

  def submit(self, worker: int, people: Sequence[Person]):
    for person in people:
      call = self._actors[worker].run.remote(person)
      self._pending[call] = worker, person.id

  def wait(self, seconds: float) -> list[Event]:
    if not self._pending:
      time.sleep(seconds)
      return []
    ready, _ = self._ray.wait(
      list(self._pending), num_returns=1, timeout=seconds
    )
    self._say_if_nobody_comes()
    events: list[Event] = []
    for call in ready:
      if call in self._pending:
        worker, person = self._pending.pop(call)
        events += self._events(call, worker, person)
    return events

  def stop(self):
    for actor in self._actors.values():
      actor.stop.options(concurrency_group=_CONTROL).remote()

  def close(self):
    with contextlib.suppress(Exception):
      closing = [
        actor.close.options(concurrency_group=_CONTROL).remote()
        for actor in self._actors.values()
      ]
      if closing:
        self._ray.wait(
          closing, num_returns=len(closing), timeout=_SECONDS_TO_CLOSE
        )
    for actor in self._actors.values():
      with contextlib.suppress(Exception):
        self._ray.kill(actor)
    self._actors.clear()
    if self._ray.is_initialized():
      self._ray.shutdown()
    if self._folder is not None:
      shutil.rmtree(self._folder, ignore_errors=True)

  def _connect(self, cores: int):
    """Starts Ray, or joins a cluster; quietly."""
    options: dict[str, Any] = {}
    if self._address is None:
      # Socket paths below it have at most 107 bytes.
      self._folder = tempfile.mkdtemp(prefix="fleet-", dir="/tmp")
      options = {
        "address": "local",  # even if RAY_ADDRESS names a cluster
        "num_cpus": cores,
        "include_dashboard": False,
        "object_store_memory": _OBJECTS,
        "_temp_dir": self._folder,
      }
    else:
      options = {"address": self._address}
    try:
      self._ray.init(
        log_to_driver=False, logging_level=logging.CRITICAL, **options
      )
    except Exception as error:
      where = "" if self._address is None else f"--address={self._address}: "
      raise UserError(
        f"{where}Ray cannot be started: {one_line(error)}"
      ) from None
    _mute(self._ray)

  def _begin(self, worker: int):
    """Starts a worker under its number."""
    actor = self._ray.remote(**self._options)(Worker).remote(
      self._storage, self._hooks, threads=self._threads
    )
    self._actors[worker] = actor
    self._pending[actor.describe.remote()] = worker, None

  def _events(self, call: Any, worker: int, person: str | None) -> list[Event]:
    errors = self._ray.exceptions
    try:
      found = self._ray.get(call)
    except errors.RayTaskError as error:  # from a start, as `run` never raises
      if person is not None:
        outcome = Outcome("failed", one_line(error.cause))
        return [Event(worker, person, outcome)]
      return self._lost(worker, one_line(error.cause))
    except errors.RayError as error:
      return self._lost(worker, _why(errors, error))
    if person is not None:
      return [Event(worker, person, found)]
    self._failed_starts[worker] = 0
    self._waiting_since = float("inf")
    return [Event(worker, place=found)]

  def _lost(self, worker: int, why: str) -> list[Event]:
    """Replaces a dead worker, a limited number of times."""
    self._pending = {
      call: pending
      for call, pending in self._pending.items()
      if pending[0] != worker
    }
    with contextlib.suppress(Exception):
      self._ray.kill(self._actors[worker])  # it may only be unreachable
    self._failed_starts[worker] += 1
    if self._failed_starts[worker] > _MOST_FAILED_STARTS:
      del self._actors[worker]  # its machine may be broken; others may not
      if not self._actors:
        raise UserError(f"workers die as soon as they start: {why}")
      return [Event(worker, lost=why, replaced=False)]
    self._begin(worker)
    return [Event(worker, lost=why)]

  def _say_if_nobody_comes(self):
    if time.monotonic() - self._waiting_since > _PATIENCE:
      self._waiting_since = float("inf")
      self._log(
        "no worker has started yet: each needs "
        + (
          "a GPU"
          if self._options["num_gpus"]
          else f"{self._options['num_cpus']} cores"
        )
        + " that no one else on the cluster uses; still waiting"
      )


def _set_environment(*, of_its_own: bool):
  """Sets the environment that Ray reads when it is imported.

  Ray listens on all addresses of the machine and runs what it is sent; without
  a token known only here, anyone could send it work.
  """
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  if of_its_own:
    os.environ["RAY_AUTH_MODE"] = "token"
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _import_ray() -> Any:
  try:
    return importlib.import_module("ray")
  except ImportError as error:
    raise without_package(
      error, "ray", 'a fleet needs Ray: pip install "my3dgen-jax[fleet]"'
    ) from None


def _mute(ray: Any):
  """Silences Ray's pages about dead workers; the fleet reports them briefly."""
  worker = ray._private.worker  # pylint: disable=protected-access
  if hasattr(worker, "print_to_stdstream"):
    worker.print_to_stdstream = lambda *_, **__: None


def _why(errors: Any, error: Exception) -> str:
  """One line from Ray's page about a dead worker."""
  if isinstance(error, errors.OutOfMemoryError):
    return "it was killed because its machine ran out of memory"
  text = str(error)
  if "node" in text and "died" in text and "was killed" not in text:
    return "its machine died"
  return "it was killed, or it crashed"

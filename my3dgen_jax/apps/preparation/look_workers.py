"""Detection in many photos by several processes, once per photo.

What was found in a photo is cached in a file named after the photo's content
and the settings: stopped work resumes, and other choices among the same faces
take no time. A photo that failed is tried again next time: a library or memory
may have been missing.
"""

import collections
import contextlib
import multiprocessing
import os
import pathlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import jax

from my3dgen_jax.apps.preparation.looks import (
  key_of,
  load,
  Look,
  look_and_keep,
  Looking,
  Task,
)
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import StopRequest

_IN_HAND = 2  # photos given to each process at a time
_SUFFIX = ".npz"
_LOG_FILE = "detector.log"  # in the cache: output of the detectors
_LOST = "was lost while being processed"
_STOPPED = "stopped while looking at photos; the same command resumes"


def look_at_all(
  tasks: Sequence[Task],
  looking: Looking,
  *,
  workers: int,
  stop: StopRequest,
  done: Callable[[int, bool], None],
) -> list[Look]:
  """Processes photos, or loads what was found in them before.

  Args:
    tasks: the photos.
    looking: the settings.
    workers: count of processes, >= 1; 1: this one.
    stop: request to stop, checked after each photo.
    done: called after each photo with the count done, and whether this one was
      cached.

  Returns: one `Look` per photo.
  Raises: Interrupted: `stop` was requested; what was found is cached.
  """
  looking.cache.mkdir(parents=True, exist_ok=True)
  looks: list[Look | None] = [None] * len(tasks)
  paths: list[pathlib.Path | None] = []
  finished = 0

  def finish(i: int, remembered: bool, reason: str | None = None):
    nonlocal finished
    looks[i] = Look(None, reason) if reason is not None else _loaded(paths[i])
    finished += 1
    done(finished, remembered)

  waiting: collections.deque[int] = collections.deque()
  for i, task in enumerate(tasks):
    stop.raise_if_wanted(_STOPPED)
    try:
      paths.append(looking.cache / (key_of(task, looking) + _SUFFIX))
    except UserError as error:
      paths.append(None)
      finish(i, False, str(error).removeprefix(f"{task.path}: "))
      continue
    looks[i] = _loaded(paths[i])
    if looks[i] is None:
      waiting.append(i)
    else:
      finish(i, True)
  if waiting:
    run = _in_this_process if workers == 1 else _in_processes
    for i, reason in run(tasks, paths, waiting, looking, workers, stop):
      finish(i, False, reason)
      stop.raise_if_wanted(_STOPPED)
  return [Look(None, _LOST) if look is None else look for look in looks]


def _loaded(path: pathlib.Path) -> Look | None:
  try:
    return load(path)
  # Missing, or damaged in any way: made again.
  except Exception:  # pylint: disable=broad-exception-caught
    return None


def _in_this_process(
  tasks: Sequence[Task],
  paths: Sequence[Any],
  waiting: collections.deque[int],
  looking: Looking,
  workers: int,
  stop: StopRequest,
) -> Iterator[tuple[int, str | None]]:
  del workers, stop
  with _muted(looking.cache):
    detector = looking.make_detector and looking.make_detector()
    while waiting:
      i = waiting.popleft()
      yield i, look_and_keep(tasks[i], paths[i], looking, detector)


@contextlib.contextmanager
def _muted(cache: pathlib.Path) -> Iterator[None]:
  """Redirects MediaPipe's C++ output on stderr to a file."""
  kept = os.dup(2)
  try:
    _redirect(cache)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


def _redirect(cache: pathlib.Path):
  with open(cache / _LOG_FILE, "ab") as log:
    os.dup2(log.fileno(), 2)


def _in_processes(
  tasks: Sequence[Task],
  paths: Sequence[Any],
  waiting: collections.deque[int],
  looking: Looking,
  workers: int,
  stop: StopRequest,
) -> Iterator[tuple[int, str | None]]:
  """Yields each photo's index, and why it failed, or None."""
  suspects: collections.deque[int] = collections.deque()
  while waiting or suspects:
    # Photos in hand when a process died are retried one at a time, to find the
    # one that killed it.
    alone = bool(suspects)
    queue, many = (suspects, 1) if alone else (waiting, workers)
    running: dict[futures.Future, int] = {}
    pool = _pool(min(many, len(queue)), looking)
    try:
      while queue or running:
        while queue and len(running) < (1 if alone else many * _IN_HAND):
          i = queue[0]
          running[pool.submit(_work, tasks[i], paths[i])] = i
          queue.popleft()  # not before: a broken pool accepts nothing
        ready, _ = futures.wait(
          running, timeout=0.5, return_when=futures.FIRST_COMPLETED
        )
        for future in ready:
          reason = future.result()
          yield running.pop(future), reason
        stop.raise_if_wanted(_STOPPED)
    except BrokenProcessPool:
      if alone:
        for i in running.values():  # one, or none if it died between photos
          yield (
            i,
            (
              f"kills the process that looks at it; see "
              f"{looking.cache / _LOG_FILE}"
            ),
          )
      else:
        suspects.extend(running.values())
    finally:
      pool.shutdown(cancel_futures=True)


def _pool(workers: int, looking: Looking) -> futures.ProcessPoolExecutor:
  # Forked processes would share the threads' locks of JAX and MediaPipe.
  return futures.ProcessPoolExecutor(
    workers,
    mp_context=multiprocessing.get_context("spawn"),
    initializer=_start,
    initargs=(looking,),
  )


# State of a worker process: its settings and detector.
_WORKER: dict[str, Any] = {}


def _start(looking: Looking):
  # The parent decides when to stop, and no worker outlives it.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()
  _redirect(looking.cache)
  # Labels are cheap; leave the accelerator's memory to others.
  jax.config.update("jax_platforms", "cpu")
  _WORKER.update(looking=looking, detector=None, error=None)
  try:
    if looking.make_detector:
      _WORKER["detector"] = looking.make_detector()
  except UserError as error:  # raised here, it would not be reported
    _WORKER["error"] = error


def _end_with_parent():
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)  # pylint: disable=protected-access


def _work(task: Task, path: pathlib.Path) -> str | None:
  if _WORKER["error"]:
    raise _WORKER["error"]
  return look_and_keep(task, path, _WORKER["looking"], _WORKER["detector"])

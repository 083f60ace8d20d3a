"""Fits that are independent per photo: batched, resumable, cached.

`training.anchors` finds latents this way, `training.hull_fit` weights of
anchors, `training.pivotal` small changes of the generator. In each case a
photo's result depends neither on its companions nor on how they are spread over
devices, and an interrupted search ends where an uninterrupted one does, bit for
bit.
"""

import abc
import contextlib
import dataclasses
import hashlib
import json
import pathlib
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.config.checks import plain
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.jobs.progress import compiling, Progress
from my3dgen_jax.storage.array_files import read_npz
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.types import Array

# Sanity limit for cache files: all weights of many generators, with Adam's
# moments.
_MOST_BYTES = 2**40
_FORMAT = 2  # of what is hashed; a new number invalidates the cache

Result = dict[str, np.ndarray]  # one photo's result


@flax.struct.dataclass
class Targets:
  """The photos to fit.

  Attributes:
    image: [N, H, W, 3] in [-1, 1].
    c: [N, 25], camera labels.
    key: [N, 2] uint32, data of a PRNG key for each.
    mask: [N, H, W, 1] in [0, 1], 1 where the loss is computed, or None.
    ws: [N, num_ws, w_dim], known latents, or None.
  """

  image: Array
  c: Array
  key: Array
  mask: Any = None
  ws: Any = None


@dataclasses.dataclass(kw_only=True)
class PhotoFits(abc.ABC):
  """Fits photos, and caches the results.

  Each of several processes fits a share of each batch, caches what it has
  fitted, and shares its results.

  Attributes:
    config: the fit's config; has `steps` and, unless `batch_size` is
      overridden, `batch_size`.
    devices: this process's devices, which share the photos of a batch.
    cache: the cache folder, created if missing; None: nothing is cached.
    save_seconds: seconds between saves of unfinished batches there.
  """

  config: Any
  devices: Sequence[jax.Device]
  cache: pathlib.Path | None = None
  save_seconds: float = 120.0

  @property
  def steps(self) -> int:
    """Largest number of steps for each photo."""
    return self.config.steps

  @property
  def batch_size(self) -> int:
    """Photos at a time, over all devices."""
    return self.config.batch_size

  def settings(self) -> dict[str, Any]:
    """The part of the config that results depend on.

    A photo does not depend on the others; but the batch size affects the last
    digits of each step, and after many steps more than the last.
    """
    settings = plain(self.config)
    settings.pop("batch_size", None)
    return settings

  @property
  def seed(self) -> int:
    """Seed of the photos' random numbers."""
    return 0

  @property
  def advice(self) -> str:
    """What to try when a fit diverges."""
    return "try a lower learning rate, or leave the photo out"

  @property
  def again(self) -> str:
    """How to resume after a stop."""
    return "the same command resumes"

  @abc.abstractmethod
  def description(self) -> Any:
    """Plain data: everything a result depends on except the photo."""

  @abc.abstractmethod
  def init(self, targets: Targets) -> Any:
    """The state before the first step: a pytree of [N, …] with `step` [N]."""

  @abc.abstractmethod
  def step(self, targets: Any, state: Any) -> tuple[Any, jax.Array]:
    """Makes a step; [D, N, …] in and out; the state's memory is donated.

    Returns: the state, and [D, N], the losses before the step.
    """

  @abc.abstractmethod
  def result(self, state: Any) -> dict[str, Any]:
    """What is cached of a state, [N, …] by name."""

  def finished(self, state: Any) -> bool:
    """Whether more steps would change nothing; state [D, N, …]."""
    del state
    return False

  def fit(
    self,
    place: str,
    names: Sequence[str],
    fetch: Callable[[list[int]], Targets],
    stop: StopRequest,
    *,
    title: str,
  ) -> list[Result]:
    """Fits photos, except those in the cache.

    The batches are the same whatever is cached already.

    Args:
      place: album or folder of the photos, for messages.
      names: names of the photos, for messages.
      fetch: indices -> their `Targets`, without keys.
      stop: checked every few steps.
      title: title of the progress.

    Returns: one result per photo.
    Raises:
      Interrupted: `stop` was requested; unfinished work is in the cache.
      UserError: a fit diverged.
    """
    size = min(self.batch_size, max(len(names), 1))
    shares = processes.count() * len(self.devices)
    size = -(-size // shares) * shares
    share = size // processes.count()
    mine = slice(processes.index() * share, (processes.index() + 1) * share)
    progress = Progress(title, len(names) * self.steps, "steps")
    results: list[Result] = []
    remembered = 0
    for first in range(0, len(names), size):
      rows = list(range(len(names)))[first : first + size]
      own = rows[mine]
      # Batches are padded, so that all run in one program.
      targets = with_keys(fetch((rows * size)[:size][mine]), self.seed)
      keys = {row: self._key_of(targets, i) for i, row in enumerate(own)}
      known = self._known(keys)
      if len(known) == len(rows):
        progress.skip(len(rows) * self.steps)
        remembered += len(rows)
      else:
        self._announce(progress, remembered)
        remembered = 0
        new = {row: known[row] for row in own if row in known}
        if len(new) < len(own):
          new = dict(
            zip(
              own,
              self._fit(
                targets,
                list(keys.values()),
                place,
                [names[i] for i in own],
                stop,
                progress,
                done=first * self.steps,
                photos=len(rows),
              ),
            )
          )
        known = _joined(new)
      results += [known[row] for row in rows]
    self._announce(progress, remembered)
    return results

  def _announce(self, progress: Progress, remembered: int):
    """Reports the results that come from the cache."""
    if remembered and processes.is_first():
      progress.note(f"{remembered} photos were found before: {self.cache}")

  def _known(self, keys: dict[int, str]) -> dict[int, Result]:
    """The results that processes have cached for their own photos, shared."""
    recalled = {row: self._recall(key) for row, key in keys.items()}
    return _joined(
      {row: one for row, one in recalled.items() if one is not None}
    )

  def _key_of(self, targets: Targets, row: int) -> str:
    """The hash of what a result depends on."""
    digest = hashlib.sha256(
      json.dumps(
        [
          _FORMAT,
          type(self).__name__,
          self.description(),
          targets.mask is not None,
        ]
      ).encode()
    )
    for array in (targets.image, targets.c, targets.mask, targets.ws):
      if array is not None:
        digest.update(np.ascontiguousarray(array[row], np.float32))
    return digest.hexdigest()

  def _path(self, name: str) -> pathlib.Path:
    return self.cache / f"{name}.npz"

  def _recall(self, key: str) -> Result | None:
    """The cached result, or None."""
    if self.cache is None:
      return None
    try:
      return read_npz(self._path(key), most_bytes=_MOST_BYTES)
    except CheckpointError:
      return None  # damaged or missing: it is fitted again

  def _remember(self, name: str, arrays: dict[str, Any]):
    if self.cache is None:
      return
    self.cache.mkdir(parents=True, exist_ok=True)
    with replacing(self._path(name)) as file:
      np.savez(file, **arrays)

  def _fit(
    self,
    targets: Targets,
    keys: list[str],
    place: str,
    names: list[str],
    stop: StopRequest,
    progress: Progress,
    *,
    done: int,
    photos: int,
  ) -> list[Result]:
    """Fits a process's share of a batch: `names`, and padding.

    The progress counts the `photos` of the whole batch: all processes work at
    about the same pace.
    """
    count, size = len(names), targets.image.shape[0]
    partial = "partial-" + hashlib.sha256(f"{size} {keys}".encode()).hexdigest()
    state = self._resume(partial, self.init(targets))
    step = int(np.max(state.step))
    targets, state = self._scatter(targets), self._scatter(state)
    save = lambda: self._remember(partial, _leaves(self._gather(state)))
    saved, first = time.monotonic(), True
    while step < self.steps and not self.finished(state):
      step += 1
      with compiling(progress.title) if first else contextlib.nullcontext():
        state, losses = self.step(targets, state)
      first = False
      losses = np.asarray(losses).ravel()[:count]
      if not np.isfinite(losses).all():
        name = names[int(np.argmin(np.isfinite(losses)))]
        raise UserError(
          f"{place}: {name}: its fit diverged (loss not finite); {self.advice}"
        )
      progress.update(done + step * photos, f"loss {losses.mean():.4g}")
      if stop.signal is not None:
        save()
        stop.raise_if_wanted(
          f"stopped while fitting {', '.join(names)} at step {step} of "
          f"{self.steps}; {self.again}"
        )
      if time.monotonic() - saved > self.save_seconds:
        save()
        saved = time.monotonic()
    if step < self.steps:
      progress.update(done + self.steps * photos)
    found = {
      name: np.asarray(array)
      for name, array in self.result(self._gather(state)).items()
    }
    results = [
      {name: array[i] for name, array in found.items()} for i in range(count)
    ]
    for key, result in zip(keys, results):
      self._remember(key, result)
    if self.cache is not None:
      self._path(partial).unlink(missing_ok=True)
    return results

  def _resume(self, name: str, state: Any) -> Any:
    """The state with the values that were saved, if any."""
    if self.cache is None:
      return state
    try:
      arrays = read_npz(self._path(name), most_bytes=_MOST_BYTES)
      leaves = [arrays[key] for key in _leaves(state)]
    except (CheckpointError, KeyError):
      return state
    if any(
      found.shape != wanted.shape
      for found, wanted in zip(leaves, jax.tree.leaves(state))
    ):
      return state
    return jax.tree.unflatten(jax.tree.structure(state), leaves)

  def _scatter(self, tree: Any) -> Any:
    return devices_lib.scatter(
      shard(jax.tree.map(np.asarray, tree), num_devices=len(self.devices)),
      self.devices,
    )

  def _gather(self, tree: Any) -> Any:
    return jax.tree.map(
      lambda leaf: np.asarray(leaf).reshape((-1,) + leaf.shape[2:]), tree
    )


def _joined(results: dict[int, Result]) -> dict[int, Result]:
  """The results of all processes, by row; each provides some."""
  joined: dict[int, Result] = {}
  for part in processes.gather(
    {
      f"{row}/{name}": array
      for row, one in results.items()
      for name, array in one.items()
    }
  ):
    for path, array in part.items():
      row, name = path.split("/", maxsplit=1)
      joined.setdefault(int(row), {})[name] = array
  return joined


def with_keys(targets: Targets, seed: int) -> Targets:
  """Gives each photo a PRNG key that depends on what it shows."""
  numbers = jnp.asarray(
    [zlib.crc32(np.ascontiguousarray(image)) for image in targets.image],
    jnp.uint32,
  )
  keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(seed), n))(
    numbers
  )
  return targets.replace(key=np.asarray(jax.random.key_data(keys)))


def _leaves(tree: Any) -> dict[str, Any]:
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }

"""What is fitted to each photo by itself: in batches, resumable, remembered.

`training.anchors` looks for latents so, `training.hull_fit` for weights of
anchors, `training.pivotal` for small changes of the generator. Whatever it is,
a photo's result depends neither on its companions nor on how they are laid
over devices, and an interrupted search ends where an uninterrupted one does,
bit for bit.
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

# Of files of our own: all weights of many generators, with Adam's averages.
_MOST_BYTES = 2**40
_FORMAT = 2  # of what is hashed; another one forgets all that is cached

Result = dict[str, np.ndarray]  # of one photo


@flax.struct.dataclass
class Targets:
  """Photos that something is fitted to.

  Attributes:
    image: [N, H, W, 3] in [-1, 1].
    c: [N, 25], camera labels.
    key: [N, 2] uint32, data of a PRNG key for each.
    mask: [N, H, W, 1] in [0, 1], 1 where the loss looks, or None.
    ws: [N, num_ws, w_dim], latents that are known, or None.
  """

  image: Array
  c: Array
  key: Array
  mask: Any = None
  ws: Any = None


@dataclasses.dataclass(kw_only=True)
class PhotoFits(abc.ABC):
  """Fits photos, and remembers what came out.

  Several processes fit a share of each batch each, remember what they have
  done themselves, and share what they know.

  Attributes:
    config: of the fit; has `steps` and, unless `batch_size` says otherwise,
      `batch_size`.
    devices: of this process, that share the photos of a batch.
    cache: folder of what has been found, made if missing; None: nothing is
      remembered.
    save_seconds: how often unfinished batches are saved there.
  """

  config: Any
  devices: Sequence[jax.Device]
  cache: pathlib.Path | None = None
  save_seconds: float = 120.0

  @property
  def steps(self) -> int:
    """Steps for each photo, at most."""
    return self.config.steps

  @property
  def batch_size(self) -> int:
    """Photos at a time, over all devices."""
    return self.config.batch_size

  def settings(self) -> dict[str, Any]:
    """The config as far as results depend on it.

    Photos see no others; but how many are worked on at a time is in the last
    digits of each step, and after many steps in more than the last.
    """
    settings = plain(self.config)
    settings.pop("batch_size", None)
    return settings

  @property
  def seed(self) -> int:
    """Of the photos' random numbers."""
    return 0

  @property
  def advice(self) -> str:
    """What to try when a fit does not stay finite."""
    return "try a lower learning rate, or leave the photo out"

  @property
  def again(self) -> str:
    """How one goes on after a stop."""
    return "the same command goes on"

  @abc.abstractmethod
  def description(self) -> Any:
    """Plain data: all that a result depends on but the photo itself."""

  @abc.abstractmethod
  def init(self, targets: Targets) -> Any:
    """The state before the first step: a pytree of [N, …] with `step` [N]."""

  @abc.abstractmethod
  def step(self, targets: Any, state: Any) -> tuple[Any, jax.Array]:
    """Makes a step; [D, N, …] in and out; the state's memory is taken over.

    Returns: the state, and [D, N], the losses before the step.
    """

  @abc.abstractmethod
  def result(self, state: Any) -> dict[str, Any]:
    """What is remembered of a state, [N, …] by name."""

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
    """Fits photos, those that are remembered excepted.

    Photos are worked on in the same batches whatever is known already.

    Args:
      place: where they are, for messages.
      names: of the photos, for messages.
      fetch: indices -> their `Targets`, without keys.
      stop: looked at every few steps.
      title: of the progress.

    Returns: a result each.
    Raises:
      Interrupted: `stop` was wanted; unfinished work is in the cache.
      UserError: a fit did not stay finite.
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
      # A batch is filled up, so that all run through one program.
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
    """Says what nobody has to wait for."""
    if remembered and processes.is_first():
      progress.note(f"{remembered} photos were found before: {self.cache}")

  def _known(self, keys: dict[int, str]) -> dict[int, Result]:
    """The results that a process remembers of its own photos, of all."""
    recalled = {row: self._recall(key) for row, key in keys.items()}
    return _joined(
      {row: one for row, one in recalled.items() if one is not None}
    )

  def _key_of(self, targets: Targets, row: int) -> str:
    """What a result depends on, hashed."""
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
    """The result that is remembered; None: none."""
    if self.cache is None:
      return None
    try:
      return read_npz(self._path(key), most_bytes=_MOST_BYTES)
    except CheckpointError:
      return None  # damaged or not there: found again

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
    """Fits a share of a batch, `names` of it photos, the rest to fill it.

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
          f"{place}: {name}: its fit did not stay finite; {self.advice}"
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
  """The results of all processes, by row; each gives some."""
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
  """Gives each photo a PRNG key, by what it shows."""
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

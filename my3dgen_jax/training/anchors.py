"""Anchors: a latent for every photo of an album, found once and kept."""

import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import time
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union
import zlib

import chex
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.config import ProjectionConfig
from my3dgen_jax.data.album import Album, Batch
from my3dgen_jax.data.files import replacing
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.training import devices as devices_lib
from my3dgen_jax.training import projection
from my3dgen_jax.training.interrupts import StopRequest
from my3dgen_jax.training.progress import Progress
from my3dgen_jax.types import Network

_FORMAT = 1  # of what is hashed; another one forgets all that is cached


def default_cache() -> str:
  """Where anchors are remembered unless told otherwise."""
  return os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache",
                      "my3dgen_jax", "anchors")


@flax.struct.dataclass
class Anchors:
  """Latents of photos.

  Attributes:
    names: of the photos.
    ws: [N, num_ws, w_dim] float32.
    c: [N, 25] float32, their cameras.
  """

  names: Tuple[str, ...] = flax.struct.field(pytree_node=False)
  ws: chex.Array
  c: chex.Array

  def of(self, names: Sequence[str]) -> "Anchors":
    """The anchors of some photos, in the order of `names`.

    Raises: UserError: one of them has none.
    """
    places = {name: i for i, name in enumerate(self.names)}
    for name in names:
      if name not in places:
        raise UserError(f"anchors: there is none of {name!r}")
    rows = [places[name] for name in names]
    return Anchors(tuple(names), self.ws[rows], self.c[rows])

  def save(self, path: Union[str, os.PathLike]):
    """Writes them as one `.npz`, whole or not at all; raises OSError."""
    with replacing(path) as file:
      np.savez(file, names=np.array(self.names, np.str_),
               ws=np.asarray(self.ws, np.float32),
               c=np.asarray(self.c, np.float32))

  @classmethod
  def load(cls, path: Union[str, os.PathLike]) -> "Anchors":
    """Reads what `save` wrote; raises CheckpointError naming the file."""
    arrays = _read_npz(path)
    try:
      names, ws, c = (arrays[name] for name in ("names", "ws", "c"))
      if not (ws.ndim == 3 and len(names) == len(ws) == len(c)
              and np.isfinite(ws).all()):
        raise KeyError
    except (KeyError, TypeError):
      raise CheckpointError(f"{path}: does not hold anchors") from None
    return cls(tuple(map(str, names)), ws.astype(np.float32),
               c.astype(np.float32))


@dataclasses.dataclass
class AnchorFinder:
  """Projects the photos of albums, and remembers.

  Attributes:
    config: of the projection.
    generator: the frozen network.
    identity: text that is another for any other weights of the generator,
      e.g. a checkpoint's digest.
    lpips: compares images.
    lpips_identity: likewise.
    devices: that share the photos of a batch.
    cache: folder of what has been found, made if missing; None: nothing is
      remembered.
    save_seconds: how often unfinished batches are saved there.
  """

  config: ProjectionConfig
  generator: Network
  identity: str
  lpips: Optional[Network]
  lpips_identity: str
  devices: Sequence[jax.Device]
  cache: Optional[pathlib.Path] = None
  save_seconds: float = 120.0

  def find(self, album: Album, stop: StopRequest, *,
           title: str = "anchors") -> Anchors:
    """The anchors of an album: given ones, remembered ones, and new ones.

    Photos are worked on in the same batches whatever is known already, so an
    interrupted search ends where an uninterrupted one does, bit for bit.

    Args:
      album: its photos may bring their latents.
      stop: looked at every few steps.
      title: of the progress.

    Returns: Anchors, in the album's order.
    Raises:
      Interrupted: `stop` was wanted; unfinished work is in the cache.
      UserError: a projection did not stay finite.
    """
    model = self.generator.module.config
    ws = [photo.ws for photo in album.photos]
    wanted = [i for i, given in enumerate(ws) if given is None]
    if wanted and self.lpips is None:
      raise UserError(f"{album.place}: projection compares images by LPIPS; "
                      "give it, or give every photo its _latent.npy")
    size = self._batch_size(len(wanted))
    progress = Progress(title, len(wanted) * self.config.steps, "steps")
    for first in range(0, len(wanted), size):
      rows = wanted[first:first + size]
      keys = [self._key_of(album, i) for i in rows]
      known = [self._recall(key) for key in keys]
      if all(one is not None for one in known):
        progress.skip(len(rows) * self.config.steps)
      else:
        known = self._project(album, rows, keys, size, stop, progress,
                              done=first * self.config.steps)
      for i, found in zip(rows, known):
        ws[i] = found
    return Anchors(album.names, np.stack([np.broadcast_to(
        one, (model.num_ws, model.w_dim)) for one in ws]).astype(np.float32),
                   album.c)

  def _batch_size(self, count: int) -> int:
    """Photos at a time: as configured, on every device as many."""
    size = min(self.config.batch_size, max(count, 1))
    return -(-size // len(self.devices)) * len(self.devices)

  def _key_of(self, album: Album, index: int) -> str:
    """What an anchor depends on, hashed."""
    batch = album.batch([index])
    settings = dataclasses.asdict(self.config)
    del settings["batch_size"]  # photos do not see each other
    digest = hashlib.sha256(json.dumps([
        _FORMAT, settings, self.generator.module.config.to_dict(),
        self.identity, self.lpips.module.dtype, self.lpips_identity,
        _is_masked(album)]).encode())
    for array in (batch.image, batch.c, batch.mask):
      digest.update(np.ascontiguousarray(array, np.float32))
    return digest.hexdigest()

  def _path(self, name: str) -> pathlib.Path:
    return self.cache / f"{name}.npz"

  def _recall(self, key: str) -> Optional[np.ndarray]:
    """The latent [1 or num_ws, w_dim] that is remembered; None: none."""
    if self.cache is None:
      return None
    try:
      return _read_npz(self._path(key))["w"]
    except (CheckpointError, KeyError):
      return None  # damaged or not there: found again

  def _remember(self, name: str, **arrays: Any):
    if self.cache is None:
      return
    self.cache.mkdir(parents=True, exist_ok=True)
    with replacing(self._path(name)) as file:
      np.savez(file, **arrays)

  def _project(self, album: Album, rows: List[int], keys: List[str],
               size: int, stop: StopRequest, progress: Progress, *,
               done: int) -> List[np.ndarray]:
    """Projects the photos `rows`, at most `size` of them."""
    # A batch is filled up, so that all run through one program.
    filled = (rows * size)[:size]
    batch = album.batch(filled)
    targets = self._scatter(projection.Targets(
        batch.image, batch.c, _photo_keys(batch, self.config.seed),
        batch.mask if _is_masked(album) else None))
    partial = "partial-" + hashlib.sha256(
        f"{size} {keys}".encode()).hexdigest()
    state = self._resume(partial, self._projector.init(
        self.generator, self._statistics, photos=size))
    step = int(state.step[0])
    state = self._scatter(state)
    save = lambda: self._remember(partial, **_leaves(self._gather(state)))
    saved = time.monotonic()
    while step < self.config.steps:
      step += 1
      state, losses = self._projector.step(
          *self._networks, targets, state, self._spread_statistics)
      losses = np.asarray(losses).ravel()[:len(rows)]
      if not np.isfinite(losses).all():
        name = album.names[rows[int(np.argmin(np.isfinite(losses)))]]
        raise UserError(f"{album.place}: {name}: its projection did not stay "
                        "finite; try a lower --anchor_learning_rate, or "
                        "leave the photo out")
      progress.update(done + step * len(rows), f"loss {losses.mean():.4g}")
      if stop.signal is not None:
        save()
        names = ", ".join(album.names[i] for i in rows)
        stop.raise_if_wanted(
            f"stopped while looking for {names} at step {step} of "
            f"{self.config.steps}; the same command with --resume goes on")
      if time.monotonic() - saved > self.save_seconds:
        save()
        saved = time.monotonic()
    found = list(np.asarray(self._gather(state).w)[:len(rows)])
    for key, w in zip(keys, found):
      self._remember(key, w=w)
    if self.cache is not None:
      self._path(partial).unlink(missing_ok=True)
    return found

  def _resume(self, name: str, state: Any) -> Any:
    """The state with the values that were saved, if any."""
    if self.cache is None:
      return state
    try:
      arrays = _read_npz(self._path(name))
      leaves = [arrays[key] for key in _leaves(state)]
    except (CheckpointError, KeyError):
      return state
    if any(found.shape != wanted.shape
           for found, wanted in zip(leaves, jax.tree.leaves(state))):
      return state
    return jax.tree.unflatten(jax.tree.structure(state), leaves)

  def _scatter(self, tree: Any) -> Any:
    return devices_lib.scatter(
        shard(jax.tree.map(np.asarray, tree), num_devices=len(self.devices)),
        self.devices)

  def _gather(self, tree: Any) -> Any:
    return jax.tree.map(
        lambda leaf: np.asarray(leaf).reshape((-1,) + leaf.shape[2:]), tree)

  # Made once, and only if a photo needs them.

  @functools.cached_property
  def _projector(self) -> projection.Projector:
    return projection.Projector(self.config.validate(), self.devices)

  @functools.cached_property
  def _networks(self) -> Tuple[Any, Any]:
    return devices_lib.replicate((self.generator, self.lpips), self.devices)

  @functools.cached_property
  def _statistics(self) -> projection.WStatistics:
    return projection.w_statistics(
        jax.random.key(self.config.seed), self.generator,
        count=self.config.w_samples)

  @functools.cached_property
  def _spread_statistics(self) -> projection.WStatistics:
    return devices_lib.replicate(self._statistics, self.devices)


def _is_masked(album: Album) -> bool:
  """Whether any photo has a mask; then all go through the same program."""
  return any(photo.mask is not None for photo in album.photos)


def _photo_keys(batch: Batch, seed: int) -> np.ndarray:
  """[N, 2] uint32: a PRNG key for each photo, by what it shows."""
  numbers = jnp.asarray([zlib.crc32(np.ascontiguousarray(image))
                         for image in batch.image], jnp.uint32)
  keys = jax.vmap(lambda n: jax.random.fold_in(jax.random.key(seed), n))(
      numbers)
  return np.asarray(jax.random.key_data(keys))


def _leaves(tree: Any) -> Dict[str, Any]:
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf
          for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _read_npz(path: Union[str, os.PathLike]) -> Dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as file:
      return {name: file[name] for name in file.files}
  except FileNotFoundError:
    raise CheckpointError(f"{path}: missing") from None
  # NumPy and zipfile raise a good dozen types for damaged files.
  except Exception as error:  # pylint: disable=broad-exception-caught
    reason = getattr(error, "strerror", None) or "is damaged, or no .npz file"
    raise CheckpointError(f"{path}: {reason}") from None

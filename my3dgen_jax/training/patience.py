"""Early stopping: tuning ends when held-out photos stop improving.

The measurements are in `validation.json` in the run's folder, the best state
so far in `best/`: an interrupted tuning resumes with both.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from my3dgen_jax.config import GeneratorConfig, LoraConfig, LossConfig
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes
from my3dgen_jax.storage import json_files
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training import checkpoint
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.anchors import Anchors
from my3dgen_jax.training.objective import objective, TuningBatch
from my3dgen_jax.training.state import TrainState

HISTORY_FILE = "validation.json"
BEST_FOLDER = "best"


@functools.lru_cache(maxsize=8)
def make_validation(
  config: GeneratorConfig,
  loss: LossConfig,
  lora_config: LoraConfig | None,
  devices: tuple[jax.Device, ...],
) -> Callable[..., jax.Array]:
  """Compiles the loss of held-out photos.

  Args:
    config: the generator's config.
    loss: weights of the terms.
    lora_config: the adapter's config; None: the weights themselves are tuned.
    devices: the devices that share the photos.

  Returns: (vector [D, P], frozen, networks, batch [D, N, ...]) -> [D, N].
  """

  def losses(vector, frozen, networks, batch):
    trainable = state_lib.unravel(
      vector, state_lib.abstract_trainable(config, lora_config)
    )
    found, _ = objective(
      state_lib.join(config, trainable, frozen, lora_config),
      batch,
      loss,
      lpips=networks.get("lpips"),
      identity=networks.get("identity"),
    )
    return found

  return devices_lib.spread(losses, devices=devices)


@dataclasses.dataclass
class Patience:
  """One person's validations.

  Attributes:
    folder: the run's folder.
    most: number of validations without improvement that ends tuning, >= 1.
    history: (step, loss) of each so far, ascending steps.
    best: the state with the smallest loss, on the host; None: none yet.
  """

  folder: pathlib.Path
  most: int
  history: list[tuple[int, float]]
  best: TrainState | None

  @classmethod
  def open(
    cls, folder: pathlib.Path, most: int, fresh: TrainState, step: int
  ) -> "Patience":
    """The measurements up to a step: process 0's, in all processes.

    Args:
      folder: the run's folder.
      most: see the class.
      fresh: a state of the best one's structure.
      step: the step that tuning resumes after; later measurements are dropped.

    Raises: CheckpointError, UserError: a file cannot be read.
    """

    def read() -> dict[str, np.ndarray]:
      path = folder / HISTORY_FILE
      known = json_files.read(path) if path.exists() else []
      rows = [row for row in known if row[0] <= step]
      return {"rows": np.asarray(rows, np.float64).reshape(-1, 2)}

    rows = processes.from_first(read)["rows"]
    found = cls(folder, most, [(int(n), float(loss)) for n, loss in rows], None)
    if found.history:
      found.best = _read_best(folder / BEST_FOLDER, fresh)
      # A kill may have happened between the two files.
      at = int(found.best.step)
      if at != found.best_step:
        found.history = [row for row in found.history if row[0] <= at]
    return found

  @property
  def best_step(self) -> int:
    """The step with the smallest loss, the first in case of a tie."""
    return min(self.history, key=lambda row: row[1])[0]

  @property
  def is_over(self) -> bool:
    """Whether there was no improvement for long enough."""
    if not self.history:
      return False
    later = [step for step, _ in self.history if step > self.best_step]
    return len(later) >= self.most

  def add(self, step: int, loss: float, state: Callable[[], TrainState]):
    """Adds a measurement; process 0 records it.

    Args:
      step: steps made.
      loss: loss of the held-out photos.
      state: returns the state on the host, as a tree; called if it is best.

    Raises: CheckpointError, OSError: the folder cannot be written.
    """
    self.history.append((step, loss))
    if self.best_step == step:
      self.best = state()
      if processes.is_first():
        checkpoint.save_state(self.folder / BEST_FOLDER, self.best)
    if processes.is_first():
      with replacing(self.folder / HISTORY_FILE) as file:
        file.write(json.dumps(self.history).encode())


def _read_best(folder: pathlib.Path, fresh: TrainState) -> TrainState:
  def read() -> checkpoint.Saved:
    saved = checkpoint.load_state(folder, fresh)
    if saved is None:
      raise UserError(
        f"{folder}: is missing; start over in another --out, or without "
        "--patience"
      )
    return saved

  return checkpoint.everywhere(read, checkpoint.Saved(fresh, 0.0)).state


class Validation:
  """The loss of one person's held-out photos."""

  def __init__(
    self,
    album: Album,
    anchors: Anchors,
    compiled: Callable[..., jax.Array],
    devices: Sequence[jax.Device],
  ):
    """Distributes the photos over devices.

    Args:
      album: the photos.
      anchors: the photos' anchors, in the same order.
      compiled: the function that `make_validation` returns.
      devices: this process's devices.
    """
    self._compiled, self._count = compiled, len(album)
    rows = np.arange(-(-len(album) // len(devices)) * len(devices)) % len(album)
    photos = album.batch(rows)
    masked = any(photo.mask is not None for photo in album.photos)
    self._batch = devices_lib.scatter(
      shard(
        TuningBatch(
          image=photos.image,
          c=photos.c,
          ws=anchors.ws[rows],
          key=np.zeros((len(rows), 2), np.uint32),
          mask=photos.mask if masked else None,
        ),
        num_devices=len(devices),
      ),
      devices,
    )

  def loss(
    self, vector: Any, frozen: Any, networks: Mapping[str, Any]
  ) -> float:
    """The mean loss; process 0's, in all processes.

    Args:
      vector: [D, P], what is tuned.
      frozen: the frozen part, on the devices.
      networks: the loss's networks, on the devices.
    """
    losses = np.asarray(
      self._compiled(vector, frozen, dict(networks), self._batch)
    ).ravel()[: self._count]
    found = processes.from_first(lambda: {"loss": np.asarray(losses.mean())})
    return float(found["loss"])

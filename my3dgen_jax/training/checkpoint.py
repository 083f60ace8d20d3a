"""Training checkpoints: `FOLDER/STEP/`, Orbax, the newest two.

Next to each is `STEP.sha256`, a digest of its files: Orbax reads most damage as
other numbers. Checkpoints of older versions have no digest and are not checked.
"""

import hashlib
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.jobs import processes
from my3dgen_jax.models.adapter import OFFSET
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.storage.orbax_files import check_space, checkpointer
from my3dgen_jax.training.state import TrainState

_KEPT = 2  # the newest, and one more in case it cannot be read
_DIGEST = ".sha256"


class Saved(NamedTuple):
  """A training state, and how long it took to get there.

  Attributes:
    state: the training state.
    seconds: since the first step, over all interruptions.
  """

  state: TrainState
  seconds: float


def steps(folder: str | os.PathLike) -> "list[int]":
  """The steps that have a complete checkpoint, ascending."""
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    return []
  return sorted(
    int(path.name)
    for path in folder.iterdir()
    if path.name.isascii() and path.name.isdigit() and path.is_dir()
  )


def save_state(
  folder: str | os.PathLike, state: TrainState, *, seconds: float = 0.0
):
  """Writes a state atomically, and deletes old ones.

  Args:
    folder: folder of the states, created if missing.
    state: the state, on the host.
    seconds: see `Saved`.

  Raises:
    CheckpointError: the disk is full or cannot be written; one line.
  """
  folder = pathlib.Path(folder).absolute()
  target = folder / f"{int(state.step):08d}"
  tree = _old_names(_tree(state, seconds))
  try:
    folder.mkdir(parents=True, exist_ok=True)
    check_space(target, tree)
    for path in folder.glob("*orbax-checkpoint-tmp*"):  # left after a kill
      shutil.rmtree(path)
    if not target.exists():
      with checkpointer(f"{target}: cannot be written") as orbax:
        orbax.save(target, tree)
      with replacing(_digest_file(target)) as file:
        file.write(_digest(target).encode())
    for step in steps(folder)[:-_KEPT]:
      _remove(folder / f"{step:08d}")
  except OSError as error:
    raise CheckpointError(
      f"{error.filename or target}: {error.strerror}"
    ) from error


def load_state(
  folder: str | os.PathLike,
  expected: TrainState,
  *,
  log: Callable[[str], None] = print,
) -> Saved | None:
  """Reads the newest state, or the previous one if that is damaged.

  Args:
    folder: folder of the states.
    expected: a state of the same structure; its values are not used.
    log: called with a line about a damaged state, which is deleted.

  Returns: Saved, on the host; None if there is none.
  Raises:
    CheckpointError: all are damaged; or the newest undamaged one cannot be
      read or belongs to another training.
  """
  folder = pathlib.Path(folder).absolute()
  paths = [folder / f"{step:08d}" for step in reversed(steps(folder))]
  if not paths:
    return None
  while _is_damaged(paths[0]):
    damaged = f"{paths[0]}: is damaged (its SHA-256 does not match)"
    if len(paths) == 1:
      raise CheckpointError(f"{damaged}; remove it, and --resume starts over")
    log(f"{damaged}; removed, resuming from step {int(paths[1].name)}")
    _remove(paths.pop(0))
  path = paths[0]
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  target = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      np.shape(leaf), np.asarray(leaf).dtype, sharding=device
    ),
    _tree(expected, 0.0),
  )
  failure = (
    f"{path}: cannot be read; remove it, and --resume continues from "
    "an earlier one"
  )
  with checkpointer(failure) as orbax:
    tree = jax.tree.map(np.asarray, orbax.restore(path, _old_names(target)))
  # Both namings have the same order of leaves.
  tree = jax.tree.unflatten(jax.tree.structure(target), jax.tree.leaves(tree))
  return Saved(
    TrainState(
      tree["step"], tree["trainable"], tree["opt_state"], tree.get("average")
    ),
    float(tree["seconds"]),
  )


def everywhere(read: Callable[[], Saved], like: Saved) -> Saved:
  """Gives all processes what process 0 reads.

  Args:
    read: called in process 0 only.
    like: a value of the same structure.
  """

  def leaves() -> dict[str, np.ndarray]:
    found = jax.tree.leaves(read())
    return {str(i): np.asarray(leaf) for i, leaf in enumerate(found)}

  found = processes.from_first(leaves)
  state, seconds = jax.tree.unflatten(
    jax.tree.structure(like), [found[str(i)] for i in range(len(found))]
  )
  return Saved(state, float(seconds))


def _digest_file(path: pathlib.Path) -> pathlib.Path:
  return path.with_name(path.name + _DIGEST)


def _digest(path: pathlib.Path) -> str:
  """SHA-256 of a state's files, names and sizes included, in hex."""
  digest = hashlib.sha256()
  for file in sorted(file for file in path.rglob("*") if file.is_file()):
    data = file.read_bytes()
    digest.update(f"{file.relative_to(path)} {len(data)}\n".encode())
    digest.update(data)
  return digest.hexdigest()


def _is_damaged(path: pathlib.Path) -> bool:
  """Whether a state's files differ from what was written."""
  try:
    return _digest_file(path).read_text() != _digest(path)
  except FileNotFoundError:
    return False  # from an older version, or killed before it was written
  except (OSError, UnicodeDecodeError):
    return True


def _remove(path: pathlib.Path):
  # The digest first: a state without a digest is valid, one with a wrong digest
  # is not.
  _digest_file(path).unlink(missing_ok=True)
  shutil.rmtree(path)


def _old_names(tree: Any) -> Any:
  """The state under format 1's names, which states on disk always use."""
  is_table = lambda node: isinstance(node, dict)
  rename = lambda node: (
    {
      name.removesuffix(OFFSET): _old_names(child)
      for name, child in node.items()
    }
    if is_table(node)
    else node
  )
  return jax.tree.map(rename, tree, is_leaf=is_table)


def _tree(state: TrainState, seconds: float) -> Any:
  average = {} if state.average is None else {"average": state.average}
  return {
    "step": np.asarray(state.step, np.int32),
    "trainable": jax.tree.map(np.asarray, state.trainable),
    "opt_state": jax.tree.map(np.asarray, state.opt_state),
    "seconds": np.asarray(seconds, np.float32),
    **jax.tree.map(np.asarray, average),  # older states have none
  }

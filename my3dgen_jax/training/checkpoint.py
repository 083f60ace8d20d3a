"""Training states on disk: `FOLDER/STEP/`, Orbax, the newest two."""

import os
import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.models.adapter import OFFSET
from my3dgen_jax.storage.orbax_files import check_space, checkpointer
from my3dgen_jax.training.state import TrainState

_KEPT = 2  # the newest, and one in case that cannot be read


class Saved(NamedTuple):
  """A state, and how long it took to get there.

  Attributes:
    state: of training.
    seconds: since the first step, over all interruptions.
  """

  state: TrainState
  seconds: float


def steps(folder: str | os.PathLike) -> "list[int]":
  """The steps there are complete states of, rising."""
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    return []
  return sorted(
    int(path.name) for path in folder.iterdir() if path.name.isdigit()
  )


def save_state(
  folder: str | os.PathLike, state: TrainState, *, seconds: float = 0.0
):
  """Writes a state, whole or not at all, and drops old ones.

  Args:
    folder: of the states, made if missing.
    state: on the host.
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
    for path in folder.glob("*orbax-checkpoint-tmp*"):  # left by a kill
      shutil.rmtree(path)
    if not target.exists():
      with checkpointer(f"{target}: cannot be written") as orbax:
        orbax.save(target, tree)
    for step in steps(folder)[:-_KEPT]:
      shutil.rmtree(folder / f"{step:08d}")
  except OSError as error:
    raise CheckpointError(
      f"{error.filename or target}: {error.strerror}"
    ) from error


def load_state(folder: str | os.PathLike, expected: TrainState) -> Saved | None:
  """Reads the newest state.

  Args:
    folder: of the states.
    expected: a state of the same structure; its values are not used.

  Returns: Saved, on the host; None if there is none.
  Raises:
    CheckpointError: the newest cannot be read, or is of another training.
  """
  folder = pathlib.Path(folder).absolute()
  known = steps(folder)
  if not known:
    return None
  path = folder / f"{known[-1]:08d}"
  device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
  target = jax.tree.map(
    lambda leaf: jax.ShapeDtypeStruct(
      np.shape(leaf), np.asarray(leaf).dtype, sharding=device
    ),
    _tree(expected, 0.0),
  )
  failure = (
    f"{path}: cannot be read; remove it, and --resume goes on from "
    "an earlier one"
  )
  with checkpointer(failure) as orbax:
    tree = jax.tree.map(np.asarray, orbax.restore(path, _old_names(target)))
  # Leaves have one order under both names.
  tree = jax.tree.unflatten(jax.tree.structure(target), jax.tree.leaves(tree))
  return Saved(
    TrainState(tree["step"], tree["trainable"], tree["opt_state"]),
    float(tree["seconds"]),
  )


def _old_names(tree: Any) -> Any:
  """A state whose adapter has the names of format 1, as states always had."""
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
  return {
    "step": np.asarray(state.step, np.int32),
    "trainable": jax.tree.map(np.asarray, state.trainable),
    "opt_state": jax.tree.map(np.asarray, state.opt_state),
    "seconds": np.asarray(seconds, np.float32),
  }

"""Optimization of anchors and adapters, and the files of a run.

For custom training loops: `tuning_objective` is the loss, `split` and `join`
divide a generator into trainable and frozen parts and put them together, and
`tuning_step` is one step, inside `jax.pmap` or `jax.shard_map` over the axis
`AXIS`. `load_run` reads runs from disk.
"""

from my3dgen_jax.config import LossConfig, TuningConfig
from my3dgen_jax.jobs.devices import AXIS
from my3dgen_jax.training.objective import objective as tuning_objective
from my3dgen_jax.training.objective import TuningBatch
from my3dgen_jax.training.run_folder import load_run, Run
from my3dgen_jax.training.state import (
  init_state,
  join,
  optimizer,
  split,
  TrainState,
)
from my3dgen_jax.training.step import make_step, tuning_step

__all__ = [
  "AXIS",
  "LossConfig",
  "Run",
  "TrainState",
  "TuningBatch",
  "TuningConfig",
  "init_state",
  "join",
  "load_run",
  "make_step",
  "optimizer",
  "split",
  "tuning_objective",
  "tuning_step",
]

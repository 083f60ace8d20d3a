"""Measures the time and memory of one tuning step.

    python -m benchmarks.tuning --preset=ffhqrebalanced512-128 --mode=full

Weights are random, which cost the same as trained ones.
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from my3dgen_jax import config as config_lib
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import LoraConfig, LossConfig, TuningConfig
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.launch.support import cli
from my3dgen_jax.losses.lpips import Lpips
from my3dgen_jax.models.generator import Generator, init_variables
from my3dgen_jax.training import state as state_lib
from my3dgen_jax.training.objective import TuningBatch
from my3dgen_jax.training.step import make_step
from my3dgen_jax.types import Network

_PRESET = cli.enum(
  "preset",
  "ffhqrebalanced512-128",
  list(config_lib.PRESETS),
  "Generator to measure.",
)
_MODE = cli.enum(
  "mode",
  "lora",
  ["lora", "full"],
  "Weights to tune: lora: the adapter; full: all except the mapping network.",
)
_BACKBONE = cli.enum(
  "backbone", "alex", ["alex", "vgg", "squeeze"], "Backbone of LPIPS."
)
_BATCH = cli.integer("batch_size", 1, "Photos per step, >= 1.", lower_bound=1)
_PARTS = cli.integer(
  "accumulation",
  1,
  "Gradient accumulation: number of parts of a batch, >= 1.",
  lower_bound=1,
)
_DTYPE = cli.enum(
  "dtype", "float32", ["float32", "bfloat16"], "Dtype of activations."
)
_RUNS = cli.integer("runs", 5, "Number of timed steps, >= 1.", lower_bound=1)


def main():
  config = dataclasses.replace(
    config_lib.preset(_PRESET.value), dtype=_DTYPE.value
  )
  tuning = TuningConfig(batch_size=_BATCH.value, accumulation=_PARTS.value)
  lora_config = LoraConfig() if _MODE.value == "lora" else None
  devices = devices_lib.local_devices(1)
  base = jax.block_until_ready(init_variables(jax.random.key(0), config))
  lpips = Lpips(_BACKBONE.value, dtype=_DTYPE.value)
  side = config.img_resolution
  blank = jnp.zeros((1, side, side, 3))
  networks = {
    "lpips": Network(
      jax.jit(lpips.init)(jax.random.key(1), blank, blank), lpips
    )
  }

  count = _BATCH.value
  c = jnp.repeat(render.view_labels(config.rendering, [0.3], [0.1]), count, 0)
  ws = Generator(config).apply(
    base,
    render.latents_of_seeds(range(count), config.z_dim),
    c,
    method="mapping",
  )
  rng = np.random.default_rng(0)
  batch = TuningBatch(
    image=rng.uniform(-1, 1, (count, side, side, 3)).astype(np.float32),
    c=c,
    ws=ws,
    key=np.arange(2 * count, dtype=np.uint32).reshape(-1, 2),
  )
  trainable, frozen = state_lib.split(
    jax.random.key(0), config, base, lora_config
  )
  step = make_step(config, tuning, LossConfig(), lora_config, devices)
  state, frozen, networks = devices_lib.replicate(
    (state_lib.init_state(trainable, tuning), frozen, networks), devices
  )
  batch = devices_lib.scatter(
    shard(batch, num_devices=1, accumulation=_PARTS.value), devices
  )
  del base

  start = time.perf_counter()
  compiled = step.lower(state, frozen, networks, batch).compile()
  compile_seconds = time.perf_counter() - start
  flops = compiled.cost_analysis()["flops"]

  def make_step_once():
    nonlocal state
    state, metrics = compiled(state, frozen, networks, batch)
    return metrics

  seconds, rate, ratio = report.against_the_machine(
    make_step_once, flops, runs=_RUNS.value
  )
  peak = report.peak_memory_gb()
  numbers = state_lib.numbers(trainable)
  rows = [
    [
      _MODE.value,
      str(numbers),
      f"{seconds:.2f}",
      f"{peak:.2f}",
      f"{compile_seconds:.0f}",
    ]
  ]
  notes = [
    f"Batch {count} in {_PARTS.value}, {side} x {side} pixels, "
    f"{config.neural_rendering_resolution}² rays, LPIPS on "
    f"{_BACKBONE.value} of both images, stratified, {config.dtype}; Adam "
    "included. Memory is the process's peak.",
    f"Against the machine itself: {flops / 1e9:.0f} GFLOP counted by XLA at "
    f"{rate / 1e9:.0f} GFLOP/s (a 4096 x 4096 product, run in turn with "
    f"it) would take {flops / rate:.2f} s: ratio {ratio:.2f}.",
  ]
  report.write_section(
    f"Tuning step, {_PRESET.value}, {_MODE.value}, {_BACKBONE.value}, batch "
    f"{count}/{_PARTS.value}, {_DTYPE.value}",
    "\n\n".join(
      [
        report.table(
          ["mode", "numbers tuned", "seconds", "GB", "compilation, s"], rows
        ),
        *notes,
        report.machine() + ".",
      ]
    ),
  )


if __name__ == "__main__":
  cli.run(main)

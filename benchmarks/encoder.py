"""Measures an encoder's cost: a look, a training step, and the whole training.

    python -m benchmarks.encoder                       # the demo's
    python -m benchmarks.encoder --preset=ffhqrebalanced512-128 --batch=4

A preset has random weights, which take the same time. A training step renders
its batch of pictures, assuming that samples are not reused; for a second look,
it also renders the results of the first.
"""

import dataclasses
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import report
from my3dgen_jax.config import preset
from my3dgen_jax.config.encoder import EncoderConfig, EncoderTrainingConfig
from my3dgen_jax.data.iterator import shard
from my3dgen_jax.demo import shipped
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.launch.support import cli
from my3dgen_jax.models.checkpoint import load_generator
from my3dgen_jax.models.encoder import Encoder
from my3dgen_jax.models.generator import Generator, init_variables
from my3dgen_jax.training.encoding.metric import WMetric
from my3dgen_jax.training.encoding.objective import EncoderBatch
from my3dgen_jax.training.encoding.samples import Samples
from my3dgen_jax.training.encoding.step import make_step, optimizer
from my3dgen_jax.training.state import TrainState
from my3dgen_jax.types import Network

_PRESET = cli.string(
  "preset", None, "Preset of the generator; default: the demo's."
)
_BATCH = cli.integer("batch", 64, "Pictures per step, >= 1.", lower_bound=1)
_RUNS = cli.integer(
  "runs",
  3,
  "Number of timed runs of each, after a warm-up; >= 1.",
  lower_bound=1,
)
cli.define_cpu_devices()


def main():
  devices = devices_lib.local_devices()
  if _PRESET.value:
    model = preset(_PRESET.value)
    generator = Network(
      init_variables(jax.random.key(0), model), Generator(model)
    )
  else:
    module, variables = load_generator(shipped.PRIOR)
    generator = Network(variables, module)
  sizes = EncoderConfig.for_generator(generator.module.config)
  config = EncoderTrainingConfig(lpips_weight=0.0, mse_weight=0.0)
  config = dataclasses.replace(
    config, samples=10**6, batch_size=_BATCH.value, look_batch_size=_BATCH.value
  )
  encoder = Encoder(sizes)
  side = sizes.resolution
  seen = jnp.zeros((_BATCH.value, side, side, 4))
  c = jnp.zeros((_BATCH.value, 25)).at[:, 15].set(1)
  variables = jax.jit(lambda key: encoder.init(key, seen, c, method="look"))(
    jax.random.key(0)
  )
  network = Network(variables, encoder)
  look = jax.jit(lambda network: network(seen, c, method="look").ws)
  samples = Samples(generator, sizes, config, devices, None)
  numbers = np.arange(_BATCH.value)
  pictures, latents = samples.fetch(numbers)

  params = variables["params"]
  state = TrainState(
    jnp.zeros((), jnp.int32),
    {"params": params, "average": params},
    optimizer(config).init(params),
  )
  metric = WMetric(
    jnp.zeros(sizes.w_dim), jnp.ones(()), jnp.eye(sizes.w_dim)[None]
  )
  batch = EncoderBatch(
    pictures, latents.ws, latents.c, np.zeros((_BATCH.value, 2), np.uint32)
  )
  everywhere = lambda tree: devices_lib.replicate(tree, devices)
  spread = devices_lib.scatter(shard(batch, num_devices=len(devices)), devices)
  step = make_step(encoder, config, devices)
  held = [everywhere(state)]
  metric = everywhere(metric)

  def train():
    held[0], terms = step(held[0], metric, None, {}, spread)
    return terms

  rows = [
    ("a look", report.seconds(look, network, runs=_RUNS.value)),
    ("pictures rendered", _host_seconds(lambda: samples.fetch(numbers))),
    ("a step without rendering", report.seconds(train, runs=_RUNS.value)),
  ]
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  print(f"{report.machine()}\n\n{count:,} numbers, {side} pixels a side\n")
  print(
    report.table(
      ["", f"s for {_BATCH.value}", "s for one"],
      [
        [name, f"{value:.3f}", f"{value / _BATCH.value:.4f}"]
        for name, value in rows
      ],
    )
  )
  _, (_, render), (_, work) = rows
  one = EncoderTrainingConfig()
  first = one.steps * one.batch_size * (render + work) / _BATCH.value
  # A step with a second look renders and looks twice.
  again = one.look_steps * one.look_batch_size / _BATCH.value
  again *= 2 * (render + work)
  print(
    f"\n{one.steps} + {one.look_steps} steps of {one.batch_size} and "
    f"{one.look_batch_size} pictures, all defaults but no losses on pictures: "
    f"{(first + again) / 3600:.1f} hours at this rate"
  )


def _host_seconds(function) -> float:
  times = []
  for _ in range(_RUNS.value):
    start = time.perf_counter()
    function()
    times.append(time.perf_counter() - start)
  return float(np.median(times))


if __name__ == "__main__":
  cli.run(main)

"""Measures the time of one image, and of each part of the generator.

python -m benchmarks.forward --preset=ffhqrebalanced512-128
"""

import dataclasses
import functools
import time

import jax
from absl import flags

from benchmarks import report
from my3dgen_jax import config as config_lib
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.launch.support import cli
from my3dgen_jax.models.generator import Generator, init_variables
from my3dgen_jax.models.superresolution import Superresolution
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays, renderer, triplane

_PRESET = flags.DEFINE_enum(
  "preset",
  "ffhqrebalanced512-128",
  list(config_lib.PRESETS),
  "Generator to measure.",
)
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "Dtype of activations."
)
_RUNS = flags.DEFINE_integer(
  "runs", 7, "Number of timed runs of each part, >= 1.", lower_bound=1
)


def main():
  config = dataclasses.replace(
    config_lib.preset(_PRESET.value), dtype=_DTYPE.value
  )
  generator = Generator(config)
  variables = jax.block_until_ready(init_variables(jax.random.key(0), config))
  c = render.view_labels(config.rendering, [0.3], [0.1])
  ws = generator.apply(
    variables, render.latents_of_seeds([0], config.z_dim), c, method="mapping"
  )
  apply = lambda method: jax.jit(
    functools.partial(generator.apply, method=method)
  )

  start = time.perf_counter()
  whole = apply("synthesis").lower(variables, ws, c).compile()
  compile_seconds = time.perf_counter() - start
  flops = whole.cost_analysis()["flops"]
  whole_seconds, rate, ratio = report.against_the_machine(
    lambda: whole(variables, ws, c), flops, runs=_RUNS.value
  )
  peak = report.peak_memory_gb()  # before the parts add theirs

  planes_of = apply("planes")
  planes = planes_of(variables, ws)
  size = config.neural_rendering_resolution

  @jax.jit
  def volume(variables, planes, c):
    decoder = generator.apply(variables, method=lambda g: g.decoder())
    return renderer.render_rays(
      triplane.fold_planes(planes).astype(config.dtype),
      decoder,
      rays.generate_rays(*cameras.unpack_label(c), size),
      config=config.rendering,
      precision=config.precision,
    ).features

  @jax.jit
  def superresolution(variables, features, ws):
    image = features[..., : config.img_channels]
    part = {
      name: tree["superresolution"]
      for name, tree in variables.items()
      if "superresolution" in tree
    }
    return Superresolution(config).apply(part, image, features, ws)

  features = volume(variables, planes, c).reshape(1, size, size, -1)
  parts = {
    "backbone": report.seconds(planes_of, variables, ws, runs=_RUNS.value),
    "renderer": report.seconds(volume, variables, planes, c, runs=_RUNS.value),
    "super-resolution": report.seconds(
      superresolution, variables, features, ws, runs=_RUNS.value
    ),
  }
  rows = [["whole image", f"{whole_seconds:.2f}", "100 %"]]
  rows += [
    [f"… {name} alone", f"{value:.2f}", f"{100 * value / whole_seconds:.0f} %"]
    for name, value in parts.items()
  ]
  notes = [
    f"{config.img_resolution} x {config.img_resolution} pixels, "
    f"{size} x {size} rays of {config.rendering.depth_resolution} + "
    f"{config.rendering.depth_resolution_importance} samples, batch 1, "
    f"deterministic, {config.dtype}. Compilation {compile_seconds:.1f} s; "
    f"peak memory of the process {peak:.2f} GB.",
    f"Against the machine itself: {flops / 1e9:.0f} GFLOP counted by XLA at "
    f"{rate / 1e9:.0f} GFLOP/s (a 4096 x 4096 product, run in turn with "
    f"it) would take {flops / rate:.2f} s: ratio {ratio:.2f}.",
  ]
  suffix = "" if config.dtype == "float32" else f", {config.dtype}"
  report.write_section(
    f"Forward, {_PRESET.value}{suffix}",
    "\n\n".join(
      [
        report.table(["", "seconds", "of the whole"], rows),
        *notes,
        report.machine() + ".",
      ]
    ),
  )


if __name__ == "__main__":
  cli.run(main)

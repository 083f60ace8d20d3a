"""Measures the accuracy and the speed of TF32 and bfloat16 against float32.

python -m benchmarks.precision --preset=ffhqrebalanced512-128
"""

import dataclasses
import functools

import jax
import numpy as np
from absl import flags

from benchmarks import report
from my3dgen_jax import config as config_lib
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.launch.support import cli
from my3dgen_jax.models.generator import Generator, init_variables

_PRESET = flags.DEFINE_enum(
  "preset",
  "ffhqrebalanced512-128",
  list(config_lib.PRESETS),
  "Generator to measure.",
)
_RUNS = flags.DEFINE_integer(
  "runs", 3, "Number of timed runs of each precision, >= 1.", lower_bound=1
)
_FIELDS = ("image", "image_raw", "image_depth")


def main():
  reference = config_lib.preset(_PRESET.value)
  variables = init_variables(jax.random.key(0), reference)
  c = render.view_labels(reference.rendering, [0.3], [0.1])
  z = render.latents_of_seeds([0], reference.z_dim)
  ws = Generator(reference).apply(variables, z, c, method="mapping")
  outputs, rows = {}, []
  for dtype, precision in (
    ("float32", "highest"),
    ("float32", "default"),
    ("bfloat16", "default"),
  ):
    config = dataclasses.replace(reference, dtype=dtype, precision=precision)
    render_ = jax.jit(
      functools.partial(Generator(config).apply, method="synthesis")
    )
    outputs[dtype, precision] = render_(variables, ws, c)
    time = report.seconds(render_, variables, ws, c, runs=_RUNS.value)
    errors = [
      _relative_error(
        getattr(outputs[dtype, precision], field),
        getattr(outputs["float32", "highest"], field),
      )
      for field in _FIELDS
    ]
    rows.append(
      [dtype, precision, *(f"{error:.1e}" for error in errors), f"{time:.2f}"]
    )
  report.write_section(
    f"Precision, {_PRESET.value}",
    report.table(
      [
        "activations",
        "products",
        *(f"error of {field}" for field in _FIELDS),
        "seconds",
      ],
      rows,
    )
    + "\n\nErrors are ‖out − reference‖ / ‖reference‖ against the first "
    "row; random initial weights, batch 1.\n\n" + report.machine() + ".",
  )


def _relative_error(actual, reference) -> float:
  actual, reference = (np.asarray(x, np.float64) for x in (actual, reference))
  return float(np.linalg.norm(actual - reference) / np.linalg.norm(reference))


if __name__ == "__main__":
  cli.run(main)

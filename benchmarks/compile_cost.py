"""Measures what programs cost to compile for a GPU, on a machine without one.

    python -m benchmarks.compile_cost --programs=tuning,projection --batch=4

XLA compiles to machine code for a device that is only described, which needs
the CUDA build of JAX (pip install -r requirements.txt) and JAX_PLATFORMS=cpu,
but no GPU. Without that build, operations are counted but not compiled.
Autotuning, which needs the device, is not included; its time grows with the
number of distinct matrix products and convolutions, which are counted. Times
are those of this machine's cores.
"""

import collections
import os
import re
import time

# Autotuning runs candidates on the device.
os.environ.setdefault("XLA_FLAGS", "--xla_gpu_autotune_level=0")

import jax
import numpy as np
from jax.experimental import topologies

from benchmarks import programs, report
from my3dgen_jax import config as config_lib
from my3dgen_jax.launch.support import cli
from my3dgen_jax.tracing import platforms

# XLA's own descriptions of devices, read from such machines.
_TARGETS = {
  "h100": """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32
  shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535
  block_dim_limit_z: 65535 memory_bandwidth: 3352320000000
  l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 7 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
}

_PROGRAMS = cli.listing(
  "programs",
  list(programs.PROGRAMS),
  "Names of the programs to compile, separated by commas.",
)
_BATCH = cli.integer(
  "batch",
  4,
  "Photos or images at a time, >= 1; forward, render and pivotal use 1.",
  lower_bound=1,
)
_PRESET = cli.enum(
  "preset",
  "ffhqrebalanced512-128",
  list(config_lib.PRESETS),
  "Generator to measure.",
)
_DTYPE = cli.enum(
  "dtype", "float32", ["float32", "bfloat16"], "Dtype of activations."
)
_TARGET = cli.enum("target", "h100", list(_TARGETS), "Device to compile for.")
_ONE = ("forward", "render", "pivotal")  # one image or photo at a time


def compiled_columns(lowered) -> list:
  """Seconds, fusions, products, convolutions and memory, as strings."""
  start = time.perf_counter()
  compiled = lowered.compile()
  seconds = time.perf_counter() - start
  text = compiled.as_text()
  calls = collections.Counter(re.findall(r'custom_call_target="([^"]*)"', text))
  products = text.count("__triton") + sum(
    count for name, count in calls.items() if "cublas" in name
  )
  convolutions = sum(count for name, count in calls.items() if "conv" in name)
  memory = compiled.memory_analysis().temp_size_in_bytes / 1e9
  return [
    f"{seconds:.1f}",
    str(len(re.findall("kind=k", text))),
    str(products),
    str(convolutions),
    f"{memory:.2f}",
  ]


def main():
  platforms.trace_for_cpu_alone(False)  # as commands do
  try:
    topology = topologies.get_topology_desc(
      platform="cuda",
      topology_name=_TARGET.value,
      topology="1x1x1",
      target_config=_TARGETS[_TARGET.value],
    )
  except Exception as error:  # pylint: disable=broad-exception-caught
    print(f"only counting operations: {str(error).splitlines()[0]}")
    topology = None
  config = programs.for_accelerator(
    programs.with_numbers(
      config_lib.preset(_PRESET.value), _DTYPE.value, "default"
    )
  )
  rows = []
  for name in _PROGRAMS.value:
    batch = 1 if name in _ONE else _BATCH.value
    one = programs.program(name, config, batch=batch)
    if topology is not None:
      place = jax.sharding.NamedSharding(
        jax.sharding.Mesh(np.array(topology.devices).reshape(1), ("d",)),
        jax.sharding.PartitionSpec(),
      )
      one = one._replace(
        arguments=jax.tree.map(
          lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=place
          ),
          one.arguments,
        )
      )
    start = time.perf_counter()
    lowered = programs.lowered(one)
    traced = time.perf_counter() - start
    rows.append(
      [
        name,
        str(batch),
        f"{traced:.1f}",
        str(programs.counted(lowered.as_text())),
        str(programs.grouped_convolutions(lowered.as_text())),
      ]
    )
    if topology is not None:
      rows[-1] += compiled_columns(lowered)
    print(" ".join(rows[-1]), flush=True)
  header = ["program", "batch", "traced, s", "operations", "grouped"]
  if topology is not None:
    header += [
      "compiled, s",
      "fusions",
      "products",
      "convolutions",
      "memory, GB",
    ]
  report.write_section(
    f"To compile for {_TARGET.value}, {_PRESET.value}, {_DTYPE.value}",
    report.table(header, rows) + f"\n\n{os.environ['XLA_FLAGS']}; "
    "operations are counted before XLA, the rest after it; memory is "
    "temporary memory.\n\n" + report.machine() + ".",
  )


if __name__ == "__main__":
  cli.run(main)

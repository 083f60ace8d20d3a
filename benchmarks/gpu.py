"""Runs all measurements that need a GPU, unattended, in under eight minutes.

    make bench-gpu            # or python -m benchmarks.gpu --budget=480
    python -m benchmarks.gpu --peer='python3 original.py'   # with another's

Prints each result at once and updates gpu.json (--json), so that an interrupted
run is not lost; at the end, it writes its section of BENCHMARKS.md, which names
the measurements that did not fit the budget. Weights are random, which cost the
same. To test the script on a CPU, use --preset=tiny.

Each measurement runs in a process of its own: memory peaks do not mix, and a
program that runs out of memory does not stop the others.
"""

import dataclasses
import functools
import json
import os
import pathlib
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import programs, report
from my3dgen_jax import config as config_lib
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli

_PRESET = cli.enum(
  "preset",
  "ffhqrebalanced512-128",
  ["tiny", *config_lib.PRESETS],
  "Generator to measure; tiny: only to test the script.",
)
_BUDGET = cli.number(
  "budget",
  480.0,
  "Seconds after which no further measurement starts, >= 1.",
  lower_bound=1,
)
_JSON = cli.string("json", "out/gpu.json", "File for all numbers.")
_PEER = cli.string(
  "peer",
  None,
  "Command of another implementation's benchmark, to run first on the same "
  "GPU; its output is kept.",
)
_ONLY = cli.listing(
  "only",
  [],
  "Names of the measurements to make, as printed during a run; default: all.",
)
_CASE = cli.string(
  "case",
  None,
  "One measurement, as JSON; for internal use, by processes that the script "
  "starts.",
)
_RUNS = cli.integer(
  "runs", 10, "Number of timed calls of each program, >= 1.", lower_bound=1
)

# Dtype of activations and precision of products: PyTorch's exact float32, TF32,
# and bfloat16.
NUMBERS = {
  "float32": ("float32", "highest"),
  "tf32": ("float32", "default"),
  "bfloat16": ("bfloat16", "default"),
}
_PHOTOS = 50
# GB of device memory that a forward pass and a tuning step should fit into, of
# 80 GB.
_LIMITS = {"forward": 3.0, "tuning": 16.0}


def cases() -> list[dict[str, Any]]:
  """All measurements, the most important first."""
  case = lambda name, what, **more: {"name": name, "what": what, **more}
  result = [
    case("device", "device"),
    case("forward 1 tf32", "forward", batch=1, numbers="tf32"),
    case("tuning 4 tf32", "tuning", batch=4, numbers="tf32"),
    case("demo, nothing cached", "demo", cached=False),
    case("demo, again", "demo", cached=True),
    case("tuning 4 bfloat16", "tuning", batch=4, numbers="bfloat16"),
    case("projection 8 tf32", "projection", batch=8, numbers="tf32"),
    case("render 1 tf32", "render", batch=1, numbers="tf32"),
    case("forward 1 bfloat16", "forward", batch=1, numbers="bfloat16"),
    case("render 1 bfloat16", "render", batch=1, numbers="bfloat16"),
    case("forward 8 bfloat16", "forward", batch=8, numbers="bfloat16"),
    case("forward 1 float32", "forward", batch=1, numbers="float32"),
    case(
      "forward in 3 GB",
      "forward",
      batch=1,
      numbers="tf32",
      limit=_LIMITS["forward"],
    ),
    case(
      "tuning in 16 GB",
      "tuning",
      batch=4,
      numbers="tf32",
      limit=_LIMITS["tuning"],
    ),
    case("projection 8 bfloat16", "projection", batch=8, numbers="bfloat16"),
    case("tuning 16 bfloat16", "tuning", batch=16, numbers="bfloat16"),
    case("tuning 1 tf32", "tuning", batch=1, numbers="tf32"),
    case("full 4 tf32", "full", batch=4, numbers="tf32"),
    case(
      "tuning 4, exhaustive search off",
      "tuning",
      batch=4,
      numbers="tf32",
      xla_flags="--xla_gpu_autotune_level=1",
    ),
    case(
      "tuning 4, one cuDNN plan",
      "tuning",
      batch=4,
      numbers="tf32",
      xla_flags="--xla_gpu_cudnn_gemm_max_plans=1",
    ),
  ]
  if _ONLY.value:
    unknown = set(_ONLY.value) - {one["name"] for one in result}
    if unknown:
      raise FlagError(
        f"--only: unknown measurement {', '.join(sorted(unknown))}; known are "
        f"{', '.join(one['name'] for one in result)}"
      )
    result = [one for one in result if one["name"] in _ONLY.value]
  return result


def _config(numbers: str) -> config_lib.GeneratorConfig:
  if _PRESET.value == "tiny":
    config = config_lib.GeneratorConfig(
      neural_rendering_resolution=32,
      backbone=config_lib.BackboneConfig(
        resolution=32, channel_base=512, channel_max=16
      ),
      superresolution=dataclasses.replace(
        config_lib.SUPERRESOLUTION_MODULES["SuperresolutionHybrid8X"],
        input_resolution=32,
        channels=(8, 8),
      ),
    )
  else:
    config = config_lib.preset(_PRESET.value)
  return programs.with_numbers(config, *NUMBERS[numbers])


# In the process of one measurement.


def filled(shapes: Any) -> Any:
  """Arrays of these shapes: small numbers, or cameras for camera labels."""
  rng = np.random.default_rng(0)
  label = np.concatenate(
    [np.eye(4).ravel(), [4.26, 0, 0.5, 0, 4.26, 0.5, 0, 0, 1]]
  )
  label[11] = -2.7

  def fill(path, shape):
    if shape.dtype == jnp.uint32:
      return np.arange(int(np.prod(shape.shape)), dtype=np.uint32).reshape(
        shape.shape
      )
    if shape.shape[-1:] == (25,):
      return np.broadcast_to(label, shape.shape).astype(np.float32)
    if not jnp.issubdtype(shape.dtype, jnp.floating):
      return np.zeros(shape.shape, shape.dtype)
    values = 0.1 * rng.standard_normal(shape.shape)
    if ".nu" in jax.tree_util.keystr(path):  # Adam takes its square root
      values = np.abs(values)
    return np.asarray(values, shape.dtype)

  return jax.device_put(jax.tree_util.tree_map_with_path(fill, shapes))


def _measure_program(case: dict[str, Any]) -> dict[str, Any]:
  """Compilation and time of one of `programs.PROGRAMS`."""
  one = programs.program(
    case["what"], _config(case["numbers"]), batch=case["batch"]
  )
  arguments = filled(one.arguments)
  start = time.perf_counter()
  lowered = jax.jit(one.function).lower(*arguments)
  traced = time.perf_counter()
  compiled = lowered.compile()
  compiled_at = time.perf_counter()
  jax.block_until_ready(compiled(*arguments))
  times = []
  for _ in range(_RUNS.value):
    begin = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    times.append(time.perf_counter() - begin)
  seconds = statistics.median(times)
  memory = jax.local_devices()[0].memory_stats() or {}
  return {
    "traced_s": traced - start,
    "compiled_s": compiled_at - traced,
    "ms": 1e3 * seconds,
    "images_per_s": case["batch"] / seconds,
    "temporary_gb": compiled.memory_analysis().temp_size_in_bytes / 1e9,
    "peak_gb": memory.get("peak_bytes_in_use", 0) / 1e9,
  }


def _measure_device(_: dict[str, Any]) -> dict[str, Any]:
  """The GPU's peak rates of matrix products."""
  size = 8192 if jax.default_backend() != "cpu" else 512
  result = {
    "device": jax.local_devices()[0].device_kind,
    "jax": jax.__version__,
    "devices": jax.local_device_count(),
  }
  for numbers, (dtype, precision) in NUMBERS.items():
    a = jax.random.normal(jax.random.key(0), (size, size), dtype)
    product = jax.jit(functools.partial(jnp.matmul, precision=precision))
    result[f"{numbers}_tflops"] = (
      2 * size**3 / report.seconds(product, a, a, runs=5) / 1e12
    )
  return result


def run_case(case: dict[str, Any]) -> dict[str, Any]:
  """One measurement, in this process."""
  if case["what"] == "device":
    return _measure_device(case)
  return _measure_program(case)


# In the process that starts the measurements.


def _environment(
  case: dict[str, Any], folder: pathlib.Path, card_gb: float
) -> dict[str, str]:
  environment = {
    **os.environ,
    "PYTHONUNBUFFERED": "1",
    "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"),
    "XDG_CACHE_HOME": str(folder / "cache"),
  }
  if "limit" in case and card_gb:
    environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = (
      f"{case['limit'] / card_gb:.4f}"
    )
  if "xla_flags" in case:
    environment["XLA_FLAGS"] = case["xla_flags"]
  return environment


def _run_demo(
  case: dict[str, Any], folder: pathlib.Path, timeout: float
) -> dict[str, Any]:
  """Runs `demo.flags` as a new user would; returns seconds of its stages."""
  if not case["cached"]:
    for name in ("programs", "cache"):
      shutil.rmtree(folder / name, ignore_errors=True)
  out = folder / "demo"
  shutil.rmtree(out, ignore_errors=True)
  start = time.perf_counter()
  first = None
  with subprocess.Popen(
    [
      sys.executable,
      "-m",
      "my3dgen_jax.launch.personalize",
      "--flagfile=demo.flags",
      f"--out={out}",
    ],
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    env=_environment(case, folder, 0),
  ) as process:
    lines = []
    for line in process.stdout:
      first = first or time.perf_counter() - start
      lines.append(f"{time.perf_counter() - start:6.1f} {line.rstrip()}")
      print("   ", lines[-1], flush=True)
      if time.perf_counter() - start > timeout:
        process.kill()
  result = {"seconds": time.perf_counter() - start, "first_line_s": first}
  if process.returncode:
    return {**result, "error": "\n".join(lines[-5:])}
  summary = json.loads((out / "summary.json").read_text())
  return {
    **result,
    **{
      f"{name}_{key}": summary[name][key]
      for name in ("pretrained", "personalized")
      for key in ("lpips", "psnr", "id_sim")
      if key in summary.get(name, {})
    },
  }


def _run(
  case: dict[str, Any], folder: pathlib.Path, card_gb: float, timeout: float
) -> dict[str, Any]:
  if case["what"] == "demo":
    return _run_demo(case, folder, timeout)
  command = [
    sys.executable,
    "-m",
    "benchmarks.gpu",
    f"--case={json.dumps(case)}",
    f"--preset={_PRESET.value}",
    f"--runs={_RUNS.value}",
  ]
  start = time.perf_counter()
  try:
    done = subprocess.run(
      command,
      capture_output=True,
      text=True,
      timeout=timeout,
      check=False,
      env=_environment(case, folder, card_gb),
    )
  except subprocess.TimeoutExpired:
    return {"error": f"not finished after {timeout:.0f} s"}
  lines = done.stdout.strip().splitlines()
  if done.returncode or not lines:
    return {"error": (done.stderr.strip().splitlines() or ["died"])[-1][-300:]}
  return {**json.loads(lines[-1]), "process_s": time.perf_counter() - start}


def _card_gb() -> float:
  """The GPU's memory, GB; 0 if nvidia-smi cannot tell."""
  try:
    done = subprocess.run(
      [
        "nvidia-smi",
        "--query-gpu=memory.total",
        "--format=csv,noheader,nounits",
      ],
      capture_output=True,
      text=True,
      check=False,
    )
    return float(done.stdout.split()[0]) * 2**20 / 1e9
  except (OSError, ValueError, IndexError):
    return 0.0


def _job_minutes(found: dict[str, dict[str, Any]]) -> str:
  """Minutes from 50 photos to an adapter, extrapolated from timed steps."""
  lines = []
  for numbers in ("tf32", "bfloat16"):
    projection = found.get(f"projection 8 {numbers}", {})
    tuning = found.get(f"tuning 4 {numbers}", {})
    if "ms" not in projection or "ms" not in tuning:
      continue
    batches = -(-_PHOTOS // 8)
    seconds = (
      batches * config_lib.ProjectionConfig().steps * projection["ms"]
      + config_lib.TuningConfig().steps * tuning["ms"]
    ) / 1e3
    seconds += projection["compiled_s"] + tuning["compiled_s"]
    lines.append(
      f"{_PHOTOS} photos to an adapter in {numbers}, default steps: "
      f"{seconds / 60:.1f} min (extrapolated from timed steps, including "
      "compilation)."
    )
  return "\n\n".join(lines) or "50 photos to an adapter: not measured."


def _sections(found: dict[str, dict[str, Any]], left: Sequence[str]):
  def cell(value):
    return f"{value:.3g}" if isinstance(value, float) else str(value)

  keys = [
    "ms",
    "images_per_s",
    "traced_s",
    "compiled_s",
    "temporary_gb",
    "peak_gb",
    "error",
  ]
  rows = [
    [name, *(cell(result.get(key, "")) for key in keys)]
    for name, result in found.items()
    if "ms" in result or "error" in result
  ]
  notes = [
    ", ".join(f"{key} {cell(value)}" for key, value in result.items())
    for name, result in found.items()
    if name.startswith(("device", "demo", "peer"))
  ]
  if left:
    notes.append("Left out, over the time budget: " + ", ".join(left) + ".")
  report.write_section(
    f"GPU, {_PRESET.value}",
    "\n\n".join(
      [
        report.table(
          [
            "",
            "ms",
            "images/s",
            "traced, s",
            "compiled, s",
            "temporary, GB",
            "peak, GB",
            "error",
          ],
          rows,
        ),
        *notes,
        _job_minutes(found),
        report.machine() + ".",
      ]
    ),
  )


def main():
  if _CASE.value:
    print(json.dumps(run_case(json.loads(_CASE.value))))
    return
  began = time.monotonic()
  left_s = lambda: _BUDGET.value - (time.monotonic() - began)
  path = pathlib.Path(_JSON.value)
  path.parent.mkdir(parents=True, exist_ok=True)
  found: dict[str, dict[str, Any]] = {}
  left: list[str] = []
  card_gb = _card_gb()
  with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    wanted = cases()
    if _PEER.value:
      print("peer:", _PEER.value, flush=True)
      done = subprocess.run(
        shlex.split(_PEER.value), capture_output=True, text=True, check=False
      )
      found["peer"] = {
        "output": done.stdout.strip()[-2000:],
        "rc": done.returncode,
      }
      print(found["peer"]["output"], flush=True)
    for case in wanted:
      if left_s() <= 0:
        left.append(case["name"])
        continue
      print(f"{time.monotonic() - began:5.0f} s  {case['name']} …", flush=True)
      found[case["name"]] = _run(case, folder, card_gb, max(left_s(), 20))
      print(
        "    "
        + ", ".join(
          f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
          for key, value in found[case["name"]].items()
        ),
        flush=True,
      )
      path.write_text(json.dumps(found, indent=2) + "\n")
  _sections(found, left)


if __name__ == "__main__":
  cli.run(main)

"""Measures the time per frame of a turning head, and what kept planes save.

    python -m benchmarks.turning --preset=ffhqrebalanced512-128

The head turns by ±0.35 rad; of its 120 frames, which all cost the same, some
are timed. "planes kept" is `apps.rendering.frames.render_frames` with a
constant latent; "planes each frame" is the same call with one latent per frame.
"""

import os
import statistics
import time
from collections.abc import Iterator

import jax
import numpy as np
from absl import flags

from benchmarks import report
from my3dgen_jax import config as config_lib
from my3dgen_jax.apps.rendering import frames as frames_lib
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.launch.support import cli
from my3dgen_jax.models.generator import Generator, init_variables
from my3dgen_jax.types import Network

_PRESET = flags.DEFINE_enum(
  "preset",
  "ffhqrebalanced512-128",
  list(config_lib.PRESETS),
  "Generator to measure.",
)
_RUNS = flags.DEFINE_integer(
  "runs", 5, "Number of timed blocks of frames of each, >= 1.", lower_bound=1
)
_BLOCK = 4  # frames
_FRAMES = 120  # frames of the whole turn
_YAW = 0.35  # radians to either side


def main():
  config = config_lib.preset(_PRESET.value)
  network = Network(
    init_variables(jax.random.key(0), config), Generator(config)
  )
  front = render.view_labels(config.rendering, [0.0], [0.0])
  ws = np.asarray(
    network(render.latents_of_seeds([0], config.z_dim), front, method="mapping")
  )
  c = render.about_front(
    network, front[0], np.linspace(-_YAW, _YAW, _FRAMES), 0.0
  )
  # Evenly spaced; one frame more, because the first one is not timed.
  c = c[np.linspace(0, _FRAMES - 1, _BLOCK + 1).astype(int)]
  ways = {"kept": ws, "each": np.repeat(ws, len(c), axis=0)}
  times = {name: [] for name in ways}
  # Alternating, so that other load on the machine affects both.
  for _ in range(_RUNS.value):
    shown = {}
    for name, latents in ways.items():
      seconds, shown[name] = _timed(
        frames_lib.render_frames(
          network, latents, c, batch_size=1, devices=jax.local_devices()[:1]
        )
      )
      times[name].append(seconds)
    error = np.abs(shown["kept"] - shown["each"]).max()
    if error > 1e-3:
      raise AssertionError(f"images differ by {error}")
  kept, each = (statistics.median(times[name]) for name in ways)
  ratios = [a / b for a, b in zip(times["each"], times["kept"])]
  # The first frame makes the planes.
  whole = each + (_FRAMES - 1) * kept
  rows = [
    ["planes kept", f"{1000 * kept:.0f}", f"{whole:.0f}"],
    ["planes each frame", f"{1000 * each:.0f}", f"{_FRAMES * each:.0f}"],
  ]
  size = config.img_resolution
  report.write_section(
    f"Turning a head, {_PRESET.value}",
    "\n\n".join(
      [
        report.table(["", "ms per frame", f"s for {_FRAMES} frames"], rows),
        f"±{_YAW} rad, {size} x {size} pixels, "
        f"{config.neural_rendering_resolution}² rays, one frame at a time, "
        f"float32, random weights; medians of {_RUNS.value} times {_BLOCK} "
        "frames, alternating between the two. Without kept planes, a frame "
        f"takes {statistics.median(ratios):.2f} times as long "
        f"({min(ratios):.2f} to {max(ratios):.2f}).",
        f"{os.getloadavg()[1]:.1f} processes were running at the time; if that "
        "is more than one, rely on the ratio, not on the times.",
        report.machine() + ".",
      ]
    ),
  )


def _timed(frames: Iterator[frames_lib.Frame]) -> tuple[float, np.ndarray]:
  """Seconds per frame after the first one, and the last frame's image."""
  image = next(frames)[frames_lib.IMAGE]
  start, count = time.perf_counter(), 0
  for frame in frames:
    image, count = frame[frames_lib.IMAGE], count + 1
  return (time.perf_counter() - start) / count, image


if __name__ == "__main__":
  cli.run(main)

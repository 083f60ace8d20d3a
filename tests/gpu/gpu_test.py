"""What only a GPU can show; skipped where there is none.

    make test-gpu PYTHON=python3          # under four minutes, nothing cached
    MY3DGEN_TEST_GPU=cpu make test-gpu    # the same tests on a CPU

Prints what it measures, so that a run's output is worth keeping.
"""

import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from benchmarks import gpu, programs
from my3dgen_jax.models.generator import Generator
from tests.benchmarks.programs_test import LAYERS
from tests.support import golden

ROOT = pathlib.Path(__file__).resolve().parents[2]
_WANTED = jax.default_backend() == "gpu" or "MY3DGEN_TEST_GPU" in os.environ

# Relative errors of images: rounding of 2^-24, 2^-11 and 2^-9 through some
# twenty layers. On an H100 5.5e-4 and 8.6e-3 were measured for the last two.
_TOLERANCES = {"float32": 2e-5, "tf32": 2e-3, "bfloat16": 3e-2}


class GpuTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    if not _WANTED:
      self.skipTest("there is no GPU (MY3DGEN_TEST_GPU=cpu tries the tests)")

  @parameterized.parameters(*_TOLERANCES)
  def test_golden_images(self, numbers):
    """The original's images, within what the type of number allows."""
    file = golden.load("small_generator")
    config = programs.with_numbers(golden.small_config(), *gpu.NUMBERS[numbers])
    generator = Generator(config)
    variables = jax.device_put(golden.small_variables())
    ws = jax.jit(functools.partial(generator.apply, method="mapping"))(
      variables, golden.draw("input.z", (2, 512)), file["c"]
    )
    out = jax.jit(
      functools.partial(
        generator.apply, method="synthesis", neural_rendering_resolution=32
      )
    )(variables, ws, file["c"])
    for name, image, step in (
      ("image", out.image, 4),
      ("image_raw", out.image_raw, 1),
      ("image_depth", out.image_depth, 1),
    ):
      found = np.asarray(image).transpose(0, 3, 1, 2)[:, :, ::step, ::step]
      error = golden.relative_error(found, file[f"det_{name}"])
      print(f"{numbers} {name}: {error:.1e}")
      self.assertLess(error, _TOLERANCES[numbers], name)

  @parameterized.parameters(
    "tuning", "full", "projection", "pivotal", "hull_fit"
  )
  def test_a_step_of_each_kind(self, name):
    """The loss of a step here is what it is on a CPU."""
    config = programs.with_numbers(LAYERS, "float32", "highest")
    one = programs.program(name, config, batch=1 if name == "pivotal" else 2)

    def run(device):
      arguments = jax.device_put(gpu.filled(one.arguments), device)
      start = time.perf_counter()
      state, loss = jax.block_until_ready(jax.jit(one.function)(*arguments))
      print(
        f"{name} on {device.platform}: "
        f"{time.perf_counter() - start:.1f} s to the first step"
      )
      return jax.tree.map(np.asarray, (state, loss))

    state, loss = run(jax.local_devices()[0])
    _, expected = run(jax.devices("cpu")[0])
    for mine, right in zip(jax.tree.leaves(loss), jax.tree.leaves(expected)):
      np.testing.assert_allclose(mine, right, rtol=1e-3)
    for leaf in jax.tree.leaves(state):
      if jnp.issubdtype(leaf.dtype, jnp.floating) and name != "pivotal":
        self.assertTrue(np.isfinite(leaf).all())

  def test_demo(self):
    """The whole job, as a newcomer runs it."""
    with tempfile.TemporaryDirectory() as folder:
      start = time.perf_counter()
      subprocess.run(
        [
          sys.executable,
          "-m",
          "my3dgen_jax.launch.personalize",
          "--flagfile=demo.flags",
          f"--out={folder}/demo",
          "--cache=",
        ],
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
      )
      print(f"demo.flags: {time.perf_counter() - start:.0f} s")
      summary = json.loads(
        (pathlib.Path(folder) / "demo" / "summary.json").read_text()
      )
    before, after = summary["pretrained"], summary["personalized"]
    print(f"pretrained {before}, personalized {after}")
    self.assertLess(after["lpips"], 0.7 * before["lpips"])
    self.assertGreater(after["psnr"], before["psnr"] + 1.5)
    self.assertGreater(after["id_sim"], before["id_sim"] + 0.3)


if __name__ == "__main__":
  absltest.main()

"""The render command: its pictures, and one line for bad input."""

import os
import pathlib
import shutil
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

import my3dgen_jax
from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.data import provenance
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli
from tests.support import commands, person, runs
from tests.support.tiny import random_variables, TINY

ROOT = pathlib.Path(__file__).resolve().parents[2]


class RenderCommandTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.checkpoint = pathlib.Path(folder.name) / "tiny"
    cls.variables = random_variables()
    my3dgen_jax.save_generator(cls.checkpoint, TINY, cls.variables)

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.out = pathlib.Path(folder.name) / "out"

  def run_command(self, **changes):
    flags = {"checkpoint": self.checkpoint, "out": self.out, **changes}
    return commands.run(
      "render",
      *(
        f"--{name}={value}"
        for name, value in flags.items()
        if value is not None
      ),
      cwd=ROOT,
    )

  def test_pictures(self):
    result = self.run_command(
      seeds="0,2-3", yaw="-0.35,0.35", grid=True, truncation_psi=1.0
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertEqual(result.stderr, "")
    names = {
      f"seed{seed:04d}_yaw{yaw}_pitch+0.00_{kind}.png"
      for seed in (0, 2, 3)
      for yaw in ("-0.35", "+0.35")
      for kind in frames.KINDS
    }
    names |= {f"grid_{kind}.png" for kind in frames.KINDS}
    self.assertEqual(set(os.listdir(self.out)), names)
    self.assertIn("seed0003 (3 of 3)", result.stdout)

    read = lambda name: np.asarray(Image.open(self.out / name), np.float32)
    self.assertEqual(read("grid_image.png").shape, (48, 32, 3))
    self.assertEqual(read("grid_depth.png").shape, (12, 8))
    # The picture is the generator's, to the rounding of eight bits.
    z = np.random.RandomState(2).randn(1, TINY.z_dim)
    apply = jax.jit(my3dgen_jax.Generator(TINY).apply, static_argnames="method")
    front, side = (
      render.view_labels(TINY.rendering, [yaw], [0.0]) for yaw in (0.0, 0.35)
    )
    ws = apply(self.variables, z, front, method="mapping")
    image = np.asarray(
      apply(self.variables, ws, side, method="synthesis").image[0]
    )
    np.testing.assert_allclose(
      read("seed0002_yaw+0.35_pitch+0.00_image.png"),
      np.clip((image + 1) * 127.5, 0, 255),
      atol=0.51,
    )
    np.testing.assert_array_equal(
      read("grid_image.png")[16:32, 16:],
      read("seed0002_yaw+0.35_pitch+0.00_image.png"),
    )

  @parameterized.named_parameters(
    ("checkpoint", dict(checkpoint="/nowhere"), 1, "/nowhere: no such"),
    ("no_checkpoint", dict(checkpoint=None), 2, "--checkpoint"),
    ("seeds", dict(seeds="0-x"), 2, "--seeds: expected whole numbers"),
    ("yaw", dict(yaw="0,left"), 2, "--yaw: expected numbers"),
    ("pitch", dict(pitch="2"), 2, "--pitch: expected numbers between"),
    ("twice", dict(yaw="0.3,0.3"), 1, "two views are the same"),
    ("psi", dict(truncation_psi="nan"), 1, "truncation_psi: holds NaN"),
    ("kinds", dict(kinds="images"), 2, "kinds"),
    ("camera", dict(camera="/nowhere.json"), 1, "/nowhere.json: cannot be"),
    ("angles", dict(camera="own", yaw="0.1"), 1, "yaw, pitch: cameras of"),
    ("compare", dict(compare=True), 2, "--run is missing"),
    ("latents", dict(latents="photo003"), 1, "latents: unknown photo "),
    ("way", dict(seeds="1", between="linear"), 1, "latents: between needs"),
    (
      "both",
      dict(between="linear", direction="d.npy"),
      2,
      "--between and --direction exclude each other",
    ),
    (
      "what",
      dict(seeds="1", latents="photo003"),
      2,
      "--seeds and --latents exclude each other",
    ),
    ("direction", dict(direction="/nowhere.npy"), 1, "/nowhere.npy"),
    ("unknown", dict(yaws="0"), 2, "Unknown command line flag 'yaws'"),
    ("out", dict(out="/proc/nowhere"), 1, "/proc/nowhere: "),
  )
  def test_bad_input_is_one_line(self, changes, code, message):
    result = self.run_command(**changes)
    self.assertEqual(result.returncode, code)
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertIn(message, result.stderr)
    self.assertFalse(self.out.exists())

  def test_damaged_checkpoint_is_one_line(self):
    damaged = self.out.parent / "damaged"
    shutil.copytree(self.checkpoint, damaged)
    manifest = damaged / "variables" / "manifest.ocdbt"
    manifest.write_bytes(manifest.read_bytes()[:20])
    result = self.run_command(checkpoint=damaged)
    self.assertEqual(result.returncode, 1)
    self.assertRegex(result.stderr, r"\Aerror: [^\n]+damaged[^\n]+\n\Z")

  def test_near_views_have_names_of_their_own(self):
    result = self.run_command(seeds=0, yaw="0.351,0.354", kinds="raw")
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertCountEqual(
      os.listdir(self.out),
      [
        "seed0000_yaw+0.351_pitch+0.000_raw.png",
        "seed0000_yaw+0.354_pitch+0.000_raw.png",
      ],
    )

  def test_turning_edits(self):
    """Seeds, along a direction, from an orbit, as videos."""
    direction = self.out.parent / "smile.npy"
    np.save(direction, np.eye(TINY.w_dim, dtype=np.float32)[0])
    result = self.run_command(
      seeds=1,
      direction=direction,
      strengths="-1,1",
      unit="w",
      camera="orbit",
      pitch="0",
      frames=3,
      format="gif",
      side=20,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertEqual(os.listdir(self.out), ["seed0001_smile_orbit_image.gif"])
    with Image.open(self.out / "seed0001_smile_orbit_image.gif") as video:
      self.assertEqual((video.n_frames, video.width), (3, 40))
    details = dict(
      provenance.read_origin(
        self.out / "seed0001_smile_orbit_image.gif"
      ).details
    )
    self.assertEqual(details["strengths"], "-1, +1")
    self.assertEqual(details["truncation_psi"], "0.7")


class RenderRunTest(absltest.TestCase):
  def test_a_photo_compared(self):
    with tempfile.TemporaryDirectory() as folder:
      folder = pathlib.Path(folder)
      base = person.write(folder / "files", count=1) / "base"
      run = runs.write_run(folder / "run", base)
      result = commands.run(
        "render",
        f"--run={run}",
        "--latents=photo01,0",
        "--compare",
        "--camera=own",
        "--kinds=raw",
        f"--out={folder / 'out'}",
        cwd=ROOT,
      )
      self.assertEqual(result.returncode, 0, result.stderr)
      self.assertCountEqual(
        os.listdir(folder / "out"),
        [f"photo0{i}_compared_own_raw.png" for i in range(2)],
      )


class FlagsTest(parameterized.TestCase):
  def test_numbers(self):
    self.assertEqual(cli.numbers("yaw", ["-0.5", " 1e-1"], 1), [-0.5, 0.1])
    for bad in ([], ["nan"], ["inf"], [""], ["1.1"], ["-1.1"]):
      with self.assertRaisesRegex(FlagError, "--yaw"):
        cli.numbers("yaw", bad, 1.0)

  def test_whole_numbers(self):
    self.assertEqual(
      cli.whole_numbers("seeds", ["3", "5-7", "1-1"]), [3, 5, 6, 7, 1]
    )
    for bad in (
      [],
      ["-3"],
      ["4-2"],
      ["1-2-3"],
      ["1.5"],
      ["0-9999999999"],
      ["0-4000000000"],
      ["9" * 5000],
    ):
      with self.assertRaisesRegex(FlagError, "--seeds"):
        cli.whole_numbers("seeds", bad)


if __name__ == "__main__":
  absltest.main()

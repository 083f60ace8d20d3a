"""What a wheel holds, and that it works from any folder."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zipfile

from absl.testing import absltest

from my3dgen_jax.launch.support import my3dgen

ROOT = pathlib.Path(__file__).resolve().parents[1]
PARTS = (
  "my3dgen_jax",
  "converters",
  "launch",
  "pyproject.toml",
  "setup.py",
  "README.md",
  "LICENSE",
  "NOTICE",
  "requirements-cpu.txt",
)


class WheelTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.folder = pathlib.Path(folder.name)
    source = cls.folder / "source"
    source.mkdir()
    for part in PARTS:  # a build leaves folders where it runs
      path = ROOT / part
      if path.is_dir():
        shutil.copytree(
          path, source / part, ignore=shutil.ignore_patterns("__pycache__")
        )
      else:
        shutil.copy(path, source / part)
    subprocess.run(
      [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        cls.folder,
        source,
      ],
      check=True,
      capture_output=True,
    )
    (wheel,) = cls.folder.glob("*.whl")
    cls.site = cls.folder / "site"
    with zipfile.ZipFile(wheel) as file:
      cls.names = file.namelist()
      file.extractall(cls.site)
    shutil.rmtree(source)

  def run_command(self, *arguments):
    elsewhere = self.folder / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    return subprocess.run(
      [sys.executable, "-P", *arguments],
      cwd=elsewhere,
      env={**os.environ, "PYTHONPATH": str(self.site), "JAX_PLATFORMS": "cpu"},
      capture_output=True,
      text=True,
    )

  def test_all_is_in_it(self):
    for path in ROOT.glob("launch/*.flags"):
      self.assertIn(f"my3dgen_jax/launch/flagfiles/{path.name}", self.names)
    for folder in ("my3dgen_jax", "converters"):
      for path in (ROOT / folder).rglob("*.py"):
        self.assertIn(str(path.relative_to(ROOT)), self.names)
    for path in (ROOT / "my3dgen_jax" / "apps").glob("*/page*"):
      for file in path.iterdir() if path.is_dir() else [path]:
        self.assertIn(str(file.relative_to(ROOT)), self.names)
    self.assertIn("my3dgen_jax/py.typed", self.names)
    tops = {name.partition("/")[0] for name in self.names}
    self.assertEqual(
      {top for top in tops if not top.endswith(".dist-info")},
      {"my3dgen_jax", "converters"},
    )
    (scripts,) = (
      name for name in self.names if name.endswith("entry_points.txt")
    )
    self.assertIn(
      "my3dgen = my3dgen_jax.launch.support.my3dgen:main",
      (self.site / scripts).read_text(),
    )

  def test_flagfile_is_found(self):
    ended = self.run_command(
      "-c",
      "import my3dgen_jax, sys\n"
      "from my3dgen_jax.launch.support import flagfiles\n"
      "print(my3dgen_jax.__file__)\n"
      "print(flagfiles.found('demo.flags'))",
    )
    package, flagfile = ended.stdout.splitlines()
    self.assertStartsWith(package, str(self.site))
    self.assertStartsWith(flagfile, str(self.site))
    self.assertTrue(pathlib.Path(flagfile).is_file())

  def test_commands(self):
    ended = self.run_command("-m", "my3dgen_jax")
    self.assertEqual(ended.returncode, 0, ended.stderr)
    for name in my3dgen.commands():
      self.assertIn(f"  {name} ", ended.stdout)
    ended = self.run_command("-m", "my3dgen_jax", "info", "--preset=ffhq512-64")
    self.assertIn("lora: 240030 numbers", ended.stdout)
    ended = self.run_command(
      "-m", "my3dgen_jax", "convert", "--input=none.pkl", "--output=out"
    )
    self.assertEqual(ended.returncode, 1)
    self.assertStartsWith(ended.stderr, "error: none.pkl: ")
    ended = self.run_command("-m", "my3dgen_jax", "personalise")
    self.assertEqual(ended.returncode, 2)
    self.assertIn(
      "unknown command 'personalise'; did you mean personalize?", ended.stderr
    )
    ended = self.run_command("-m", "my3dgen_jax", "info", "--no_such=1")
    self.assertEqual(ended.returncode, 2)
    self.assertIn("Unknown command line flag 'no_such'", ended.stderr)


if __name__ == "__main__":
  absltest.main()

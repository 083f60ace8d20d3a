"""The project's own rules: layers, public API, docstrings, requirements."""

import ast
import importlib
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys
import tomllib

import jax
from absl.testing import absltest, parameterized

import my3dgen_jax
from my3dgen_jax import _renamed

ROOT = pathlib.Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "my3dgen_jax"
# A file imports only from rooms above its own, or from its own.
LAYERS = (
  "_startup",
  "_version",
  "_renamed",
  "errors",
  "storage",
  "jobs",
  "config",
  "types",
  "tracing",
  "ops",
  "cameras",
  "rendering",
  "data",
  "models",
  "lora",
  "latents",
  "directions",
  "losses",
  "training",
  "apps",
  "demo",
  "launch",
  "__main__",
)
MOST_LINES, MOST_MODULES = 450, 15
MOST_COMMANDS = 20  # in launch/, whose files are what `my3dgen --help` lists
# Imported only inside the function that needs them.
LAZY = (
  "array_record",
  "orbax",
  "optax",
  "safetensors",
  "tensorboardX",
  "tensorflow_datasets",
  "PIL",
  "imageio_ffmpeg",
  "sklearn",
  "mediapipe",
  "dm_pix",
  "matplotlib",
  "cv2",
  "skimage",
  "trimesh",
  "xatlas",
  "fast_simplification",
  "gaussforge",
  "mrcfile",
  "viser",
  "websockets",
  "playwright",
  "ray",
)


def modules():
  return [
    info.name
    for info in pkgutil.walk_packages([str(PACKAGE)], prefix="my3dgen_jax.")
  ]


def imports_of(path, *, top_level_only=False):
  tree = ast.parse(path.read_text())
  nodes = tree.body if top_level_only else ast.walk(tree)
  for node in nodes:
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name
    elif isinstance(node, ast.ImportFrom):
      for alias in node.names:
        yield f"{node.module}.{alias.name}"


class LayersTest(parameterized.TestCase):
  def test_imports_point_upwards(self):
    for path in PACKAGE.rglob("*.py"):
      room = path.relative_to(PACKAGE).with_suffix("").parts[0]
      if room == "__init__":
        continue
      self.assertIn(room, LAYERS, path)
      for name in imports_of(path):
        if name.startswith("my3dgen_jax."):
          other = name.split(".")[1]
          self.assertLessEqual(
            LAYERS.index(other), LAYERS.index(room), f"{path} imports {name}"
          )

  def test_no_circles(self):
    """Nothing that is imported when a file is imports that file again."""
    arrows = {}
    for path in PACKAGE.rglob("*.py"):
      name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
      arrows[name] = set(imports_of(path, top_level_only=True))
    arrows = {
      name: {
        other
        for other in arrows
        if other != name
        and (
          other in found
          or any(one.rpartition(".")[0] == other for one in found)
        )
      }
      for name, found in arrows.items()
    }
    while arrows:
      last = [
        name for name, others in arrows.items() if not others & arrows.keys()
      ]
      self.assertNotEmpty(last, f"a circle among {sorted(arrows)}")
      for name in last:
        del arrows[name]

  def test_files_are_one_subject_and_folders_a_page(self):
    for path in PACKAGE.rglob("*.py"):
      self.assertLessEqual(len(path.read_text().splitlines()), MOST_LINES, path)
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
      modules = [
        path for path in folder.glob("*.py") if path.name != "__init__.py"
      ]
      most = MOST_COMMANDS if folder == PACKAGE / "launch" else MOST_MODULES
      self.assertLessEqual(len(modules), most, folder)
      self.assertTrue((folder / "__init__.py").exists(), folder)

  def test_old_names_of_modules(self):
    for old, new in _renamed.RENAMED.items():
      with self.assertWarnsRegex(DeprecationWarning, re.escape(new)):
        module = importlib.import_module(f"my3dgen_jax.{old}")
      self.assertIs(module, importlib.import_module(f"my3dgen_jax.{new}"))
      self.assertEqual(module.__spec__.name, f"my3dgen_jax.{new}")

  def test_package_needs_neither_torch_nor_converters(self):
    for path in PACKAGE.rglob("*.py"):
      for name in imports_of(path):
        self.assertNotIn(
          name.split(".")[0],
          ("torch", "converters", "tests", "benchmarks"),
          path,
        )

  def test_import_is_light(self):
    code = (
      "import sys, my3dgen_jax; print([name for name in "
      f"{LAZY!r} if name in sys.modules])"
    )
    result = subprocess.run(
      [sys.executable, "-c", code],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=True,
    )
    self.assertEqual(result.stdout.strip(), "[]")

  def test_flags_are_declared_in_launch_alone(self):
    for path in PACKAGE.rglob("*.py"):
      if path.relative_to(PACKAGE).parts[0] != "launch":
        self.assertNotIn(
          "absl", {name.split(".")[0] for name in imports_of(path)}, path
        )

  def test_pmap_is_called_in_one_file_alone(self):
    """What would change if JAX dropped it."""
    callers = {
      path.relative_to(ROOT).as_posix()
      for folder in (PACKAGE, ROOT / "benchmarks", ROOT / "converters")
      for path in folder.rglob("*.py")
      if any(
        "pmap" in (getattr(node, "attr", ""), getattr(node, "id", ""))
        for node in ast.walk(ast.parse(path.read_text()))
      )
      or "jax.pmap" in imports_of(path)
    }
    self.assertEqual(callers, {"my3dgen_jax/jobs/devices.py"})


class ApiTest(parameterized.TestCase):
  def test_all_is_what_there_is(self):
    public = {
      name
      for name, value in vars(my3dgen_jax).items()
      if not name.startswith("_")
      and not (
        inspect.ismodule(value) and name not in ("cameras", "latents", "lora")
      )
    }
    self.assertEqual(public | {"__version__"}, set(my3dgen_jax.__all__))

  @parameterized.parameters(*modules())
  def test_everything_public_has_a_docstring(self, name):
    module = importlib.import_module(name)
    self.assertTrue(module.__doc__, name)
    for attribute, value in vars(module).items():
      if (
        attribute.startswith("_") or getattr(value, "__module__", None) != name
      ):
        continue
      if name.startswith("my3dgen_jax.launch.") and attribute == "main":
        continue  # the module's docstring is the command's
      if inspect.isclass(value) or inspect.isfunction(value):
        self.assertTrue(value.__doc__, f"{name}.{attribute}")

  @parameterized.parameters(*modules())
  def test_keys_are_named_key_and_come_first(self, name):
    for attribute, value in vars(importlib.import_module(name)).items():
      if inspect.isfunction(value) and value.__module__ == name:
        parameters = list(inspect.signature(value).parameters)
        self.assertNotIn("rng", parameters, f"{name}.{attribute}")
        if "key" in parameters and not attribute.startswith("_"):
          self.assertEqual(parameters[0], "key", f"{name}.{attribute}")

  def test_options_are_keywords(self):
    """Nobody can tell what `f(x, True, None)` means; DM PIX tests so, too."""
    for path in PACKAGE.rglob("*.py"):
      for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_"):
          continue
        given = [
          one for one in node.args.args if one.arg not in ("self", "cls")
        ]
        options = list(zip(reversed(given), reversed(node.args.defaults)))
        where = f"{path}: {node.name}"
        # One may be what the function is about.
        self.assertLessEqual(len(options), 3, where)
        if len(given) > 1:
          for name, default in options:
            self.assertNotIsInstance(
              getattr(default, "value", None), bool, f"{where}: {name.arg}"
            )

  def test_issue_signatures(self):
    """The calls that the README promises."""
    method = lambda name: inspect.signature(
      getattr(my3dgen_jax.Generator, name)
    )
    self.assertEqual(
      list(method("mapping").parameters)[1:],
      ["z", "c", "truncation_psi", "truncation_cutoff"],
    )
    self.assertEqual(list(method("synthesis").parameters)[1:3], ["ws", "c"])
    self.assertEqual(
      list(method("render_planes").parameters)[1:4], ["planes", "ws", "c"]
    )
    self.assertEqual(list(method("query").parameters)[1:], ["planes", "points"])
    self.assertEqual(
      list(inspect.signature(my3dgen_jax.cameras.look_at).parameters),
      ["yaw", "pitch", "pivot", "radius"],
    )
    for name in ("intrinsics_from_fov", "pack_label", "unpack_label", "mirror"):
      self.assertTrue(callable(getattr(my3dgen_jax.cameras, name)))


class RequirementsTest(parameterized.TestCase):
  def read(self, name):
    lines = (ROOT / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]

  def test_both_lists_agree(self):
    cuda = self.read("requirements.txt")
    self.assertEqual(
      [line.replace("jax[cuda12]", "jax") for line in cuda],
      self.read("requirements-cpu.txt"),
    )
    self.assertStartsWith(cuda[0], "jax[cuda12]")

  def test_bounded_from_below_and_above(self):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    lines = [*self.read("requirements.txt"), *sum(extras.values(), [])]
    for line in lines:
      # Some are for some versions of Python alone.
      self.assertRegex(line.partition("; ")[0], r"^[\w\[\]-]+>=[\d.]+,<[\d.]+$")

  def test_installed_jax_is_within(self):
    bounds = re.fullmatch(
      r"jax>=([\d.]+),<([\d.]+)", self.read("requirements-cpu.txt")[0]
    )
    numbers = lambda text: tuple(map(int, text.split(".")[:3]))
    self.assertLessEqual(numbers(bounds[1]), numbers(jax.__version__))
    self.assertLess(numbers(jax.__version__), numbers(bounds[2]))


if __name__ == "__main__":
  absltest.main()

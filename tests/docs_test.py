"""What README and docs/ say holds: names, links, Python blocks, commands."""

import ast
import contextlib
import importlib
import importlib.util
import json
import os
import pathlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import types
import unittest
from unittest import mock

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
NOTEBOOK = DOCS / "getting_started.ipynb"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FLAGS = json.loads((ROOT / "tests/launch/flags.json").read_text())
# Modules that the API reference is about; of the last two, these names.
PUBLIC = {
  "my3dgen_jax": None,
  "my3dgen_jax.cameras": None,
  "my3dgen_jax.config": None,
  "my3dgen_jax.directions": None,
  "my3dgen_jax.latents": None,
  "my3dgen_jax.lora": None,
  "my3dgen_jax.losses": None,
  "my3dgen_jax.rendering": None,
  "my3dgen_jax.training": None,
  "my3dgen_jax.tracing.derivatives": ("automatic", "is_automatic"),
  "my3dgen_jax.data.provenance": (
    "Origin",
    "read_origin",
    "write_picture",
    "write_video",
  ),
}
# Flags of absl that every command has.
COMMON = {"flagfile", "help", "helpshort", "helpfull", "helpxml", "v"}
ACTIONS = {"bank": 1, "fleet": 1}  # commands that take a word before flags


def blocks(path: pathlib.Path, *languages: str) -> list[str]:
  """A page's fenced blocks of some languages, in their order."""
  found = re.findall(r"^```(\w*)\n(.*?)^```", path.read_text(), re.M | re.S)
  return [text for language, text in found if language in languages]


def prose(path: pathlib.Path) -> str:
  """A page without its fenced blocks and code."""
  text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
  return re.sub(r"`[^`]*`", "`", text)


def anchors(path: pathlib.Path) -> set[str]:
  """What a link can name on a page: its headings, as GitHub writes them."""
  text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S)
  headings = re.findall(r"^#+ (.*)$", text, re.M)
  return {
    re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
    for heading in headings
  }


def commands(text: str) -> list[list[str]]:
  """Commands of a block of shell, split into words."""
  lines = text.replace("\\\n", " ").splitlines()
  found = [shlex.split(line, comments=True) for line in lines]
  return [words for words in found if words]


def flag_names(words: list[str]) -> set[str]:
  """Names of the flags among words."""
  found = (re.match(r"--?([A-Za-z_]\w*)", word) for word in words)
  return {match[1] for match in found if match}


def known_of(command: str) -> set[str]:
  """Names of the flags that a command of the project has."""
  flags = FLAGS[command]
  negated = {"no" + name for name in flags if flags[name]["kind"] == "bool"}
  return set(flags) | negated | COMMON


def converter_flags(path: pathlib.Path) -> set[str]:
  """Flags that a converter declares, by its source and its helper's."""
  shared = [ROOT / "converters" / name for name in ("cli.py", "one_tensor.py")]
  text = "".join(file.read_text() for file in (path, *shared))
  return set(re.findall(r"""["']([a-z_]+)["']""", text)) | {"help"}


class ReferenceTest(parameterized.TestCase):
  @parameterized.parameters(*PUBLIC)
  def test_every_public_name_is_there(self, module):
    wanted = PUBLIC[module] or importlib.import_module(module).__all__
    pages = {path: path.read_text() for path in DOCS.glob("api_*.md")}
    (page,) = [
      text for text in pages.values() if text.splitlines()[2] == f"`{module}`"
    ]
    for name in wanted:
      documented = re.search(
        rf"^\.\. (auto\w+:: {re.escape(module)}\.|data:: ){re.escape(name)}$",
        page,
        re.M,
      )
      elsewhere = re.search(rf"\[`{re.escape(name)}`\]\((\w+\.md)", page)
      self.assertTrue(documented or elsewhere, f"{module}.{name}")
      if elsewhere and not documented:
        self.assertIn(DOCS / elsewhere[1], pages)

  def test_values_of_constants(self):
    found = []
    for path in DOCS.glob("api_*.md"):
      page = path.read_text()
      module = re.search(r"currentmodule:: (\S+)", page)[1]
      found += [
        (module, *row)
        for row in re.findall(
          r"^\.\. data:: (\S+)\n +:value: (.+)$", page, re.M
        )
      ]
    self.assertNotEmpty(found)
    for module, name, value in found:
      self.assertEqual(
        getattr(importlib.import_module(module), name), ast.literal_eval(value)
      )


class LinksTest(parameterized.TestCase):
  @parameterized.parameters(*(str(path.relative_to(ROOT)) for path in PAGES))
  def test_all_are_there(self, name):
    page = ROOT / name
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
      if re.match(r"https?:|mailto:", target):
        continue
      place, _, anchor = target.partition("#")
      path = (page.parent / place).resolve() if place else page
      self.assertTrue(path.exists(), target)
      if anchor:
        self.assertIn(anchor, anchors(path), target)

  def test_every_page_is_in_the_site(self):
    listed = "\n".join(
      text
      for page in (DOCS / "index.md", DOCS / "api.md")
      for text in re.findall(r"```{toctree}(.*?)```", page.read_text(), re.S)
    ).split()
    for page in DOCS.glob("*.md"):
      if page.stem != "index":
        self.assertIn(page.stem, listed)


class CommandsTest(parameterized.TestCase):
  @parameterized.parameters(*(str(path.relative_to(ROOT)) for path in PAGES))
  def test_commands_and_flags_are_known(self, name):
    for block in blocks(ROOT / name, "sh"):
      for words in commands(block):
        with self.subTest(" ".join(words)):
          self.check(words)

  def check(self, words):
    while "=" in words[0]:  # a variable of the environment
      words = words[1:]
    program, rest = words[0], words[1:]
    if program == "make":
      targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
      for word in rest:
        self.assertTrue("=" in word or word in targets, word)
    elif program == "my3dgen":
      self.check_launched(rest[0].replace("-", "_"), rest[1:])
    elif program in ("python", "python3") and rest[0] == "-m":
      package, _, command = rest[1].rpartition(".")
      if package == "my3dgen_jax.launch":
        self.check_launched(command, rest[2:])
      elif package in ("benchmarks", "tests"):
        self.assertTrue((ROOT / package / f"{command}.py").exists(), rest[1])
    elif program in ("python", "python3") and rest[0].endswith(".py"):
      path = ROOT / rest[0]
      self.assertTrue(path.exists(), rest[0])
      if path.parent.name == "converters":
        self.assertLessEqual(flag_names(rest[1:]), converter_flags(path))

  def check_launched(self, command, words):
    self.assertIn(command, FLAGS)
    self.assertLessEqual(flag_names(words), known_of(command))
    if command in ACTIONS and not words[0].startswith("-"):
      source = (ROOT / f"my3dgen_jax/launch/{command}.py").read_text()
      self.assertIn(words[0], source)
    for word in words:
      if word.startswith("--flagfile="):
        name = pathlib.PurePath(word.partition("=")[2]).name
        self.assertTrue((ROOT / "launch" / name).exists(), word)


class PythonTest(parameterized.TestCase):
  """A page's blocks run one after another, with the shipped prior."""

  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.enter_context(contextlib.chdir(folder.name))

  @parameterized.parameters(
    *(str(path.relative_to(ROOT)) for path in PAGES if blocks(path, "python"))
  )
  def test_blocks_run(self, name):
    # pylint: disable=import-outside-toplevel
    import jax

    import my3dgen_jax
    from my3dgen_jax import lora, LoraConfig
    from my3dgen_jax.demo.shipped import PRIOR
    from tests.support import golden

    config, _ = my3dgen_jax.load_config(PRIOR)
    os.makedirs("runs/obama")
    adapter = lora.init(jax.random.key(1), config, LoraConfig(rank=2))
    lora.save("runs/obama/adapter.safetensors", adapter, LoraConfig(rank=2))
    shutil.copytree(golden.FOLDER / "demo_run", "runs/demo")
    settings = json.loads(pathlib.Path("runs/demo/config.json").read_text())
    settings["settings"]["checkpoint"] = str(PRIOR)
    pathlib.Path("runs/demo/config.json").write_text(json.dumps(settings))
    drawn = golden.draw("anchors", (6, config.num_ws, config.w_dim))
    # What README's block about the hull takes as given.
    names = {
      "anchors": types.SimpleNamespace(ws=drawn),
      "ws": drawn[:2],
      "direction": drawn[0, 0],
    }
    load = my3dgen_jax.load_generator
    with mock.patch.object(
      my3dgen_jax, "load_generator", side_effect=lambda folder: load(PRIOR)
    ):
      for i, block in enumerate(blocks(ROOT / name, "python")):
        code = compile(block, f"{name}, block {i + 1}", "exec")
        exec(code, names)  # pylint: disable=exec-used

  def test_the_notebook_compiles(self):
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    for i, cell in enumerate(cells):
      if cell["cell_type"] == "code":
        self.assertFalse(cell["outputs"], f"cell {i} holds outputs")
        compile("".join(cell["source"]), f"{NOTEBOOK.name}, cell {i}", "exec")

  def test_the_notebook_runs(self):
    names = {}
    for i, cell in enumerate(json.loads(NOTEBOOK.read_text())["cells"]):
      if cell["cell_type"] == "code":
        code = compile("".join(cell["source"]), f"cell {i}", "exec")
        exec(code, names)  # pylint: disable=exec-used
    self.assertTrue(pathlib.Path("person.safetensors").exists())


class SiteTest(absltest.TestCase):
  def test_the_checker_finds_what_is_missing(self):
    problems = runpy.run_path(str(DOCS / "check_site.py"))["problems"]
    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      (folder / "a.html").write_text(
        '<h1 id="here">A</h1><a href="#here">1</a><a href="#not">2</a>'
        '<a href="b.html">3</a><img src="c.png">'
        '<script src="https://cdn.example/x.js"></script>'
      )
      found = problems(folder)
    self.assertLen(found, 4)

  @unittest.skipIf(
    importlib.util.find_spec("furo") is None, "needs the extra `docs`"
  )
  def test_the_site_builds_without_warnings(self):
    if not os.environ.get("MY3DGEN_BUILD_DOCS"):
      self.skipTest("slow; `make docs` does it, or MY3DGEN_BUILD_DOCS=1")
    with tempfile.TemporaryDirectory() as folder:
      subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "-n", "-q", DOCS, folder],
        check=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
      )


if __name__ == "__main__":
  absltest.main()

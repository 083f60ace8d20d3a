"""A bank as people use it: runs go in, pictures and files come out."""

import json
import pathlib
import shutil
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax import lora
from my3dgen_jax.apps import banks
from my3dgen_jax.launch.support import my3dgen
from my3dgen_jax.models.checkpoint import save_generator
from my3dgen_jax.training.anchors import Anchors
from tests.support import commands, person
from tests.support.runs import write_run
from tests.support.tiny import random_variables, TINY


class BankCommandTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.root = pathlib.Path(folder.name)
    person.write(cls.root / "made", count=4)
    for i, name in enumerate(("ann", "bob")):
      write_run(cls.root / "runs" / name, cls.root / "made/base", seed=i)
    save_generator(cls.root / "other", TINY, random_variables())
    cls.run_well("add", "--bank=kept", "--runs=runs")

  @classmethod
  def run_well(cls, action, *flags, command="bank"):
    arguments = [action] if action else []
    found = commands.run(command, *arguments, *flags, cwd=cls.root)
    assert found.returncode == 0, found.stderr
    return found.stdout

  def refused(self, code, *arguments, command="bank"):
    found = commands.run(command, *arguments, cwd=self.root)
    self.assertRegex(found.stderr, r"\Aerror: [^\n]+\n\Z")
    self.assertEqual(found.returncode, code, found.stderr)
    return found.stderr

  def test_it_has_a_name(self):
    self.assertEqual(my3dgen.commands()["bank"], "my3dgen_jax.launch.bank")

  def test_from_first_to_last(self):
    said = self.run_well("add", "--bank=b", "--run=runs/ann")
    self.assertEqual(said, "b: added ann\n")
    adapter = "--runs=runs/bob/adapter.safetensors"
    self.run_well("add", "--bank=b", adapter, "--person=Bob Ross")
    listed = self.run_well("list", "--bank=b").splitlines()
    self.assertStartsWith(listed[0], "Bob Ross: rank 1 (kernel), 2220 numbers,")
    self.assertIn("float32, 0 anchors", listed[0])
    self.assertIn("4 anchors", listed[1])
    self.assertStartsWith(listed[2], "2 people of the base ")
    self.run_well("add", "--bank=b", "--run=runs/ann", "--replace")
    self.assertIn("all 2 people", self.run_well("verify", "--bank=b"))

    written = self.run_well("export", "--bank=b", "--all", "--out=out")
    self.assertEqual(written, "out/Bob Ross.safetensors\nout/ann.safetensors\n")
    exported = lora.load(self.root / "out/ann.safetensors", person.MODEL)
    original = lora.load(self.root / "runs/ann/adapter.safetensors")
    jax.tree.map(np.testing.assert_array_equal, exported.lora, original.lora)
    self.assertEqual(exported.metadata, original.metadata)
    self.assertEqual(
      (self.root / "out/ann.safetensors").read_bytes(),
      (self.root / "runs/ann/adapter.safetensors").read_bytes(),
    )
    anchors = Anchors.load(self.root / "out/ann.anchors.npz")
    self.assertLen(anchors.names, 4)

    said = self.run_well("remove", "--bank=b", "--person=ann")
    self.assertIn("removed 1 people; their numbers stay in the files", said)
    self.assertIn("until bank compact", self.run_well("list", "--bank=b"))
    said = self.run_well("compact", "--bank=b")
    self.assertRegex(said, r"^b: 4 rows of .* are gone from all its")
    self.assertNotIn("until", self.run_well("list", "--bank=b"))

  def test_damage(self):
    self.run_well("add", "--bank=d", "--runs=runs", "--noanchors")
    (shard,) = (self.root / "d").glob("shard-*")
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    said = self.refused(1, "verify", "--bank=d")
    self.assertIn(
      f"{shard.name}: is damaged, with the numbers of 1 people", said
    )
    self.assertIn("'bob'", said)
    self.assertIn(
      "are not what was added",
      self.refused(
        1,
        "--bank=d",
        "--person=bob",
        "--checkpoint=made/base",
        "--out=no",
        command="render",
      ),
    )
    self.assertFalse((self.root / "no").exists())
    self.run_well("remove", "--bank=d", "--damaged")
    self.assertIn(
      "nothing is damaged", self.refused(1, "remove", "--bank=d", "--damaged")
    )
    self.run_well("compact", "--bank=d")
    self.run_well("verify", "--bank=d")

  def test_float16(self):
    self.run_well("add", "--bank=h", "--run=runs/ann", "--dtype=float16")
    self.run_well("export", "--bank=h", "--person=ann", "--out=half")
    self.run_well("add", "--bank=h", "--runs=half", "--person=again")
    bank = lora.Bank(self.root / "h")
    self.assertEqual(bank.dtype("again"), "float16")
    jax.tree.map(
      np.testing.assert_array_equal,
      bank.read("again").lora,
      bank.read("ann").lora,
    )

  @parameterized.parameters(
    ("render", "--seeds=0"), ("synthesize", "--count=1")
  )
  def test_pictures_are_those_of_the_run(self, command, *flags):
    base = "--checkpoint=made/base"
    self.run_well("", "--run=runs/ann", "--out=run", *flags, command=command)
    self.run_well(
      "",
      "--bank=kept",
      "--person=ann",
      base,
      f"--out=bank-{command}",
      *flags,
      command=command,
    )
    pictures = sorted((self.root / "run").glob("*.png"))
    self.assertNotEmpty(pictures)
    for path in pictures:
      other = self.root / f"bank-{command}" / path.name
      np.testing.assert_array_equal(Image.open(path), Image.open(other))
    shutil.rmtree(self.root / "run")

  @parameterized.parameters(
    (2, [], "expected an action (add, list, remove, compact, verify, export)"),
    (2, ["join"], "before all flags, got 'join'"),
    (2, ["--bank=kept", "list"], "before all flags, got '--bank=kept'"),
    (2, ["list"], "--bank is missing"),
    (2, ["list", "kept"], "unexpected argument 'kept'"),
    (1, ["list", "--bank=none"], "none: there is no bank"),
    (1, ["verify", "--bank=none"], "none: there is no bank"),
    (1, ["compact", "--bank=none"], "none: there is no bank"),
    (1, ["list", "--bank=made"], "made: there is no bank"),
    (2, ["add", "--bank=kept"], "nothing to add; give --run"),
    (1, ["add", "--bank=kept", "--run=none"], "none: does not exist"),
    (1, ["add", "--bank=made", "--runs=runs"], "made: is not a bank, but"),
    (1, ["add", "--bank=kept", "--runs=runs"], "'ann' is there already"),
    (1, ["add", "--bank=k", "--runs=runs", "--person=a"], "2 names for 2 adap"),
    (1, ["add", "--bank=k", "--run=runs/ann", "--person= "], "printable"),
    (2, ["add", "--bank=k", "--runs=runs", "--dtype=int4"], "--dtype"),
    (2, ["remove", "--bank=kept"], "either --person or --damaged"),
    (1, ["remove", "--bank=kept", "--person=cat"], "no person 'cat'"),
    (2, ["export", "--bank=kept", "--all"], "--out is missing"),
    (2, ["export", "--bank=kept", "--out=o"], "either --person or --all"),
    (
      1,
      ["export", "--bank=kept", "--out=o", "--person=ann,cat"],
      "no person 'cat'",
    ),
  )
  def test_refused(self, code, arguments, reason):
    before = sorted(path.name for path in self.root.iterdir())
    self.assertIn(reason, self.refused(code, *arguments))
    self.assertEqual(sorted(path.name for path in self.root.iterdir()), before)

  @parameterized.parameters(
    (2, ["--bank=kept"], "--bank and --person must be given together"),
    (2, ["--person=ann"], "--bank and --person must be given together"),
    (2, ["--bank=kept", "--person=ann"], "--checkpoint is missing"),
    (
      2,
      ["--bank=kept", "--person=ann", "--run=runs/ann"],
      "--run and --bank exclude each other",
    ),
    (
      1,
      ["--bank=kept", "--person=cat", "--checkpoint=made/base"],
      "no person 'cat'",
    ),
    (
      1,
      ["--bank=kept", "--person=ann", "--checkpoint=other"],
      "kept: is a bank for the base",
    ),
    (
      1,
      ["--bank=none", "--person=ann", "--checkpoint=made/base"],
      "none: there is no bank",
    ),
  )
  def test_refused_by_others(self, code, flags, reason):
    for command in ("synthesize", "render"):
      said = self.refused(code, *flags, "--out=no", command=command)
      self.assertIn(reason, said)
      self.assertFalse((self.root / "no").exists())

  def test_what_runs_alone_have(self):
    flags = ["--bank=kept", "--person=ann", "--checkpoint=made/base"]
    said = self.refused(2, *flags, command="report")
    self.assertIn("--bank: this command needs the folder of a run", said)
    self.run_well("add", "--bank=bare", "--run=runs/ann", "--noanchors")
    flags[0] = "--bank=bare"
    said = self.refused(1, *flags, "--out=no", command="synthesize")
    self.assertIn("bare: ann: a bare checkpoint or a lone adapter has no", said)

  def test_runs_without_an_adapter(self):
    run = write_run(self.root / "full", self.root / "made/base")
    config = json.loads((run / "config.json").read_text())
    config["settings"]["tuning"]["mode"] = "full"
    (run / "config.json").write_text(json.dumps(config))
    said = self.refused(1, "add", "--bank=k", "--run=full")
    self.assertIn("full: a run with --mode=full has no adapter", said)
    self.assertFalse((self.root / "k").exists())

  def test_no_device_is_started_to_list(self):
    """JAX takes a while to start on a GPU."""
    found = commands.run(
      "bank",
      "list",
      "--bank=kept",
      cwd=self.root,
      environment={"JAX_PLATFORMS": "none_such"},
    )
    self.assertEqual(found.returncode, 0, found.stderr)

  @parameterized.parameters(
    ("ann", "ann"),
    ("a/b", "a%2Fb"),
    ("..", "%2E."),
    ("50%", "50%25"),
    ("Zoë Müller", "Zoë Müller"),
  )
  def test_names_of_files(self, one, name):
    self.assertEqual(banks.file_name(one), name)

  def test_long_names_of_files(self):
    names = {banks.file_name("ü" * 250 + end) for end in "ab"}
    self.assertLen(names, 2)
    self.assertLess(max(len(name.encode()) for name in names), 200)


if __name__ == "__main__":
  absltest.main()

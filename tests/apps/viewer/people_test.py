"""Whom a viewer finds and loads."""

import json
import os
import pathlib
import shutil
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest
from safetensors import numpy as safetensors_numpy
from safetensors import safe_open

from my3dgen_jax import lora
from my3dgen_jax.apps import banks
from my3dgen_jax.apps.viewer import people as people_lib
from my3dgen_jax.apps.viewer.people import People
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.models.checkpoint import generator_digest
from my3dgen_jax.training import run_folder
from tests.support import person
from tests.support.runs import write_run


class PeopleTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.root = pathlib.Path(folder.name)
    cls.base = person.write(cls.root / "made") / "base"
    cls.ann = write_run(cls.root / "runs" / "ann" / "lora", cls.base, 1)
    cls.bob = write_run(cls.root / "runs" / "bob" / "lora", cls.base, 2)

  def test_names_and_shared_base(self):
    people = People([self.root / "runs"])
    self.assertEqual(people.names(), ["ann", "bob"])
    ann, bob = people.load("ann"), people.load("bob")
    self.assertIs(ann.base.generator, bob.base.generator)
    self.assertEqual(ann.base.origin.adapter, "none")
    self.assertNotEqual(ann.own.origin.adapter, bob.own.origin.adapter)
    self.assertEqual(ann.base.digest, generator_digest(self.base))
    self.assertNotEqual(ann.own.digest, bob.own.digest)
    np.testing.assert_array_equal(ann.base.anchors.ws, ann.own.anchors.ws)
    self.assertIs(people.load("ann").own, ann.own)  # from memory
    leaf = lambda one: one.generator.variables["params"]["decoder"]["fc0"][
      "bias"
    ]
    self.assertGreater(np.abs(leaf(ann.own) - leaf(ann.base)).max(), 0.05)

  def test_people_of_a_bank(self):
    bank = lora.Bank(self.root / "bank")
    config = banks.AddConfig()
    banks.add(bank, [self.root / "runs"], config, names=["ann", "Bob Ross"])
    people = People([self.ann], checkpoint=self.base, bank=bank.folder)
    self.assertEqual(people.names(), ["lora", "Bob Ross", "ann"])
    run, ann = people.load("lora"), people.load("ann")
    self.assertEqual(ann.own.digest, run.own.digest)
    self.assertEqual(ann.own.origin, run.own.origin)
    self.assertEqual(ann.base.origin.adapter, "none")
    for one in (ann.own, ann.base):
      np.testing.assert_array_equal(one.anchors.ws, run.own.anchors.ws)
      self.assertEqual(one.anchors.names, run.own.anchors.names)
    self.assertIs(people.load("ann").own, ann.own)  # from memory
    banks.add(bank, [self.bob], banks.AddConfig(replace=True), names=["ann"])
    self.assertNotEqual(people.load("ann").own.digest, ann.own.digest)
    bank.remove(["ann"])
    with self.assertRaisesRegex(UserError, "no person 'ann'"):
      people.load("ann")

  def test_some_of_a_bank(self):
    bank = lora.Bank(self.root / "some")
    banks.add(bank, [self.root / "runs"], banks.AddConfig())
    options = {"checkpoint": self.base, "bank": bank.folder}
    self.assertEqual(People([], of_bank=["bob"], **options).names(), ["bob"])
    with self.assertRaisesRegex(UserError, "no person 'carl'"):
      People([], of_bank=["carl"], **options)
    with self.assertRaisesRegex(
      UserError, "needs its base generator.*--checkpoint"
    ):
      People([], bank=bank.folder)
    with self.assertRaisesRegex(UserError, "--person needs a bank"):
      People([self.ann], of_bank=["bob"])
    with mock.patch.object(people_lib, "_MOST_CHOICES", 1):
      with self.assertRaisesRegex(UserError, "has 2 people, .* --person=ANN"):
        People([], **options)
    # A run of the same name, which is shown first.
    banks.add(bank, [self.ann], banks.AddConfig(), names=["lora"])
    people = People([self.ann], of_bank=["lora"], **options)
    self.assertEqual(people.names(), ["lora", "lora (some)"])

  def test_precision_of_all(self):
    for places in ([self.ann], [self.ann / "adapter.safetensors"], []):
      people = People(places, checkpoint=self.base, precision="default")
      shown = people.load(people.names()[0])
      for one in (shown.own, shown.base):
        self.assertEqual(one.generator.module.config.precision, "default")

  def test_a_run_that_is_being_written(self):
    folder = self.root / "more" / "carl"
    shutil.copytree(self.ann, folder)
    (folder / "adapter.safetensors").rename(self.root / "later")
    people = People([folder, self.bob])
    with self.assertRaisesRegex(CheckpointError, "still being written"):
      people.load("carl")
    self.assertEqual(people.first()[0], "lora")
    self.assertIn("still being written", people.first()[1][0])
    with self.assertRaisesRegex(CheckpointError, "still being written"):
      People([folder]).first()
    (self.root / "later").rename(folder / "adapter.safetensors")
    self.assertEqual(
      people.load("carl").own.origin.adapter,
      People([self.ann]).load("lora").own.origin.adapter,
    )

  def test_a_folder_of_adapters(self):
    folder = self.root / "adapters"
    folder.mkdir()
    for name, run in (("ann", self.ann), ("bob", self.bob)):
      shutil.copy(run / "adapter.safetensors", folder / f"{name}.safetensors")
    (folder / "notes.txt").write_text("not for us")
    with self.assertRaisesRegex(UserError, "--checkpoint"):
      People([folder])
    people = People([folder], checkpoint=self.base)
    self.assertEqual(people.names(), ["ann", "bob"])
    ann = people.load("ann")
    self.assertIsNone(ann.own.anchors)
    wanted = People([self.ann]).load("lora").own
    self.assertEqual(ann.own.origin.adapter, wanted.origin.adapter)
    for a, b in zip(
      jax.tree.leaves(ann.own.generator.variables["params"]),
      jax.tree.leaves(wanted.generator.variables["params"]),
    ):
      np.testing.assert_allclose(a, b, atol=1e-6)

    # One of another base: said when it is chosen, the others work.
    with safe_open(folder / "bob.safetensors", "np") as file:
      metadata = {**file.metadata(), run_folder.BASE_DIGEST: "0" * 64}
    safetensors_numpy.save_file(
      safetensors_numpy.load_file(folder / "bob.safetensors"),
      folder / "bob.safetensors",
      metadata,
    )
    with self.assertRaisesRegex(CheckpointError, "is for the base"):
      people.load("bob")
    people.load("ann")

  def test_another_base_than_the_runs(self):
    other = self.root / "other_base"
    if not other.exists():
      shutil.copytree(self.base, other)
      config = json.loads((other / "config.json").read_text())
      config["sha256"] = "f" * 64
      (other / "config.json").write_text(json.dumps(config))
    with self.assertRaises(CheckpointError):
      People([self.ann], checkpoint=other).load("lora")

  def test_networks_that_have_moved(self):
    """A viewer uses none of them."""
    folder = self.root / "moved" / "ann"
    shutil.copytree(self.ann, folder)
    config = json.loads((folder / "config.json").read_text())
    config["settings"].update(lpips="/nowhere/a", identity="/nowhere/b")
    (folder / "config.json").write_text(json.dumps(config))
    self.assertEqual(People([folder]).first(), ("ann", []))

  def test_a_bare_base(self):
    people = People([], checkpoint=self.base)
    name, failures = people.first()
    self.assertEqual((name, failures), ("base", []))
    self.assertIsNone(people.load(name).own.anchors)

  def test_new_runs_are_found(self):
    root = self.root / "growing"
    shutil.copytree(self.ann, root / "ann")
    people = People([root])
    self.assertEqual(people.names(), ["ann"])
    shutil.copytree(self.bob, root / "bob")
    people.look_again()
    self.assertEqual(people.names(), ["ann", "bob"])
    shutil.rmtree(root / "ann")
    people.look_again()
    with self.assertRaisesRegex(UserError, "no longer exists"):
      people.load("ann")

  def test_a_run_that_is_made_again(self):
    folder = self.root / "again" / "ann"
    shutil.copytree(self.ann, folder)
    people = People([folder.parent])
    before = people.load("ann").own
    path = folder / "adapter.safetensors"
    shutil.copy(self.bob / "adapter.safetensors", path)
    os.utime(path, ns=(1, 1))
    again = people.load("ann")
    self.assertNotEqual(again.own.origin, before.origin)
    self.assertIs(people.load("ann"), again)
    # As where all weights were tuned: there is another summary alone.
    (folder / "summary.json").write_text("{}")
    self.assertIsNot(people.load("ann"), again)

  def test_what_is_not_there(self):
    empty = self.root / "empty"
    empty.mkdir()
    for places, message in (
      ([self.root / "nowhere"], "nowhere: does not exist"),
      ([empty], "contains neither a run"),
      ([], "--run"),
    ):
      with self.assertRaisesRegex(UserError, message):
        People(places)
    # A generator's folder has a config.json, too.
    with self.assertRaisesRegex(UserError, "contains neither a run"):
      People([self.base])

  def test_one_that_is_named_twice(self):
    os.symlink(self.root / "runs", self.root / "linked")
    self.assertEqual(
      People([self.root / "runs", self.ann, self.root / "linked"]).names(),
      ["ann", "bob"],
    )
    self.assertEqual(
      People([self.bob, self.root / "runs"]).names(), ["bob", "ann"]
    )
    self.assertEqual(
      People([self.ann, self.root / "linked" / "ann" / "lora"]).names(),
      ["lora"],
    )

  def test_adapters_among_runs_are_no_obstacle(self):
    root = self.root / "mixed"
    shutil.copytree(self.ann, root / "ann")
    shutil.copy(self.ann / "adapter.safetensors", root / "ann.safetensors")
    people = People([root])
    self.assertEqual(people.names(), ["ann", "ann.safetensors"])
    people.load("ann")
    with self.assertRaisesRegex(UserError, "--checkpoint"):
      people.load("ann.safetensors")

  def test_folders_that_nobody_may_read(self):
    with mock.patch.object(
      pathlib.Path, "is_file", side_effect=PermissionError(13, "no")
    ):
      with self.assertRaisesRegex(UserError, "contains neither a run"):
        People([self.root / "runs"])

  def test_short_names(self):
    names = lambda *paths: people_lib.short_names(
      list(map(pathlib.Path, paths))
    )
    self.assertEqual(names("/a/x/lora", "/a/y/lora"), ["x", "y"])
    self.assertEqual(names("/a/x/lora", "/a/x/full"), ["lora", "full"])
    self.assertEqual(names("/a/x/r", "/a/y/r", "/a/y/s"), ["x/r", "y/r", "s"])
    self.assertEqual(names("/a/x.safetensors", "/a/run.v2"), ["x", "run.v2"])
    self.assertEqual(names("/a/x"), ["x"])


if __name__ == "__main__":
  absltest.main()

"""Generators on disk: whole or absent, and errors that name the file."""

import json
import os
import pathlib
import shutil
import tempfile
from unittest import mock

import chex
import jax
import numpy as np
from absl.testing import absltest, parameterized

import my3dgen_jax
from my3dgen_jax.models import checkpoint
from tests.support.tiny import random_variables, TINY


class CheckpointTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.initial = random_variables()

  def setUp(self):
    super().setUp()
    self.variables = jax.tree.map(lambda leaf: leaf, self.initial)
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.parent = pathlib.Path(folder.name)
    self.folder = self.parent / "tiny"

  def save(self, **options):
    my3dgen_jax.save_generator(self.folder, TINY, self.variables, **options)

  def edit_config(self, **changes):
    path = self.folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

  def assert_refused(self, message):
    with self.assertRaisesRegex(my3dgen_jax.CheckpointError, message) as caught:
      my3dgen_jax.load_generator(self.folder)
    self.assertStartsWith(str(caught.exception), str(self.parent))
    self.assertNotIn("\n", str(caught.exception))

  def test_round_trip_is_bit_identical(self):
    self.save(source={"file": "a.pkl", "sha256": "0"})
    generator, variables = my3dgen_jax.load_generator(self.folder)
    self.assertEqual(generator.config, TINY)
    chex.assert_trees_all_equal(variables, self.variables)
    self.assertEqual(
      my3dgen_jax.load_config(self.folder),
      (TINY, {"file": "a.pkl", "sha256": "0"}),
    )
    self.assertEqual(os.listdir(self.parent), ["tiny"])

  def test_read_to_the_default_device_but_bound_to_none(self):
    """So that a program of one's own arrays serves what is read, too."""
    self.save()
    device = jax.devices()[-1]
    with jax.default_device(device):
      _, variables = my3dgen_jax.load_generator(self.folder)
    for leaf in jax.tree.leaves(variables):
      self.assertIsInstance(leaf, jax.Array)
      self.assertEqual((leaf.devices(), leaf.committed), ({device}, False))

  def test_digest_is_of_the_weights(self):
    self.save()
    digest = checkpoint.generator_digest(self.folder)
    self.assertRegex(digest, "^[0-9a-f]{64}$")
    shutil.copytree(self.folder, self.parent / "copy")
    self.assertEqual(checkpoint.generator_digest(self.parent / "copy"), digest)
    self.variables["params"]["decoder"]["fc0"]["bias"] += 1
    self.save(overwrite=True)
    self.assertNotEqual(checkpoint.generator_digest(self.folder), digest)
    self.variables["params"]["decoder"]["fc0"]["bias"] -= 1
    self.save(overwrite=True)
    self.assertEqual(checkpoint.generator_digest(self.folder), digest)
    self.edit_config(sha256=None)
    with self.assertRaisesRegex(my3dgen_jax.CheckpointError, "'sha256'"):
      checkpoint.generator_digest(self.folder)

  def test_relative_path_and_text(self):
    self.save()
    os.chdir(self.parent)
    self.addCleanup(os.chdir, pathlib.Path(__file__).parent)
    my3dgen_jax.load_generator("tiny")

  def test_existing_folder_is_kept_unless_told(self):
    self.save()
    with self.assertRaises(FileExistsError):
      self.save()
    self.variables["params"]["decoder"]["fc0"]["bias"] += 1
    self.save(overwrite=True)
    _, variables = my3dgen_jax.load_generator(self.folder)
    chex.assert_trees_all_equal(variables, self.variables)
    self.assertEqual(os.listdir(self.parent), ["tiny"])

  def test_other_things_are_not_replaced(self):
    self.folder.mkdir()
    (self.folder / "thesis.tex").write_text("")
    with self.assertRaisesRegex(
      my3dgen_jax.CheckpointError, "not a checkpoint folder"
    ):
      self.save(overwrite=True)
    self.assertEqual(os.listdir(self.folder), ["thesis.tex"])

  def test_a_checkpoint_with_something_beside_it_is_not_replaced(self):
    self.save()
    (self.folder / "mine.pkl").write_text("")
    with self.assertRaisesRegex(
      my3dgen_jax.CheckpointError, "contains mine.pkl besides the checkpoint"
    ):
      self.save(overwrite=True)
    self.assertIn("mine.pkl", os.listdir(self.folder))

  def test_nan_is_not_saved(self):
    bias = self.variables["params"]["decoder"]["fc0"]["bias"]
    self.variables["params"]["decoder"]["fc0"]["bias"] = bias.at[1].set(np.nan)
    with self.assertRaisesRegex(
      my3dgen_jax.CheckpointError, "params/decoder/fc0/bias holds NaN"
    ):
      self.save()
    self.assertEmpty(os.listdir(self.parent))

  def test_wrong_variables_are_not_written(self):
    del self.variables["params"]["decoder"]
    with self.assertRaisesRegex(
      my3dgen_jax.CheckpointError,
      "params/decoder/fc0/bias is missing|params/decoder/fc0/kernel",
    ):
      self.save()
    self.assertEmpty(os.listdir(self.parent))

  def test_full_disk(self):
    with mock.patch.object(
      shutil, "disk_usage", return_value=mock.Mock(free=1000)
    ):
      with self.assertRaisesRegex(my3dgen_jax.CheckpointError, "no space left"):
        self.save()
    self.assertEmpty(os.listdir(self.parent))

  def test_failed_rename_keeps_the_old_one(self):
    self.save()
    rename = pathlib.Path.rename

    def fail_for_new(path, target):
      if path.name == "new":
        raise OSError(5, "Input/output error", str(target))
      return rename(path, target)

    with mock.patch.object(pathlib.Path, "rename", fail_for_new):
      with self.assertRaisesRegex(
        my3dgen_jax.CheckpointError, "tiny: Input/output error"
      ):
        self.save(overwrite=True)
    my3dgen_jax.load_generator(self.folder)
    self.assertEqual(os.listdir(self.parent), ["tiny"])

  def test_kill_between_the_renames_keeps_the_old_one(self):
    self.save()
    before = checkpoint.generator_digest(self.folder)
    self.variables["params"]["decoder"]["fc0"]["bias"] += 1
    rename, done = pathlib.Path.rename, []

    def once(path, target):
      if done:
        raise KeyboardInterrupt  # as near to a kill as a test may come
      done.append(path)
      return rename(path, target)

    with mock.patch.object(pathlib.Path, "rename", once):
      with self.assertRaises(KeyboardInterrupt):
        self.save(overwrite=True)
    self.assertFalse(self.folder.exists())
    self.assertEqual(checkpoint.generator_digest(self.folder), before)
    my3dgen_jax.load_generator(self.folder)
    (self.parent / ".tiny.unfinished-abc").mkdir()  # of a kill before them
    self.save(overwrite=True)
    self.assertNotEqual(checkpoint.generator_digest(self.folder), before)
    self.assertEqual(os.listdir(self.parent), ["tiny"])

  def test_another_architecture(self):
    self.save()
    other = TINY.to_dict()
    other["backbone"]["channel_max"] = 2
    self.edit_config(generator=other)
    self.assert_refused(
      "does not match the architecture in config.json: "
      "params/backbone.* has shape .*, expected"
    )
    other["mapping"]["num_layers"] = 3
    other["backbone"]["channel_max"] = 4
    self.edit_config(generator=other)
    self.assert_refused("params/backbone/mapping/fc2/bias is missing")
    other["mapping"]["num_layers"] = 1
    other["z_dim"] = TINY.z_dim
    self.edit_config(generator=other)
    self.assert_refused("params/backbone/mapping/fc1/bias is not part of it")

  def test_bad_config(self):
    self.save()
    self.edit_config(generator={"z_dimm": 3})
    self.assert_refused("config.json: z_dimm: unknown setting")
    self.edit_config(format=99)
    self.assert_refused("field 'format' must be 1")
    (self.folder / "config.json").write_text("{")
    self.assert_refused("config.json: is not valid JSON")
    (self.folder / "config.json").write_text("[" * 200_000)
    self.assert_refused("config.json: is nested too deeply")
    (self.folder / "config.json").unlink()
    self.assert_refused("config.json: missing")

  def test_missing_parts(self):
    self.assert_refused("no such folder")
    self.save()
    shutil.rmtree(self.folder / "variables")
    self.assert_refused("variables: missing")

  def files(self, pattern):
    found = [
      path
      for path in (self.folder / "variables").rglob(pattern)
      if path.is_file()
    ]
    self.assertNotEmpty(found)
    return found

  def test_truncated_weights(self):
    self.save()
    for path in self.files("d/*"):
      path.write_bytes(path.read_bytes()[:100])
    self.assert_refused("variables/.*: damaged")

  def test_flipped_bits_in_weights(self):
    """Orbax alone would read most of these as other numbers."""
    self.save()
    path = max(self.files("d/*"), key=lambda path: path.stat().st_size)
    intact = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(10):
      damaged = bytearray(intact)
      damaged[rng.integers(len(intact) // 2)] ^= 1 << rng.integers(8)
      path.write_bytes(damaged)
      self.assert_refused("variables/.*: damaged")
    path.write_bytes(intact)
    my3dgen_jax.load_generator(self.folder)

  def test_damaged_metadata(self):
    self.save()
    for path in self.files("_METADATA"):
      path.write_text("{")
    self.assert_refused("variables/.*: damaged")
    for path in self.files("_METADATA"):
      path.unlink()
    self.assert_refused("variables/.*: missing")


if __name__ == "__main__":
  absltest.main()

"""What older versions wrote is cleaned; numbers stay."""

import json
import pathlib
import shutil
import tempfile

import chex
from absl.testing import absltest

from my3dgen_jax import lora
from my3dgen_jax.apps import scrub
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage.shareable import has_paths
from tests.support import golden

OLD = golden.FOLDER / "old_run" / "run"


class ScrubTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.run = pathlib.Path(folder.name) / "run"
    shutil.copytree(OLD, self.run)
    self.adapter = self.run / "adapter.safetensors"

  def test_a_run(self):
    before = lora.load(self.adapter)
    # As they were written before, with the paths of a home folder.
    settings = json.loads(before.metadata["settings"])
    settings["album"] = "/home/ann/photos/album"
    metadata = {**before.metadata, "settings": json.dumps(settings)}
    from safetensors.numpy import load_file, save_file

    save_file(
      load_file(self.adapter),
      self.adapter,
      {**metadata, "lora": json.dumps(before.config.to_dict())},
    )
    lines = []
    scrub.scrub_run(self.run, log=lines.append)
    self.assertIn("removed paths from settings", lines[0])
    after = lora.load(self.adapter)
    chex.assert_trees_all_equal(after.lora, before.lora)
    self.assertEqual(after.metadata["format"], "1")
    self.assertFalse(has_paths(after.metadata))
    self.assertEqual(json.loads(after.metadata["settings"])["album"], "album")
    names = [path.name for path in self.run.glob("events*")]
    self.assertRegex(names[0], r"^events\.out\.tfevents\.\d+\.\d+\.\d+$")
    lines.clear()
    scrub.scrub_run(self.run, log=lines.append)
    self.assertIn("contains no paths", lines[0])

  def test_no_run(self):
    with self.assertRaisesRegex(CheckpointError, "config.json: missing"):
      scrub.scrub_run(self.run.parent)
    self.adapter.write_bytes(b"x")
    with self.assertRaisesRegex(CheckpointError, "cannot be read as an adapt"):
      scrub.scrub_adapter(self.adapter)

  def test_what_is_saved_today_is_clean(self):
    loaded = lora.load(self.adapter)
    lora.save(
      self.adapter,
      loaded.lora,
      loaded.config,
      metadata={"settings": json.dumps({"album": "/home/ann/album"})},
    )
    self.assertNotIn(b"/home/ann", self.adapter.read_bytes())


if __name__ == "__main__":
  absltest.main()

"""What an earlier version wrote is read, shown and gone on with."""

import json
import pathlib
import shutil
import tempfile

import numpy as np
from absl.testing import absltest

from my3dgen_jax import lora
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.apps.rendering.photo_latents import look_up
from my3dgen_jax.training import run_folder
from tests.support import commands, golden, person

OLD = golden.FOLDER / "old_run"


class OldRunTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.folder = pathlib.Path(folder.name)
    person.write(cls.folder / "person", count=4, raw=32)  # as it was then
    shutil.copytree(OLD / "run", cls.folder / "run")
    # LPIPS's weights are too large to keep; the same, written again, are
    # another file.
    config = json.loads((cls.folder / "run" / "config.json").read_text())
    config["weights"]["lpips"] = run_folder.file_digest(
      cls.folder / "person" / "lpips" / "weights.safetensors"
    )
    run_folder.write_json(cls.folder / "run" / "config.json", config)

  def test_opens(self):
    base = self.folder / "person" / "base"
    run = run_folder.load_run(OLD / "run", checkpoint=base)
    self.assertEqual(run.config["version"], "0.1.0")
    self.assertLen(run.anchors.names, 4)
    one = load_person(run=OLD / "run", checkpoint=base)
    adapter = lora.load(OLD / "run" / "adapter.safetensors", person.MODEL)
    self.assertStartsWith(adapter.metadata["base_sha256"], one.origin.base)
    latents = [
      look_up(one, name, flag="start")
      for name in ("photo00", str(OLD / "inverted" / "photo01.npz"))
    ]
    self.assertEqual(
      [latent.ws.shape for latent in latents], [(person.MODEL.num_ws, 8)] * 2
    )
    self.assertTrue(np.isfinite(latents[1].alpha).all())

  def test_goes_on(self):
    """By the flags that it kept, from the state that it saved."""
    ended = commands.run(
      "personalize",
      "--flagfile=run/run.flags",
      "--resume",
      "--steps=6",
      cwd=self.folder,
    )
    self.assertEqual((ended.returncode, ended.stderr), (0, ""))
    lines = (self.folder / "run" / "metrics.jsonl").read_text().splitlines()
    old = (OLD / "run" / "metrics.jsonl").read_text().splitlines()
    self.assertEqual(lines[:4], old)
    self.assertLen(lines, 6)
    ended = commands.run("info", "--run=run", cwd=self.folder)
    self.assertEqual((ended.returncode, ended.stderr), (0, ""))


if __name__ == "__main__":
  absltest.main()

"""Training states: kept, replaced, refused."""

import os
import pathlib
import shutil
import tempfile

import chex
import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from my3dgen_jax.config import TuningConfig
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.training import checkpoint
from my3dgen_jax.training import state as state_lib


def make(step=0, size=3):
  trainable = {"a": {"b": jnp.arange(float(size))}}
  state = state_lib.unravelled(
    state_lib.init_state(trainable, TuningConfig()), trainable
  )
  return state.replace(
    step=jnp.int32(step),
    opt_state=jax.tree.map(lambda leaf: leaf + step, state.opt_state),
  )


class CheckpointTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name) / "state"

  def test_round_trip_of_the_newest(self):
    self.assertIsNone(checkpoint.load_state(self.folder, make()))
    for step in (5, 10, 15):
      checkpoint.save_state(self.folder, make(step), seconds=2.0 * step)
    self.assertEqual(checkpoint.steps(self.folder), [10, 15])
    saved = checkpoint.load_state(self.folder, make())
    chex.assert_trees_all_equal(saved.state, jax.tree.map(np.asarray, make(15)))
    self.assertEqual(saved.seconds, 30.0)

  def test_what_a_kill_leaves_is_removed(self):
    (self.folder / "00000005.orbax-checkpoint-tmp").mkdir(parents=True)
    self.assertIsNone(checkpoint.load_state(self.folder, make()))
    checkpoint.save_state(self.folder, make(5))
    self.assertEqual(
      sorted(os.listdir(self.folder)), ["00000005", "00000005.sha256"]
    )

  def test_damage_names_the_state(self):
    checkpoint.save_state(self.folder, make(5))
    for path in (self.folder / "00000005").rglob("*"):
      if path.is_file():
        path.write_bytes(b"")
    with self.assertRaisesRegex(CheckpointError, "5: is damaged .*remove it"):
      checkpoint.load_state(self.folder, make())
    (self.folder / "00000005.sha256").unlink()  # as older versions left it
    with self.assertRaisesRegex(CheckpointError, "00000005: .*remove it"):
      checkpoint.load_state(self.folder, make())

  def test_every_flipped_bit_is_noticed(self):
    """And the state before is gone on with, which is said in one line."""
    for step in (5, 10):
      checkpoint.save_state(self.folder, make(step, size=50))
    before = self.folder.with_name("before")
    shutil.copytree(self.folder, before)
    files = [
      path
      for path in sorted((before / "00000010").rglob("*"))
      if path.is_file() and path.stat().st_size
    ] + [before / "00000010.sha256"]
    rng = np.random.default_rng(0)
    for i in range(150):
      shutil.rmtree(self.folder)
      shutil.copytree(before, self.folder)
      path = self.folder / files[i % len(files)].relative_to(before)
      data = bytearray(path.read_bytes())
      data[rng.integers(len(data))] ^= 1 << rng.integers(8)
      path.write_bytes(data)
      lines = []
      saved = checkpoint.load_state(
        self.folder, make(size=50), log=lines.append
      )
      self.assertEqual(int(saved.state.step), 5)
      self.assertLen(lines, 1)
      self.assertRegex(lines[0], "00000010: is damaged .*resuming from step 5")
      self.assertEqual(checkpoint.steps(self.folder), [5])

  def test_states_of_older_versions_are_read(self):
    checkpoint.save_state(self.folder, make(5))
    (self.folder / "00000005.sha256").unlink()
    saved = checkpoint.load_state(self.folder, make())
    self.assertEqual(int(saved.state.step), 5)

  def test_another_training(self):
    checkpoint.save_state(self.folder, make(5))
    with self.assertRaisesRegex(CheckpointError, "00000005: "):
      checkpoint.load_state(self.folder, make(size=4))

  def test_place_that_cannot_be_written(self):
    self.folder.write_text("")
    with self.assertRaisesRegex(CheckpointError, "state: "):
      checkpoint.save_state(self.folder, make())


if __name__ == "__main__":
  absltest.main()

"""Training states: kept, replaced, refused."""

import os
import pathlib
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
    self.assertEqual(os.listdir(self.folder), ["00000005"])

  def test_damage_names_the_state(self):
    checkpoint.save_state(self.folder, make(5))
    for path in (self.folder / "00000005").rglob("*"):
      if path.is_file():
        path.write_bytes(b"")
    with self.assertRaisesRegex(CheckpointError, "00000005: .*remove it"):
      checkpoint.load_state(self.folder, make())

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

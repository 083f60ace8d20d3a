"""The demo's smile and age."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo import edits, shipped
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.models.checkpoint import generator_digest, load_config


class EditsTest(absltest.TestCase):
  def test_shipped_ones_are_the_shipped_priors(self):
    digest = generator_digest(shipped.PRIOR)
    found = edits.shipped_directions(digest[:16])
    self.assertEqual(
      [one.name for one in found], ["smile without age", "age without smile"]
    )
    config, _ = load_config(shipped.PRIOR)
    for one in found:
      self.assertEqual(one.vector.shape, (config.w_dim,))
      self.assertAlmostEqual(float(np.linalg.norm(one.vector)), 1, places=5)
      self.assertGreater(one.spread, 0.1)
      self.assertGreater(one.accuracy, 0.9)
    # Neither changes the other.
    self.assertLess(abs(float(found[0].vector @ found[1].vector)), 0.3)
    self.assertEqual(edits.shipped_directions("0" * 16), [])
    self.assertEqual(edits.shipped_directions(""), [])

  def test_saved_and_read(self):
    vector = np.random.default_rng(0).standard_normal(8).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
      edits.save(folder, "abc", [Direction("x", vector, None, 0.25)])
      (found,) = edits.shipped_directions("ab", folder)
      np.testing.assert_array_equal(found.vector, vector)
      self.assertEqual(
        (found.name, found.accuracy, found.spread), ("x", None, 0.25)
      )
      path = pathlib.Path(folder) / edits.FILE
      path.write_text('{"base_sha256": "abc", "directions": [{"name": "x"}]}')
      with self.assertRaisesRegex(CheckpointError, "damaged"):
        edits.shipped_directions("ab", folder)


if __name__ == "__main__":
  absltest.main()

"""Files of arrays that are no such files end in one line."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.storage import array_files


class ReadNpzTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def test_round_trip(self):
    path = self.folder / "a.npz"
    np.savez(path, x=np.arange(3), y=np.float32(2))
    found = array_files.read_npz(path, most_bytes=2**20)
    self.assertCountEqual(found, ["x", "y"])
    np.testing.assert_array_equal(found["x"], np.arange(3))

  def test_refused(self):
    with (self.folder / "alone.npz").open("wb") as file:
      np.save(file, np.arange(3))
    (self.folder / "folder.npz").mkdir()
    for name, reason in (
      ("nowhere.npz", "missing"),
      ("folder.npz", "is not a regular file"),
      ("alone.npz", "is damaged, or not a .npz file"),
      ("x" * 300, "File name too long"),
    ):
      path = self.folder / name
      with self.assertRaises(CheckpointError) as caught:
        array_files.read_npz(path, most_bytes=2**20)
      self.assertEqual(str(caught.exception), f"{path}: {reason}")


if __name__ == "__main__":
  absltest.main()

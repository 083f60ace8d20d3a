"""Files that are whole or absent."""

import os
import pathlib
import tempfile

from absl.testing import absltest

from my3dgen_jax.storage import files
from my3dgen_jax.storage.files import is_leftover, replacing


class ReplacingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "a.txt"
    self.path.write_text("old")

  def test_replaces_at_the_end(self):
    with replacing(self.path) as file:
      file.write(b"new")
      self.assertEqual(self.path.read_text(), "old")
      self.assertLen(
        [name for name in os.listdir(self.path.parent) if is_leftover(name)], 1
      )
    self.assertEqual(self.path.read_text(), "new")
    self.assertFalse(is_leftover(self.path))

  def test_failure_leaves_nothing(self):
    with self.assertRaises(OSError) as caught:
      with replacing(self.path):
        raise OSError(28, "No space left on device")
    self.assertEqual(caught.exception.filename, str(self.path))
    self.assertEqual(self.path.read_text(), "old")
    self.assertEqual(os.listdir(self.path.parent), ["a.txt"])


class EmptyFoldersTest(absltest.TestCase):
  def test_system_files_count_nowhere(self):
    with tempfile.TemporaryDirectory() as place:
      folder = pathlib.Path(place)
      for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._x", "__MACOSX"):
        self.assertTrue(files.is_system_file(name))
        (folder / name).write_bytes(b"")
      (folder / ".unfinished-abc.tmp").write_bytes(b"")
      self.assertTrue(files.holds_nothing(folder))
      (folder / ".hidden").write_bytes(b"")
      self.assertFalse(files.holds_nothing(folder))


if __name__ == "__main__":
  absltest.main()

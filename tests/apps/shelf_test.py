"""Networks are read once a process, and again when their file is another."""

import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest

from my3dgen_jax.apps.personalization.shelf import Shelf


class ShelfTest(absltest.TestCase):
  def test_what_was_used_last_stays(self):
    shelf, load = Shelf(most=2), mock.Mock(side_effect=range(9))
    for name, expected in (("a", 0), ("b", 1), ("a", 0), ("c", 2), ("b", 3)):
      self.assertEqual(shelf.get(name, load), expected)

  def test_another_file_is_read_again(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    file, shelf = pathlib.Path(folder) / "weights", Shelf()
    read = file.read_text
    for text in ("one", "two"):
      file.write_text(text)
      found = shelf.with_digest(file, read)
      self.assertEqual(found[0], text)
      self.assertIs(shelf.with_digest(file, read)[0], found[0])
    self.assertIsNot(shelf.with_digest(file, read, "bfloat16")[0], found[0])
    file.unlink()
    with self.assertRaises(FileNotFoundError):  # as `load` says it
      shelf.with_digest(file, read)


if __name__ == "__main__":
  absltest.main()

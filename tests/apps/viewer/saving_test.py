"""Files that a viewer's window saves."""

import pathlib
import tempfile
import threading
from unittest import mock

from absl.testing import absltest

from my3dgen_jax.apps.viewer import saving
from my3dgen_jax.apps.viewer.scene import Choice
from my3dgen_jax.errors import UserError


class SavingsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.client, self.jobs, self.told = mock.Mock(), [], []
    self.warned, self.closed = [], threading.Event()

  def make(self, out=None):
    return saving.Savings(
      self.client,
      out=out,
      submit=self.jobs.append,
      tell=lambda *lines: self.told.append(lines),
      warn=self.warned.append,
      closed=self.closed,
    )

  def test_only_so_many_files_at_a_time(self):
    savings, most = self.make(), saving.MOST_SAVING
    for _ in range(most):
      savings.begin("ann", ".png", mock.Mock(), mock.Mock())
    with self.assertRaisesRegex(UserError, f"{most} files are being made"):
      savings.begin("ann", ".png", mock.Mock(), mock.Mock())
    self.jobs[0]()  # one is done
    savings.begin("ann", ".png", mock.Mock(), mock.Mock())

  def test_names_that_are_taken(self):
    out = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    (out / "ann_001.png").write_bytes(b"old")
    self.make(str(out)).begin(
      "ann", ".png", "origin", lambda path, *_: path.write_bytes(b"new")
    )
    self.jobs[0]()
    self.assertEqual((out / "ann_001.png").read_bytes(), b"old")
    self.assertEqual((out / "ann_002.png").read_bytes(), b"new")
    self.client.send_file_download.assert_called_once_with(
      "ann_002.png", b"new", save_immediately=True
    )

  def test_failures(self):
    for error, warned in ((UserError("no"), 0), (ValueError("no"), 1)):
      self.make().begin("ann", ".png", "origin", mock.Mock(side_effect=error))
      self.jobs.pop()()
      self.assertEqual(self.told.pop()[1], "ann.png was not saved")
      self.assertLen(self.warned, warned)

  def test_a_window_that_has_closed(self):
    write = mock.Mock()
    self.make().begin("ann", ".png", "origin", write)
    self.closed.set()
    self.jobs[0]()
    write.assert_not_called()
    self.client.send_file_download.assert_not_called()

  def test_file_stem(self):
    self.assertEqual(
      saving.file_stem("a/b", Choice(start="a photo", first="x/p 1.png")),
      "a_b_p_1",
    )
    self.assertEqual(saving.file_stem("..", Choice()), "face")


if __name__ == "__main__":
  absltest.main()

"""Messages: one plain line, whatever they speak of."""

from absl.testing import absltest, parameterized

from my3dgen_jax import errors
from my3dgen_jax.data.album_files import AlbumError
from my3dgen_jax.errors import UserError


class ErrorsTest(parameterized.TestCase):
  @parameterized.parameters(
    errors.CheckpointError, UserError, errors.FlagError, AlbumError
  )
  def test_plain_and_short(self, kind):
    text = str(kind("a\x1b[2J\n.png: " + "x" * 5000 + ": is damaged"))
    self.assertTrue(text.isprintable())
    self.assertLess(len(text), 500)
    self.assertStartsWith(text, "a?[2J .png: xxx")
    self.assertEndsWith(text, "xxx: is damaged")

  @parameterized.parameters(
    "写真\u30001.jpg", "10.00\u202fAM.png", "👩\u200d👧.png"
  )
  def test_names_stay_what_they_are(self, name):
    self.assertEqual(
      str(UserError(f"{name}: is damaged")), f"{name}: is damaged"
    )

  def test_a_book_of_words(self):
    self.assertLess(len(str(UserError("a b " * 5000))), 1510)
    self.assertLess(len(str(errors.CheckpointError("a b " * 5000))), 610)

  def test_lines_become_one(self):
    self.assertEqual(str(UserError("a\n b\tc")), "a  b c")

  def test_short_ones_stay(self):
    self.assertEqual(str(UserError("太郎.png: …")), "太郎.png: …")

  @parameterized.parameters(
    (ModuleNotFoundError("No module named 'cv2'"), r"^needs it \(No module"),
    (AttributeError("face_mesh"), r"^needs it \(face_mesh\)"),
    (
      ImportError("libGL.so.1: cannot open shared object file"),
      "^CV is installed, but cannot be loaded: libGL.so.1: .*; install the "
      "missing library, on Debian and Ubuntu: apt install libgl1",
    ),
    (
      ImportError("bad magic number"),
      "^CV is installed, but cannot be loaded: bad magic number$",
    ),
  )
  def test_missing_or_broken(self, error, message):
    with self.assertRaisesRegex(UserError, message):
      raise errors.without_package(error, "CV", "needs it")

  def test_os_errors_name_the_file(self):
    error = OSError(28, "No space left on device", "a\x07.png")
    self.assertEqual(errors.one_line(error), "a?.png: No space left on device")


if __name__ == "__main__":
  absltest.main()

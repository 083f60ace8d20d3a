"""Tables of people: what is read, and the line that says what is wrong."""

import pathlib
import tempfile

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.fleet import manifest
from my3dgen_jax.errors import UserError


class ManifestTest(parameterized.TestCase):
  def test_rows(self):
    first, second = manifest.parse(
      'id,album,steps,--train\nann,data/ann, 20,\n\n"Zoë B.1",,,"a,b"\n',
      "p.csv",
    )
    self.assertEqual((first.id, first.album), ("ann", "data/ann"))
    self.assertEqual(first.flags, {"steps": "20"})
    self.assertEqual(second.id, "Zoë B.1")
    self.assertEqual(second.flags, {"train": "a,b"})
    self.assertEqual(second.where, "p.csv, line 4")

  @parameterized.parameters(";", "\t")
  def test_what_other_spreadsheets_write(self, mark):
    text = "id,photos\r\nann,my photos\r\n".replace(",", mark)
    path = self.file()
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    for where in (str(path), f"file://{path}"):
      (row,) = manifest.read(where)
      self.assertEqual((row.id, row.photos), ("ann", "my photos"))

  @parameterized.parameters(
    ("", "lists no people"),
    ("id,album\n", "lists no people"),
    ("name,album\nann,x\n", "line 1: has no column id"),
    ("id,album,album\nann,x,y\n", "line 1: column album appears twice"),
    ("id,,album\nann,x,y\n", "line 1: column 2 has no name"),
    ("id,album\nann,x,y\n", "line 2: has 3 cells for 2 columns"),
    ("id,album\n,x\n", "line 2, column id: expected a name"),
    ("id\nann/bob\n", "line 2, column id: expected letters"),
    ("id\n../ann\n", "line 2, column id: expected letters"),
    ("id\nann.\n", "line 2, column id: expected a letter or digit at both"),
    (
      "id\nCON.x\n",
      "line 2, column id: expected a name that is not a device's",
    ),
    ("id\n" + 121 * "a" + "\n", "line 2, column id: expected at most"),
    ("id\nann\nbob\nANN\n", "line 4, column id: 'ANN' is also in line 2"),
    ("id,album,photos\nann,x,y\n", "line 2, column photos: ann has an album"),
    ('id\n"ann\n', "unexpected end of data"),
  )
  def test_refused_in_a_line(self, text, expected):
    with self.assertRaisesRegex(UserError, rf"\Ap\.csv[^\n]*{expected}") as c:
      manifest.parse(text, "p.csv")
    self.assertNotIn("\n", str(c.exception))

  def file(self):
    folder = self.enter_context(tempfile.TemporaryDirectory())
    return pathlib.Path(folder) / "people.csv"

  def test_no_file_and_no_text(self):
    with self.assertRaisesRegex(UserError, "no such file"):
      manifest.read("nowhere.csv")
    path = self.file()
    path.write_bytes(b"id\n\xff\xfe\n")
    with self.assertRaisesRegex(UserError, "is not UTF-8 text"):
      manifest.read(str(path))


if __name__ == "__main__":
  absltest.main()

"""Names in zips, whoever wrote them."""

import io
import json
import zipfile

from absl.testing import absltest, parameterized

from my3dgen_jax.storage import zip_names


def _unmarked(name, encoding, text):
  """A zip whose names are in an encoding that it does not tell."""
  file = io.BytesIO()
  with zipfile.ZipFile(file, "w") as archive:
    info = zipfile.ZipInfo("x" * len(name.encode(encoding)))
    archive.writestr(info, b"pixels")
    archive.writestr("dataset.json", text)
  raw = name.encode(encoding)
  data = file.getvalue().replace(b"x" * len(raw), raw)
  return zipfile.ZipFile(io.BytesIO(data))


class ZipNamesTest(parameterized.TestCase):
  @parameterized.product(
    case=(
      ("太郎写真.png", "cp932"),
      ("太郎写真.png", "utf-8"),
      ("我的照片.png", "gbk"),
      ("내사진이다.png", "cp949"),
      ("Фото.png", "cp1251"),
      ("José.png", "cp1252"),
      ("José.png", "cp437"),
    ),
    ascii_only=(True, False),
  )
  def test_names(self, case, ascii_only):
    name, encoding = case
    text = json.dumps({"labels": [[name, []]]}, ensure_ascii=ascii_only)
    with _unmarked(name, encoding, text) as archive:
      names = [found for _, found in zip_names.decoded(archive)]
      self.assertEqual(names, [name, "dataset.json"])
      entry, _ = zip_names.decoded(archive)[0]
      self.assertEqual(archive.read(entry), b"pixels")

  def test_marked_names_stay(self):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
      archive.writestr("太郎.png", b"")
    with zipfile.ZipFile(file) as archive:
      self.assertEqual(
        [name for _, name in zip_names.decoded(archive)], ["太郎.png"]
      )


if __name__ == "__main__":
  absltest.main()

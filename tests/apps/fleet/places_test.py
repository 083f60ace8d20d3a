"""Files and folders here and at URLs: the same calls do the same."""

import pathlib
import tempfile
import uuid
from unittest import mock

import fsspec
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.fleet.places import is_url, leads_out, Place
from my3dgen_jax.errors import UserError


def somewhere(test, kind) -> str:
  """A place that is not there yet."""
  if kind == "memory":
    return f"memory://{uuid.uuid4()}"
  folder = test.enter_context(tempfile.TemporaryDirectory())
  return f"{'file://' if kind == 'file' else ''}{folder}/new"


class PlaceTest(parameterized.TestCase):
  @parameterized.parameters("path", "file", "memory")
  def test_files(self, kind):
    place = Place(somewhere(self, kind))
    self.assertEqual(place.local is None, kind == "memory")
    self.assertIsNone((place / "a/b").read())
    self.assertEqual(place.files(), {})
    (place / "a/b").write(b"1")
    (place / "a/b").write(b"23")
    (place / "c").write(b"")
    self.assertEqual((place / "a/b").read(), b"23")
    sizes = {name: size for name, (size, _) in place.files().items()}
    self.assertEqual(sizes, {"a/b": 2, "c": 0})
    (place / "c").remove()
    (place / "c").remove()
    self.assertEqual(list(place.files()), ["a/b"])

  def test_a_folder_goes_there_and_back(self):
    place = Place(somewhere(self, "memory"))
    root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    here, back = root / "here", root / "back"
    (here / "deep").mkdir(parents=True)
    (here / "deep/a").write_bytes(b"a")
    (here / "index").write_bytes(b"1")
    place.mirror(here, last="index")
    (here / "deep/a").unlink()
    (here / "index").write_bytes(b"2")
    place.mirror(here, last="index")
    self.assertTrue(place.fetch(back))
    self.assertEqual([path.name for path in back.iterdir()], ["index"])
    self.assertEqual((back / "index").read_bytes(), b"2")
    self.assertTrue((place / "index").fetch(root / "one"))
    self.assertEqual((root / "one").read_bytes(), b"2")
    self.assertFalse((place / "none").fetch(root / "two"))

  def test_nothing_is_written_outside(self):
    store = fsspec.filesystem("memory")
    root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
    url = somewhere(self, "memory")
    (Place(url) / "good.txt").write(b"1")
    found = store.find(url)
    for name in ("../../../escaped.txt", "a/../../escaped.txt"):
      listing = {f"{found[0].rpartition('/')[0]}/{name}": {"size": 1}}
      with (
        mock.patch.object(type(store), "find", return_value=listing),
        mock.patch.object(type(store), "cat_file", return_value=b"bad"),
        self.assertRaisesRegex(
          UserError, "escaped.txt', a name that points outside"
        ),
      ):
        Place(url).fetch(root / "a/b/c/d")
    self.assertEmpty(list(root.rglob("*")))
    self.assertTrue(leads_out("c:/x", windows=True))
    self.assertTrue(leads_out("a\\..\\x", windows=True))
    self.assertFalse(leads_out("a\\c:..x", windows=False))

  def test_what_cannot_be_opened(self):
    self.assertTrue(is_url("s3://bucket/people"))
    self.assertFalse(is_url("file:///people"))
    with self.assertRaisesRegex(UserError, "nonsense://x: cannot be opened"):
      Place("nonsense://x")
    folder = self.enter_context(tempfile.TemporaryDirectory())
    with self.assertRaisesRegex(OSError, folder):
      (Place(folder) / "a").write(b"")
      (Place(folder) / "a" / "b").write(b"")


if __name__ == "__main__":
  absltest.main()

"""JSON of any origin: read, or one line; never a flood."""

import json
import pathlib
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from my3dgen_jax.errors import UserError
from my3dgen_jax.storage import json_files


class JsonFilesTest(parameterized.TestCase):
  @parameterized.parameters("utf-8", "utf-8-sig", "utf-16", "utf-32")
  def test_encodings(self, encoding):
    self.assertEqual(json_files.parse('{"é": 1}'.encode(encoding)), {"é": 1})

  def test_numbers_beyond_all_bounds_are_infinite(self):
    for number in (2**63 - 1, -(2**63) + 1):
      self.assertEqual(json_files.parse(str(number)), number)
      self.assertIsInstance(json_files.parse(str(number)), int)
    self.assertIsInstance(json_files.parse(str(2**63)), float)
    found = json_files.parse(f"[{'9' * 400}, -{'9' * 5000}, {2**53}]")
    self.assertEqual(found, [float("inf"), -float("inf"), 2**53])

  @parameterized.parameters(
    ("", "is not valid JSON"),
    (b"\xff\xff", "is not valid JSON"),
    ("[" * 200 + "]" * 200, "is nested too deeply"),
    ('{"a":' * 200 + "1" + "}" * 200, "is nested too deeply"),
    ("[" * 10**6, "is nested too deeply"),
  )
  def test_refused(self, text, message):
    with self.assertRaisesRegex(UserError, f"^{message}"):
      json_files.parse(text)

  def test_as_deep_as_anything_of_ours(self):
    text = "[" * 60 + "]" * 60
    self.assertEqual(json_files.parse(text), json.loads(text))

  def test_a_long_file_is_not_even_parsed(self):
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder, "dataset.json")
      with path.open("wb") as file:
        file.truncate(json_files.MOST_BYTES + 2)
      with mock.patch.object(json, "loads") as loads:
        with self.assertRaisesRegex(UserError, f"^{path}: is 34 MB long"):
          json_files.read(path)
      loads.assert_not_called()
      with self.assertRaisesRegex(UserError, f"^{folder}: cannot be read"):
        json_files.read(folder)


if __name__ == "__main__":
  absltest.main()

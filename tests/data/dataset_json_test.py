"""EG3D's dataset.json: round trips, and what is wrong with a bad one."""

import json
import os
import pathlib
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.dataset_json import DatasetJsonError
from tests.support import albums


def entries():
  return [
    [name, label.tolist()]
    for name, label in zip(albums.names(3), albums.labels(3))
  ]


def broken(i, value):
  """The entries with the label of the second one spoilt at `i`."""
  result = entries()
  result[1][1][i] = value
  return result


class DatasetJsonTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "dataset.json"

  def test_round_trip(self):
    labels = dict(zip(["b.png", "00/a.png", "ä.jpg"], albums.labels(3)))
    dataset_json.write(self.path, labels)
    result = dataset_json.read(self.path)
    self.assertEqual(list(result), list(labels))
    for name, label in labels.items():
      np.testing.assert_array_equal(result[name], label)
      self.assertEqual(result[name].dtype, np.float32)
    self.assertEqual(list(json.loads(self.path.read_text())), ["labels"])
    self.assertEqual(os.listdir(self.path.parent), ["dataset.json"])

  def test_failed_write_leaves_the_old_file(self):
    labels = dict(zip(albums.names(2), albums.labels(2)))
    dataset_json.write(self.path, labels)
    before = self.path.read_bytes()
    with mock.patch.object(os, "replace", side_effect=OSError):
      with self.assertRaises(OSError):
        dataset_json.write(self.path, {})
    self.assertEqual(self.path.read_bytes(), before)
    self.assertEqual(os.listdir(self.path.parent), ["dataset.json"])

  def test_write_refuses_what_read_would(self):
    label = albums.labels(1)[0]
    with self.assertRaisesRegex(DatasetJsonError, "dataset.json: 'a.png': "):
      dataset_json.write(self.path, {"a.png": label * np.nan})
    with self.assertRaisesRegex(DatasetJsonError, "appears twice"):
      dataset_json.write(self.path, {"x/a.png": label, "x\\a.png": label})
    self.assertFalse(self.path.exists())

  @parameterized.parameters(
    ("00\\a.png", "00/a.png"),
    ("./a.png", "a.png"),
    ("Jose\u0301.png", "Jos\u00e9.png"),
    ("a.png", "a.png"),
  )
  def test_names_have_one_spelling(self, written, normal):
    text = json.dumps({"labels": [[written, entries()[0][1]]]})
    self.assertEqual(list(dataset_json.parse(text, "x")), [normal])

  @parameterized.parameters(
    ("", "is not valid JSON"),
    ("{", "is not valid JSON"),
    (b"\xff\xfe\xfa", "is not valid JSON"),
    ("[" * 100000, "is nested too deeply"),
    ("[]", "has no camera labels.* got \\[\\]"),
    ("{}", "has no camera labels"),
    ('{"labels": null}', 'has no camera labels.* got {"labels": null}'),
    ('{"labels": {"a.png": 1}}', "entry 0 .*expected a list of 25 numbers"),
    ('{"labels": [1]}', r"entry 0: expected \[name, \[25 numbers\]\]"),
    ('{"labels": [["a.png"]]}', "entry 0: expected"),
    ('{"labels": [[7, []]]}', "entry 0: expected"),
    ('{"labels": [["", []]]}', "entry 0: expected"),
    ('{"labels": [["a.png", null]]}', r"entry 0 \('a.png'\).*got null"),
    (
      '{"labels": [["a.png", [1, 2]]]}',
      r"entry 0 \('a.png'\): expected 25 numbers .*, got 2",
    ),
  )
  def test_bad_files(self, text, message):
    with self.assertRaisesRegex(
      DatasetJsonError, f"^dir/dataset.json: {message}"
    ) as caught:
      dataset_json.parse(text, "dir/dataset.json")
    self.assertNotIn("\n", str(caught.exception))
    self.assertLess(len(str(caught.exception)), 250)

  @parameterized.parameters(
    (3, float("nan"), "number 3 must be finite, got NaN"),
    (3, float("inf"), "number 3 must be finite"),
    (3, 10**400, "number 3 must be finite"),
    (3, 1e39, "number 3 must be finite"),
    (3, "1", 'number 3 must be finite, got "1"'),
    (3, None, "number 3 must be finite, got null"),
    (3, True, "number 3 must be finite, got true"),
    (0, 2.0, "cam2world is not a rigid camera"),
    (15, 0.0, "the bottom row"),
    (16, -1.0, "intrinsics must have positive focal"),
  )
  def test_bad_labels(self, i, value, message):
    text = json.dumps({"labels": broken(i, value)})
    with self.assertRaisesRegex(
      DatasetJsonError, f"^here: entry 1 \\('photo01.png'\\): {message}"
    ):
      dataset_json.parse(text, "here")

  def test_a_name_twice(self):
    text = json.dumps({"labels": entries() + entries()[:1]})
    with self.assertRaisesRegex(
      DatasetJsonError, r"^here: entry 3 \('photo00.png'\): .*twice"
    ):
      dataset_json.parse(text, "here")

  def test_missing_file(self):
    with self.assertRaisesRegex(DatasetJsonError, f"^{self.path}: cannot be"):
      dataset_json.read(self.path)


if __name__ == "__main__":
  absltest.main()

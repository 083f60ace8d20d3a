"""Faces, the mesh's own facts, and files of landmarks."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.data.faces import landmarks
from my3dgen_jax.data.faces.face_align import Alignment, FACE
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.errors import UserError

POINTS = np.array([[1.0, 2], [3, 2], [2, 3], [1, 4], [3, 4.5]])


class FaceTest(absltest.TestCase):
  def test_size(self):
    self.assertEqual(Face(POINTS).size, 2.5)
    self.assertEqual(Face(POINTS, box=(0, 0, 7, 3)).size, 7)

  def test_moved(self):
    face = Face(POINTS, dense=np.ones((468, 3)), box=(0, 0, 8, 8), score=0.5)
    moved = face.moved(Alignment((4.0, 4.0), 8.0, 16).to_crop)
    np.testing.assert_allclose(moved.points, 2 * POINTS)
    np.testing.assert_allclose(moved.dense, 2)
    self.assertEqual(moved.box, (0, 0, 16, 16))
    self.assertEqual(moved.score, 0.5)
    self.assertIsNone(Face(POINTS).moved(lambda x: x).dense)

  def test_largest_first(self):
    faces = [Face(POINTS), Face(3 * POINTS), Face(2 * POINTS)]
    self.assertEqual(
      [face.size for face in landmarks.largest_first(faces)], [7.5, 5.0, 2.5]
    )


class MeshTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.mean = landmarks.mean_mesh()

  def test_symmetric(self):
    mirror = self.mean.mirror
    np.testing.assert_array_equal(mirror[mirror], np.arange(468))
    np.testing.assert_allclose(
      self.mean.points[mirror], self.mean.points * [-1, 1, 1], atol=1e-6
    )
    # The outer corners of the eyes and the corners of the mouth are pairs,
    # the nose's tip and the chin lie in the middle.
    np.testing.assert_array_equal(mirror[[33, 61, 1, 152]], [263, 291, 1, 152])

  def test_is_a_face(self):
    points = self.mean.points
    self.assertAlmostEqual(points[263, 0] - points[33, 0], 1, places=6)
    self.assertGreater(points[10, 1], points[1, 1])  # forehead over nose
    self.assertGreater(points[1, 1], points[152, 1])  # nose over chin
    self.assertEqual(np.argmax(points[:, 2]) in (1, 4, 5), True)
    self.assertBetween(self.mean.deviation.min(), 0.001, 0.02)
    self.assertBetween(self.mean.deviation.max(), 0.02, 0.1)

  def test_points_are_those_of_the_standard_face(self):
    """Up to size and place, to what two average faces differ by."""
    five = landmarks.points_of_mesh(self.mean.points)
    self.assertEqual(five.shape, (5, 3))
    standard = np.array(FACE.points)
    unit = lambda x: (x - x.mean(axis=0)) / np.linalg.norm(x - x.mean(axis=0))
    # A tenth of the distance of the eyes, which is 0.8 in this measure.
    np.testing.assert_allclose(
      unit(five[:, :2]), unit(standard[:, :2]), atol=0.08
    )

  def test_points_turn_with_the_mesh(self):
    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    np.testing.assert_allclose(
      landmarks.points_of_mesh(self.mean.points @ turn),
      landmarks.points_of_mesh(self.mean.points) @ turn,
      atol=1e-12,
    )


class FilesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def write(self, name, text):
    path = self.folder / name
    path.write_text(text)
    return path

  @parameterized.parameters(
    "1 2\n3 2\n2 3\n1 4\n3 4.5\n",
    "1.0\t2\n3 2\n\n2 3\n1 4\n3 4.5",
    "1,2\n3,2\n2,3\n1,4\n3,4.5",
    "5 1 2 3 2 2 3 1 4 3 4.5",
    "1e0 2 3 2 2 3 1 4 3 4.5",
  )
  def test_points(self, text):
    np.testing.assert_array_equal(
      landmarks.read_points(self.write("a.txt", text)), POINTS
    )

  @parameterized.parameters(
    ("1 2\n3 4", "expected 5 points, x and y of each, got 4 numbers"),
    ("", "got 0 numbers"),
    ("1 2 3 2 2 3 1 4 3 nan", "expected 5 points"),
    ("here is\nno number", "cannot be read as landmarks"),
  )
  def test_bad_points(self, text, message):
    with self.assertRaisesRegex(UserError, r"a\.txt: .*" + message) as caught:
      landmarks.read_points(self.write("a.txt", text))
    self.assertNotIn("\n", str(caught.exception))

  def test_missing(self):
    with self.assertRaisesRegex(UserError, r"a\.txt: .*No such file"):
      landmarks.read_points(self.folder / "a.txt")
    with self.assertRaisesRegex(UserError, "there are no landmarks"):
      landmarks.read_folder(self.folder)
    with self.assertRaisesRegex(UserError, r"a\.json: cannot be read"):
      landmarks.read_json(self.folder / "a.json")

  def test_folder(self):
    self.write("b.txt", "1 2 3 2 2 3 1 4 3 4.5")
    self.write("a.txt", "0 0 1 0 0 1 0 2 1 2")
    self.write("bad.txt", "1 2 3")
    faces, faults = landmarks.read_folder(self.folder)
    self.assertEqual(list(faces), ["a", "b"])
    self.assertEqual(list(faults), ["bad"])
    self.assertRegex(faults["bad"], r"bad\.txt: expected 5 points")
    np.testing.assert_array_equal(faces["b"][0].points, POINTS)

  def test_nine_points_of_cats(self):
    path = self.write("cat.txt", "9 " + " ".join(map(str, range(18))))
    np.testing.assert_array_equal(
      landmarks.read_points(path, 9), np.arange(18.0).reshape(9, 2)
    )

  def test_json_round_trip(self):
    path = self.folder / "faces.json"
    dense = np.random.default_rng(0).normal(size=(468, 3))
    landmarks.write_json(
      path,
      {
        "a.jpg": [Face(POINTS), Face(2 * POINTS, dense, (1, 2, 30, 40), 0.75)],
        "b.jpg": [],
      },
    )
    faces, faults = landmarks.read_json(path)
    self.assertEmpty(faults)
    self.assertEqual(
      {name: len(found) for name, found in faces.items()},
      {"a.jpg": 2, "b.jpg": 0},
    )
    large, small = faces["a.jpg"]
    np.testing.assert_array_equal(large.points, 2 * POINTS)
    np.testing.assert_allclose(large.dense, dense, atol=5.1e-4)
    self.assertEqual((large.box, large.score), ((1, 2, 30, 40), 0.75))
    np.testing.assert_array_equal(small.points, POINTS)
    self.assertIsNone(small.dense)

  @parameterized.parameters(
    (POINTS.tolist(),), ([POINTS.tolist()],), ({"points": POINTS.tolist()},)
  )
  def test_json_of_others(self, value):
    path = self.write("faces.json", json.dumps({"dir\\a.jpg": value}))
    faces, _ = landmarks.read_json(path)
    self.assertEqual(list(faces), ["dir/a.jpg"])
    np.testing.assert_array_equal(faces["dir/a.jpg"][0].points, POINTS)

  @parameterized.parameters(("{", "is not valid JSON"), ("[1]", "expected {"))
  def test_bad_json(self, text, message):
    with self.assertRaisesRegex(UserError, message) as caught:
      landmarks.read_json(self.write("a.json", text))
    self.assertIn("a.json", str(caught.exception))
    self.assertNotIn("\n", str(caught.exception))

  @parameterized.parameters(
    ("3", "expected a list of faces"),
    ("[{}]", 'a face has no "points"'),
    ("[[1, 2]]", r"points: expected .* \[5, 2\]"),
    ('[["x", 2]]', "points: expected"),
    (
      '[{"points": %s, "dense": [[1, 2]]}]' % POINTS.tolist(),
      r"dense: expected .* \[468, 3\]",
    ),
    ('[{"points": %s, "score": "high"}]' % POINTS.tolist(), "score: expected"),
    (
      '[{"points": %s, "score": 1%s}]' % (POINTS.tolist(), 400 * "0"),
      "score: expected",
    ),
  )
  def test_bad_entry(self, entry, message):
    given = landmarks.read_json(
      self.write("a.json", '{"a": %s, "b": %s}' % (entry, POINTS.tolist()))
    )
    self.assertEqual(list(given.faces), ["b"])
    self.assertRegex(given.faults["a"], f"a.json: 'a': {message}")
    self.assertNotIn("\n", given.faults["a"])


if __name__ == "__main__":
  absltest.main()

"""Directions: what the SVM finds, conditioning, label tables, hostile files."""

import io
import os
import pathlib
import pickle
import sys
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import directions
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import CheckpointError, UserError

W_DIM, NUM_WS = 16, 4


def unit(seed, shape=W_DIM):
  vector = np.random.default_rng(seed).normal(size=shape)
  return (vector / np.linalg.norm(vector)).astype(np.float32)


def samples(count=2000, seed=0):
  """Latents about a centre that is not 0, in units that are not 1."""
  rng = np.random.default_rng(seed)
  return rng.normal(3, 0.2, (count, W_DIM)).astype(np.float32)


class FitTest(parameterized.TestCase):
  @parameterized.parameters(0.0, 0.3)
  def test_recovers_a_known_direction(self, noise):
    w, known = samples(), unit(1)
    scores = w @ known + 0.2 * noise * samples(seed=2)[:, 0]
    result = directions.fit(w, scores, name="smile")
    self.assertEqual(result.name, "smile")
    self.assertEqual(result.vector.shape, (W_DIM,))
    self.assertEqual(result.vector.dtype, np.float32)
    self.assertAlmostEqual(np.linalg.norm(result.vector), 1, places=6)
    self.assertGreater(result.vector @ known, 0.95)
    self.assertGreater(result.accuracy, 0.95)
    self.assertAlmostEqual(result.spread, 0.2, delta=0.02)

  def test_points_to_higher_scores(self):
    w, known = samples(), unit(1)
    down = directions.fit(w, -(w @ known), name="frown")
    self.assertLess(down.vector @ known, -0.95)

  def test_nothing_to_find_is_seen_by_the_accuracy(self):
    scores = np.random.default_rng(1).normal(size=2000)
    result = directions.fit(samples(), scores, name="luck")
    self.assertBetween(result.accuracy, 0.3, 0.7)

  def test_the_scale_of_w_does_not_matter(self):
    w, known = samples(), unit(1)
    noisy = w @ known + 0.1 * samples(seed=2)[:, 0]
    vectors = [
      directions.fit(scale * w, noisy, name="x").vector
      for scale in (1, 1e-3, 1e3)
    ]
    for vector in vectors[1:]:
      np.testing.assert_allclose(vector, vectors[0], atol=1e-3)

  def test_coordinates_that_hardly_vary_do_not_win(self):
    w = samples()
    w[:, 8:] *= 1e-4
    scores = w[:, 0] + 0.1 * samples(seed=2)[:, 0]
    vector = directions.fit(w, scores, name="x").vector
    self.assertGreater(vector[0], 0.95)
    self.assertLess(np.abs(vector[8:]).max(), 0.01)

  def test_is_repeatable(self):
    w = samples(300)
    first, second = (
      directions.fit(w, w[:, 0] > 3, name="x", seed=5) for _ in range(2)
    )
    np.testing.assert_array_equal(first.vector, second.vector)
    self.assertEqual(
      (first.accuracy, first.spread), (second.accuracy, second.spread)
    )

  @parameterized.product(dtype=(np.bool_, np.int64, np.float32))
  def test_labels(self, dtype):
    """All the rarer ones are used, however few they are of the whole."""
    w, known = samples(4000), unit(1)
    projected = w @ known
    labels = projected > np.quantile(projected, 0.95)
    result = directions.fit(w, labels.astype(dtype), name="glasses")
    self.assertGreater(result.vector @ known, 0.9)
    self.assertGreater(result.accuracy, 0.9)

  @parameterized.parameters(1000, 1001)
  def test_half_of_the_samples_is_the_most(self, count):
    w, known = samples(count), unit(1)
    result = directions.fit(w, w @ known, name="x", share=0.5)
    self.assertGreater(result.vector @ known, 0.95)

  def test_without_validation(self):
    w = samples(100)
    result = directions.fit(w, w[:, 0], name="x", share=0.2, validation=0)
    self.assertIsNone(result.accuracy)
    self.assertIsNotNone(result.spread)

  def test_lists_and_wide_numbers(self):
    w = samples(200).astype(np.float64)
    result = directions.fit(w.tolist(), w[:, 0].tolist(), name="x")
    self.assertGreater(result.vector[0], 0.7)

  @parameterized.named_parameters(
    (
      "one_axis",
      samples(9)[0],
      np.ones(9),
      r"w: expected shape \[N, w_dim\], got \[16\]",
    ),
    ("wplus", np.ones((9, 4, 16)), np.ones(9), r"w: expected shape \[N"),
    ("ragged", [[1.0], [1.0, 2.0]], np.ones(2), "w: expected real numbers"),
    ("texts", [["a"]], np.ones(1), "w: expected real numbers"),
    ("complex", samples(100) * 1j, np.ones(100), "w: expected real"),
    (
      "nan",
      np.where(samples(100) > 99, 0, np.nan),
      np.ones(100),
      r"w: holds NaN or infinity, first at \(0, 0\)",
    ),
    ("huge", np.full((100, 4), 1e60), np.arange(100), "w: holds NaN or inf"),
    (
      "fewer_scores",
      samples(100),
      np.ones(99),
      r"scores: expected shape \[100\], got \[99\]",
    ),
    (
      "score_columns",
      samples(100),
      np.ones((100, 1)),
      r"scores: expected shape \[100\], got \[100, 1\]",
    ),
    (
      "nan_score",
      samples(100),
      np.r_[np.ones(99), np.nan],
      r"scores: holds NaN or infinity, first at \(99,\)",
    ),
    ("equal_scores", samples(100), np.ones(100), "scores: all are equal"),
    (
      "too_few",
      samples(99),
      np.arange(99.0),
      "w: 99 samples are too few: share 0.1 selects 9, .* 10 are needed",
    ),
    (
      "too_few_of_a_label",
      samples(100),
      np.arange(100) < 3,
      "scores: only 3 of 100 samples have the label 1; label at least 10",
    ),
    (
      "ties",
      samples(200),
      np.r_[np.zeros(190), np.arange(10)],
      "scores: too many equal 0, so high and low ones overlap",
    ),
    (
      "equal_samples",
      np.full((100, 4), 0.1),
      np.arange(100.0),
      "w: all samples are equal",
    ),
    ("zeros", np.zeros((100, 4)), np.arange(100.0), "w: all samples"),
  )
  def test_bad_samples(self, w, scores, message):
    with self.assertRaisesRegex(UserError, f"^{message}") as caught:
      directions.fit(w, scores, name="x")
    self.assertNotIn("\n", str(caught.exception))

  @parameterized.parameters(
    (dict(share=0), "share"),
    (dict(share=0.6), "share"),
    (dict(share=float("nan")), "share"),
    (dict(validation=1), "validation"),
    (dict(validation=-0.1), "validation"),
    (dict(c=0), "c"),
    (dict(c=float("inf")), "c"),
    (dict(c=float("nan")), "c"),
    (dict(seed=-1), "seed"),
    (dict(seed=0.5), "seed"),
  )
  def test_bad_options(self, options, name):
    with self.assertRaisesRegex(UserError, f"^{name}: expected"):
      directions.fit(samples(100), np.arange(100), name="x", **options)

  def test_without_scikit_learn(self):
    w = samples(100)
    with mock.patch.dict(sys.modules, {"sklearn.svm": None}):
      with self.assertRaisesRegex(
        UserError, "pip install scikit-learn"
      ) as caught:
        directions.fit(w, w[:, 0], name="x")
    self.assertNotIn("\n", str(caught.exception))


class ConditionedTest(parameterized.TestCase):
  def test_entangled_attributes(self):
    """People who smile are older here; without age, age stays."""
    w, smile, age = samples(4000), unit(1), unit(2)
    w = w + (1.5 * (w - 3) @ smile)[:, None] * age
    a = directions.fit(w, w @ smile, name="smile")
    b = directions.fit(w, w @ age, name="age")
    self.assertGreater(abs(float(a.vector @ b.vector)), 0.1)
    result = directions.conditioned(a, [b])
    self.assertEqual(result.name, "smile without age")
    self.assertIsNone(result.accuracy)
    self.assertEqual(result.spread, a.spread)
    self.assertAlmostEqual(np.linalg.norm(result.vector), 1, places=6)
    self.assertAlmostEqual(float(result.vector @ b.vector), 0, delta=1e-6)
    self.assertGreater(result.vector @ a.vector, 0.3)
    self.assertGreater(result.vector @ smile, 0.3)

  @parameterized.parameters(3, 8)
  def test_all_others_at_once(self, count):
    """One after the other would leave some of the first."""
    a = Direction("a", unit(0))
    others = [Direction(str(i), unit(i)) for i in range(1, count)]
    result, turned = (
      directions.conditioned(a, order) for order in (others, others[::-1])
    )
    for other in others:
      self.assertAlmostEqual(float(result.vector @ other.vector), 0, delta=1e-6)
    np.testing.assert_allclose(result.vector, turned.vector, atol=1e-6)

  def test_others_that_are_one(self):
    a, b = Direction("a", unit(0)), Direction("b", unit(1))
    near = Direction("c", b.vector + 1e-8)
    back = Direction("d", -b.vector)
    expected = directions.conditioned(a, [b]).vector
    for others in ([b, b], [b, near], [back, b, near]):
      np.testing.assert_allclose(
        directions.conditioned(a, others).vector, expected, atol=1e-5
      )

  def test_no_others(self):
    a = Direction("a", unit(0), 0.9, 2.0)
    result = directions.conditioned(a, [])
    np.testing.assert_allclose(result.vector, a.vector, atol=1e-7)
    self.assertEqual(result.name, "a")

  @parameterized.parameters(
    ((4, 16), (16,)), ((16,), (4, 16)), ((4, 16), (4, 16))
  )
  def test_wplus(self, shape, other_shape):
    """In each case the other's projection of ws stays as it is."""
    a, b = Direction("a", unit(0, shape)), Direction("b", unit(1, other_shape))
    result = directions.conditioned(a, [b]).vector
    self.assertEqual(result.shape, (4, 16))
    self.assertAlmostEqual(np.linalg.norm(result), 1, places=6)
    self.assertAlmostEqual(float(np.sum(result * b.vector)), 0, delta=1e-6)

  def test_nothing_left(self):
    a, b, c = (Direction(name, unit(i)) for i, name in enumerate("abc"))
    mixed = Direction("mixed", b.vector + c.vector)
    for direction, others, names in (
      (a, [a], "'a' without 'a'"),
      (a, [Direction("b", a.vector + 1e-5 * b.vector)], "'a' without 'b'"),
      (mixed, [b, c], "'mixed' without 'b, c'"),
    ):
      with self.assertRaisesRegex(
        UserError, f"^others: nothing is left of {names}, .* leave some"
      ):
        directions.conditioned(direction, others)

  @parameterized.parameters((8,), (1,), (3, 16), (4, 8))
  def test_other_generators(self, *shape):
    a = Direction("a", unit(0, (4, 16)))
    b = Direction("b", unit(1, shape))
    for pair in ((a, [b]), (b, [a])):
      with self.assertRaisesRegex(UserError, r"^others: .*'a' \[4, 16\]"):
        directions.conditioned(*pair)


class FileTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)


class LabelsTest(FileTest):
  def setUp(self):
    super().setUp()
    self.path = self.folder / "smile.csv"

  def read(self, text, names=("a.png", "b.png", "c.png")):
    self.path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return directions.read_labels(self.path, names).tolist()

  def assert_refused(self, text, message, names=("a.png", "b.png")):
    with self.assertRaisesRegex(
      UserError, f"^{self.path}: {message}"
    ) as caught:
      self.read(text, names)
    self.assertNotIn("\n", str(caught.exception))
    self.assertLess(len(str(caught.exception)), 250 + len(str(self.path)))

  @parameterized.parameters(
    "a.png,1\nb.png,0.5\nc.png,-2e1\n",
    "name,score\na.png,1\nb.png,0.5\nc.png,-2e1",
    "file,smile\r\nc.png,-20\r\nb.png,.5\r\na.png,true\r\n",
    b"\xef\xbb\xbfname,smile\na.png,1\nb.png,0.5\nc.png,-20\n",
    "\n,\n a.png , True\n\nb.png,0.5\nc.png,-20\n\n",
    '"a.png","1"\n"b.png","0.5"\n"./c.png",-20\n',
    "x.png,7\nx.png,8\na.png,1\nb.png,0.5\nc.png,-20\n",
  )
  def test_names(self, text):
    self.assertEqual(self.read(text), [1.0, 0.5, -20.0])

  @parameterized.parameters(
    "0,1\n1,false\n2,3\n",
    "number,score\n2,3\n1,0\n0,1\n",
    "2,3\n00,1\n01,0\n",
    ",smile\n0,1\n1,0\n2,3\n",
  )
  def test_numbers(self, text):
    self.assertEqual(self.read(text, 3), [1.0, 0.0, 3.0])
    self.assertEqual(self.read(text, np.int64(3)), [1.0, 0.0, 3.0])

  def test_names_have_one_spelling(self):
    self.assertEqual(
      self.read("d\\Jose\u0301.png,2\n", ["d/Jos\u00e9.png"]), [2.0]
    )
    self.assertEqual(self.read('"a,b\n.png",2\n', ["a,b\n.png"]), [2.0])

  @parameterized.parameters(
    ("", "2 of 2 have no label, the first is 'a.png'; add"),
    ("a.png,1\n", "1 of 2 have no label, the first is 'b.png'"),
    ("a.png,1\nc.png,1\n", "1 of 2 have no label"),
    (
      "a.png,1\nb.png,2\n\na.png,1\n",
      "line 4: 'a.png' already has a label in line 1; keep",
    ),
    ("a.png\n", "line 1: expected 2 columns separated by a comma, got 1"),
    ("a.png;1\n", "line 1: expected 2 columns"),
    ("h,s\na.png,1,2\n", "line 2: expected 2 columns .* got 3"),
    ("a.png,O.5\nb.png,1\n", "line 1: expected a finite number, .* 'O.5'"),
    ("h,s\nh,s\n", "line 2: expected a finite number"),
    ("a.png,1\nb.png,\n", "line 2: expected a finite number, .* got ''"),
    ("a.png,nan\n", "line 1: expected a finite number"),
    ("a.png,1\nb.png,-inf\n", "line 2: expected a finite number"),
    ("a.png," + "9" * 10_000, r"line 1: expected .*\.\.\.'"),
    ('a.png,1\n"b.png,1\n', "line 2: is not valid CSV"),
    ('a.png,1\n"b.png"x,1\n', "line 2: is not valid CSV"),
    ("a.png," + "9" * 200_000, "line 1: is not valid CSV: field larger"),
    (b"a.png,1\nb\xff.png,1\n", "is not UTF-8 text; save it as CSV"),
    (b"\x89PNG\r\n\x1a\n\0", "is not UTF-8 text"),
  )
  def test_bad_tables(self, text, message):
    self.assert_refused(text, message)

  @parameterized.parameters(
    ("0,1\n2,1\n", "line 2: expected a sample's number, 0 to 1, got '2'"),
    ("0,1\n-1,1\n", "line 2: expected a sample's number"),
    ("0,1\n1.0,1\n", "line 2: expected a sample's number"),
    ("0,1\n" + "1" * 5000 + ",1\n", "line 2: expected a sample's number"),
    ("0,yes\n1,no\n", "line 1: expected a finite number, .* got 'yes'"),
    ("0,1\n00,1\n", "line 2: '0' already has a label in line 1"),
    ("0,1\n", "1 of 2 have no label, the first is '1'"),
  )
  def test_bad_numbers(self, text, message):
    self.assert_refused(text, message, 2)

  def test_some_may_have_no_label(self):
    self.path.write_text("name,smile\nb.png,1\nc.png,\n")
    names = ["a.png", "b.png", "c.png"]
    np.testing.assert_array_equal(
      directions.read_labels(self.path, names, partly=True), [np.nan, 1, np.nan]
    )
    with self.assertRaisesRegex(UserError, "line 3: expected a finite number"):
      directions.read_labels(self.path, names)
    self.path.write_text("name,smile\n")
    with self.assertRaisesRegex(UserError, "3 of 3 have no label.* for some"):
      directions.read_labels(self.path, names, partly=True)

  def test_names_that_come_twice(self):
    with self.assertRaisesRegex(UserError, "^names_or_count: .* twice"):
      self.read("a.png,1\n", ["a.png", "./a.png"])

  def test_no_file(self):
    for path, reason in (
      (self.path, "No such file"),
      (self.folder, "is not a regular file"),
    ):
      with self.assertRaisesRegex(
        UserError, f"^{path}: cannot be read: .*{reason}"
      ):
        directions.read_labels(path, 3)


class DirectionFileTest(FileTest):
  def setUp(self):
    super().setUp()
    self.path = self.folder / "smile.npy"

  def load(self, path=None):
    return directions.load(path or self.path, w_dim=W_DIM, num_ws=NUM_WS)

  def assert_refused(self, message, path=None):
    path = path or self.path
    with self.assertRaisesRegex(
      CheckpointError, f"^{path}: .*{message}"
    ) as caught:
      self.load(path)
    self.assertNotIn("\n", str(caught.exception))

  @parameterized.parameters((W_DIM,), (NUM_WS, W_DIM))
  def test_round_trip(self, *shape):
    vector = unit(1, shape)
    directions.save(self.path, Direction("x", vector, 0.9, 2.0))
    self.assertEqual(os.listdir(self.folder), ["smile.npy"])
    plain = np.load(self.path, allow_pickle=False)
    np.testing.assert_array_equal(plain, vector)
    self.assertEqual(plain.dtype, np.float32)
    result = self.load()
    np.testing.assert_allclose(result.vector, vector, atol=1e-7)
    self.assertEqual(result.vector.dtype, np.float32)
    self.assertEqual(
      (result.name, result.accuracy, result.spread), ("smile", None, None)
    )

  @parameterized.product(
    shape=(
      (W_DIM,),
      (1, W_DIM),
      (NUM_WS, W_DIM),
      (1, NUM_WS, W_DIM),
      (1, 1, W_DIM),
    ),
    dtype=(np.float16, np.float32, ">f8", np.int32),
  )
  def test_shapes_and_lengths(self, shape, dtype):
    array = (100 * unit(1, shape)).astype(dtype)
    np.save(self.path, array)
    result = self.load().vector
    self.assertEqual(
      result.shape, (NUM_WS, W_DIM) if NUM_WS in shape else (W_DIM,)
    )
    wide = array.astype(np.float64).ravel()
    np.testing.assert_allclose(
      result.ravel(), wide / np.linalg.norm(wide), atol=1e-6
    )

  def test_layers_that_are_alike_are_one(self):
    """A strength means the same in [w_dim] and in its repetition."""
    np.save(self.path, np.tile(5 * unit(1), (1, NUM_WS, 1)))
    np.testing.assert_allclose(self.load().vector, unit(1), atol=1e-6)

  def test_lengths_beyond_float32(self):
    for scale in (1e-300, 1e300):
      np.save(self.path, scale * unit(1).astype(np.float64))
      np.testing.assert_allclose(self.load().vector, unit(1), atol=1e-6)

  @parameterized.named_parameters(
    ("width", np.ones(15), r"got float64 \[15\]; .* another generator"),
    ("rows", np.ones((5, 16)), r"got float64 \[5, 16\]"),
    ("batch", np.ones((2, 4, 16)), r"got float64 \[2, 4, 16\]"),
    (
      "turned",
      np.ones((16, 4)),
      r"expected .* shape \[16\], \[1, 16\], "
      r"\[4, 16\] or \[1, 4, 16\]",
    ),
    ("four_axes", np.ones((1, 1, 1, 16)), "expected real numbers"),
    ("number", np.float32(1), r"got float32 \[\]"),
    ("empty", np.ones((0, 16)), "expected real numbers"),
    ("complex", np.ones(16, complex), "got complex128"),
    ("booleans", np.ones(16, bool), "got bool"),
    ("texts", np.full(16, "a"), "expected real numbers"),
    ("nan", np.r_[np.ones(15), np.nan], "holds NaN or infinity"),
    ("inf", np.r_[np.ones(15), -np.inf], "holds NaN or infinity"),
    ("zeros", np.zeros(16), "holds only zeros"),
  )
  def test_bad_arrays(self, array, message):
    np.save(self.path, array)
    self.assert_refused(message)

  def test_objects_are_not_made(self):
    canary = self.folder / "canary"

    class Hostile:
      def __reduce__(self):
        return os.mkdir, (str(canary),)

    np.save(self.path, np.array([Hostile()], object), allow_pickle=True)
    self.assert_refused("not a .npy file of numbers; write it again")
    self.path.write_bytes(pickle.dumps(Hostile()))
    self.assert_refused("not a .npy file of numbers")
    self.assertFalse(canary.exists())

  def test_damaged_files(self):
    buffer = io.BytesIO()
    np.save(buffer, unit(1))
    data = buffer.getvalue()
    huge = data.replace(b"(16,), }", b"(9999999999999,), }")
    self.assertNotEqual(huge, data)
    zipped = io.BytesIO()
    np.savez(zipped, unit(1))
    for damaged in (
      b"",
      b"\x93NUMPY",
      data[:60],
      data[:-1],
      huge,
      data.replace(b"<f4", b"<q9"),
      b"<html>",
      bytes(200),
      zipped.getvalue(),
      data[:8] + b"\xff\xff" + data[10:],
    ):
      self.path.write_bytes(damaged)
      self.assert_refused("is damaged, or not a .npy file")

  def test_what_is_no_file(self):
    self.assert_refused("cannot be read: No such file")
    self.assert_refused("is not a regular file", self.folder)
    self.assert_refused("No such file", self.folder / "age.pt")
    os.mkfifo(self.path)
    self.assert_refused("is not a regular file")
    self.path.unlink()
    with self.path.open("wb") as file:
      file.truncate(2**24 + 1)
    self.assert_refused("has more than 16 MiB")

  @parameterized.parameters("age.pt", "age.PTH", "my age.pkl")
  def test_files_of_pytorch(self, name):
    path = self.folder / name
    path.write_bytes(b"PK")
    stem = name.split(".")[0]
    quote = "'" if " " in name else ""
    self.assert_refused(
      f"PyTorch file; convert it: python converters/direction_to_npy.py --input "
      f"{quote}{path}{quote} --output {quote}{self.folder}/{stem}.npy"
      f"{quote}$",
      path,
    )

  def test_failed_write_leaves_the_old_file(self):
    directions.save(self.path, Direction("x", unit(1)))
    with mock.patch.object(np, "save", side_effect=OSError(28, "full")):
      with self.assertRaises(OSError):
        directions.save(self.path, Direction("x", unit(2)))
    self.assertEqual(os.listdir(self.folder), ["smile.npy"])
    np.testing.assert_array_equal(np.load(self.path), unit(1))


if __name__ == "__main__":
  absltest.main()

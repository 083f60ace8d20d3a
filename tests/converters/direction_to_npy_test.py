"""Tests of the direction converter: what it makes, and what it refuses."""

import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized

from converters import direction_to_npy
from my3dgen_jax import directions
from tests.support import official_files as files
from tests.support.converters import ConverterCase

_W_DIM, _NUM_WS = 16, 4


def _array(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class DirectionToNpyTest(ConverterCase):
  converter = direction_to_npy
  OUTPUT = "age.npy"

  def setUp(self):
    super().setUp()
    self.input = self.folder / "age.pt"

  def write(self, value, write=files.zip_file):
    self.input.write_bytes(write(value))

  def convert(self, **options):
    direction_to_npy.convert(
      str(self.input), str(self.output), **{"log": lambda line: None, **options}
    )
    return np.load(self.output, allow_pickle=False)

  def flags(self):
    return [f"--input={self.input}", f"--output={self.output}"]

  @parameterized.parameters(
    files.zip_file, files.legacy_file, files.plain_pickle
  )
  def test_formats(self, write):
    array = _array(1, _W_DIM)
    self.write(array, write)
    result = self.convert()
    np.testing.assert_allclose(
      result, array[0] / np.linalg.norm(array), atol=1e-6
    )
    self.assertEqual(result.dtype, np.float32)

  @parameterized.parameters(
    (_W_DIM,), (1, _W_DIM), (_NUM_WS, _W_DIM), (1, _NUM_WS, _W_DIM)
  )
  def test_shapes(self, *shape):
    """What is written is what the package reads."""
    array = _array(*shape)
    self.write(array)
    result = self.convert()
    self.assertEqual(
      result.shape, (_NUM_WS, _W_DIM) if _NUM_WS in shape else (_W_DIM,)
    )
    loaded = directions.load(self.output, w_dim=_W_DIM, num_ws=_NUM_WS)
    np.testing.assert_allclose(
      loaded.vector.ravel(), array.ravel() / np.linalg.norm(array), atol=1e-6
    )

  @parameterized.parameters(
    "float16", "float32", "float64", "int64", "bfloat16"
  )
  def test_dtypes(self, name):
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name)
    array = (100 * _array(_W_DIM)).astype(dtype)
    self.write(array)
    wide = array.astype(np.float64)
    np.testing.assert_allclose(
      self.convert(), wide / np.linalg.norm(wide), atol=1e-6
    )

  def test_views_and_parameters(self):
    array = _array(_NUM_WS, _W_DIM)
    expected = array / np.linalg.norm(array)
    for tensor in (
      files.Tensor.transposed(array),
      files.Tensor.spread(array),
      files.parameter_call(files.Tensor.of(array)),
    ):
      self.write(tensor)
      np.testing.assert_allclose(
        self.convert(overwrite=True), expected, atol=1e-6
      )

  def test_tables(self):
    age, smile = _array(_W_DIM), _array(_W_DIM, seed=1)
    unit = lambda array: array / np.linalg.norm(array)
    self.write({"name": "age", "layers": 4, "direction": age})
    np.testing.assert_allclose(self.convert(), unit(age), atol=1e-6)
    self.write({"age": age, "smile": smile})
    np.testing.assert_allclose(
      self.convert(key="smile", overwrite=True), unit(smile), atol=1e-6
    )
    self.output.unlink()
    self.assert_refused(
      self.input, "has several tensors: age, smile (choose one with --key)"
    )
    self.assert_refused(
      self.input, "has no tensor pose; it has age, smile", key="pose"
    )

  @parameterized.named_parameters(
    ("nothing", {}, "has no tensors"),
    ("list", [1, 2], "contains a list, not a tensor"),
    ("text", "age", "contains 'age', not a tensor"),
    ("inner", {"a": {"b": np.ones(4, np.float32)}}, "has no tensors"),
    ("number", np.float32([1])[0], "[]"),
    ("batch", np.ones((2, 4, 16), np.float32), "[2, 4, 16]"),
    (
      "kernel",
      np.ones((4, 4, 3, 3), np.float32),
      "expected real numbers of shape [w_dim], [1, w_dim], [num_ws, w_dim]",
    ),
    ("empty", np.ones((0, 16), np.float32), "[0, 16]"),
    ("nan", np.float32([1, np.nan]), "holds NaN or infinity"),
    ("zeros", np.zeros(16, np.float32), "holds only zeros"),
    (
      "hostile",
      files.Call(files.Global("os", "system"), ("true",)),
      "os.system",
    ),
  )
  def test_contents(self, value, reason):
    self.write(value)
    self.assert_refused(self.input, reason)

  def test_key_of_a_single_tensor(self):
    self.write(_array(_W_DIM))
    self.assert_refused(self.input, "without a name (drop --key)", key="age")

  def test_files(self):
    self.write(_array(_W_DIM))
    self.assert_damage_refused(self.input)

  def test_output(self):
    self.write(_array(_W_DIM))
    code, text = self.main(*self.flags())
    self.assertEqual(
      (code, text), (0, f"wrote {self.output}: a direction of shape [16]\n")
    )
    self.output.unlink()
    self.assert_overwrites_when_asked_alone()
    self.output = self.folder / "new" / "age.npy"
    self.assertEqual(self.main(*self.flags())[0], 0)
    self.assertTrue(self.output.exists())

  def test_bad_output(self):
    self.write(_array(_W_DIM))
    self.output = self.folder / "age2.pt"
    self.assert_refused(self.output, "ends in .npy")
    self.output = self.folder / "folder.npy"
    self.output.mkdir()
    self.assert_refused(self.output, "is a folder")
    self.output = self.input / "age.npy"
    self.assert_refused(self.output)
    self.input = self.output = self.input.rename(self.folder / "x.npy")
    self.assert_refused(self.output, "is the input", overwrite=True)

  def test_command(self):
    self.write(_array(_W_DIM))
    self.assert_bad_flags(
      (self.flags()[1:], "--input is missing"),
      (self.flags()[:1], "--output is missing"),
      ([*self.flags(), "extra"], "unexpected argument"),
      ([*self.flags(), "--keys=a"], "keys"),
    )

  def test_script(self):
    self.assert_runs_as_script("--key")


if __name__ == "__main__":
  absltest.main()

"""What people pass on says nothing of the machine it was made on."""

import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.storage import tensor_files
from my3dgen_jax.storage.shareable import has_paths, without_paths


class ShareableTest(parameterized.TestCase):
  @parameterized.parameters(
    ("/home/ann/photos/", "photos"),
    ("~/photos", "photos"),
    ("~ann/photos", "photos"),
    ("C:\\Users\\ann\\a.png", "a.png"),
    ("\\\\host\\share\\a.png", "a.png"),
    ("file:///home/ann/a.png", "a.png"),
    ("photos/ann", "photos/ann"),
    ("0.5 / 3", "0.5 / 3"),
    ("", ""),
    (3, 3),
  )
  def test_values(self, value, clean):
    self.assertEqual(without_paths(value), clean)
    self.assertEqual(without_paths({"a": [value]}), {"a": [clean]})
    self.assertEqual(
      without_paths(json.dumps({"a": value})), json.dumps({"a": clean})
    )
    self.assertEqual(has_paths({"a": value}), value != clean)

  def test_same_bytes_for_the_same_content(self):
    """In processes whose hash tables are in another order."""
    script = (
      "import hashlib, numpy as np; "
      "from my3dgen_jax.storage import tensor_files; "
      "print(hashlib.sha256(tensor_files.encode("
      "{name: np.arange(5.0, dtype=np.float32) for name in 'cab'}, "
      "{name: name for name in 'zyxwvuts'})).hexdigest())"
    )
    found = {
      subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
      ).stdout
      for _ in range(4)
    }
    self.assertLen(found, 1)

  def test_is_a_safetensors_file(self):
    from safetensors import safe_open

    tensors = {
      "b/x": np.arange(6, dtype=np.float16).reshape(2, 3),
      "ä": np.asarray(2.5, np.float32),
      "empty": np.zeros((0, 3), np.float32),
    }
    metadata = {"ü": "ö", "a": json.dumps({"b": 1})}
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "x.safetensors"
      path.write_bytes(tensor_files.encode(tensors, metadata))
      with safe_open(path, framework="numpy") as file:
        self.assertEqual(file.metadata(), metadata)
        self.assertEqual(set(file.keys()), set(tensors))
        for name, array in tensors.items():
          np.testing.assert_array_equal(file.get_tensor(name), array)


if __name__ == "__main__":
  absltest.main()

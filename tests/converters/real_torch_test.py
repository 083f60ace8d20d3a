"""A developer's check against PyTorch itself; skipped where it is missing.

The converters need no torch, and neither do the other tests. To run this one,
in an environment of its own:

  pip install torch pytest -r requirements-cpu.txt
  python -m pytest tests/converters/real_torch_test.py
"""

import importlib.util
import io
import pickle

import numpy as np
from absl.testing import absltest, parameterized

from converters import torch_reader, torch_writer
from my3dgen_jax.errors import CheckpointError

_HAS_TORCH = importlib.util.find_spec("torch") is not None
if _HAS_TORCH:
  import torch  # pylint: disable=g-import-not-at-top


def _zip(value) -> bytes:
  buffer = io.BytesIO()
  torch.save(value, buffer)
  return buffer.getvalue()


def _legacy(value) -> bytes:
  buffer = io.BytesIO()
  torch.save(value, buffer, _use_new_zipfile_serialization=False)
  return buffer.getvalue()


_FORMATS = {"zip": _zip, "legacy": _legacy, "pickle": pickle.dumps}


@absltest.skipUnless(
  _HAS_TORCH,
  "PyTorch is not installed (a developer's check, see the file's first lines)",
)
class RealTorchTest(parameterized.TestCase):
  def assert_reads(self, data: bytes, value):
    """Every tensor in nested dicts and lists has torch's numbers."""
    self._compare(torch_reader.loads(data), value)

  def _compare(self, read, value):
    if isinstance(value, torch.Tensor):
      self.assertEqual(read.shape, tuple(value.shape))
      self.assertEqual(str(read.dtype), str(value.dtype).rpartition(".")[2])
      # Bit by bit, in a type that numpy has, too.
      expected = value.detach().contiguous().reshape(-1).view(torch.uint8)
      self.assertEqual(read.numpy().tobytes(), expected.numpy().tobytes())
    elif isinstance(value, dict):
      self.assertCountEqual(read, value)
      for key, item in value.items():
        self._compare(read[key], item)
    elif isinstance(value, (list, tuple)):
      self.assertLen(read, len(value))
      for inner, item in zip(read, value):
        self._compare(inner, item)
    else:
      self.assertEqual(read, value)

  @parameterized.product(
    form=list(_FORMATS),
    dtype=[
      "float64",
      "float32",
      "float16",
      "bfloat16",
      "int64",
      "int32",
      "int16",
      "int8",
      "uint8",
      "bool",
    ],
  )
  def test_dtypes(self, form, dtype):
    tensor = (10 * torch.randn(3, 4)).to(getattr(torch, dtype))
    self.assert_reads(_FORMATS[form]({"t": tensor}), {"t": tensor})

  @parameterized.product(form=["zip", "legacy"], dtype=["uint16", "uint32"])
  def test_new_dtypes(self, form, dtype):
    tensor = torch.arange(7).to(getattr(torch, dtype))
    self.assert_reads(_FORMATS[form]({"t": tensor}), {"t": tensor})

  @parameterized.parameters(*_FORMATS)
  def test_views(self, form):
    base = torch.arange(120.0).reshape(2, 3, 4, 5)
    value = {
      "base": base,
      "transposed": base.transpose(1, 3),
      "strided": base[:, ::2, 1:, ::3],
      "row": base[1, 2, 3],
      "scalar": base[1, 1, 1, 1],
      "empty": base[:0],
      "zero": torch.zeros(()),
      "channels_last": base.contiguous(memory_format=torch.channels_last),
      "parameter": torch.nn.Parameter(base.clone()),
      "list": [base[0], (base[1], None, 3, "x", 2.5, True)],
      "size": tuple(base.shape),
      7: base[0, 0],
    }
    self.assert_reads(_FORMATS[form](value), value)

  def test_shared_storage_stays_shared(self):
    base = torch.arange(12.0)
    for data in (_zip([base[:6], base[6:]]), _legacy([base[:6], base[6:]])):
      first, second = torch_reader.loads(data)
      self.assertIs(first.storage, second.storage)

  def test_expanded_is_refused(self):
    for save in (_zip, _legacy):
      with self.assertRaisesRegex(CheckpointError, "elements"):
        torch_reader.loads(save(torch.zeros(1).expand(1000)))

  def _module(self):
    module = torch.nn.Sequential(
      torch.nn.Conv2d(3, 4, 3),
      torch.nn.BatchNorm2d(4),
      torch.nn.ReLU(),
      torch.nn.Sequential(torch.nn.Linear(4, 5, bias=False), torch.nn.PReLU()),
    )
    module.register_buffer("kept", torch.ones(2))
    module.register_buffer("scratch", torch.ones(2), persistent=False)
    module.register_buffer("none", None)
    return module

  @parameterized.parameters(*_FORMATS)
  def test_modules(self, form):
    module = self._module()
    read = torch_reader.state_dict(torch_reader.loads(_FORMATS[form](module)))
    self.assertEqual(list(read), list(module.state_dict()))
    self._compare(read, dict(module.state_dict()))

  @parameterized.parameters("zip", "legacy")
  def test_training_state(self, form):
    module = self._module()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.1)
    module(torch.randn(2, 3, 6, 6)).sum().backward()
    optimizer.step()
    value = {
      "model": module.state_dict(),
      "optimizer": optimizer.state_dict(),
      "epoch": 3,
    }
    self.assert_reads(_FORMATS[form](value), value)

  def test_without_checksums(self):
    torch.serialization.set_crc32_options(False)
    try:
      data = _zip({"t": torch.arange(3.0)})
    finally:
      torch.serialization.set_crc32_options(True)
    self.assert_reads(data, {"t": torch.arange(3.0)})

  @parameterized.parameters(*_FORMATS)
  def test_truncation(self, form):
    data = _FORMATS[form](self._module())
    for size in np.random.default_rng(0).integers(1, len(data), 200):
      with self.assertRaises(CheckpointError):
        torch_reader.loads(data[:size])

  def test_torch_reads_what_we_write(self):
    rng = np.random.default_rng(0)
    arrays = {
      "a.weight": rng.standard_normal((3, 4, 2, 2)),
      "a.bias": rng.standard_normal(3),
      "scalar": np.array(0.5),
      "empty": np.zeros((0, 3)),
      "turned": rng.random((3, 5)).T,
    }
    arrays = {
      name: np.asarray(array, np.float32) for name, array in arrays.items()
    }
    buffer = io.BytesIO()
    torch_writer.write_state_dict(buffer, arrays)
    for options in ({"weights_only": True}, {"weights_only": False}):
      read = torch.load(io.BytesIO(buffer.getvalue()), **options)
      self.assertEqual(list(read), list(arrays))
      for name, array in arrays.items():
        self.assertEqual(read[name].dtype, torch.float32)
        self.assertEqual(read[name].numpy().shape, array.shape)
        self.assertEqual(read[name].numpy().tobytes(), array.tobytes())


if __name__ == "__main__":
  absltest.main()

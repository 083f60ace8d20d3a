"""Tests of the way back to PyTorch's names and files."""

import contextlib
import dataclasses
import io
import os
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from converters import flax_to_torch, torch_reader, torch_to_flax, torch_writer
from my3dgen_jax.config import SUPERRESOLUTION_MODULES
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.models import checkpoint
from tests.support import official_files as files
from tests.support import rule_weights
from tests.support.tiny import TINY

_ROOT = pathlib.Path(__file__).parents[2]


def _bits(arrays):
  """Names to shapes and bytes: equal only where every bit is."""
  return {
    name: (array.shape, array.dtype.str, array.tobytes())
    for name, array in arrays.items()
  }


def _written(tensors) -> bytes:
  buffer = io.BytesIO()
  torch_writer.write_state_dict(buffer, tensors)
  return buffer.getvalue()


class RoundTripTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self._folder = tempfile.TemporaryDirectory()
    self.addCleanup(self._folder.cleanup)
    self.folder = pathlib.Path(self._folder.name)

  def _convert(self, arrays, config):
    """torch → Flax on disk → torch on disk → arrays."""
    source = self.folder / "in.pkl"
    source.write_bytes(files.official_pickle(arrays, config))
    quiet = {"log": lambda line: None}
    torch_to_flax.convert(
      str(source), str(self.folder / "flax"), config=config, **quiet
    )
    flax_to_torch.convert(
      str(self.folder / "flax"), str(self.folder / "out.pth"), **quiet
    )
    tensors = torch_reader.state_dict(
      torch_reader.load(str(self.folder / "out.pth"))
    )
    return {name: tensor.numpy() for name, tensor in tensors.items()}

  @parameterized.parameters(*SUPERRESOLUTION_MODULES)
  def test_bit_identical(self, module):
    """For each kind of module, with numbers that rounding would change."""
    published = SUPERRESOLUTION_MODULES[module]
    config = dataclasses.replace(
      TINY,
      superresolution=dataclasses.replace(
        published, input_resolution=4, channels=(4, 4)
      ),
    )
    rng = np.random.default_rng(0)
    arrays = rule_weights.fill(files.generator_shapes(config))
    for name, array in arrays.items():
      if not name.endswith("resample_filter"):
        noise = rng.integers(1, 2**31 - 2**24, array.shape, np.int32)
        arrays[name] = np.asarray(noise).view(np.float32)  # all but NaN, inf
    self.assertEqual(_bits(self._convert(arrays, config)), _bits(arrays))

  def test_published_names(self):
    """Every tensor of the golden state dict, at its full size."""
    arrays = rule_weights.fill(rule_weights.golden_shapes("small"))
    config = dataclasses.replace(
      TINY,
      **{
        field.name: getattr(torch_to_flax.preset("ffhq512-128"), field.name)
        for field in dataclasses.fields(TINY)
      },
    )
    config = dataclasses.replace(
      config,
      backbone=dataclasses.replace(
        config.backbone, channel_base=1024, channel_max=32
      ),
    )
    self.assertEqual(_bits(self._convert(arrays, config)), _bits(arrays))


class CommandTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self._folder = tempfile.TemporaryDirectory()
    self.addCleanup(self._folder.cleanup)
    self.folder = pathlib.Path(self._folder.name)
    self.input = self.folder / "in"
    self.output = self.folder / "out.pth"
    arrays = rule_weights.fill(files.generator_shapes(TINY))
    converted = torch_to_flax.read_generator(
      files.zip_file(arrays), config=TINY, log=lambda line: None
    )
    checkpoint.save_generator(self.input, TINY, converted.variables)

  def _run(self, *arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      code = flax_to_torch.main(["flax_to_torch.py", *map(str, arguments)])
    return code, err.getvalue()

  def _convert(self, *arguments):
    return self._run("--input", self.input, "--output", self.output, *arguments)

  def assert_fails(self, result, *reasons):
    code, err = result
    self.assertEqual(code, 1)
    self.assertRegex(err, r"\Aerror: [^\n]+\n\Z")
    for reason in reasons:
      self.assertIn(str(reason), err)

  def test_writes(self):
    self.assertEqual(self._convert(), (0, ""))
    self.assertEqual(self.output.stat().st_mode & 0o444, 0o444)
    first = self.output.read_bytes()
    self.assert_fails(self._convert(), self.output, "exists already")
    self.assertEqual(self._convert("--overwrite"), (0, ""))
    self.assertEqual(self.output.read_bytes(), first)
    self.assertCountEqual(os.listdir(self.folder), ["in", "out.pth"])

  def test_script(self):
    result = subprocess.run(
      [
        sys.executable,
        str(_ROOT / "converters" / "flax_to_torch.py"),
        "--input",
        "in",
        "--output",
        "new/out.pth",
      ],
      cwd=self.folder,
      text=True,
      capture_output=True,
      check=False,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertTrue((self.folder / "new" / "out.pth").exists())

  def test_bad_input(self):
    self.assert_fails(
      self._run("--input", self.folder / "none", "--output", self.output),
      self.folder / "none",
    )
    self.assert_fails(
      self._run("--input", self.input, "--output", self.folder),
      self.folder,
      "is a folder",
    )
    self.assert_fails(
      self._run(
        "--input", self.input, "--output", self.input / "config.json" / "x"
      ),
      "x: ",
    )
    (self.input / "config.json").write_text("{")
    self.assert_fails(self._convert(), self.input)
    self.assertCountEqual(os.listdir(self.folder), ["in"])

  def test_nothing_half_written(self):
    """A disk that fills up while the file is written."""

    def full(file, tensors):
      del tensors
      file.write(b"half")
      raise OSError(28, "No space left on device")

    with mock.patch.object(torch_writer, "write_state_dict", full):
      self.assert_fails(self._convert(), self.output, "No space left")
    self.assertCountEqual(os.listdir(self.folder), ["in"])


class WriterTest(parameterized.TestCase):
  def test_layout_of_the_file(self):
    tensors = {
      "a": np.arange(6, dtype=np.float32).reshape(2, 3),
      "b": np.array(2.5, np.float32),
      "é": np.zeros((0,), "f4"),
    }
    data = _written(tensors)
    archive = zipfile.ZipFile(io.BytesIO(data))
    self.assertIsNone(archive.testzip())
    self.assertEqual(archive.read("archive/version"), b"3\n")
    for info in archive.infolist():
      name_size, extra_size = struct.unpack_from(
        "<HH", data, info.header_offset + 26
      )
      self.assertEqual(
        (info.header_offset + 30 + name_size + extra_size) % 64,
        0,
        info.filename,
      )
    read = torch_reader.state_dict(torch_reader.loads(data))
    self.assertEqual(
      _bits({name: tensor.numpy() for name, tensor in read.items()}),
      _bits(tensors),
    )

  def test_damage_is_seen(self):
    data = _written({"a": np.ones(6, np.float32)})
    with self.assertRaises(CheckpointError):
      torch_reader.loads(data.replace(b"\0\0\x80\x3f", b"\0\0\x81\x3f", 1))


if __name__ == "__main__":
  absltest.main()

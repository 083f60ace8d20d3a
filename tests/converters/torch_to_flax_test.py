"""Tests of the converter: what it makes, and what it refuses."""

import collections
import contextlib
import dataclasses
import io
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import tempfile
import zipfile
from unittest import mock

import jax
import ml_dtypes
import numpy as np
from absl.testing import absltest, parameterized
from safetensors.numpy import save

from converters import names, torch_reader, torch_to_flax
from my3dgen_jax.config import BackboneConfig, GeneratorConfig, PRESETS
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.models import checkpoint
from tests.support import official_files as files
from tests.support import rule_weights
from tests.support.official_files import Call, Global, Raw, Tensor
from tests.support.tiny import TINY

_ROOT = pathlib.Path(__file__).parents[2]
_CANARY = pathlib.Path("/tmp/my3dgen_canary_module_src")
_ARRAYS = rule_weights.fill(files.generator_shapes(TINY))
_SMALL = GeneratorConfig(
  neural_rendering_resolution=32,
  backbone=BackboneConfig(channel_base=1024, channel_max=32),
)


def _under(prefix, tensors):
  return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


class Exploit:
  def __init__(self, command: str):
    self._command = command

  def __reduce__(self):
    return os.system, (self._command,)


def _silent(line: str):
  del line


def _read(data: bytes, config=TINY, log=None, **kwargs):
  return torch_to_flax.read_generator(
    data, config=config, log=log or _silent, **kwargs
  )


class ReadGeneratorTest(parameterized.TestCase):
  def assert_filled(self, converted, arrays=None):
    """Every parameter has the value that the rule gives its torch name."""
    arrays = _ARRAYS if arrays is None else arrays
    for place, leaf in names.flatten(converted.variables).items():
      self.assertEqual(leaf.dtype, np.float32)
      self.assertTrue(leaf.flags.c_contiguous)
      np.testing.assert_array_equal(
        names.to_torch(place, leaf), arrays[names.torch_name(place)]
      )

  def assert_refused(self, data, *reasons, config=TINY, **kwargs):
    with self.assertRaises(CheckpointError) as caught:
      _read(data, config, **kwargs)
    for reason in reasons:
      self.assertIn(reason, str(caught.exception))

  @parameterized.parameters(2, 3, 4)
  def test_official_pickle(self, protocol):
    _CANARY.unlink(missing_ok=True)
    converted = _read(files.official_pickle(_ARRAYS, TINY, protocol=protocol))
    self.assert_filled(converted)
    self.assertFalse(_CANARY.exists(), "module_src was executed")

  @parameterized.named_parameters(
    ("flat", lambda tensors: tensors),
    ("state_dict", lambda tensors: {"state_dict": tensors, "epoch": 3}),
    ("g_ema", lambda tensors: {"g_ema": tensors, "g": {}, "d": {}}),
    ("G_ema", lambda tensors: {"G_ema": tensors, "G": {}}),
    ("generator", lambda tensors: {"generator": {"state_dict": tensors}}),
    (
      "parallel",
      lambda tensors: {
        f"module.module.{name}": tensor for name, tensor in tensors.items()
      },
    ),
    ("compiled", lambda tensors: _under("_orig_mod.", tensors)),
    ("compiled_parallel", lambda tensors: _under("module._orig_mod.", tensors)),
    (
      "averaged",
      lambda tensors: {
        "n_averaged": np.float32([100]),
        **_under("module.", tensors),
      },
    ),
    (
      "in_an_encoder",
      lambda tensors: {
        "latent_avg": np.zeros(3, np.float32),
        "encoder.body.0.weight": np.zeros((3, 3), np.float32),
        **_under("decoder.", tensors),
      },
    ),
    (
      "with_others",
      lambda tensors: {**tensors, "latent_avg": np.zeros(3, "f4")},
    ),
    (
      "several",
      lambda tensors: {
        **_under("G.", {name: 0 * one for name, one in tensors.items()}),
        **_under("G_ema.", tensors),
      },
    ),
  )
  def test_state_dicts(self, wrap):
    for write in (files.zip_file, files.legacy_file, files.plain_pickle):
      self.assert_filled(_read(write(wrap(_ARRAYS))))

  def test_safetensors(self):
    data = save(_under("_orig_mod.", _ARRAYS))
    converted = _read(data)
    self.assert_filled(converted)
    self.assertEqual(converted.source["format"], "safetensors")
    half = {
      name: one.astype(ml_dtypes.bfloat16) for name, one in _ARRAYS.items()
    }
    filters = {name: one.astype(np.float32) for name, one in half.items()}
    self.assert_filled(_read(save(half)), filters)
    for damaged in (data[: len(data) // 2], data[:8] + b"{" * 50):
      self.assert_refused(damaged, "")

  def test_several_generators(self):
    tensors = {**_under("one.", _ARRAYS), **_under("two.", _ARRAYS)}
    self.assert_refused(
      files.zip_file(tensors), "several generators, one., two.", "--network"
    )
    self.assert_filled(_read(files.zip_file(tensors), network="two"))

  def test_the_file_s_own_generator_before_others(self):
    others = _under("ema.", {name: 0 * one for name, one in _ARRAYS.items()})
    self.assert_filled(_read(files.zip_file({**_ARRAYS, **others})))

  def test_what_is_left_out_is_said(self):
    said = []
    _read(
      files.zip_file({**_ARRAYS, "latent_avg": np.zeros(3, np.float32)}),
      log=said.append,
    )
    self.assertEqual(
      said,
      [
        "warning: leaving out 1 tensors that are not the generator's: "
        "latent_avg"
      ],
    )

  @parameterized.parameters(
    ("base_model.model.down.to_q.lora_A.weight", "PEFT"),
    ("lora_unet_down_proj.lora_down.weight", "kohya"),
  )
  def test_lora_of_other_tools(self, name, tool):
    for write in (files.zip_file, save):
      self.assert_refused(
        write({name: np.zeros((4, 64), np.float32)}),
        f"is a LoRA file of {tool}, for another kind of network",
      )

  @parameterized.parameters(files.zip_file, files.legacy_file)
  def test_whole_module(self, write):
    data = write(files.generator_object(_ARRAYS, TINY))
    self.assert_filled(_read(data))

  def test_other_layouts(self):
    parts = np.array_split(list(_ARRAYS), 2)
    turned = {name: Tensor.transposed(_ARRAYS[name]) for name in parts[0]}
    spread = {name: Tensor.spread(_ARRAYS[name]) for name in parts[1]}
    shared = dict(zip(_ARRAYS, files.sharing(list(_ARRAYS.values()))))
    for tensors in ({**turned, **spread}, shared):
      self.assert_filled(_read(files.zip_file(tensors)))
      self.assert_filled(_read(files.official_pickle(tensors, TINY)))

  @parameterized.parameters(np.float16, ml_dtypes.bfloat16)
  def test_half_precision_is_exact(self, dtype):
    halves = {name: array.astype(dtype) for name, array in _ARRAYS.items()}
    exact = {name: array.astype(np.float32) for name, array in halves.items()}
    for write in (files.zip_file, files.legacy_file, files.plain_pickle):
      self.assert_filled(_read(write(halves)), exact)

  def test_double_precision_warns(self):
    lines = []
    doubles = {
      name: array.astype(np.float64) for name, array in _ARRAYS.items()
    }
    self.assert_filled(
      torch_to_flax.read_generator(
        files.zip_file(doubles), config=TINY, log=lines.append
      )
    )
    self.assertLen(lines, 1)
    self.assertIn("float64", lines[0])

  def test_network(self):
    other = {
      name: 2 * array
      for name, array in _ARRAYS.items()
      if not name.endswith("resample_filter")
    }
    data = files.plain_pickle(
      {
        "G": files.generator_object(other, TINY),
        "G_ema": files.generator_object(_ARRAYS, TINY),
      }
    )
    self.assert_filled(_read(data))
    self.assert_filled(_read(data, network="G"), {**_ARRAYS, **other})
    self.assert_refused(data, "no network X", "G, G_ema", network="X")

  def test_filters_may_be_absent(self):
    tensors = {
      name: array
      for name, array in _ARRAYS.items()
      if not name.endswith("resample_filter")
    }
    self.assert_filled(_read(files.zip_file(tensors)))

  def test_settings_of_the_file(self):
    """The small generator of the golden tensors, by what its file says."""
    shapes = rule_weights.golden_shapes("small")
    arrays = rule_weights.fill(shapes)
    converted = _read(files.official_pickle(arrays, _SMALL), None)
    self.assertEqual(converted.config, _SMALL)
    self.assert_filled(converted, arrays)

  def test_counts_of_the_published_generator(self):
    shapes = torch_to_flax.abstract_variables(PRESETS["ffhq512-128"])
    converted = torch_to_flax.Converted(PRESETS["ffhq512-128"], shapes, {})
    self.assertEqual(
      converted.counts(),
      {
        "mapping": 800_768,
        "backbone synthesis": 28_207_533,
        "super-resolution": 1_649_578,
        "decoder": 4_257,
      },
    )

  def _records(self, name):
    """Tensors with the shapes of a published generator, without numbers."""
    storage = torch_reader.StorageRecord(np.dtype("f4"), 0, None)
    return {
      key: torch_reader.TensorRecord(storage, storage.dtype, 0, shape, shape)
      for key, shape in files.generator_shapes(PRESETS[name]).items()
    }

  @parameterized.parameters("afhqcats512-128", "shapenetcars128-64")
  def test_only_preset_that_fits(self, name):
    lines = []
    self.assertEqual(
      torch_to_flax.fitting_preset(self._records(name), lines.append),
      PRESETS[name],
    )
    self.assertIn(name, lines[0])

  def test_several_presets_fit(self):
    with self.assertRaisesRegex(CheckpointError, "--preset.*ffhq512-64"):
      torch_to_flax.fitting_preset(self._records("ffhq512-128"), _silent)

  def test_no_preset_fits(self):
    self.assert_refused(
      files.zip_file(_ARRAYS), "any published", "--config", config=None
    )

  def test_wrong_tensors(self):
    tensors = dict(_ARRAYS)
    del tensors["decoder.net.0.bias"]
    tensors["decoder.net.1.weight"] = _ARRAYS["decoder.net.0.weight"]
    tensors["decoder.net.2.bias"] = np.zeros(7, np.float32)
    for i in range(9):
      tensors[f"backbone.extra{i}"] = np.zeros(1, np.float32)
    self.assert_refused(
      files.zip_file(tensors),
      "1 missing: decoder.net.0.bias",
      "10 not part of the model: "
      "backbone.extra0, backbone.extra1, backbone.extra2, …",
      "decoder.net.2.bias [7] (expected [5])",
    )

  def test_transposed_shape_is_refused(self):
    name = "superresolution.block0.conv0.affine.weight"
    self.assertEqual(_ARRAYS[name].shape, (4, 4))
    tensors = {
      **_ARRAYS,
      "backbone.mapping.embed.weight": _ARRAYS[
        "backbone.mapping.embed.weight"
      ].T,
    }
    self.assert_refused(files.zip_file(tensors), "[25, 4] (expected [4, 25])")

  @parameterized.parameters(np.nan, np.inf, -np.inf)
  def test_not_finite(self, value):
    for name in (
      "decoder.net.0.weight",
      "backbone.mapping.w_avg",
      "backbone.synthesis.b4.conv1.noise_strength",
    ):
      array = _ARRAYS[name].copy()
      array[(0,) * array.ndim] = value
      for write in (
        files.zip_file,
        files.legacy_file,
        lambda t: files.official_pickle(t, TINY),
      ):
        self.assert_refused(write({**_ARRAYS, name: array}), name, "NaN")

  def test_overflow(self):
    array = np.full(5, 1e300)
    self.assert_refused(
      files.zip_file({**_ARRAYS, "decoder.net.2.bias": array}),
      "decoder.net.2.bias",
      "inf",
    )

  def test_integers(self):
    self.assert_refused(
      files.zip_file({**_ARRAYS, "decoder.net.2.bias": np.zeros(5, np.int64)}),
      "decoder.net.2.bias is int64",
    )

  def test_other_filter(self):
    name = "backbone.synthesis.b8.conv0.resample_filter"
    self.assert_refused(
      files.zip_file({**_ARRAYS, name: np.ones((4, 4), np.float32)}),
      name,
      "[1, 3, 3, 1]",
    )

  @parameterized.named_parameters(
    ("number", 3, "holds 3"),
    ("nothing", {}, "no tensors"),
    ("plain", {"a": 1}, "no tensors"),
    (
      "stylegan",
      {"G_ema": files.persistent_object("Generator", {})},
      "'Generator', not EG3D's TriPlaneGenerator",
    ),
    ("discriminator", {"D": files.persistent_object("Disc", {})}, "it has D"),
    ("classifier", {"conv1.weight": np.zeros((3, 3), np.float32)}, "missing"),
  )
  def test_other_contents(self, value, reason):
    self.assert_refused(files.plain_pickle(value), reason)


class CommandTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self._folder = tempfile.TemporaryDirectory()
    self.addCleanup(self._folder.cleanup)
    self.folder = pathlib.Path(self._folder.name)
    self.input = self.folder / "in.pkl"
    self.output = self.folder / "out"
    self.config = self.folder / "tiny.json"
    self.config.write_text(json.dumps(TINY.to_dict()))

  def _run(self, *arguments):
    """Exit code, standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
      code = torch_to_flax.main(["torch_to_flax.py", *map(str, arguments)])
    return code, out.getvalue(), err.getvalue()

  def _convert(self, data: bytes, *arguments):
    self.input.write_bytes(data)
    return self._run(
      "--input",
      self.input,
      "--output",
      self.output,
      "--config",
      self.config,
      *arguments,
    )

  def assert_fails(self, result, *reasons):
    """One line on standard error, exit code 1, nothing left behind."""
    code, out, err = result
    self.assertEqual(code, 1)
    self.assertEqual(out, "")
    self.assertRegex(err, r"\Aerror: [^\n]+\n\Z")
    for reason in reasons:
      self.assertIn(str(reason), err)
    self.assertCountEqual(
      [
        path.name
        for path in self.folder.iterdir()
        if path not in (self.input, self.config)
      ],
      self._kept(),
    )

  def _kept(self):
    return [name for name in ("kept",) if (self.folder / name).exists()]

  def test_converts(self):
    data = files.official_pickle(_ARRAYS, TINY)
    code, out, err = self._convert(data)
    self.assertEqual((code, err), (0, ""))
    for expected in ("SHA-256", "mapping", "non-commercial", "decoder"):
      self.assertIn(expected, out)
    generator, variables = checkpoint.load_generator(self.output)
    self.assertEqual(generator.config, TINY)
    jax.tree.map(
      np.testing.assert_array_equal, variables, _read(data).variables
    )
    source = json.loads((self.output / "config.json").read_text())["source"]
    self.assertEqual(source["file"], "in.pkl")
    self.assertEqual(source["network"], "G_ema")
    self.assertEqual(source["format"], "pickle")
    self.assertLen(source["sha256"], 64)

  def test_config_of_a_folder(self):
    self.assertEqual(self._convert(files.zip_file(_ARRAYS))[0], 0)
    other = self.folder / "other"
    code, _, _ = self._run(
      "--input",
      self.input,
      "--output",
      other,
      "--config",
      self.output / "config.json",
    )
    self.assertEqual(code, 0)
    self.assertEqual(checkpoint.load_config(other)[0], TINY)

  def test_overwrite(self):
    self.assertEqual(self._convert(files.zip_file(_ARRAYS))[0], 0)
    _, _, err = self._convert(files.zip_file(_ARRAYS))
    self.assertIn("exists already", err)
    # A failure leaves what was there.
    code, _, _ = self._convert(b"damaged", "--overwrite")
    self.assertEqual(code, 1)
    self.assertEqual(checkpoint.load_config(self.output)[0], TINY)
    doubled = {
      name: array if name.endswith("filter") else 2 * array
      for name, array in _ARRAYS.items()
    }
    code, _, _ = self._convert(files.zip_file(doubled), "--overwrite")
    self.assertEqual(code, 0)
    _, variables = checkpoint.load_generator(self.output)
    np.testing.assert_array_equal(
      variables["buffers"]["backbone"]["mapping"]["w_avg"],
      doubled["backbone.mapping.w_avg"],
    )
    self.assertCountEqual(
      os.listdir(self.folder), ["in.pkl", "out", "tiny.json"]
    )

  def test_other_folders_are_not_replaced(self):
    kept = self.folder / "kept"
    kept.mkdir()
    (kept / "thesis.txt").write_text("mine")
    self.input.write_bytes(files.zip_file(_ARRAYS))
    self.assert_fails(
      self._run(
        "--input",
        self.input,
        "--output",
        kept,
        "--config",
        self.config,
        "--overwrite",
      ),
      kept,
      "not a checkpoint folder",
    )
    self.assertEqual((kept / "thesis.txt").read_text(), "mine")

  def test_the_input_is_not_replaced(self):
    self.assertEqual(self._convert(files.zip_file(_ARRAYS))[0], 0)
    inside = self.output / "in.pkl"
    inside.write_bytes(files.zip_file(_ARRAYS))
    code, _, err = self._run(
      "--input",
      inside,
      "--output",
      self.output,
      "--config",
      self.config,
      "--overwrite",
    )
    self.assertEqual(code, 1)
    self.assertRegex(err, r"\Aerror: [^\n]*out: contains the input[^\n]*\n\Z")
    self.assertTrue(inside.exists())

  def test_mismatch_tells_whole_shapes(self):
    arrays = dict(_ARRAYS)
    name = "backbone.synthesis.b8.conv0.weight"
    arrays[name] = arrays[name][:, :2]
    self.assert_fails(
      self._convert(files.zip_file(arrays)),
      self.input,
      f"{name} [4, 2, 3, 3] (expected [4, 4, 3, 3])",
    )

  def test_file_too_large_for_memory(self):
    self.input.write_bytes(b"x")
    os.truncate(self.input, 2**42)  # a sparse file takes no space
    with mock.patch("builtins.open", side_effect=MemoryError):
      code, _, err = self._run("--input", self.input, "--output", self.output)
    self.assertEqual(code, 1)
    self.assertIn("larger than the free memory", err)

  def test_script(self):
    """As a user runs it, from another folder and without the package."""
    self.input.write_bytes(files.official_pickle(_ARRAYS, TINY))
    command = [
      sys.executable,
      str(_ROOT / "converters" / "torch_to_flax.py"),
      "--input",
      "in.pkl",
      "--output",
      "out",
    ]
    result = subprocess.run(
      [*command, "--config", "tiny.json"],
      text=True,
      cwd=self.folder,
      capture_output=True,
      check=False,
    )
    self.assertEqual(result.returncode, 0, result.stderr)
    self.assertTrue((self.output / "config.json").exists())
    self.input.write_bytes(b"cposix\nsystem\n.")
    result = subprocess.run(
      [*command[:-1], "new/out"],
      text=True,
      cwd=self.folder,
      capture_output=True,
      check=False,
    )
    self.assertEqual(result.returncode, 1)
    self.assertEqual(result.stdout, "")
    self.assertRegex(
      result.stderr, r"\Aerror: in.pkl: [^\n]*posix.system[^\n]*\n\Z"
    )
    self.assertFalse((self.folder / "new").exists())

  def test_help(self):
    code, out, _ = self._run("--help")
    self.assertEqual(code, 0)
    self.assertIn("--preset", out)

  @parameterized.named_parameters(
    ("nothing", (), "--input is missing"),
    ("output", ("--input", "x"), "--output is missing"),
    ("unknown", ("--inptu", "x"), "inptu"),
    ("rest", ("x",), "unexpected"),
    (
      "both",
      (
        "--input",
        "x",
        "--output",
        "y",
        "--preset",
        "ffhq512-64",
        "--config",
        "z",
      ),
      "exclude",
    ),
    ("preset", ("--input", "x", "--output", "y", "--preset", "nose"), "'nose'"),
    (
      "absent",
      ("--input", "/nowhere/x.pkl", "--output", "/tmp/nowhere/y"),
      "/nowhere/x.pkl: No such file",
    ),
    (
      "folder",
      ("--input", "/tmp", "--output", "/tmp/nowhere/y"),
      "/tmp: is a folder",
    ),
    (
      "config",
      ("--input", "x", "--output", "y", "--config", "/nowhere.json"),
      "/nowhere.json",
    ),
  )
  def test_usage(self, arguments, reason):
    self.assert_fails(self._run(*arguments), reason)

  @parameterized.named_parameters(
    ("text", "{", "JSON"),
    ("list", "[]", "table"),
    ("field", '{"z_dimm": 3}', "z_dimm"),
    ("value", '{"z_dim": "x"}', "z_dim"),
    ("deep", "[" * 100_000, "is nested too deeply"),
  )
  def test_config_file(self, text, reason):
    self.config.write_text(text)
    self.assert_fails(
      self._convert(files.zip_file(_ARRAYS)), self.config, reason
    )

  def test_full_disk(self):
    usage = collections.namedtuple("usage", "total used free")
    with mock.patch.object(
      shutil, "disk_usage", lambda folder: usage(2**30, 2**30, 1000)
    ):
      code, _, err = self._convert(files.zip_file(_ARRAYS))
    self.assertEqual(code, 1)
    self.assertRegex(err, r"\Aerror: [^\n]*out: no space left[^\n]*\n\Z")
    self.assertFalse(self.output.exists())

  def test_output_below_a_file(self):
    self.input.write_bytes(files.zip_file(_ARRAYS))
    output = self.input / "out"
    code, _, err = self._run(
      "--input", self.input, "--output", output, "--config", self.config
    )
    self.assertEqual(code, 1)
    self.assertRegex(err, r"\Aerror: [^\n]*in.pkl/out: [^\n]+\n\Z")

  def test_attacks(self):
    """Every kind of attack: one line, the reason in it, and nothing ran."""
    canary = self.folder / "ran"
    command = f"touch {canary}"
    payloads = {
      "posix.system": Raw(pickle.dumps(Exploit(command), 2)[2:-1]),
      "builtins.eval": Call(
        Global("builtins", "eval"), (f"open({str(canary)!r}, 'w')",)
      ),
      "subprocess.Popen": Call(
        Global("subprocess", "Popen"), (["touch", str(canary)],)
      ),
    }
    for reason, payload in payloads.items():
      tensors = {**_ARRAYS, "evil": payload}
      hidden = Call(
        Global("torch.storage", "_load_from_bytes"),
        (files.legacy_file(payload),),
      )
      weight = files.rebuild_call(hidden, Tensor.of(np.zeros(3, "f4")))
      for data in (
        files.plain_pickle(payload),
        files.plain_pickle(tensors),
        files.zip_file(tensors),
        files.legacy_file(tensors),
        files.official_pickle({**_ARRAYS, "decoder.net.2.bias": weight}, TINY),
        files.official_pickle(
          _ARRAYS,
          TINY,
          generator=(
            files.generator_object(_ARRAYS, TINY, arguments={"evil": payload})
          ),
        ),
      ):
        self.assert_fails(self._convert(data), self.input, reason)
        self.assertFalse(canary.exists())

  def test_hostile_zips(self):
    plain = files.zip_file(_ARRAYS)
    self.assertEqual(_read(plain).config, TINY)
    climbing = files.zip_file(_ARRAYS, extra={"archive/../../evil": b"x"})
    self.assert_fails(self._convert(climbing), self.input, "points outside")
    bomb = files.zip_file(
      {**_ARRAYS, "zeros": np.zeros(10**7, np.float32)},
      compression=zipfile.ZIP_DEFLATED,
    )
    self.assert_fails(self._convert(bomb), self.input, "bomb")
    script = files.zip_file(_ARRAYS, extra={"archive/constants.pkl": b"N."})
    self.assert_fails(self._convert(script), self.input, "TorchScript")
    self.assert_fails(
      self._convert(files.zip_file({}, extra={"b/data.pkl": b"N."})),
      self.input,
      "no data.pkl",
    )

  def test_truncation(self):
    rng = np.random.default_rng(1)
    for data in (
      files.official_pickle(_ARRAYS, TINY),
      files.zip_file(_ARRAYS),
      files.legacy_file(_ARRAYS),
    ):
      for size in rng.integers(1, len(data), 25):
        self.assert_fails(self._convert(data[:size]), self.input)

  def test_not_finite(self):
    array = np.full(5, np.nan, np.float32)
    self.assert_fails(
      self._convert(files.zip_file({**_ARRAYS, "decoder.net.2.bias": array})),
      self.input,
      "decoder.net.2.bias holds NaN",
    )

  def test_settings_that_do_not_fit(self):
    wider = dataclasses.replace(TINY, w_dim=8)
    self.config.write_text(json.dumps(wider.to_dict()))
    self.assert_fails(
      self._convert(files.zip_file(_ARRAYS)), self.input, "of the wrong shape"
    )


if __name__ == "__main__":
  absltest.main()

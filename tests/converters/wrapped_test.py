"""Tests of converting what My3DGen's training saves: base and adapter."""

import collections
import contextlib
import io
import json
import os
import pathlib
import shutil
import tempfile
from unittest import mock

import chex
import jax
import numpy as np
import pytest
from absl.testing import absltest, parameterized
from flax.traverse_util import flatten_dict

from converters import names, settings, torch_reader, torch_to_flax, wrapped
from my3dgen_jax import lora
from my3dgen_jax.config import LoraConfig, preset
from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.models import checkpoint
from tests.converters import fuzz_test
from tests.support import golden, rule_weights
from tests.support import official_files as files
from tests.support.tiny import program, TINY

_GOLDEN = "my3dgen_lora"
_VARIANTS = (
  ("kernel_r1", LoraConfig()),
  ("kernel_r4_alpha8", LoraConfig(rank=4, alpha=8.0)),
  ("original_r1", LoraConfig(conv_rank="original")),
)
_BESIDE = "kernel_r4_alpha8"
_RANK, _ALPHA = 2, 3.0
_PLAIN = rule_weights.fill(files.generator_shapes(TINY))
_CONV = "backbone.synthesis.synthesis.b8.synthesis_block.conv0"
_AFFINE = f"{_CONV}.synthesis_layer.affine"
_DAMAGED = 80


def _wrapped(layout="kernel", rank=_RANK):
  """The plain generator's weights in wrappers, and pairs by the rule."""
  arrays = rule_weights.fill(files.wrapped_shapes(TINY, rank, layout))
  return {
    **arrays,
    **{files.wrapped_name(name): array for name, array in _PLAIN.items()},
  }


def _pickled(arrays, *, state=None, **options):
  state = files.lora_state(_RANK, _ALPHA) if state is None else state
  return files.official_pickle(
    arrays,
    TINY,
    generator=files.generator_object(arrays, TINY, lora=state, **options),
  )


def _read(data, **options):
  return torch_to_flax.read_generator(
    data, **{"config": TINY, "log": lambda line: None, **options}
  )


def _run(*arguments):
  """Exit code, standard output and error."""
  out, err = io.StringIO(), io.StringIO()
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    code = torch_to_flax.main(["torch_to_flax.py", *map(str, arguments)])
  return code, out.getvalue(), err.getvalue()


def _member(record, name):
  for part in name.split("."):
    record = record.state["_modules"][part]
  return record


class _InFolder(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.input = self.folder / "in.pkl"
    self.output = self.folder / "out"
    self.adapter = self.folder / "out.adapter.safetensors"


@pytest.mark.numbers
class GoldenTest(_InFolder):
  @parameterized.parameters(*_VARIANTS)
  def test_matches_original(self, variant, lora_config):
    """The whole way: the training's pickle → disk → images."""
    arrays = rule_weights.fill(rule_weights.golden_shapes(_GOLDEN)[variant])
    for name in arrays:
      if name.endswith("lora_B"):
        arrays[name] = 0.3 * arrays[name]
    config = golden.small_config()
    self.input.write_bytes(
      files.official_pickle(
        arrays,
        config,
        generator=files.generator_object(
          arrays,
          config,
          lora=files.lora_state(lora_config.rank, lora_config.alpha),
        ),
      )
    )
    code, out, err = _run("--input", self.input, "--output", self.output)
    self.assertEqual((code, err), (0, ""))
    self.assertNotIn("warning", out)

    generator, base = checkpoint.load_generator(self.output)
    self.assertEqual(generator.config, config)
    adapter = lora.load(self.adapter, config)
    self.assertEqual(adapter.config, lora_config)
    # Twice, as `golden_test` compiles programs for two images. One variant's
    # pairs are computed beside the weights, the others' are added to them;
    # `lora_test` holds that both are the same, for all layouts.
    ws = np.repeat(0.5 * golden.draw("input.wplus", (1, 14, 512)), 2, axis=0)
    c = np.repeat(golden.two_cameras()[:1], 2, axis=0)
    if variant == _BESIDE:
      beside = adapter.config
      variables = lora.merge_collections(base, adapter.lora)
    else:
      beside = None
      variables = lora.merge_into_params(base, adapter.lora, adapter.config)
    planes = program("planes", config, beside)(variables, ws)
    out = program(
      "render_planes", config, beside, neural_rendering_resolution=32
    )(variables, planes, ws, c, sampling=None)
    planes = (
      np.asarray(planes).transpose(0, 1, 4, 2, 3).reshape(2, 96, 256, 256)
    )
    expected = golden.load(_GOLDEN)
    for key, actual in (
      ("planes", planes[:1, :, ::16, ::16]),
      ("image_raw", np.moveaxis(out.image_raw, -1, 1)[:1]),
      ("image", np.moveaxis(out.image, -1, 1)[:1, :, ::4, ::4]),
    ):
      golden.assert_close(
        actual,
        expected[f"{variant}_{key}"],
        golden.IMAGES,
        f"{_GOLDEN}: {variant}_{key}",
      )


class NamesTest(parameterized.TestCase):
  @parameterized.parameters(*_VARIANTS)
  def test_every_tensor_of_the_original(self, variant, lora_config):
    """Names and shapes are those of the original, no more and no fewer."""
    config = golden.small_config()
    shapes = {
      name: tuple(shape)
      for name, shape in rule_weights.golden_shapes(_GOLDEN)[variant].items()
    }
    self.assertEqual(
      shapes,
      files.wrapped_shapes(config, lora_config.rank, lora_config.conv_rank),
    )
    expected = {
      name: shape
      for name, (_, shape) in torch_to_flax.expected_tensors(config).items()
    }
    for name in names.own_filter_names(expected, config.superresolution.module):
      expected[name] = (4, 4)
    for name, (_, shape) in wrapped.expected_pairs(config, lora_config).items():
      expected[name] = wrapped.torch_shape(shape)
    self.assertEqual(
      {wrapped.plain_name(name): shape for name, shape in shapes.items()},
      expected,
    )

  def test_plain_names_stay(self):
    for name in _PLAIN:
      self.assertEqual(wrapped.plain_name(name), name)
      self.assertEqual(wrapped.plain_name(files.wrapped_name(name)), name)


class ReadTest(parameterized.TestCase):
  def assert_refused(self, data, *reasons, **options):
    with self.assertRaises(CheckpointError) as caught:
      _read(data, **options)
    for reason in reasons:
      self.assertIn(reason, str(caught.exception))

  @parameterized.product(layout=wrapped.LAYOUTS, rank=(1, 2))
  def test_rank_and_layout_by_the_shapes(self, layout, rank):
    arrays = _wrapped(layout, rank)
    adapter = _read(
      _pickled(arrays, state=files.lora_state(rank, _ALPHA))
    ).adapter
    self.assertEqual(
      adapter.config, LoraConfig(rank=rank, alpha=_ALPHA, conv_rank=layout)
    )
    chex.assert_trees_all_equal_shapes(
      adapter.lora, lora.abstract(TINY, adapter.config)
    )

  @parameterized.product(layout=wrapped.LAYOUTS)
  def test_change_of_the_weights(self, layout):
    """By the definition: the product, read as torch's memory of a weight."""
    arrays = _wrapped(layout)
    converted = _read(_pickled(arrays))
    changes = lora.kernel_changes(
      converted.variables["params"],
      converted.adapter.lora,
      converted.adapter.config,
    )
    scale = _ALPHA / _RANK
    for name in (_CONV, f"{_AFFINE}"):
      product = scale * arrays[f"{name}.lora_B"] @ arrays[f"{name}.lora_A"]
      place = names.flax_path(f"{wrapped.plain_name(name)}.weight")
      shape = _PLAIN[names.torch_name(place)].shape
      if len(shape) == 2:
        product *= shape[1] ** 0.5  # the pair has no 1 / sqrt(in) of the layer
      np.testing.assert_allclose(
        names.to_torch(place, np.asarray(changes[place.path])),
        product.reshape(shape),
        atol=1e-5,
      )

  def test_frozen_weights_and_no_offsets(self):
    converted = _read(_pickled(_wrapped()))
    for place, leaf in names.flatten(converted.variables).items():
      np.testing.assert_array_equal(
        names.to_torch(place, leaf), _PLAIN[names.torch_name(place)]
      )
    for path, leaf in flatten_dict(converted.adapter.lora).items():
      self.assertEqual(leaf.any(), path[-1] in ("lora_a", "lora_b"), path)
      self.assertEqual(leaf.dtype, np.float32)

  def test_plain_generators_have_no_adapter(self):
    self.assertIsNone(_read(files.official_pickle(_PLAIN, TINY)).adapter)

  @parameterized.parameters(files.zip_file, files.legacy_file)
  def test_state_dict_does_not_tell_alpha(self, write):
    data = write(
      {f"module.{name}": array for name, array in _wrapped().items()}
    )
    self.assert_refused(data, "alpha", "--lora_alpha")
    adapter = _read(data, lora_alpha=5).adapter
    self.assertEqual(adapter.config, LoraConfig(rank=_RANK, alpha=5.0))

  @parameterized.named_parameters(
    ("nothing", {}, "--lora_alpha"),
    ("zero", {"lora_alpha": 0}, "positive"),
    ("text", {"scaling": "1"}, "positive"),
    ("nan", {"scaling": float("nan")}, "positive"),
    ("truth", {"r": True}, "positive"),
    ("rank", {"r": 3, "lora_alpha": 1}, "rank 2"),
    ("two", {"lora_alpha": 1, "scaling": 2.0}, "scaling x r is 4"),
  )
  def test_wrappers_that_do_not_tell_alpha(self, state, reason):
    data = _pickled(_wrapped(), state=state)
    self.assert_refused(data, reason, "--lora_alpha")
    self.assertEqual(_read(data, lora_alpha=0.5).adapter.config.alpha, 0.5)

  @parameterized.parameters(
    ({"lora_alpha": 3},), ({"scaling": 1.5},), ({"r": 2, "scaling": 1.5},)
  )
  def test_either_tells_alpha(self, state):
    self.assertEqual(
      _read(_pickled(_wrapped(), state=state)).adapter.config,
      LoraConfig(rank=_RANK, alpha=_ALPHA),
    )

  def test_layers_of_different_alpha(self):
    arrays = _wrapped()
    tree = files.generator_object(
      arrays, TINY, lora=files.lora_state(_RANK, _ALPHA)
    )
    record = torch_reader.loads(files.plain_pickle(tree))
    layer = _member(record, _CONV)
    self.assertEqual(wrapped.stated_alpha(record, _RANK), _ALPHA)
    layer.state["scaling"] = 9.0
    with self.assertRaisesRegex(CheckpointError, "conv0.scaling x r is 18"):
      wrapped.stated_alpha(record, _RANK)

  @parameterized.named_parameters(
    (
      "b",
      {f"{_CONV}.lora_B": None},
      "1 missing: backbone.synthesis.b8.conv0.lora_B",
    ),
    (
      "pair",
      {f"{_AFFINE}.lora_A": None, f"{_AFFINE}.lora_B": None},
      "2 missing: backbone.synthesis.b8.conv0.affine.lora_A, ",
    ),
    ("shape", {f"{_CONV}.lora_A": (6, 35)}, "[6, 35] (expected [6, 36])"),
    ("axes", {f"{_CONV}.lora_A": (36, 6)}, "[36, 6] (expected [6, 36])"),
    ("rank", {f"{_AFFINE}.lora_A": (1, 4)}, "[1, 4] (expected [2, 4])"),
    ("scalar", {f"{_AFFINE}.lora_A": ()}, "[] (expected [2, 4])"),
    (
      "extra",
      {"backbone.mapping.fc0.lora_A": (2, 8)},
      "1 of layers without pairs: backbone.mapping.fc0.lora_A",
    ),
    (
      "twice",
      {"backbone.synthesis.b8.conv0.weight": (4, 4, 3, 3)},
      "two tensors",
    ),
    (
      "weight",
      {f"{_CONV}.synthesis_layer.weight": None},
      "1 missing: backbone.synthesis.b8.conv0.weight",
    ),
  )
  def test_damaged(self, changes, reason):
    arrays = _wrapped()
    for name, shape in changes.items():
      arrays.pop(name, None)
      if shape is not None:
        arrays[name] = np.zeros(shape, np.float32)
    self.assert_refused(_pickled(arrays), reason)

  def test_no_pairs(self):
    arrays = {
      name: array for name, array in _wrapped().items() if ".lora_" not in name
    }
    self.assert_refused(_pickled(arrays), "no lora_A or lora_B")
    pair = {f"{_CONV}.lora_A": np.zeros((6, 36), np.float32)}
    self.assert_refused(_pickled({**arrays, **pair}), "tells the rank")

  def test_not_finite(self):
    arrays = _wrapped()
    arrays[f"{_CONV}.lora_B"][0] = np.inf
    self.assert_refused(_pickled(arrays), "conv0.lora_B holds NaN")

  def test_clamp_inside_the_wrapper(self):
    name = files.wrapped_name("backbone.synthesis.b4.conv1.weight")
    config, warnings = preset("ffhq512-128"), []
    record = torch_reader.loads(
      files.plain_pickle(
        files.generator_object(
          {name: np.ones((1, 1), np.float32)},
          config,
          arguments={"conv_clamp": Ellipsis},
        )
      )
    )
    self.assertEqual(settings.read(record, warnings.append), config)
    self.assertLen(warnings, 1)
    layer = _member(record, name.rpartition(".")[0])
    layer.state["conv_clamp"] = 128
    read = settings.read(record, warnings.append)
    self.assertEqual(read.backbone.conv_clamp, 128)
    self.assertLen(warnings, 1)

  def test_random_damage(self):
    """Other numbers or a clear refusal."""
    data = _pickled(_wrapped())
    outcomes = collections.Counter()
    for case in range(_DAMAGED):
      damaged = fuzz_test.mutate(
        data, np.arange(len(data)), np.random.default_rng([7, case])
      )
      try:
        adapter = _read(damaged).adapter
        if adapter is not None:
          for leaf in jax.tree.leaves(adapter.lora):
            self.assertTrue(np.isfinite(leaf).all())
        outcomes["converted"] += 1
      except CheckpointError as error:
        self.assertTrue(str(error).isprintable())
        outcomes["refused"] += 1
    self.assertLen(outcomes, 2)


class CommandTest(_InFolder):
  def setUp(self):
    super().setUp()
    self.config = self.folder / "tiny.json"
    self.config.write_text(json.dumps(TINY.to_dict()))
    self.input.write_bytes(_pickled(_wrapped()))

  def convert(self, *arguments):
    return _run(
      "--input",
      self.input,
      "--output",
      self.output,
      "--config",
      self.config,
      *arguments,
    )

  def save_base(self, arrays=None):
    """The pretrained generator."""
    base = self.folder / "base"
    converted = _read(files.zip_file(_PLAIN if arrays is None else arrays))
    checkpoint.save_generator(base, TINY, converted.variables)
    return base

  def assert_fails(self, result, *reasons, left=()):
    """One line on standard error, exit code 1, nothing left behind."""
    code, _, err = result
    self.assertEqual(code, 1)
    self.assertRegex(err, r"\Aerror: [^\n]+\n\Z")
    for reason in reasons:
      self.assertIn(str(reason), err)
    self.assertCountEqual(
      os.listdir(self.folder), ["in.pkl", "tiny.json", *left]
    )

  def test_writes_both(self):
    code, out, err = self.convert()
    self.assertEqual((code, err), (0, ""))
    for expected in (
      "rank 2, alpha 3, conv_rank kernel",
      "non-commercial",
      "with --base",
      str(self.adapter),
    ):
      self.assertIn(expected, out)
    self.assertCountEqual(
      os.listdir(self.folder),
      ["in.pkl", "tiny.json", "out", "out.adapter.safetensors"],
    )
    converted = _read(self.input.read_bytes())
    _, variables = checkpoint.load_generator(self.output)
    chex.assert_trees_all_equal(variables, converted.variables)
    adapter = lora.load(self.adapter, TINY)
    chex.assert_trees_all_equal(adapter.lora, converted.adapter.lora)
    self.assertEqual(adapter.config, converted.adapter.config)
    self.assertEqual(
      adapter.metadata,
      {
        "base_sha256": checkpoint.generator_digest(self.output),
        "format": "2",
        "source_sha256": converted.source["sha256"],
      },
    )

  def test_overwrite(self):
    self.assertEqual(self.convert()[0], 0)
    digest = checkpoint.generator_digest(self.output)
    left = ("out", self.adapter.name)
    self.assert_fails(self.convert(), "out: exists already", left=left)
    shutil.rmtree(self.output)
    self.assert_fails(
      self.convert(), f"{self.adapter}: exists already", left=left[1:]
    )
    self.assertEqual(self.convert("--overwrite")[0], 0)
    self.assertEqual(self.convert("--overwrite")[0], 0)
    self.assertEqual(checkpoint.generator_digest(self.output), digest)
    self.assertEqual(
      lora.load(self.adapter).metadata["base_sha256"],
      checkpoint.generator_digest(self.output),
    )
    self.assertCountEqual(
      os.listdir(self.folder), ["in.pkl", "tiny.json", *left]
    )

  def test_both_or_neither(self):
    full = mock.patch.object(
      lora, "save", side_effect=OSError(28, "No space left on device")
    )
    with full:
      self.assert_fails(self.convert(), f"{self.adapter}: No space left")
    usage = collections.namedtuple("usage", "total used free")
    with mock.patch.object(
      shutil, "disk_usage", lambda folder: usage(2**30, 2**30, 1000)
    ):
      self.assert_fails(self.convert(), f"error: {self.output}: no space left")
    self.assertEqual(self.convert()[0], 0)
    before = self.adapter.read_bytes()
    digest = checkpoint.generator_digest(self.output)
    with full:
      self.assert_fails(
        self.convert("--overwrite"),
        "No space left",
        left=("out", self.adapter.name),
      )
    self.assertEqual(checkpoint.generator_digest(self.output), digest)
    self.assertEqual(self.adapter.read_bytes(), before)
    checkpoint.load_generator(self.output)

  def test_adapter_output(self):
    other = self.folder / "new" / "me.safetensors"
    self.assertEqual(self.convert("--adapter_output", other)[0], 0)
    self.assertFalse(self.adapter.exists())
    lora.load(other, TINY)

  @parameterized.named_parameters(
    ("folder", ".", "is a folder"),
    ("input", "in.pkl", "is the input"),
    ("inside", "out/me.safetensors", "inside the checkpoint folder"),
    ("below_a_file", "tiny.json/me.safetensors", "tiny.json/me"),
  )
  def test_bad_adapter_output(self, name, reason):
    self.assert_fails(
      self.convert("--overwrite", "--adapter_output", self.folder / name),
      reason,
    )

  def test_base(self):
    """What training changed beside the pairs becomes offsets."""
    base = self.save_base()
    arrays, rng = _wrapped(), np.random.default_rng(0)
    for name in arrays:
      if (
        name.startswith("decoder.")
        or name.endswith(".noise_strength")
        or name.endswith(".bias")
        and ".mapping." not in name
      ):
        arrays[name] = np.float32(
          arrays[name] + 0.1 * rng.standard_normal(arrays[name].shape)
        )
    self.input.write_bytes(_pickled(arrays))
    code, out, err = _run(
      "--input", self.input, "--base", base, "--adapter_output", self.adapter
    )
    self.assertEqual((code, err), (0, ""))
    self.assertNotIn("warning", out)
    self.assertCountEqual(
      os.listdir(self.folder),
      ["in.pkl", "tiny.json", "base", self.adapter.name],
    )
    adapter = lora.load(self.adapter, TINY)
    self.assertEqual(
      adapter.metadata["base_sha256"], checkpoint.generator_digest(base)
    )
    _, variables = checkpoint.load_generator(base)
    chex.assert_trees_all_equal(
      variables, _read(files.zip_file(_PLAIN)).variables
    )
    alone = _read(self.input.read_bytes())  # the offsets are in its weights
    merged, expected = (
      lora.merge_into_params(weights, tree, adapter.config)
      for weights, tree in (
        (variables, adapter.lora),
        (alone.variables, alone.adapter.lora),
      )
    )
    chex.assert_trees_all_close(merged, expected, rtol=1e-5, atol=1e-5)
    for path, leaf in flatten_dict(adapter.lora).items():
      self.assertTrue(np.asarray(leaf).any(), path)
    # The other way to name the adapter, beside the folder that is not there.
    result = _run(
      "--input", self.input, "--base", base, "--output", self.output
    )
    self.assert_fails(
      result, "exists already", left=("base", self.adapter.name)
    )

  @parameterized.parameters(
    "backbone.mapping.fc1.weight",
    "backbone.mapping.fc1.bias",
    "backbone.synthesis.b8.conv1.noise_const",
    "backbone.synthesis.b4.const",
    "superresolution.block0.conv0.affine.weight",
  )
  def test_wrong_base(self, name):
    base = self.save_base({**_PLAIN, name: np.float32(1.001 * _PLAIN[name])})
    self.assert_fails(
      _run("--input", self.input, "--output", self.output, "--base", base),
      self.input,
      f"not tuned from {base}, whose {name} differs",
      left=("base",),
    )

  def test_base_of_another_average(self):
    name = "backbone.mapping.w_avg"
    base = self.save_base({**_PLAIN, name: 2 * _PLAIN[name]})
    code, out, _ = _run(
      "--input", self.input, "--output", self.output, "--base", base
    )
    self.assertEqual(code, 0)
    self.assertIn(f"warning: {name}", out)

  def test_base_of_other_sizes(self):
    arrays = _wrapped()
    for name in list(arrays):
      if "mapping.fc1" in name:
        del arrays[name]
    self.input.write_bytes(_pickled(arrays))
    self.assert_fails(
      _run(
        "--input",
        self.input,
        "--output",
        self.output,
        "--base",
        self.save_base(),
      ),
      "2 missing: backbone.mapping.fc1",
      left=("base",),
    )

  def test_flags_that_do_not_go_together(self):
    self.assert_fails(
      self.convert("--base", self.folder / "base"),
      "--base has its own settings",
    )
    self.assert_fails(
      _run("--input", self.input, "--base", "base"), "--output is missing"
    )
    self.assert_fails(self.convert("--lora_alpha=-1"), "--lora_alpha")
    self.assert_fails(self.convert("--lora_alpha=nan"), "--lora_alpha")
    self.assert_fails(
      _run(
        "--input",
        self.input,
        "--output",
        self.output,
        "--base",
        self.folder / "none",
      ),
      "none: no such folder",
    )
    self.input.write_bytes(files.zip_file(_PLAIN))
    for arguments in (("--lora_alpha=1",), ("--adapter_output", "x")):
      self.assert_fails(self.convert(*arguments), "no LoRA pairs")


if __name__ == "__main__":
  absltest.main()

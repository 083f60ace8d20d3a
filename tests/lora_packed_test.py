"""Adapters in few bits and in a shared basis: round trips, sizes, bad files."""

import dataclasses
import json
import pathlib
import shutil
import tempfile
import zlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy
from absl.testing import absltest, parameterized
from flax.traverse_util import flatten_dict, unflatten_dict

from converters import fit_basis, shrink_adapter
from my3dgen_jax import lora, LoraConfig, preset
from my3dgen_jax.apps import banks, describe
from my3dgen_jax.apps.viewer import people
from my3dgen_jax.demo import shipped
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.lora import packed_files, quantization, shared_basis
from my3dgen_jax.models import generator as generator_lib
from my3dgen_jax.training import run_folder
from tests.support import golden
from tests.support.tiny import TINY

FFHQ = preset("ffhqrebalanced512-128")
BASE = {"base_sha256": "ab" * 32}


def drawn(shapes, seed=0):
  """Numbers of many sizes for an adapter's tensors."""
  rng = np.random.default_rng(seed)
  return {
    path: (rng.standard_normal(shape) * 10.0 ** rng.integers(-2, 1)).astype(
      np.float32
    )
    for path, shape in sorted(shapes.items())
  }


def shapes_of(config, lora_config=LoraConfig()):
  tree = flatten_dict(lora.abstract(config, lora_config))
  return {path: tuple(leaf.shape) for path, leaf in tree.items()}


def products(leaves):
  """What an adapter changes: B A of pairs, and offsets."""
  found = {}
  for path, leaf in leaves.items():
    if path[-1] == "lora_a":
      other = np.asarray(leaves[(*path[:-1], "lora_b")], np.float64)
      found[path[:-1]] = np.asarray(leaf, np.float64) @ other
    elif path[-1] != "lora_b":
      found[path] = np.asarray(leaf, np.float64)
  return found


class QuantizationTest(parameterized.TestCase):
  @parameterized.product(
    layout=("kernel", "rank", "original"), case=(("int8", 0.02), ("int4", 0.25))
  )
  def test_round_trip(self, layout, case):
    dtype, most = case
    shapes = shapes_of(TINY, LoraConfig(rank=2, conv_rank=layout))
    leaves = drawn(shapes)
    packed = quantization.pack(leaves, dtype)
    found = quantization.unpack(shapes, packed)
    self.assertEqual({p: x.shape for p, x in found.items()}, shapes)
    self.assertEqual({x.dtype for x in found.values()}, {np.dtype("float32")})
    self.assertLess(quantization.relative_error(leaves, found), most)
    expected, actual = products(leaves), products(found)
    for path, whole in expected.items():
      error = np.linalg.norm(actual[path] - whole)
      self.assertLess(error, 4 * most * np.linalg.norm(whole), path)

  def test_int8_rounds_each_row_by_half_a_step(self):
    rng = np.random.default_rng(0)
    leaves = {("decoder", "kernel_offset"): rng.standard_normal((6, 50))}
    found = quantization.unpack(
      {path: leaf.shape for path, leaf in leaves.items()},
      quantization.pack(leaves, "int8"),
    )
    for mine, its in zip(*(tree.popitem()[1] for tree in (leaves, found))):
      self.assertLessEqual(
        np.abs(mine - its).max(), 0.5001 * np.abs(mine).max() / 127
      )

  @parameterized.parameters(3.6, 3.0, 2.0, 1.5)
  def test_bits_are_kept_to(self, bits):
    shapes = {("a", "lora_a"): (2000, 3), ("a", "lora_b"): (3, 400)}
    packed = quantization.pack(drawn(shapes), "int4", bits=bits)
    total = sum(int(np.prod(shape)) for shape in shapes.values())
    self.assertLess(8 * packed.codes.size / total, bits + 0.15)
    self.assertGreater(8 * packed.codes.size / total, bits - 0.25)

  def test_large_singular_values_have_more_bits(self):
    """Four bits for each row alike are several times as far off."""
    rng = np.random.default_rng(0)
    sizes = np.array([40.0, 9.0, 0.7])
    a, b = (
      np.linalg.qr(rng.standard_normal((n, 3)))[0] * np.sqrt(sizes)
      for n in (4608, 512)
    )
    leaves = {("x", "lora_a"): a, ("x", "lora_b"): b.T}
    packed = quantization.pack(leaves, "int4")
    self.assertGreater(packed.bits[0], packed.bits[2] + 2)
    found = quantization.unpack({p: x.shape for p, x in leaves.items()}, packed)
    alike = {}
    for path, leaf in leaves.items():
      axis = 0 if path[-1] == "lora_a" else 1
      step = np.abs(leaf).max(axis, keepdims=True) / 7
      alike[path] = np.rint(leaf / step) * step
    self.assertLess(
      quantization.relative_error(leaves, found),
      quantization.relative_error(leaves, alike) / 3,
    )

  @parameterized.parameters("int8", "int4")
  def test_no_change_stays_none(self, dtype):
    shapes = shapes_of(TINY)
    fresh = {
      path: leaf * (path[-1] == "lora_a")
      for path, leaf in drawn(shapes).items()
    }
    found = quantization.unpack(shapes, quantization.pack(fresh, dtype))
    for change in products(found).values():
      self.assertFalse(change.any())

  @parameterized.parameters(1e-30, 1e30)
  def test_any_size(self, size):
    leaves = {("bias_offset",): np.array([1.0, -2.0, 3.0]) * size}
    found = quantization.unpack(
      {("bias_offset",): (3,)}, quantization.pack(leaves, "int4", bits=7.0)
    )
    self.assertLess(quantization.relative_error(leaves, found), 0.02)


class FileCase(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.path = self.folder / "adapter.safetensors"
    self.config = LoraConfig(rank=2, alpha=0.5)
    self.leaves = drawn(shapes_of(TINY, self.config))
    self.lora = unflatten_dict(self.leaves)
    self.sound = b""

  def save(self, path=None, **options):
    options = {"metadata": BASE, **options}
    lora.save(path or self.path, self.lora, self.config, **options)


class FileTest(FileCase):
  @parameterized.parameters("int8", "int4")
  def test_round_trip(self, dtype):
    self.save(dtype=dtype)
    found = lora.load(self.path, TINY)
    self.assertEqual(found.config, self.config)
    self.assertEqual(found.metadata, {**BASE, "dtype": dtype, "format": "3"})
    chex.assert_trees_all_equal_shapes_and_dtypes(
      found.lora, jax.tree.map(jnp.asarray, self.lora)
    )
    data = self.path.read_bytes()
    self.save(dtype=dtype)
    self.assertEqual(self.path.read_bytes(), data)
    # Rounded again, it is as near to what it was.
    lora.save(self.path, found.lora, found.config, dtype=dtype)
    again = lora.load(self.path, TINY)
    self.assertLess(shrink_adapter.relative_error(found.lora, again.lora), 0.2)

  def test_sizes_of_the_ffhq_generator(self):
    leaves = drawn(shapes_of(FFHQ))
    most = {"float16": 505_000, "int8": 250_000, "int4": 120_000}
    for dtype, size in most.items():
      lora.save(
        self.path, unflatten_dict(leaves), LoraConfig(), dtype=dtype,
        metadata={**BASE, "settings": json.dumps({"a": "b" * 1200})},
      )  # fmt: skip
      self.assertLess(self.path.stat().st_size, size)
    found = lora.load(self.path)
    error = shrink_adapter.relative_error(unflatten_dict(leaves), found.lora)
    self.assertLess(error, 0.15)

  @parameterized.parameters(
    ("float32", 1.0, 0.0),
    ("float16", 0.56, 0.001),
    ("int8", 0.27, 0.01),
    ("int4", 0.16, 0.05),
  )
  def test_of_somebody(self, dtype, share, most):
    """An adapter that was tuned; in float32 its file is what it was."""
    path = golden.FOLDER / "demo_run" / "adapter.safetensors"
    whole = lora.load(path)
    metadata = {k: v for k, v in whole.metadata.items() if k != "format"}
    lora.save(
      self.path, whole.lora, whole.config, metadata=metadata, dtype=dtype
    )
    data, small = path.read_bytes(), self.path.read_bytes()
    self.assertLessEqual(len(small), share * len(data))
    error = shrink_adapter.relative_error(whole.lora, lora.load(self.path).lora)
    self.assertLessEqual(error, most)
    if dtype == "float32":
      self.assertEqual(small, data)

  def test_floats_are_of_format_2(self):
    """Other versions of the package read them."""
    for dtype in ("float32", "float16"):
      self.save(dtype=dtype)
      self.assertEqual(lora.load(self.path).metadata, {**BASE, "format": "2"})
      with safetensors.safe_open(self.path, "numpy") as file:
        self.assertNotIn("dtype", file.metadata())

  def test_everything_reads_it(self):
    self.save(dtype="int4")
    lines = "\n".join(describe.describe_adapter(self.path))
    self.assertIn(f"({self.path.stat().st_size} bytes, int4)", lines)
    numbers, pairs = lora.count(self.lora)
    self.assertIn(f"lora: {numbers} numbers ({pairs} in A and B)", lines)
    bank = lora.Bank(self.folder / "people.bank")
    self.addCleanup(bank.close)
    banks.add(bank, [self.path], banks.AddConfig(), names=["ann"])
    chex.assert_trees_all_equal(
      jax.tree.map(np.asarray, bank.read("ann").lora),
      jax.tree.map(np.asarray, lora.load(self.path).lora),
    )

  def test_a_generator_merges_it(self):
    self.save(dtype="int8")
    found = lora.load(self.path, TINY)
    params = jax.tree.map(
      lambda leaf: jnp.zeros(leaf.shape), generator_lib.abstract_variables(TINY)
    )["params"]
    changes = [
      lora.kernel_changes(params, tree, self.config)
      for tree in (jax.tree.map(jnp.asarray, self.lora), found.lora)
    ]
    for path, change in changes[0].items():
      self.assertLess(
        np.linalg.norm(changes[1][path] - change), 0.03 * np.linalg.norm(change)
      )

  def test_what_cannot_be_saved(self):
    with self.assertRaisesRegex(UserError, "dtype: expected one of .*'int4'"):
      self.save(dtype="int2")
    self.leaves["decoder", "fc0", "bias_offset"][0] = np.nan
    self.lora = unflatten_dict(self.leaves)
    with self.assertRaisesRegex(UserError, "fc0/bias_offset holds NaN"):
      self.save(dtype="int4")
    self.assertFalse(self.path.exists())

  def damaged(self, tensors=lambda tensors: None, metadata=lambda data: None):
    """Saves, changes what is in the file, and reads it."""
    if not self.sound:
      self.save(dtype="int4")
      self.sound = self.path.read_bytes()
    self.path.write_bytes(self.sound)
    with safetensors.safe_open(self.path, "numpy") as file:
      texts = dict(file.metadata())
    arrays = safetensors.numpy.load_file(self.path)
    tensors(arrays)
    metadata(texts)
    safetensors.numpy.save_file(arrays, self.path, texts)
    with self.assertRaises(CheckpointError) as caught:
      lora.load(self.path, TINY)
    message = str(caught.exception)
    self.assertStartsWith(message, str(self.path))
    self.assertNotIn("\n", message)
    return message

  def test_damaged_tensors(self):
    def cut(arrays, name="codes"):
      arrays[name] = arrays[name][:-3].copy()

    def flipped(arrays):
      arrays["codes"] = arrays["codes"].copy()
      arrays["codes"][arrays["codes"].size // 2] ^= 255

    def wrong_scale(value):
      def change(arrays):
        arrays["scales"] = arrays["scales"].copy()
        arrays["scales"][0] = value

      return change

    def renamed(arrays):
      arrays["numbers"] = arrays.pop("codes")

    def retyped(arrays):
      arrays["scales"] = arrays["scales"].astype(np.float64)

    self.assertIn("its codes are damaged", self.damaged(cut))
    self.assertIn("its codes are damaged", self.damaged(flipped))
    self.assertRegex(
      self.damaged(lambda arrays: cut(arrays, "scales")), "it has .* scales"
    )
    for value in (np.nan, np.inf, -1.0):
      self.assertIn("its scales", self.damaged(wrong_scale(value)))
    self.assertIn("not made of finite", self.damaged(wrong_scale(3e38)))
    self.assertIn("it holds the tensors bits, numbers", self.damaged(renamed))
    self.assertIn("scales is not a row of float32", self.damaged(retyped))

  def test_damaged_metadata(self):
    def shapes(text):
      def change(data):
        data["shapes"] = text

      return change

    large = '{"a":{"lora_a":[1000000000,1000000000],"lora_b":[3,5]}}'
    for text, message in {
      "": "has no valid shapes",
      "[": "has no valid shapes",
      "{}": "has no shape",
      '{"a":[1,-2]}': "a has no shape",
      '{"a":[1.5]}': "a has no shape",
      '{"a":[true]}': "a has no shape",
      '{"a":{"b":null}}': "a/b has no shape",
      json.dumps({"a": [1] * 9}): "a has no shape",
      large: r"more than \d+ bytes can hold",
      '{"a":[18446744073709551615]}': "a has no shape",
      '{"a":[7]}': "scales",
    }.items():
      self.assertRegex(self.damaged(metadata=shapes(text)), message)
    self.assertIn(
      "which is newer than this version of my3dgen_jax (4)",
      self.damaged(metadata=lambda data: data.update(format="5")),
    )
    self.assertIn(
      "its dtype is not one of",
      self.damaged(metadata=lambda data: data.pop("dtype")),
    )

  def test_bombs(self):
    """A small stream of a billion zeros is not expanded."""

    def bomb(arrays):
      arrays["codes"] = np.frombuffer(zlib.compress(bytes(10**8)), np.uint8)

    self.assertIn("its codes are damaged: expected", self.damaged(bomb))

  def test_another_generator(self):
    self.save(dtype="int8")
    with self.assertRaisesRegex(CheckpointError, "does not fit the generator"):
      lora.load(self.path, dataclasses.replace(TINY, w_dim=5))

  def test_metadata_that_were_lost(self):
    self.save(dtype="int8")
    safetensors.numpy.save_file(
      safetensors.numpy.load_file(self.path), self.path
    )
    with self.assertRaisesRegex(CheckpointError, "has lost its metadata"):
      lora.load(self.path, TINY)


class ShrinkTest(FileCase):
  def run_command(self, converter, *arguments):
    return converter.main(["command", *map(str, arguments)])

  def test_there_and_back(self):
    self.save()
    small, back = (self.folder / f"{name}.safetensors" for name in "sb")
    for source, target, dtype in (
      (self.path, small, "int8"),
      (small, back, "float32"),
    ):
      flags = [f"--input={source}", f"--output={target}"]
      flags.append(f"--adapter_dtype={dtype}")
      self.assertEqual(self.run_command(shrink_adapter, *flags), 0)
    found, again = lora.load(small), lora.load(back)
    chex.assert_trees_all_equal(found.lora, again.lora)
    self.assertEqual(again.metadata, {**BASE, "format": "2"})
    self.assertEqual(lora.fingerprint(found.lora), lora.fingerprint(again.lora))

  def test_bad_input(self):
    self.save()
    for flags in (
      [f"--input={self.path}"],
      [f"--input={self.path}", f"--output={self.path}"],
      [f"--input={self.path}", f"--output={self.folder}/x.npy"],
      [f"--input={self.folder}/none.safetensors", f"--output={self.folder}/x"],
      [
        f"--input={self.path}",
        f"--output={self.folder}/x.safetensors",
        f"--basis={self.path}",
      ],
    ):
      self.assertEqual(self.run_command(shrink_adapter, *flags), 1)
    self.assertLen(list(self.folder.iterdir()), 1)


class BasisTest(FileCase):
  def setUp(self):
    super().setUp()
    shapes = shapes_of(TINY, self.config)
    # People whose A are made of 6 directions, B of anything.
    rng = np.random.default_rng(7)
    self.people = []
    directions = {
      path: rng.standard_normal((*shape[:-1], 6))
      for path, shape in shapes.items()
      if path[-1] == "lora_a"
    }
    for seed in range(9):
      leaves = drawn(shapes, seed)
      for path, axes in directions.items():
        mixed = rng.standard_normal((6, shapes[path][-1]))
        leaves[path] = (axes @ mixed).astype(np.float32)
      self.people.append(unflatten_dict(leaves))
    self.lora = self.people[-1]
    self.basis_path = self.folder / "people.basis.safetensors"

  def fit(self, **options):
    basis = shared_basis.fit(
      self.people[:-1], base=BASE["base_sha256"], **{"rank": 6, **options}
    )
    shared_basis.write(self.basis_path, basis)
    return basis

  def test_somebody_new_in_the_span(self):
    basis = self.fit()
    self.assertGreater(shared_basis.captured(basis, self.lora), 0.9999)
    self.save(dtype="int8", basis=basis)
    found = lora.load(self.path, TINY)
    self.assertLess(shrink_adapter.relative_error(self.lora, found.lora), 0.02)
    read = shared_basis.read(self.basis_path)
    self.assertEqual(read.metadata, basis.metadata)
    self.assertEqual((read.people, read.base), (8, BASE["base_sha256"]))

  def test_somebody_outside(self):
    """What is lost is what `captured` says is not in the basis."""
    basis = self.fit(rank=4)
    held = shared_basis.captured(basis, self.lora)
    self.assertBetween(held, 0.2, 0.999)
    self.assertGreater(
      np.mean([shared_basis.captured(basis, one) for one in self.people[:-1]]),
      0.3,
    )
    self.save(dtype="int8", basis=basis)
    error = shrink_adapter.relative_error(self.lora, lora.load(self.path).lora)
    self.assertGreater(error, 0.03)

  def test_directions_of_b(self):
    basis = self.fit(rank_b=2)
    names = {path[-1] for path in basis.directions}
    self.assertEqual(names, {"lora_a", "lora_b"})
    self.save(dtype="int8", basis=basis)
    lora.load(self.path, TINY)

  def test_it_is_found(self):
    self.save(dtype="int8", basis=self.fit())
    expected = lora.load(self.path).lora
    other = self.folder / "checkpoint"
    other.mkdir()
    self.basis_path.rename(other / self.basis_path.name)
    for places in ([other], [other / self.basis_path.name]):
      found = lora.load(self.path, TINY, places=places)
      chex.assert_trees_all_equal(found.lora, expected)
    with self.assertRaisesRegex(
      CheckpointError, "needs the shared basis .*next to the adapter$"
    ):
      lora.load(self.path, TINY)
    # Another basis of that name is not taken for it.
    self.fit(rank=3)
    with self.assertRaisesRegex(CheckpointError, "shared basis with SHA-256"):
      lora.load(self.path, TINY)

  def test_the_command_does_not_write_over_it(self):
    self.save(dtype="int8", basis=self.fit())
    for output, pattern in (
      (self.basis_path, "is one of the inputs"),
      (self.folder / "x.basis.safetensors", "are for shared bases"),
    ):
      with self.assertRaisesRegex(CheckpointError, pattern):
        shrink_adapter.convert(
          str(self.path),
          str(output),
          basis=str(self.basis_path),
          overwrite=True,
        )
    shared_basis.read(self.basis_path)

  def test_its_digest_is_that_of_its_file(self):
    """Other versions may write the same directions as other bytes."""
    self.fit()
    with safetensors.safe_open(self.basis_path, "numpy") as file:
      about, leaves = (
        file.metadata(),
        {name: file.get_tensor(name) for name in file.keys()},
      )
    safetensors.numpy.save_file(leaves, self.basis_path, about | {"more": "1"})
    self.save(dtype="int8", basis=shared_basis.read(self.basis_path))
    lora.load(self.path, TINY)

  def test_a_run_finds_it_beside_its_generator(self):
    run, prior = self.folder / "run", self.folder / "prior"
    shutil.copytree(golden.FOLDER / "demo_run", run)
    shutil.copytree(shipped.PRIOR, prior)
    path = run / "adapter.safetensors"
    whole = lora.load(path)
    basis = shared_basis.fit([whole.lora], rank=2)
    lora.save(path, whole.lora, whole.config, dtype="int8", basis=basis)
    with self.assertRaisesRegex(CheckpointError, "adapter or the generator$"):
      run_folder.load_run(run, checkpoint=prior)
    shared_basis.write(prior / "people.basis.safetensors", basis)
    found = run_folder.load_run(run, checkpoint=prior)
    chex.assert_trees_all_equal(
      found.generator.variables["lora"], lora.load(path, places=[prior]).lora
    )

  def test_commands(self):
    for i, one in enumerate(self.people[:-1]):
      place = self.folder / "runs" / f"person{i}"
      place.mkdir(parents=True)
      lora.save(place / "adapter.safetensors", one, self.config, metadata=BASE)
    self.save()
    fitted = [
      f"--input={self.folder / 'runs'}",
      f"--output={self.basis_path}",
      "--rank=6",
    ]
    self.assertEqual(fit_basis.main(["fit", *fitted]), 0)
    self.assertEqual(fit_basis.main(["fit", *fitted]), 1)  # is there already
    small = self.folder / "small.safetensors"
    flags = [f"--input={self.path}", f"--output={small}"]
    flags += ["--adapter_dtype=int4", f"--basis={self.basis_path}"]
    self.assertEqual(shrink_adapter.main(["shrink", *flags]), 0)
    lora.load(small, TINY)
    # Nobody takes it for a person.
    with self.assertRaisesRegex(CheckpointError, "is a shared basis of many"):
      lora.load(self.basis_path)
    places = people.find_places([self.folder])
    self.assertNotIn(self.basis_path, [place.path for place in places])
    self.assertIn(small, [place.path for place in places])
    self.save(metadata={"base_sha256": "cd" * 32})
    flags.append("--overwrite")
    self.assertEqual(shrink_adapter.main(["shrink", *flags]), 1)

  def test_what_does_not_fit(self):
    basis = self.fit()
    with self.assertRaisesRegex(UserError, "a basis needs one of"):
      self.save(basis=basis)
    del self.leaves[next(iter(basis.directions))]
    self.lora = unflatten_dict(self.leaves)
    with self.assertRaisesRegex(UserError, "^basis: .*fit a basis to adapters"):
      self.save(dtype="int8", basis=basis)
    with self.assertRaisesRegex(UserError, "rank: no layer is larger"):
      self.fit(rank=10**4)
    with self.assertRaisesRegex(UserError, "expected one or more people"):
      shared_basis.fit([], rank=3)
    for path in (self.folder / "none", self.path):
      self.lora = self.people[0]
      if path == self.path:
        self.save()
      with self.assertRaisesRegex(CheckpointError, "a shared basis"):
        shared_basis.read(path)

  def test_damaged_coefficients(self):
    basis = self.fit()
    name, axes = next(iter(basis.directions.items()))
    leaves = basis.coefficients(flatten_dict(self.lora))
    for wrong in (leaves[name][:-1], axes, None):
      changed = dict(leaves)
      if wrong is None:
        del changed[name]
      else:
        changed[name] = wrong
      with self.assertRaisesRegex(CheckpointError, "expected coefficients of"):
        basis.expanded("here", changed)


class MetadataTest(absltest.TestCase):
  def test_shapes_are_nested(self):
    leaves = {("a", "b"): np.ones(3, np.float32), ("a", "c"): np.ones(())}
    _, metadata = packed_files.encode(leaves, "int8")
    self.assertEqual(
      metadata, {"dtype": "int8", "shapes": '{"a":{"b":[3],"c":[]}}'}
    )


if __name__ == "__main__":
  absltest.main()

"""Banks of adapters: what goes in comes out, on the host and on a device."""

import pathlib
import tempfile
from unittest import mock

import jax
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax import lora
from my3dgen_jax.config import LoraConfig
from my3dgen_jax.errors import CheckpointError, UserError
from tests.support.tiny import TINY

CONFIG = LoraConfig()
BASE = "a" * 64


def adapter(seed, config=CONFIG):
  rng = np.random.default_rng(seed)
  return jax.tree.map(
    lambda leaf: rng.standard_normal(leaf.shape, dtype=np.float32),
    lora.abstract(TINY, config),
  )


def entry(person, seed, config=CONFIG, **options):
  return lora.Entry(
    person, adapter(seed, config), config, **{"base": BASE, **options}
  )


def photos(count=3, seed=0):
  rng = np.random.default_rng(seed)
  return lora.Photos(
    tuple(f"Foto {i} (ü).png" for i in range(count)),
    rng.standard_normal((count, TINY.num_ws, TINY.w_dim), dtype=np.float32),
    rng.standard_normal((count, 25), dtype=np.float32),
  )


def assert_equal(one, other):
  jax.tree.map(np.testing.assert_array_equal, one, other)


class BankTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.bank = lora.Bank(self.folder / "bank")

  def test_round_trip(self):
    self.assertEqual(self.bank.add([entry("ann", 1), entry("bob", 2)]), 2)
    found = lora.Bank(self.folder / "bank").read("ann", check=True)
    assert_equal(found.lora, adapter(1))
    self.assertEqual(found.config, CONFIG)
    self.assertEqual(found.metadata[lora.BASE_DIGEST], BASE)
    self.assertEqual(self.bank.ids(), ["ann", "bob"])
    self.assertLen(self.bank, 2)
    self.assertIn("ann", self.bank)
    self.assertNotIn("cat", self.bank)
    self.assertIsNone(self.bank.photos("ann"))

  def test_what_is_read_is_as_a_file_has_it(self):
    """And so has the same fingerprint, by which pictures know it."""
    lora.save(self.folder / "a.safetensors", adapter(1), CONFIG)
    loaded = lora.load(self.folder / "a.safetensors", TINY)
    self.bank.add([entry("ann", 1)])
    found = self.bank.read("ann")
    self.assertEqual(
      lora.fingerprint(found.lora), lora.fingerprint(loaded.lora)
    )
    assert_equal(found.lora, loaded.lora)

  def test_reading_is_one_copy(self):
    """Leaves are parts of one array, that may be changed."""
    self.bank.add([entry("ann", 1)])
    leaves = jax.tree.leaves(self.bank.read("ann").lora)
    self.assertLen({id(_owner(leaf)) for leaf in leaves}, 1)
    leaves[0][...] = 0
    assert_equal(self.bank.read("ann").lora, adapter(1))

  def test_float16(self):
    self.bank.add([entry("ann", 1, dtype="float16"), entry("bob", 2)])
    assert_equal(
      self.bank.read("ann").lora,
      jax.tree.map(lambda x: x.astype("float16").astype("float32"), adapter(1)),
    )
    self.assertEqual(self.bank.dtype("ann"), "float16")
    stacked = self.bank.stack(["bob", "ann"]).lora  # of both dtypes
    assert_equal(jax.tree.map(lambda x: x[0], stacked), adapter(2))

  def test_photos(self):
    self.bank.add([entry("ann", 1, photos=photos()), entry("bob", 2)])
    found = self.bank.photos("ann")
    self.assertEqual(found.names, photos().names)
    assert_equal(found[1:], photos()[1:])
    self.assertEqual([one.photos for one in self.bank.records()], [3, 0])
    self.bank.remove(["ann"])
    self.assertIsNone(self.bank.photos("ann"))
    self.assertEqual(self.bank.compact(), 2)

  def test_records(self):
    other = LoraConfig(rank=2, conv_rank="rank")
    self.bank.add([entry("ann", 1), entry("bob", 2, other, dtype="float16")])
    self.bank.add([entry("ann", 3)], replace=True)
    ann, bob = self.bank.records()
    self.assertEqual((ann.config, bob.config), (CONFIG, other))
    self.assertEqual((ann.dtype, bob.dtype), ("float32", "float16"))
    self.assertEqual(ann.numbers, lora.count(adapter(1)).total)
    self.assertGreater(ann.version, bob.version)

  def test_stack_equals_single_reads(self):
    self.bank.add([entry(f"p{i}", i) for i in range(4)])
    for device in (None, jax.local_devices()[-1]):
      stacked = self.bank.stack(["p3", "p0", "p3"], device=device)
      self.assertEqual(stacked.config, CONFIG)
      for row, seed in enumerate((3, 0, 3)):
        assert_equal(
          jax.tree.map(lambda leaf: leaf[row], stacked.lora), adapter(seed)
        )
      self.assertEqual(
        {next(iter(one.devices())) for one in jax.tree.leaves(stacked.lora)},
        {device or jax.local_devices()[0]},
      )

  def test_stack_refused(self):
    self.bank.add([entry("ann", 1), entry("bob", 2, LoraConfig(rank=2))])
    with self.assertRaisesRegex(UserError, "'ann' and 'bob' have different ra"):
      self.bank.stack(["ann", "bob"])
    with self.assertRaisesRegex(UserError, "expected one person or more"):
      self.bank.stack([])
    with self.assertRaisesRegex(UserError, "has no person 'cat'"):
      self.bank.stack(["ann", "cat"])

  @parameterized.parameters(
    (
      {"base": "b" * 64},
      "bank for the base aaaaaaaaaaaa…, but 'new' is for bbbbbbb",
    ),
    ({"base": None}, "'new' does not say which base"),
    ({"dtype": "int8"}, "dtype: expected one of"),
    ({"lora": {}}, "'new' has an adapter without numbers"),
    ({"lora": {"a": {"lora_a": np.array([1, np.nan])}}}, "'new' holds NaN"),
    (
      {"lora": {"a": {"lora_a": np.array([np.inf, -np.inf])}}},
      "'new' holds NaN",
    ),
    (
      {"lora": {"a": {"lora_a": np.array([1e6])}}, "dtype": "float16"},
      "too large for float16",
    ),
    ({"photos": photos()._replace(names=("a",))}, "do not match"),
    ({"photos": photos()._replace(c=np.full((3, 25), np.nan))}, "hold NaN"),
    ({"photos": photos(0)}, "do not match"),
    ({"id": ""}, "expected 1 to 300 printable characters"),
    ({"id": "a\x00b"}, "expected 1 to 300 printable characters"),
    ({"id": "a" * 301}, "expected 1 to 300 .* of 301"),
    ({"id": "ann"}, "'ann' is there already"),
  )
  def test_refused_whole(self, changes, reason):
    self.bank.add([entry("ann", 1)])
    with self.assertRaisesRegex(UserError, reason) as caught:
      self.bank.add([entry("bob", 2), entry("new", 3)._replace(**changes)])
    self.assertNotIn("\n", str(caught.exception))
    self.assertEqual(self.bank.ids(), ["ann"])

  def test_large_numbers_whose_sum_is_not(self):
    large = {"a": {"lora_a": np.full(4, 3e38, np.float32)}}
    self.bank.add([entry("ann", 1)._replace(lora=large)])
    assert_equal(self.bank.read("ann").lora, large)

  def test_nothing_is_made_where_nothing_is_added(self):
    self.assertEqual(self.bank.add([]), 0)
    with self.assertRaisesRegex(UserError, "does not say which base"):
      self.bank.add([entry("ann", 1, base=None)])
    self.assertFalse((self.folder / "bank").exists())

  def test_ids_are_cleaned(self):
    self.bank.add([entry("  Zoe\u0308 \n Müller/2 ", 1)])
    self.assertEqual(self.bank.ids(), ["Zoë Müller/2"])
    typed = "Zoe\u0308  Müller/2"
    self.assertIn(typed, self.bank)
    self.bank.read(typed)
    self.bank.stack([typed])
    self.assertIsNone(self.bank.photos(typed))
    self.assertEqual(self.bank.remove([typed]), 1)

  def test_how_much_room(self):
    """Many people of a tiny base, and few of a large one, in one change."""
    self.bank.add([entry(f"person{i:06}", i % 7) for i in range(2000)])
    sizes = self.bank.sizes()
    self.assertLess(sizes.files / sizes.numbers, 1.02)

  def test_damaged_layouts(self):
    self.bank.add([entry("ann", 1)])
    for text in ("{}", "[]", '{"tensors": [["a", [2]]], "lora": {}}'):
      layout = self.bank._store.layout(self.bank.place("ann"))
      self.bank._store._layouts[1] = layout._replace(description=text)
      with self.assertRaisesRegex(CheckpointError, "index is damaged: it"):
        self.bank.read("ann")
      self.bank._store._layouts.clear()


class DeviceCacheTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    folder = self.enterContext(tempfile.TemporaryDirectory())
    self.bank = lora.Bank(pathlib.Path(folder) / "bank")
    self.bank.add([entry(f"p{i}", i) for i in range(5)])
    self.size = 4 * lora.count(adapter(0)).total
    self.cache = lora.DeviceCache(self.bank, most_bytes=3 * self.size)

  def test_least_recently_used(self):
    for i in (0, 1, 2, 0, 3):
      assert_equal(self.cache.read(f"p{i}").lora, adapter(i))
    self.assertEqual(self.cache.ids(), ["p2", "p0", "p3"])
    with mock.patch.object(lora.Bank, "read") as read:
      found = self.cache.read("p0")
      read.assert_not_called()
    self.assertIsInstance(jax.tree.leaves(found.lora)[0], jax.Array)

  def test_who_was_replaced_or_removed(self):
    self.cache.read("p0")
    other = lora.Bank(self.bank.folder)
    other.add([entry("p0", 9)], replace=True)
    other.compact()
    assert_equal(self.cache.read("p0").lora, adapter(9))
    other.remove(["p0"])
    with self.assertRaisesRegex(UserError, "no person 'p0'"):
      self.cache.read("p0")
    self.assertEqual(self.cache.ids(), [])

  def test_one_is_kept_whatever_the_bound(self):
    cache = lora.DeviceCache(self.bank, most_bytes=1)
    for i in (0, 1):
      cache.read(f"p{i}")
      self.assertEqual(cache.ids(), [f"p{i}"])

  def test_device(self):
    device = jax.local_devices()[-1]
    found = lora.DeviceCache(self.bank, device=device).read("p1")
    self.assertEqual(
      {next(iter(one.devices())) for one in jax.tree.leaves(found.lora)},
      {device},
    )


def _owner(array):
  while array.base is not None and isinstance(array.base, np.ndarray):
    array = array.base
  return array


if __name__ == "__main__":
  absltest.main()

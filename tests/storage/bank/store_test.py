"""The folder of a bank: shards, index, and what is left of what."""

import ast
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from safetensors import safe_open

from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.storage.bank import change, index, store

ROOT = pathlib.Path(__file__).resolve().parents[3]
_MEMORY = "/dev/shm"
_HAS_MEMORY = os.access(_MEMORY, os.W_OK)
LAYOUT = index.Layout("float32", 50, "fifty numbers")


def numbers(seed, count=50):
  return np.random.default_rng(seed).standard_normal(count, dtype=np.float32)


def row(person, seed, **options):
  return store.Row(person, LAYOUT, numbers(seed), **options)


class StoreTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    self.bank = self.folder / "bank"
    self.store = store.Store(self.bank, patience=0.2)
    self.store.begin(about="tests")

  def shards(self):
    return sorted(self.bank.glob("shard-*.safetensors"))

  def check(self, expected):
    """Who is there, with which numbers; seen by a process that starts now."""
    fresh = store.Store(self.bank)
    self.assertEqual([one.id for one in fresh.places()], sorted(expected))
    for person, seed in expected.items():
      found = fresh.read(person, check=True)
      np.testing.assert_array_equal(found.numbers, numbers(seed))
      self.assertEqual(found.layout, LAYOUT)
    self.assertEqual(fresh.verify(), [])

  def test_add_and_read(self):
    self.assertEqual(self.store.add([row("b", 1), row("a", 2)]), 2)
    self.store.add([row("c", 3, note="a note")])
    self.check({"a": 2, "b": 1, "c": 3})
    self.assertIsNone(self.store.read("d"))
    self.assertIsNone(self.store.read("a", 1))
    self.assertEqual(self.store.read("c").place.note, "a note")
    self.assertEqual(self.store.facts()["about"], "tests")
    sizes = self.store.sizes()
    self.assertEqual((sizes.people, sizes.removed, sizes.numbers), (3, 0, 600))

  def test_shards_are_files_of_the_library(self):
    self.store.add([row("b", 1), row("a", 2)])
    with safe_open(self.shards()[0], "numpy") as file:
      self.assertEqual(list(file.keys()), ["numbers"])
      np.testing.assert_array_equal(
        file.get_tensor("numbers"), [numbers(1), numbers(2)]
      )

  def test_a_reader_sees_what_others_add(self):
    other = store.Store(self.bank)
    self.assertIsNone(other.read("a"))
    self.store.add([row("a", 1)])
    np.testing.assert_array_equal(other.read("a").numbers, numbers(1))
    self.store.add([row("a", 2)], replace=True)
    self.store.compact()
    np.testing.assert_array_equal(other.read("a").numbers, numbers(2))
    self.store.remove(["a"])
    self.assertIsNone(other.read("a"))

  def test_replaced(self):
    self.store.add([row("a", 1), row("a", 9, part=1), row("b", 2)])
    first = self.store.place("a")
    self.store.add([row("a", 3)], replace=True)
    self.assertGreater(self.store.place("a").version, first.version)
    self.assertIsNone(self.store.read("a", 1))  # belonged to the old one
    self.check({"a": 3, "b": 2})
    self.assertEqual(self.store.sizes().removed, 2)

  @parameterized.parameters(
    ([("a", 1)], "'a' is there already; replace it with --replace"),
    ([("b", 1), ("c", 1), ("b", 2)], "'b' is given twice"),
  )
  def test_refused_whole(self, people, reason):
    self.store.add([row("a", 1)])
    with self.assertRaisesRegex(UserError, reason):
      self.store.add([row("z", 0), *(row(*one) for one in people)])
    self.check({"a": 1})
    self.assertLen(self.shards(), 1)

  def test_what_rows_raise_leaves_nothing(self):
    def rows():
      yield row("b", 1)
      raise KeyboardInterrupt

    with mock.patch.object(change, "_FULL", 1):  # a shard a row
      with self.assertRaises(KeyboardInterrupt):
        self.store.add(rows())
    self.assertEqual(self.shards(), [])
    self.check({})

  def test_numbers_of_files_that_were_given_up_are_given_again(self):
    """And nobody reads the older file by an open handle."""
    self.store.add([row(f"x{i}", i) for i in range(2)])
    with mock.patch.object(change, "_ALIKE", 1):
      with mock.patch.object(change.Change, "rewrite", side_effect=OSError):
        with self.assertRaises(OSError):
          self.store.add([row("y", 5)])
    self.store.add([row("y", 6)])
    np.testing.assert_array_equal(self.store.read("y").numbers, numbers(6))

  def test_removed_numbers_are_in_no_file_after_compact(self):
    self.store.add([row("ann-secret-id", 1, note="her photos"), row("bob", 2)])
    self.store.remove(["ann-secret-id"])
    holds = lambda data: [
      path.name for path in self.bank.iterdir() if data in path.read_bytes()
    ]
    self.assertNotEmpty(holds(numbers(1).tobytes()))
    self.assertEqual(self.store.compact(), 1)
    self.assertEqual(holds(numbers(1).tobytes()), [])
    self.assertEqual(holds(b"ann-secret-id"), [])
    self.assertEqual(holds(b"her photos"), [])
    self.check({"bob": 2})
    self.assertEqual(self.store.compact(), 0)

  def test_nobody_to_remove(self):
    self.store.add([row("a", 1)])
    with self.assertRaisesRegex(UserError, "bank: has no person 'b'"):
      self.store.remove(["a", "b"])
    self.check({"a": 1})

  def test_single_people_are_gathered(self):
    for i in range(70):
      self.store.add([row(f"p{i:02}", i)])
      self.assertLess(len(self.shards()), 2 * 16)
    self.check({f"p{i:02}": i for i in range(70)})
    self.store.compact()
    self.assertLen(self.shards(), 1)
    self.check({f"p{i:02}": i for i in range(70)})

  def test_full_shards_stay(self):
    with (
      mock.patch.object(change, "_FULL", 1000),
      mock.patch.object(store, "SMALL", 250),
    ):
      self.store.add(row(f"p{i}", i) for i in range(25))
      before = self.shards()
      self.assertLen(before, 5)
      self.store.remove(["p0"])
      self.store.compact()
      self.assertLen(set(before) & set(self.shards()), 4)
    self.check({f"p{i}": i for i in range(1, 25)})

  def test_what_killed_commands_leave_is_removed_by_the_next(self):
    self.store.add([row("a", 1)])
    (self.bank / "shard-00000099.safetensors").write_bytes(b"x")
    (self.bank / ".unfinished-abc.tmp").write_bytes(b"x")
    (self.bank / "notes.txt").write_bytes(b"mine")
    self.check({"a": 1})
    self.store.add([row("b", 2)])
    self.assertCountEqual(
      (path.name for path in self.bank.iterdir()),
      [
        "index.sqlite",
        "notes.txt",
        "shard-00000001.safetensors",
        "shard-00000002.safetensors",
      ],
    )

  def test_compact_says_what_it_cannot_remove(self):
    self.store.add([row("a", 1), row("b", 2)])
    self.store.remove(["a"])
    with mock.patch.object(store, "_unlink"):
      with self.assertRaisesRegex(UserError, "shard-00000001.*cannot be remov"):
        self.store.compact()
    self.assertEqual(self.store.compact(), 0)
    self.assertLen(self.shards(), 1)

  def test_another_writer(self):
    """Waits for it, or says so; readers see the bank as it was."""
    self.store.add([row("a", 1)])
    other = store.Store(self.bank, patience=0.1)

    def rows():
      self.assertIsNotNone(other.read("a"))
      with self.assertRaisesRegex(UserError, "another command has been writ"):
        other.add([row("c", 3)])
      patient = store.Store(self.bank)
      thread = threading.Thread(target=patient.add, args=([row("d", 4)],))
      thread.start()
      threads.append(thread)
      yield row("b", 2)

    threads = []
    self.store.add(rows())
    threads[0].join()
    self.check({"a": 1, "b": 2, "d": 4})

  def test_threads_of_one_bank(self):
    def work(name):
      for i in range(5):
        self.store.add([row(f"{name}{i}", i)])
        self.store.read(f"{name}{i}", check=True)

    threads = [threading.Thread(target=work, args=(name,)) for name in "abc"]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    self.check({f"{name}{i}": i for name in "abc" for i in range(5)})

  def damage(self):
    path = self.shards()[0]
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # of the last row
    path.write_bytes(data)
    self.store.close()
    return path

  def test_a_flipped_bit(self):
    self.store.add([row("a", 1), row("b", 2)])
    path = self.damage()
    (fault,) = self.store.verify()
    self.assertStartsWith(fault.line, f"{path}: is damaged, with the numbers")
    self.assertEqual(fault.ids, ("b",))
    with self.assertRaisesRegex(CheckpointError, "numbers of 'b' are not"):
      self.store.read("b", check=True)
    self.store.read("a", check=True)
    self.store.add([row("c", 3)])  # goes on
    self.store.remove(["c"])
    with self.assertRaisesRegex(CheckpointError, f"{path}.*'b' are not what"):
      self.store.compact()
    self.store.remove(["b"])
    self.assertEqual(self.store.compact(), 2)
    self.check({"a": 1})

  def test_damage_does_not_keep_others_from_being_added(self):
    self.store.add([row("a", 1)])
    self.damage()
    for i in range(40):
      self.store.add([row(f"p{i}", i)])
    self.assertLess(len(self.shards()), 2 * 16)  # gathered, but for that one
    self.assertLen(self.store.verify(), 1)
    self.store.remove(["a"])
    self.check({f"p{i}": i for i in range(40)})

  @parameterized.parameters("missing", "cut", "empty", "other")
  def test_a_damaged_shard(self, kind):
    self.store.add([row("a", 1), row("b", 2)])
    self.store.add([row("c", 3)])
    path = self.shards()[0]
    data = path.read_bytes()
    self.store.close()
    if kind == "missing":
      path.unlink()
    else:
      path.write_bytes(
        {
          "cut": data[:-9],
          "empty": b"",
          "other": self.shards()[1].read_bytes(),
        }[kind]
      )
    (fault,) = self.store.verify()
    self.assertStartsWith(fault.line, f"{path}: ")
    self.assertContainsSubset("b", fault.ids)
    with self.assertRaisesRegex(CheckpointError, str(path)):
      self.store.read("b", check=True)
    np.testing.assert_array_equal(self.store.read("c").numbers, numbers(3))
    self.store.remove(fault.ids)
    self.store.compact()
    self.assertEqual(self.store.verify(), [])

  def test_a_damaged_index(self):
    self.store.add([row(f"p{i:03}", i) for i in range(300)])
    self.store.close()
    path = self.bank / index.FILE
    data = bytearray(path.read_bytes())
    data[4096:-4096] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    with self.assertRaisesRegex(CheckpointError, f"^{path}: "):
      if faults := self.store.verify():
        raise CheckpointError(faults[0].line)
    path.write_bytes(b"no database at all" * 99)
    self.store.close()
    for work in (self.store.verify, self.store.places, self.store.facts):
      with self.assertRaisesRegex(CheckpointError, f"{path}: cannot be read"):
        work()
    with self.assertRaisesRegex(CheckpointError, f"{path}: cannot be read"):
      self.store.begin()

  @parameterized.parameters(
    ("UPDATE people SET row = -1", "has no place"),
    ("UPDATE people SET shard = 'x'", "has no place"),
    ("UPDATE people SET id = x'00'", "has no place"),
    ("UPDATE people SET row = 5", "row 5"),
    ("UPDATE people SET shard = 5", "describe shard 5"),
    ("UPDATE layouts SET size = 49", "expects row 0 of 49"),
    ("UPDATE layouts SET dtype = 'O'", "it says 'O'"),
    ("UPDATE layouts SET dtype = 'float16'", "are not what was added"),
    ("UPDATE shards SET rows = NULL", "a shard has no number"),
    ("UPDATE facts SET value = '9' WHERE name = 'format'", "has format '9'"),
    ("DROP TABLE shards", "is not the index of a bank"),
    ("DROP TABLE people", "is not the index of a bank"),
  )
  def test_an_index_that_somebody_wrote(self, statement, reason):
    self.store.add([row("a", 1)])
    self.store.close()
    with sqlite3.connect(self.bank / index.FILE) as connection:
      connection.execute(statement)
    connection.close()
    with self.assertRaisesRegex(CheckpointError, reason):
      self.store.places()
      self.store.read("a")

  def test_what_is_no_bank(self):
    with self.assertRaisesRegex(
      UserError, "none: there is no bank; create one"
    ):
      store.Store(self.folder / "none").places()
    other = self.folder / "other"
    other.mkdir()
    (other / "a.txt").write_text("mine")
    with self.assertRaisesRegex(UserError, "other: is not a bank, but holds"):
      store.Store(other).begin()
    # Killed before it began.
    (self.folder / "begun").mkdir()
    (self.folder / "begun" / index.FILE).touch()
    begun = store.Store(self.folder / "begun")
    with self.assertRaisesRegex(UserError, "begun: there is no bank yet"):
      begun.places()
    begun.begin()
    self.assertEqual(begun.places(), [])

  def test_folders_that_only_others_may_write(self):
    self.store.add([row("a", 1)])
    self.store.close()
    with sqlite3.connect(
      f"file:{self.bank / index.FILE}?mode=ro", uri=True, isolation_level=None
    ) as connection:
      with mock.patch.object(sqlite3, "connect", return_value=connection):
        np.testing.assert_array_equal(self.store.read("a").numbers, numbers(1))
        with self.assertRaisesRegex(UserError, "cannot be written: attempt to"):
          self.store.add([row("b", 2)])
    connection.close()

  def test_no_jax_is_imported(self):
    """But what `import my3dgen_jax` itself imports."""
    for path in (ROOT / "my3dgen_jax/storage/bank").glob("*.py"):
      for node in ast.walk(ast.parse(path.read_text())):
        names = (
          [alias.name for alias in node.names]
          if isinstance(node, ast.Import)
          else [node.module]
          if isinstance(node, ast.ImportFrom)
          else []
        )
        for name in names:
          self.assertNotIn(name.split(".")[0], ("jax", "flax"), path)


class KillsTest(absltest.TestCase):
  def run_kills(self, *flags):
    found = subprocess.run(
      [sys.executable, "-m", "tests.robustness.bank_kills", *flags],
      cwd=ROOT,
      capture_output=True,
      text=True,
      check=False,
      # Where there is a disk of memory: syncs are not what is tested here.
      env={**os.environ, **({"TMPDIR": _MEMORY} if _HAS_MEMORY else {})},
    )
    self.assertEqual(found.returncode, 0, found.stdout + found.stderr)
    self.assertEndsWith(found.stdout, "\n0 faults\n")

  def test_killed_before_each_operation_on_files(self):
    self.run_kills("--file_operations")

  def test_two_writers_killed_at_random(self):
    self.run_kills("--count=4", "--seed=1")


if __name__ == "__main__":
  absltest.main()

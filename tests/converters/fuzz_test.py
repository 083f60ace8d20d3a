"""Random damage to checkpoints: a clear error, or other numbers and no more.

The mutations are seeded, so a failure names the case that repeats it.
"""

import contextlib
import io
import json
import os
import pathlib
import tempfile
import time
import tracemalloc

import numpy as np
from absl.testing import absltest, parameterized

from converters import names, settings, torch_reader, torch_to_flax
from my3dgen_jax.config import GeneratorConfig, PRESETS
from my3dgen_jax.errors import CheckpointError
from tests.support import official_files as files
from tests.support import rule_weights
from tests.support.tiny import TINY

# For each of the forms; once, 32,000 were tried with other seeds.
_CASES = int(os.environ.get("MY3DGEN_FUZZ_CASES", "250"))
_TRACED_EVERY = 20  # tracing memory is slow
_COMMAND_EVERY = 50  # and so is writing a folder
_MOST_SECONDS = 5  # a case takes 0.02; a busy machine may pause
_STRUCTURE_SHARE = 0.8  # of the mutations spare the tensors' numbers

_ARRAYS = rule_weights.fill(files.generator_shapes(TINY))


def _halves():
  return {name: array.astype(np.float16) for name, array in _ARRAYS.items()}


_FORMS = {
  "pickle": lambda: files.official_pickle(_ARRAYS, TINY),
  "pickle_protocol_2": lambda: files.official_pickle(_ARRAYS, TINY, protocol=2),
  "zip": lambda: files.zip_file({"g_ema": _halves()}),
  "legacy": lambda: files.legacy_file(
    dict(zip(_ARRAYS, files.sharing(list(_ARRAYS.values()))))
  ),
}


def _structure(data: bytes) -> np.ndarray:
  """The positions of bytes that are not numbers of a tensor."""
  is_structure = np.ones(len(data), bool)
  for array in [*_ARRAYS.values(), *_halves().values()]:
    raw = array.tobytes()
    start = data.find(raw) if len(raw) >= 32 else -1
    while start >= 0:
      is_structure[start : start + len(raw)] = False
      start = data.find(raw, start + len(raw))
  return np.flatnonzero(is_structure)


def mutate(
  data: bytes, structure: np.ndarray, rng: np.random.Generator
) -> bytes:
  """One to four random edits."""
  changed = bytearray(data)

  def place() -> int:
    if rng.random() < _STRUCTURE_SHARE:
      return min(int(rng.choice(structure)), len(changed) - 1)
    return int(rng.integers(len(changed)))

  def flip():
    changed[place()] ^= 1 << int(rng.integers(8))

  def replace():
    changed[place()] = int(rng.integers(256))

  def extreme():
    at = place()
    changed[at : at + 4] = bytes([int(rng.choice([0, 0x7F, 0xFF]))]) * 4

  def instruction():
    changed[place()] = int(
      rng.choice(
        list(
          b"().0125BCFGIJKLMNPQRSTUVX]abcdeghijlopqrstu}\x80\x81\x82\x85\x86\x87"
          b"\x88\x89\x8a\x8c\x8f\x90\x92\x93\x94\x95"
        )
      )
    )

  def delete():
    at = place()
    del changed[at : at + int(rng.integers(1, 16))]

  def insert():
    at = place()
    changed[at:at] = rng.bytes(int(rng.integers(1, 16)))

  def repeat():
    at = place()
    changed[at:at] = changed[at : at + int(rng.integers(1, 200))]

  def swap():
    first, second = sorted((place(), place()))
    size = min(int(rng.integers(1, 64)), second - first, len(changed) - second)
    block = changed[first : first + size]
    changed[first : first + size] = changed[second : second + size]
    changed[second : second + size] = block

  def truncate():
    del changed[place() :]

  edits = (
    flip,
    replace,
    extreme,
    instruction,
    delete,
    insert,
    repeat,
    swap,
    truncate,
  )
  weights = np.array([6, 4, 2, 4, 2, 2, 1, 2, 1]) / 24
  for _ in range(int(rng.integers(1, 5))):
    if not changed:
      break
    edits[int(rng.choice(len(edits), p=weights))]()
  return bytes(changed)


@contextlib.contextmanager
def _noting(case: str):
  """Adds to a failure which of the many cases it was."""
  try:
    yield
  except BaseException as error:
    error.add_note(case)
    raise


class FuzzTest(parameterized.TestCase):
  @parameterized.parameters(*_FORMS)
  def test_conversion(self, form):
    data = _FORMS[form]()
    structure = _structure(data)
    intact = torch_to_flax.read_generator(data, config=TINY, log=len)
    shapes = self._shapes(intact)
    converted = 0
    for case in range(_CASES):
      rng = np.random.default_rng([list(_FORMS).index(form), case])
      damaged = mutate(data, structure, rng)
      with _noting(f"{form}, case {case}"):
        result = self._read(damaged, traced=case % _TRACED_EVERY == 0)
        if result is not None:
          converted += 1
          self.assertEqual(result.config, TINY)
          self.assertEqual(self._shapes(result), shapes)
          for leaf in names.flatten(result.variables).values():
            self.assertTrue(np.isfinite(leaf).all())
        if case % _COMMAND_EVERY == 0:
          self._check_command(damaged, succeeds=result is not None)
    # Both outcomes must be met, or the test looks at one of them only.
    self.assertBetween(converted, 1, _CASES - 1)
    print(f"{form}: {converted} of {_CASES} converted, the rest refused")

  def _shapes(self, converted):
    return {
      place: (leaf.shape, leaf.dtype)
      for place, leaf in names.flatten(converted.variables).items()
    }

  def _read(self, data: bytes, *, traced: bool):
    """The conversion, or None where it is refused as it should be."""
    start = time.monotonic()
    if traced:
      tracemalloc.start()
    try:
      return torch_to_flax.read_generator(data, config=TINY, log=len)
    except CheckpointError as error:
      self.assertTrue(str(error).isprintable())
      self.assertLess(len(str(error)), 800)
      return None
    finally:
      self.assertLess(time.monotonic() - start, _MOST_SECONDS)
      if traced:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.assertLess(peak, 20 * len(data) + 2**22)

  def _check_command(self, data: bytes, *, succeeds: bool):
    """The same through the command line and the disk."""
    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      (folder / "in").write_bytes(data)
      (folder / "tiny.json").write_text(json.dumps(TINY.to_dict()))
      out, err = io.StringIO(), io.StringIO()
      with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = torch_to_flax.main(
          [
            "torch_to_flax.py",
            "--input",
            str(folder / "in"),
            "--output",
            str(folder / "out"),
            "--config",
            str(folder / "tiny.json"),
          ]
        )
      if succeeds:
        self.assertEqual((code, err.getvalue()), (0, ""))
        self.assertTrue((folder / "out" / "config.json").exists())
      else:
        self.assertEqual(code, 1)
        self.assertRegex(err.getvalue(), r"\Aerror: [^\n]*/in[^\n]*\n\Z")
        self.assertCountEqual(os.listdir(folder), ["in", "tiny.json"])

  def test_settings(self):
    """Where the settings come from the damaged file, too."""
    config = PRESETS["afhqcats512-128"]
    data = files.official_pickle({}, config)
    structure = np.arange(len(data))
    for case in range(_CASES):
      damaged = mutate(data, structure, np.random.default_rng([9, case]))
      with _noting(f"settings, case {case}"):
        try:
          value = torch_reader.loads(damaged)
          record = value.get("G_ema") if isinstance(value, dict) else None
          if isinstance(record, torch_reader.ObjectRecord):
            read = settings.read(record, len)
            self.assertEqual(GeneratorConfig.from_dict(read.to_dict()), read)
        except CheckpointError as error:
          self.assertTrue(str(error).isprintable())


if __name__ == "__main__":
  absltest.main()

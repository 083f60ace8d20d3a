"""A run's config.json that was damaged is an error that names the entry."""

import json
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.errors import CheckpointError
from my3dgen_jax.training import run_folder
from tests.support import golden

OLD = golden.FOLDER / "old_run" / "run" / "config.json"
OTHERS = (None, [], {}, 3, 1e400, 10**400, "x" * 9, True, {"a": {"b": None}})


def places(data, where=()):
  """Every entry of nested tables, by its path."""
  for name, value in data.items():
    yield (*where, name)
    if isinstance(value, dict):
      yield from places(value, (*where, name))


class ReadConfigTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def read(self, data):
    (self.folder / "config.json").write_text(json.dumps(data))
    return run_folder.read_config(self.folder)

  @parameterized.parameters(
    ("settings.checkpoint", None, "settings.checkpoint is not a text"),
    ("settings.lpips", 3, "settings.lpips is not a text or null"),
    ("settings.tuning", None, "settings.tuning is not a table"),
    ("settings.tuning.mode", [], "settings.tuning.mode is not a text"),
    ("photos.train", ["a"], "photos.train is not a table"),
    ("photos.test", {"a.png": None}, "photos.test does not map to strings"),
    ("generator.z_dim", None, "generator.z_dim: expected"),
    ("generator.z_dim", 10**400, "generator.z_dim: expected"),
    ("version", 3, "version is not a text"),
    ("kind", "other", "is not the config.json of a run"),
  )
  def test_names_the_entry(self, where, value, message):
    data = json.loads(OLD.read_text())
    self.read(data)  # as it was written
    *tables, name = where.split(".")
    table = data
    for one in tables:
      table = table[one]
    table[name] = value
    with self.assertRaisesRegex(CheckpointError, message) as caught:
      self.read(data)
    self.assertNotIn("\n", str(caught.exception))
    self.assertLess(len(str(caught.exception)), 700)

  def test_any_damage(self):
    """Is read as it is, or refused in one line; nothing else is raised."""
    rng = np.random.default_rng(0)
    original = OLD.read_text()
    known = list(places(json.loads(original)))
    refused = 0
    for i in range(600):
      data = json.loads(original)
      *tables, name = known[i % len(known)]
      table = data
      for one in tables:
        table = table[one]
      if rng.random() < 0.2:
        del table[name]
      else:
        table[name] = OTHERS[rng.integers(len(OTHERS))]
      try:
        self.read(data)
      except CheckpointError:
        refused += 1
    self.assertGreater(refused, 200)


if __name__ == "__main__":
  absltest.main()

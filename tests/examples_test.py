"""The examples and README's snippets run, and show what they say."""

import contextlib
import io
import pathlib
import re
import runpy
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.tracing import platforms

ROOT = pathlib.Path(__file__).resolve().parents[1]
EXAMPLES = sorted(path.name for path in ROOT.glob("examples/[0-9]*.py"))
NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"


class ExamplesTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.enter_context(contextlib.chdir(folder.name))

  def run_example(self, name):
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
      runpy.run_path(str(ROOT / "examples" / name), run_name="__main__")
    return said.getvalue()

  def assert_falls(self, said):
    losses = [float(x) for x in re.findall(rf"step \d+: {NUMBER}", said)]
    self.assertGreater(len(losses), 2)
    self.assertLess(losses[-1], losses[0])

  def assert_picture(self, name, width):
    picture = np.asarray(Image.open(f"out/{name}"))
    self.assertEqual(picture.shape[1], width * picture.shape[0])
    self.assertGreater(picture.std(), 20)

  def test_all_are_here(self):
    self.assertEqual(
      [name[:2] for name in EXAMPLES], [f"{i:02}" for i in range(1, 11)]
    )
    for name in EXAMPLES:
      text = (ROOT / "examples" / name).read_text()
      self.assertLess(len(text.splitlines()), 75, name)
      self.assertIn(f"python examples/{name}", text)

  def test_01_render(self):
    said = self.run_example("01_render.py")
    self.assertIn("image (5, 128, 128, 3)", said)
    self.assert_picture("01_render.png", 5)

  def test_02_person(self):
    said = self.run_example("02_person.py")
    (difference,) = re.findall(rf"merged differs by {NUMBER}", said)
    self.assertLess(float(difference), 1e-3)
    self.assertIn("halfway: rank 3", said)

  def test_03_own_loss(self):
    self.assert_falls(self.run_example("03_own_loss.py"))

  def test_04_many_people(self):
    said = self.run_example("04_many_people.py")
    self.assertIn("4 people: (4, 128, 128, 3)", said)
    (difference,) = re.findall(rf"first differs by {NUMBER}", said)
    self.assertLess(float(difference), 1e-3)

  def test_05_mesh(self):
    said = self.run_example("05_mesh.py")
    self.assertIn(f"'data': {jax.device_count()}", said)

  def test_06_degradation(self):
    self.assert_falls(self.run_example("06_degradation.py"))
    self.assert_picture("06_degradation.png", 3)

  def test_07_hull_edit(self):
    said = self.run_example("07_hull_edit.py")
    ((least, most),) = re.findall(
      f"within the hull: {NUMBER} to {NUMBER}", said
    )
    self.assertLess(float(least), 0)
    self.assertGreater(float(most), 0)
    self.assert_picture("07_hull_edit.png", 5)

  def test_08_export(self):
    platforms.trace_for_cpu_alone(False)
    self.addCleanup(platforms.trace_for_cpu_alone)
    jax.clear_caches()
    said = self.run_example("08_export.py")
    self.assertIn("1 (1, 128, 128, 3)", said)
    self.assertIn("2 (2, 128, 128, 3)", said)

  def test_09_nnx(self):
    said = self.run_example("09_nnx.py")
    self.assert_falls(said)
    self.assertIn("numbers in the adapter: ", said)

  def test_10_own_planes(self):
    self.assert_falls(self.run_example("10_own_planes.py"))
    self.assert_picture("10_own_planes.png", 3)


if __name__ == "__main__":
  absltest.main()

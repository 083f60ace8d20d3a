"""People whose run's networks have moved since."""

import contextlib
import io
import json
import pathlib
import shutil
import tempfile

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.evaluation import runs
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.errors import CheckpointError, UserError
from tests.support import person
from tests.support.runs import write_run


class MovedTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    folder = tempfile.TemporaryDirectory()
    cls.addClassCleanup(folder.cleanup)
    cls.root = pathlib.Path(folder.name)
    cls.made = person.write(cls.root / "made")
    cls.run_folder = write_run(cls.root / "run", cls.made / "base")
    cls.plain = (cls.run_folder / "config.json").read_text()

  def load(self, settings, **options):
    config = json.loads(self.plain)
    config["settings"].update(settings)
    (self.run_folder / "config.json").write_text(json.dumps(config))
    return load_person(run=self.run_folder, **options)

  def test_lpips(self):
    gone = str(self.root / "gone")
    one = self.load({"lpips": gone})
    self.assertEqual((one.lpips, one.lpips_digest), (None, ""))
    with self.assertRaisesRegex(
      UserError, f"^{gone}: the folder of weights .*--lpips$"
    ):
      one.need_lpips()
    with self.assertRaisesRegex(
      UserError, f"^{gone}: the folder of weights .*--lpips$"
    ):
      runs.load_subject(runs.Variant(self.run_folder))
    # Where it is now, whether the run or a flag says so.
    here = str(self.made / "lpips")
    for one in (
      self.load({"lpips": here}),
      self.load({"lpips": gone}, lpips=here),
    ):
      self.assertIs(one.need_lpips(), one.lpips)
      self.assertNotEqual(one.lpips_digest, "")
    with self.assertRaisesRegex(
      UserError, "run: comparing images .* with --lpips$"
    ):
      self.load({}).need_lpips()

  def test_identity(self):
    gone = str(self.root / "gone")
    warnings = io.StringIO()
    with contextlib.redirect_stderr(warnings):
      one = self.load({"identity": gone})
      self.assertIsNone(one.identity)
      self.assertEqual(warnings.getvalue(), "")  # until scores are wanted
      self.assertIsNone(one.reference())
    self.assertRegex(
      warnings.getvalue(),
      "^warning: no identity "
      f"scores: {gone}: the folder of weights .*--identity\n$",
    )
    with contextlib.redirect_stderr(io.StringIO()) as warnings:
      self.assertIsNone(self.load({}).reference())
    self.assertEqual(warnings.getvalue(), "")

  @parameterized.parameters("lpips", "identity")
  def test_what_is_asked_for_or_damaged_is_refused(self, network):
    gone = self.root / "gone"
    with self.assertRaisesRegex(CheckpointError, f"{gone}: no such folder"):
      self.load({network: str(gone)}, **{network: gone})
    damaged = self.root / "damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    damaged.mkdir()
    with self.assertRaisesRegex(CheckpointError, f"{damaged}/.*: missing"):
      self.load({network: str(damaged)})


if __name__ == "__main__":
  absltest.main()

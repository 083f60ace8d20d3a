"""The fleet's command: flags and columns, what it refuses, and a trial of Ray."""

import importlib.util
import pathlib
import tempfile

from absl import flags
from absl.testing import absltest, flagsaver, parameterized

from my3dgen_jax.apps.fleet import manifest
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, people_flags
from tests.support import commands

_RAY = importlib.util.find_spec("ray") is not None


class PeopleFlagsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    before = set(flags.FLAGS)
    cls.flags = people_flags.PeopleFlags()
    cli.enum("precision", None, ["default", "high", "highest"], "")
    cls.declared = set(flags.FLAGS) - before
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()

  @classmethod
  def tearDownClass(cls):
    for name in cls.declared:
      delattr(flags.FLAGS, name)
    super().tearDownClass()

  def people(self, text, **values):
    rows = manifest.parse(text, "p.csv")
    with flagsaver.flagsaver(**values):
      return self.flags.people(rows, "/people")

  def test_columns_are_flags_of_their_own(self):
    ann, bob, cy = self.people(
      "id,album,steps,test,demo_person,report,lora_targets,precision\n"
      'ann,data/ann,7,3,,false,"backbone,decoder",highest\n'
      "bob,,,,5,,,\n"
      "cy,s3://b/cy,,0.5,,,,\n".replace("s3", "memory"),
      checkpoint="base",
      lpips="memory://lpips",
      steps=9,
      demo_person=4,
    )
    here = pathlib.Path.cwd()
    self.assertEqual(ann.config.album, str(here / "data/ann"))
    self.assertEqual(ann.config.checkpoint, str(here / "base"))
    self.assertEqual(ann.config.lpips, "memory://lpips")
    self.assertEqual((ann.config.tuning.steps, ann.config.test), (7, 3))
    self.assertEqual(ann.config.lora.targets, ("backbone", "decoder"))
    self.assertEqual(
      (ann.config.report, ann.config.precision), (False, "highest")
    )
    self.assertEqual((bob.config.tuning.steps, bob.demo, ann.demo), (9, 5, 4))
    self.assertIsNone(bob.config.album)
    self.assertEqual(cy.config.album, "memory://b/cy")
    self.assertNotEqual(ann.program, bob.program)
    self.assertEqual(bob.program, cy.program)
    self.assertEqual(flags.FLAGS["steps"].value, flags.FLAGS["steps"].default)
    lines = ann.flags.splitlines()
    self.assertIn("--steps=7", lines)
    self.assertIn("--noreport", lines)
    self.assertEqual(lines[-1], "--out=/people/runs/ann")

  def test_photos_are_prepared_in_the_storage(self):
    (ann,) = self.people(
      "id,photos,min_scale\nann,mine,0.3\n", checkpoint="base", lpips="lpips"
    )
    self.assertEqual(ann.config.album, "/people/albums/ann")
    self.assertEqual(ann.prepare.photos, str(pathlib.Path.cwd() / "mine"))
    self.assertEqual(ann.prepare.min_scale, 0.3)
    self.assertNotIn("min_scale", ann.flags)

  @parameterized.parameters(
    ("id,stepz\nann,1\n", "p.csv, line 2, column stepz: not a flag"),
    ("id,workers\nann,1\n", "p.csv, line 2, column workers: not a flag"),
    ("id,out\nann,1\n", "p.csv, line 2, column out: not a flag"),
    ("id,steps\nann,1\nbob,many\n", "p.csv, line 3, column steps: .*many"),
    ("id,batch_size\nann,0\n", "line 2, .*batch_size: .*"),
    ("id,cache\nann,/etc\n", "line 2, column cache: .*give --cache to the com"),
    ("id,devices\nann,1\n", "column devices: cannot differ between people"),
    ("id,log_every\nann,1\n", "column log_every: cannot differ between people"),
    (
      "id,save_every\nann,1\n",
      "column save_every: cannot differ between people",
    ),
    ("id\nann\n", "p.csv, line 2, ann: has neither photos nor an album"),
    ("id,learning_rate\nann,-1\n", "line 2, ann: .*learning_rate: expected"),
  )
  def test_refused_in_a_line(self, text, expected):
    given = {} if "neither" in expected else {"album": "album"}
    with self.assertRaisesRegex(FlagError, expected):
      self.people(text, checkpoint="base", lpips="lpips", **given)


class FleetCommandTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.root = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))

  @parameterized.parameters(
    ((), 2, "error: --manifest is missing"),
    (("status",), 2, "error: --out is missing"),
    (
      ("stop",),
      2,
      r"error: expected an action \(run, status\) before all flags",
    ),
    (("status", "--out=none"), 1, "error: none: has no people"),
    (("--manifest=no.csv", "--out=x"), 1, "error: no.csv: no such file"),
    (("--manifest=a.csv", "--out=x"), 2, "error: a.csv, line 2, ann: has neit"),
  )
  def test_refused_in_a_line_and_nothing_is_written(self, given, code, line):
    (self.root / "a.csv").write_text("id\nann\n")
    found = commands.run("fleet", *given, cwd=self.root)
    self.assertEqual(found.returncode, code, found.stderr)
    self.assertRegex(found.stderr, rf"\A{line}[^\n]*\n\Z")
    self.assertEqual([path.name for path in self.root.iterdir()], ["a.csv"])

  @absltest.skipIf(_RAY, "needs an environment without Ray")
  def test_without_ray(self):
    (self.root / "a.csv").write_text("id,demo_person\nann,1\n")
    found = commands.run("fleet", "--manifest=a.csv", "--out=x", cwd=self.root)
    self.assertEqual(found.returncode, 1, found.stderr)
    self.assertStartsWith(found.stderr, "error: a fleet needs Ray: pip install")
    self.assertFalse((self.root / "x").exists())

  @absltest.skipUnless(_RAY, "needs Ray, of the extra fleet")
  def test_with_ray(self):
    (self.root / "a.csv").write_text("id,album\nann,none\nbob,no/ne\n")
    demo = ("--manifest=a.csv", "--demo_person=0", "--out=x", "--workers=1")
    found = commands.run("fleet", *demo, cwd=self.root)
    self.assertEqual(found.stderr, "error: 2 of 2 people failed\n")
    self.assertEqual(found.returncode, 1)
    self.assertRegex(found.stdout, r"ann: failed: .*none: ")
    status = commands.run("fleet", "status", "--out=x", cwd=self.root)
    self.assertIn(
      "2 people: 0 waiting, 0 running, 0 done, 2 failed", status.stdout
    )


if __name__ == "__main__":
  absltest.main()

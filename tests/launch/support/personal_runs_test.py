"""What `personalize` makes of its flags, and says of several people."""

import contextlib
import io
from unittest import mock

from absl.testing import absltest

from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.errors import FlagError, UserError
from my3dgen_jax.launch.support import cli, personal_runs

CONFIG = PersonalizeConfig("base", "album", "out")
SUMMARY = {"name": "ann"}


class CompleteTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.begun = self.enter_context(
      mock.patch.object(
        personal_runs.personalize, "begun_precision", return_value="highest"
      )
    )
    self.enter_context(
      mock.patch.object(
        cli, "precision", lambda begun: begun() or "of this machine"
      )
    )

  def complete(self, config=CONFIG, albums=(), **options):
    return personal_runs.complete(
      config, albums, **{"demo_person": None, "resume": False, **options}
    )

  def test_precision_is_the_begun_runs_only_to_go_on(self):
    self.assertEqual(self.complete().precision, "of this machine")
    self.assertEqual(self.complete(resume=True).precision, "highest")
    self.begun.assert_called_once_with("out")

  def test_albums_overrule_an_album(self):
    """And the first one that has begun says the precision of all."""
    self.begun.side_effect = [None, "high"]
    found = self.complete(albums=["a/ann", "a/bob"], resume=True)
    self.assertEqual((found.album, found.precision), ("a/ann", "high"))
    self.assertEqual(
      [str(call.args[0]) for call in self.begun.call_args_list],
      ["out/ann", "out/bob"],
    )

  def test_what_is_missing(self):
    for name in ("checkpoint", "album", "out"):
      config = PersonalizeConfig(
        **{"checkpoint": "b", "album": "a", "out": "o", name: ""}
      )
      with self.assertRaisesRegex(FlagError, f"^--{name} is missing; to try"):
        self.complete(config)


class PersonalizeAllTest(absltest.TestCase):
  def run_all(self, results):
    with (
      mock.patch.object(cli, "flags_as_text", return_value=""),
      mock.patch.multiple(
        personal_runs.personalize,
        personalize_all=mock.Mock(return_value=results),
        describe_all=lambda results, out: f"{len(results)} in {out}",
      ),
      contextlib.redirect_stdout(io.StringIO()) as said,
    ):
      try:
        personal_runs.personalize_all(
          CONFIG, list(results), together=1, resume=False
        )
      finally:
        self.said = said.getvalue()

  def test_says_whose_run_failed(self):
    with self.assertRaisesRegex(
      UserError, "^1 of 2 people failed: bob; see their errors above$"
    ):
      self.run_all({"ann": SUMMARY, "bob": UserError("no photos")})
    self.assertEqual(self.said, "2 in out\n")

  def test_all_well(self):
    self.run_all({"ann": SUMMARY, "bob": SUMMARY})
    self.assertEqual(self.said, "2 in out\n")

  def test_only_the_first_process_has_summaries(self):
    self.run_all({"ann": None, "bob": None})
    self.assertEqual(self.said, "")


if __name__ == "__main__":
  absltest.main()

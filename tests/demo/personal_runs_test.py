"""A run's config with the demo's album and networks, where it names none."""

from unittest import mock

from absl.testing import absltest

from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.demo import album, personal_runs, shipped


class PersonalRunsTest(absltest.TestCase):
  def test_everything_is_the_demos(self):
    lines = []
    with mock.patch.object(album, "write_demo_album") as written:
      found = personal_runs.with_demo_person(
        PersonalizeConfig(checkpoint=None, album=None, out="runs/me/"),
        3,
        log=lines.append,
      )
    written.assert_called_once_with("runs/me_album_3", 3)
    self.assertLen(lines, 1)
    self.assertEqual(
      found,
      PersonalizeConfig(
        checkpoint=str(shipped.PRIOR),
        album="runs/me_album_3",
        out="runs/me/",
        lpips=str(shipped.LPIPS),
        identity=str(shipped.IDENTITY),
        test="runs/me_album_3/test.txt",
        reference="runs/me_album_3/reference.txt",
      ),
    )

  def test_what_is_named_stays(self):
    config = PersonalizeConfig(
      checkpoint="base", album="mine", out="o", lpips="l", identity="i", test=5
    )
    with mock.patch.object(album, "write_demo_album") as written:
      self.assertEqual(personal_runs.with_demo_person(config, 3), config)
    written.assert_not_called()


if __name__ == "__main__":
  absltest.main()

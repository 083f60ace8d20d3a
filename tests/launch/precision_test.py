"""--precision: what suits the device, unless somebody knows better."""

from unittest import mock

import jax
from absl import flags
from absl.testing import absltest, flagsaver, parameterized

from my3dgen_jax.apps.person import load_person
from my3dgen_jax.demo import shipped
from my3dgen_jax.launch.support import cli


class PrecisionTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    if "precision" not in flags.FLAGS:
      flags.DEFINE_enum("precision", None, ["default", "high", "highest"], "")
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()

  @parameterized.parameters(
    ("cpu", None), ("gpu", "default"), ("tpu", "default")
  )
  def test_what_suits_the_device(self, backend, expected):
    with mock.patch.object(jax, "default_backend", return_value=backend):
      with flagsaver.flagsaver(precision=None):
        self.assertEqual(cli.precision(), expected)
      with flagsaver.flagsaver(precision="highest"):
        self.assertEqual(cli.precision(lambda: "high"), "highest")
      with flagsaver.flagsaver(precision=None):
        self.assertEqual(cli.precision(lambda: "high"), "high")

  @parameterized.parameters((None, "highest"), ("default", "default"))
  def test_all_networks_of_a_person(self, wanted, expected):
    person = load_person(
      checkpoint=shipped.PRIOR, lpips=shipped.LPIPS, precision=wanted
    )
    self.assertEqual(person.generator.module.config.precision, expected)
    self.assertEqual(person.lpips.module.precision, expected)


if __name__ == "__main__":
  absltest.main()

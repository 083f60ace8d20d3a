"""Where directions come from: what goes together, and what is found."""

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.editing.sources import DirectionSource
from my3dgen_jax.errors import FlagError

KNOWN = ("smile", "age")


class DirectionSourceTest(parameterized.TestCase):
  @parameterized.parameters(
    ({}, "give one of"),
    ({"direction": "a.npy", "attribute": "age"}, "give one of"),
    ({"labels": "a.csv"}, "--samples"),
    ({"direction": "a.npy", "samples": "s"}, "--samples"),
    (
      {"labels": "a.csv", "samples": "s", "without": ("smile",)},
      "--without: smile",
    ),
  )
  def test_what_does_not_go_together(self, fields, text):
    with self.assertRaisesRegex(FlagError, text):
      DirectionSource(measurable=KNOWN, **fields).validate()

  @parameterized.parameters(
    ({"direction": "a.npy"}, [], []),
    ({"direction": "a.npy", "without": ("b.npy", "age")}, [], ["age"]),
    ({"attribute": "smile", "without": ("age",)}, [], ["age", "smile"]),
    (
      {"labels": "a.csv", "samples": "s", "without": ("b.csv", "c.npy")},
      ["a.csv", "b.csv"],
      [],
    ),
  )
  def test_tables_and_measured_attributes(self, fields, tables, measured):
    source = DirectionSource(measurable=KNOWN, **fields).validate()
    self.assertEqual(source.tables, tables)
    self.assertEqual(source.measured, measured)


if __name__ == "__main__":
  absltest.main()

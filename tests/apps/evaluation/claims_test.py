"""The paper's claims, on tables that keep them and tables that do not."""

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.evaluation import claims
from my3dgen_jax.apps.evaluation.claims import Claim
from my3dgen_jax.apps.evaluation.tables import Column, Table


def table(first, second, better=1):
  return {
    "t": Table(
      "t",
      "T",
      (Column("x", "X", better),),
      {"a": {"x": first}, "b": {"x": second}},
    )
  }


class ClaimsTest(parameterized.TestCase):
  @parameterized.parameters(
    ([0.7, 0.8] * 3, [0.5] * 6, 1, "better", "yes"),
    # An interval of three people is their range.
    ([0.7, 0.8, 0.75], [0.5, 0.5, 0.5], 1, "better", "perhaps yes"),
    ([0.7, 0.8] * 3, [0.5] * 6, -1, "better", "no"),
    ([0.4, 0.6, 0.5], [0.5, 0.5, 0.5], 1, "better", "not seen"),
    ([0.48, 0.49] * 3, [0.5] * 6, 1, "same", "yes"),
    ([0.46, 0.47] * 3, [0.5] * 6, 1, "same", "no"),
    ([0.9] * 5, [0.5] * 5, 1, "same", "yes"),
    ([0.9] * 4, [0.5] * 4, 1, "same", "perhaps yes"),
    ([0.12] * 5, [0.1] * 5, -1, "same", "no"),
  )
  def test_answers(self, first, second, better, expected, answer):
    claim = Claim("", "t", "x", "a", "b", expected)
    self.assertEqual(
      claims.judge(claim, table(first, second, better)).split(" (")[0], answer
    )

  def test_what_is_not_known_is_not_judged(self):
    claim = Claim("", "t", "x", "a", "b", "better")
    self.assertIsNone(claims.judge(claim, {}))
    self.assertIsNone(claims.judge(claim, table([0.5], [0.4])))
    self.assertIsNone(
      claims.judge(
        Claim("", "t", "x", "a", "c", "better"), table([0.5, 0.6], [0.4, 0.4])
      )
    )
    self.assertEqual(claims.to_markdown([]), "")

  def test_blocks(self):
    names = ("b4", "b8", "b16", "b32", "b64")
    columns = tuple(
      Column(f"backbone/synthesis/{name}", name) for name in names
    )
    of = lambda values: claims.to_markdown(
      [
        Table(
          "figure9",
          "F",
          columns,
          {
            "LoRA": {
              column.name: [value] for column, value in zip(columns, values)
            }
          },
        )
      ]
    )
    self.assertIn("yes (b16, b8, b32 of", of([1, 4, 5, 3, 2]))
    self.assertIn("no (b64, b16, b8 of", of([1, 4, 5, 3, 9]))


if __name__ == "__main__":
  absltest.main()

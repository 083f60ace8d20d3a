"""Means, intervals and text of numbers that are known."""

import math

import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps.evaluation import tables
from my3dgen_jax.apps.evaluation.tables import Column, Table

NAN = math.nan
TABLE = Table(
  "t",
  "Title",
  (Column("a", "A", 1), Column("b", "B", -1, 1)),
  {
    "x": {"a": [0.1, 0.2, 0.3, NAN], "b": [1.0, 1.0, 1.0, 1.0]},
    "y": {"a": [0.2, 0.3, 0.4, 9.0]},
    "z": {"a": [NAN] * 4, "b": [2.0, NAN, NAN, NAN]},
  },
  ("a note",),
)


class TablesTest(absltest.TestCase):
  def test_estimate(self):
    values = np.random.default_rng(0).normal(3.0, 1.0, 200)
    found = tables.estimate(values)
    self.assertEqual(found.mean, values.mean())
    # A normal sample's interval is known: 1.96 standard errors to each side.
    error = 1.96 * values.std() / 200**0.5
    self.assertAlmostEqual(found.low, values.mean() - error, delta=0.03)
    self.assertAlmostEqual(found.high, values.mean() + error, delta=0.03)
    self.assertEqual(tables.estimate(values), found)
    self.assertEqual(tables.estimate([2.0, 2.0]), (2.0, 2.0, 2.0, 2))
    self.assertEqual(tables.estimate([NAN, 1.0]).count, 1)
    self.assertIsNone(tables.estimate([NAN]))
    self.assertIsNone(tables.estimate([]))

  def test_cells(self):
    self.assertEqual(tables.cell([0.5], 2), "0.50")
    self.assertEqual(tables.cell([0.5, 0.5, NAN], 2), "0.50 [0.50, 0.50]")
    self.assertEqual(tables.cell([NAN], 2), "–")

  def test_markdown(self):
    lines = tables.to_markdown(TABLE).splitlines()
    self.assertEqual(
      lines[:4], ["### Title", "", "| | A ↑ | B ↓ |", "|---|---|---|"]
    )
    self.assertRegex(
      lines[4],
      r"^\| x \| 0\.200 \[0\.1\d+, 0\.[23]\d+\] \| "
      r"1\.0 \[1\.0, 1\.0\] \|$",
    )
    self.assertEqual(lines[6], "| z | – | 2.0 |")
    self.assertEqual(lines[-1], "- a note")

  def test_csv(self):
    lines = tables.to_csv(TABLE, ["p", "q", "r", "s"]).splitlines()
    self.assertEqual(lines[:2], ["row,column,person,value", "x,a,p,0.1"])
    self.assertIn("y,a,s,9.0", lines)
    self.assertLen(lines, 1 + 3 + 4 + 4 + 1)

  def test_differences_are_of_the_same_people(self):
    found = tables.difference(TABLE, "a", "y", "x")
    self.assertAlmostEqual(found.mean, 0.1)
    self.assertAlmostEqual(found.low, 0.1)
    self.assertEqual(found.count, 3)
    self.assertIsNone(tables.difference(TABLE, "b", "y", "x"))
    self.assertIsNone(tables.difference(TABLE, "a", "y", "nobody"))

  def test_verdicts(self):
    of = lambda values, better: tables.verdict(tables.estimate(values), better)
    self.assertEqual(of([0.1, 0.2, 0.15], 1), "better")
    self.assertEqual(of([0.1, 0.2, 0.15], -1), "worse")
    self.assertEqual(of([-0.1, -0.2, -0.15], -1), "better")
    self.assertEqual(of([-0.1, 0.1, 0.0], 1), "no difference seen")
    self.assertEqual(of([0.1], 1), "not known")
    self.assertEqual(tables.verdict(None, 1), "not known")

  def test_merged(self):
    np.testing.assert_array_equal(
      tables.merged(["a", "b"], [{"a": 1.0}, {"b": 2.0, "c": 3.0}])["a"],
      [1.0, NAN],
    )


if __name__ == "__main__":
  absltest.main()

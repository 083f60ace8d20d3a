"""Pages are valid, hold all they show, and say it in words as well."""

import re

from absl.testing import absltest, parameterized

from my3dgen_jax.apps.reports import page
from tests.support.pages import check_page

PICTURE = b"\xff\xd8 no real picture"
EVIL = '<script>alert("1")</script> & \' \x00\x1b[2J'


class PageTest(parameterized.TestCase):
  def test_every_part_is_valid(self):
    picture = page.picture(PICTURE, "image/jpeg", EVIL, (4, 3))
    text = page.page(
      EVIL,
      [
        page.section(
          EVIL,
          page.paragraph(EVIL),
          page.table(["", EVIL], [[EVIL, "1.0"]], caption=EVIL),
          page.picture(PICTURE, "image/jpeg", "", (4, 3), large=True),
        ),
        page.section(
          "b",
          page.film(b"film", "video/mp4", EVIL, (4, 4)),
          page.film(b"film", "image/webp", EVIL, (4, 4)),
          page.tiles(
            [
              page.curve(EVIL, [(1, 2), (2, 1)]),
              page.pair(picture, picture, EVIL),
            ]
          ),
          page.folded(
            EVIL, page.table(["setting", "value"], [["a", EVIL]], words=True)
          ),
        ),
      ],
    )
    checked = check_page(text)
    self.assertNotIn("script", checked.tags)
    self.assertIn("&lt;script&gt;", text)
    self.assertNotIn("\x1b", text)
    self.assertIn("viewport", text)
    self.assertIn("prefers-color-scheme", text)

  def test_settings_are_flat(self):
    rows = page.settings(
      {"a": 1, "b": {"c": [1, 2], "d": None, "e": {"f": "x"}}, "g": True}
    )
    self.assertEqual(
      rows,
      [("a", "1"), ("b.c", "1 2"), ("b.d", "-"), ("b.e.f", "x"), ("g", "True")],
    )


class CurveTest(parameterized.TestCase):
  def points(self, text):
    (line,) = re.findall(r'<polyline points="([^"]*)"', text)
    return [tuple(map(float, point.split(","))) for point in line.split()]

  def test_goes_where_the_numbers_go(self):
    drawn = self.points(page.curve("loss", [(0, 4), (50, 1), (100, 2)]))
    self.assertLen(drawn, 3)
    (x0, y0), (x1, y1), (x2, y2) = drawn
    self.assertAlmostEqual(x1 - x0, x2 - x1, delta=0.11)
    # SVG's y grows downwards; the largest number is at the top, 0 below.
    self.assertAlmostEqual((y1 - y0) / (y2 - y1), 3 / -1, delta=0.05)
    self.assertAlmostEqual((y2 - y0) / (4 - 2), (y1 - y0) / (4 - 1), delta=0.1)

  def test_says_its_ends_in_words(self):
    text = page.curve("loss", [(1, 0.5), (200, 0.25)])
    self.assertIn("from 0.5 at step 1 to 0.25 at step 200", text)
    self.assertIn("loss: 0.25 at the end", text)

  @parameterized.parameters(
    ([], ""), ([(1, float("nan"))], ""), ([(1, float("inf"))], "")
  )
  def test_nothing_to_draw(self, points, wanted):
    self.assertEqual(page.curve("loss", points), wanted)

  def test_odd_numbers(self):
    for points in (
      [(1, 0.0)],
      [(1, -3.0), (2, -4.0)],
      [(1, 1e300), (2, float("nan")), (3, 1e-300)],
    ):
      for x, y in self.points(page.curve("loss", points)):
        self.assertBetween(x, 0, 320)
        self.assertBetween(y, 0, 150)

  def test_long_logs_are_thinned(self):
    drawn = self.points(page.curve("loss", [(i, i % 7) for i in range(10_001)]))
    self.assertLess(len(drawn), 500)
    self.assertAlmostEqual(drawn[-1][0], 312, delta=0.1)  # the last is there


if __name__ == "__main__":
  absltest.main()

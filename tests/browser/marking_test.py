"""The page for marks in a real browser: clicks, undo, zoom, proposals."""

import importlib.util
import pathlib
import re
import tempfile
import threading
import time

import numpy as np
from absl.testing import absltest
from PIL import Image, ImageDraw

from my3dgen_jax.apps.marking import server
from my3dgen_jax.apps.marking.kinds import kind_of
from my3dgen_jax.apps.marking.marks import Item, Marks
from my3dgen_jax.jobs.interrupts import StopRequest
from tests.support import browser

SIZE = (800, 600)
# Where the cats are: middle and size.
PLACES = ((400, 320, 100), (300, 350, 80), (500, 330, 110))
_PIXEL = 2.0  # of the photo; the screen's are about as large


def cat_at(x, y, size):
  return kind_of("cat").shape * size + [x, y]


class MarkingTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    if importlib.util.find_spec("playwright") is None:
      self.skipTest("playwright is not installed")
    if browser.executable() is None:
      self.skipTest("there is no Chromium")
    folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
    items = []
    for i, place in enumerate(PLACES):
      image = Image.new("RGB", SIZE, (90, 110, 130))
      draw = ImageDraw.Draw(image)
      for x, y in cat_at(*place):
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill="white")
      path = folder / f"{i}.png"
      image.save(path)
      items.append(Item(path.name, path))
    self.marks = Marks(folder / "marks.json", items, kind_of("cat"))
    self.stop, lines = StopRequest(), []
    self.thread = threading.Thread(
      target=server.mark_in_browser,
      args=(self.marks, self.stop),
      kwargs=dict(detect=self.detect, log=lines.append, open_browser=False),
    )
    self.thread.start()
    self.addCleanup(self.thread.join)
    self.addCleanup(lambda: setattr(self.stop, "signal", 2))
    while not lines:
      time.sleep(0.01)
    self.address = re.search(r"http\S+", lines[0])[0]

  def detect(self, pixels):
    """The middle and the size of the dots, which are white."""
    rows, columns = np.nonzero(pixels[..., 0] > 200)
    low, high = (
      np.array([f(columns), f(rows)], float) for f in (np.min, np.max)
    )
    return [(*low, *high)]

  def on_screen(self, page, point):
    """Where a point of the photo is in the window."""
    return page.evaluate(
      """([x, y]) => {
        const at = new DOMPoint(x, y).matrixTransform(
          document.getElementById("photo").getScreenCTM());
        return [at.x, at.y];
      }""",
      [float(value) for value in point],
    )

  def click(self, page, point):
    page.mouse.click(*self.on_screen(page, point))

  def saved(self, i):
    return self.marks.of(f"{i}.png")[0].points

  def test_from_clicks_to_landmarks(self):
    with browser.chromium() as chromium:
      page = chromium.new_page(viewport={"width": 1280, "height": 800})
      problems = []
      page.on(
        "console",
        lambda one: problems.append(one.text) if one.type == "error" else None,
      )
      page.on("pageerror", lambda error: problems.append(str(error)))
      page.on("dialog", lambda dialog: dialog.accept())
      page.goto(self.address)
      following = page.locator("#next")
      following.get_by_text("1. left eye").wait_for()
      self.assertNotIn("token", page.url)

      # The first photo, point by point; a slip is taken back, and the wheel
      # does not move where clicks land.
      wanted = cat_at(*PLACES[0])
      save = page.get_by_role("button", name="Save, next")
      self.assertTrue(save.is_disabled())
      self.click(page, wanted[0])
      self.click(page, wanted[1] + 60)
      page.keyboard.press("Backspace")
      following.get_by_text("2. right eye").wait_for()
      page.mouse.move(*self.on_screen(page, wanted[1]))
      page.mouse.wheel(0, -200)
      for point in wanted[1:]:
        self.click(page, point)
      following.get_by_text("All points are set").wait_for()
      page.keyboard.press("Enter")

      # The second: all is proposed; one point is dragged, the others stay.
      page.get_by_text("2. 1.png").wait_for()
      np.testing.assert_allclose(self.saved(0), wanted, atol=_PIXEL)
      proposed = cat_at(*PLACES[1])
      page.mouse.move(*self.on_screen(page, proposed[4]))
      page.mouse.down()
      page.mouse.move(*self.on_screen(page, proposed[4] + [10, -20]), steps=4)
      page.mouse.up()
      page.keyboard.press("Enter")

      # The third: two clicks are enough for all others.
      page.get_by_text("3. 2.png").wait_for()
      moved = proposed.copy()
      moved[4] += [10, -20]
      np.testing.assert_allclose(self.saved(1), moved, atol=2 * _PIXEL)
      third = cat_at(*PLACES[2])
      self.click(page, third[0])
      self.click(page, third[1])
      save.click()
      page.get_by_text("the last photo").wait_for()
      error = np.abs(self.saved(2) - third).max(axis=1)
      self.assertLess(error[:2].max(), _PIXEL)
      self.assertLess(error.max(), 15)  # the tip that was dragged before

      # Back to the first, which is skipped after all.
      page.keyboard.press("ArrowLeft")
      page.keyboard.press("ArrowLeft")
      page.get_by_text("1. 0.png").wait_for()
      page.keyboard.press("s")
      page.get_by_text("the last photo").wait_for()
      self.assertEqual(self.marks.of("0.png"), [])
      page.get_by_role("button", name="Done").click()
      page.get_by_text("All marks are saved").wait_for()
      self.thread.join(30)
      self.assertFalse(self.thread.is_alive())
      self.assertEqual(problems, [])


if __name__ == "__main__":
  absltest.main()

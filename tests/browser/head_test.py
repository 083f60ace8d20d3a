"""The page of a head in a real browser: from a file, alone, and as rendered."""

import functools
import importlib.util
import pathlib
import tempfile
import unittest
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from benchmarks import browser_views
from my3dgen_jax.apps import share
from my3dgen_jax.apps.rendering import render, scenes
from my3dgen_jax.apps.sharing import field
from my3dgen_jax.apps.splats import fitting
from tests.support import browser, other_browsers
from tests.support.persons import tiny_person

SIZE = 32  # pixels of the model's raw images
YAWS = np.linspace(-0.6, 0.6, 7)
_NO_WEBGL2 = """
const original = HTMLCanvasElement.prototype.getContext;
HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
  return kind === "webgl2" ? null : original.call(this, kind, ...rest);
};
"""


def psnr(one, two):
  return -10 * np.log10(np.mean((one - two) ** 2))


class HeadTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    if importlib.util.find_spec("playwright") is None:
      raise unittest.SkipTest("playwright is not installed")
    if browser.executable() is None:
      raise unittest.SkipTest("there is no Chromium")
    folder = cls.enterClassContext(tempfile.TemporaryDirectory())
    cls.path = pathlib.Path(folder, "a head.html")
    # Coarse, to be quick.
    cls.enterClassContext(mock.patch.object(field, "CELLS", 16))
    cls.person = tiny_person(raw=SIZE)
    cls.found = scenes.find(cls.person, ["photo00", "photo01"])
    share.write_scenes(
      cls.person,
      [
        *scenes.stills(cls.person, cls.found[:1]),
        scenes.way(cls.person, cls.found, frames=2, spherical=False),
      ],
      share.ShareConfig(),
      cls.path,
      log=lambda line: None,
    )
    cls.chromium = cls.enterClassContext(browser.chromium())

  def open(self, script="", path=None, **options):
    """The page, and what goes wrong on it."""
    page, problems = browser_views.open_offline(
      self.chromium, path or self.path, script, **options
    )
    self.addCleanup(page.context.close)
    return page, problems

  def view(self, page, **view):
    """What the page paints, [size, size, 3] in [0, 1]."""
    return browser_views.painted(page, **view)

  @functools.cached_property
  def wanted(self):
    """The generator's own pictures of the first photo."""
    one, latent = self.person.generator, self.found[0]
    c = render.about_front(one, latent.c, YAWS, 0.0)
    ws = np.broadcast_to(latent.ws, (len(c), *latent.ws.shape))
    raw = np.asarray(render.synthesize(one, ws, c).image_raw)
    return np.clip(raw + 1, 0, 2) / 2

  def test_it_is_what_the_generator_renders(self):
    page, problems = self.open()
    page.wait_for_selector("body.turns")
    for yaw, wanted in zip(YAWS, self.wanted):
      shown = self.view(page, yaw=float(yaw), size=SIZE)
      self.assertGreater(psnr(shown, wanted), 28)
    # As it is drawn while it moves.
    shown = self.view(page, yaw=float(YAWS[1]), size=SIZE, rough=True)
    self.assertGreater(psnr(shown, self.wanted[1]), 26)
    # The slider's ends, and half the way.
    ends = [self.view(page, row=1, stop=stop, size=SIZE) for stop in (0, 1)]
    np.testing.assert_allclose(ends[0], self.view(page, size=SIZE), atol=0.02)
    middle = self.view(page, row=1, stop=0.5, size=SIZE)
    self.assertLess(
      max(np.abs(middle - end).mean() for end in ends),
      np.abs(ends[0] - ends[1]).mean(),
    )
    self.assertEqual(problems, [])

  @functools.cached_property
  def splats(self):
    """The page of splats, and what our rasterizer makes of them."""
    path = self.path.with_name("splats.html")
    config = share.ShareConfig(content="splats", splats=400, splat_steps=5)
    made = []
    make = share.splats.make_of
    keep = lambda *given, **options: (
      made.append(make(*given, **options)) or (made[-1])
    )
    with mock.patch.object(share.splats, "make_of", keep):
      share.write_scenes(
        self.person,
        scenes.stills(self.person, self.found[:1]),
        config,
        path,
        log=lambda line: None,
      )
    c = render.about_front(self.person.generator, self.found[0].c, YAWS, 0.0)
    return path, [
      np.clip(fitting.picture(made[0].splats, camera, SIZE)[0], 0, 1)
      for camera in c
    ]

  def test_splats_are_what_they_are_here(self):
    """Against the rasterizer that they are fitted with, and turned."""
    path, pictures = self.splats
    page, problems = self.open(path=path)
    for yaw, wanted in zip(YAWS, pictures):
      shown = self.view(page, yaw=float(yaw), size=SIZE)
      self.assertGreater(psnr(shown, wanted), 30)
    self.assertEqual(problems, [])

  @parameterized.parameters(*other_browsers.NAMES)
  def test_in_other_browsers(self, name):
    """Both contents, as wide as a phone; WebKit is Safari's engine."""
    if reason := other_browsers.missing(name):
      self.skipTest(reason)
    for path, pictures, bound in (
      (self.path, self.wanted, 28),
      (*self.splats, 30),
    ):
      with other_browsers.opened(name, path, width=390) as page:
        for yaw, wanted in zip(YAWS, pictures):
          shown = self.view(page, yaw=float(yaw), size=SIZE)
          self.assertGreater(psnr(shown, wanted), bound)
        self.assertTrue(
          page.evaluate("document.body.scrollWidth <= innerWidth")
        )
        self.assertEmpty(page.problems())

  def test_it_turns_by_hand(self):
    page, problems = self.open(viewport={"width": 390, "height": 800})
    page.wait_for_selector("body.turns")
    angle = lambda: page.evaluate("head.motion.view()")
    self.assertTrue(page.evaluate("head.motion.swings"))
    box = page.locator("#head").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    self.assertFalse(page.evaluate("head.motion.swings"))
    before = angle()
    page.mouse.move(x - 60, y - 20, steps=5)
    after = angle()
    # The head follows the hand: the camera goes the other way.
    self.assertGreater(after["yaw"], before["yaw"] + 0.1)
    self.assertGreater(after["pitch"], before["pitch"] + 0.02)
    page.mouse.move(x - 2000, y, steps=5)
    page.mouse.up()
    self.assertLess(angle()["yaw"], 0.6)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.wait_for_function("() => head.motion.zoom > 1.2")
    page.keyboard.press("Home")
    page.wait_for_function(
      "() => { const {yaw, zoom} = head.motion.view();"
      " return Math.abs(yaw) < 0.01 && zoom < 1.01; }"
    )
    page.get_by_role("button", name="The way").click()
    page.locator("#way").fill("0.5")
    page.wait_for_function("() => head.shown.stop === 0.5")
    # Nothing is wider than a phone.
    self.assertEqual(page.evaluate("document.body.scrollWidth"), 390)
    self.assertEqual(problems, [])

  def test_without_webgl2(self):
    page, _ = self.open(_NO_WEBGL2)
    page.get_by_text("This is a still picture").wait_for()
    self.assertGreater(
      page.evaluate("document.querySelector('img').naturalWidth"), 0
    )


if __name__ == "__main__":
  absltest.main()

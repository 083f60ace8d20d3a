"""The documentation's site in a real browser: built, opened, searched."""

import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

from absl.testing import absltest, parameterized

from tests.support import browser

ROOT = pathlib.Path(__file__).resolve().parents[2]
SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
_CONTRAST = 4.5  # of WCAG's level AA
# Relative luminance as WCAG defines it, of the text and of what it stands on.
_LOOK = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = color.slice(0, 3).map((value) => value / 255).map((v) =>
      v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (one) => {
    for (; one; one = one.parentElement) {
      const color = parse(getComputedStyle(one).backgroundColor);
      if (color.length < 4 || color[3] > 0.99) return color;
    }
    return [255, 255, 255];
  };
  const contrast = (one) => {
    const [a, b] = [light(parse(getComputedStyle(one).color)),
      light(ground(one))].sort((a, b) => b - a);
    return (a + 0.05) / (b + 0.05);
  };
  const texts = [...document.querySelectorAll(
    "article p, article li, article td, article h1, article a, article code")];
  return {
    wide: document.documentElement.scrollWidth - innerWidth,
    broken: [...document.images].filter((one) => one.loading !== "lazy" &&
      !one.naturalWidth).map((one) => one.src),
    contrast: Math.min(...texts.filter((one) => one.innerText.trim())
      .map(contrast)),
  };
}"""


class SiteTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    for module in ("playwright", "furo"):
      if importlib.util.find_spec(module) is None:
        raise unittest.SkipTest(f"{module} is not installed")
    if browser.executable() is None:
      raise unittest.SkipTest("there is no Chromium")
    if folder := os.environ.get("MY3DGEN_SITE"):
      cls.folder = pathlib.Path(folder)
    else:
      cls.folder = pathlib.Path(
        cls.enterClassContext(tempfile.TemporaryDirectory())
      )
      subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", ROOT / "docs", cls.folder],
        check=True,
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
      )
    cls.chromium = cls.enterClassContext(browser.chromium())

  def open(self, size, scheme):
    """A page without a network, and what goes wrong on it."""
    width, height = SIZES[size]
    context = self.chromium.new_context(
      viewport={"width": width, "height": height}, color_scheme=scheme
    )
    self.addCleanup(context.close)
    context.set_offline(True)
    page, problems = context.new_page(), []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
      "console",
      lambda one: problems.append(one.text) if one.type == "error" else None,
    )
    page.on("requestfailed", lambda request: problems.append(request.url))
    return page, problems

  @parameterized.parameters(("desktop", "light"), ("phone", "dark"))
  def test_every_page_is_readable(self, size, scheme):
    page, problems = self.open(size, scheme)
    paths = sorted(self.folder.rglob("*.html"))
    self.assertGreater(len(paths), 30)
    for path in paths:
      page.goto(path.as_uri())
      found = page.evaluate(_LOOK)
      with self.subTest(path.name):
        self.assertLessEqual(found["wide"], 0)
        self.assertEmpty(found["broken"])
        if found["contrast"] is not None:
          self.assertGreater(found["contrast"], _CONTRAST)
    self.assertEmpty(problems)

  @parameterized.parameters(
    ("truncation", "glossary"), ("merge_into_params", "api_lora")
  )
  def test_search(self, words, wanted):
    page, problems = self.open("desktop", "light")
    page.goto((self.folder / "index.html").as_uri())
    page.locator("input[name=q]").first.fill(words)
    page.keyboard.press("Enter")
    page.locator("#search-results ul.search li a").first.wait_for()
    links = page.locator("#search-results ul.search li a").evaluate_all(
      "(all) => all.map((one) => one.href)"
    )
    self.assertTrue(any(wanted in link for link in links), links)
    self.assertEmpty(problems)


if __name__ == "__main__":
  absltest.main()

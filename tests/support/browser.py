"""A real Chromium without a screen, for what only a browser can tell."""

import contextlib
import importlib.util
import io
import os
import shutil
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 1280, 800
_PANEL = 330  # pixels at the right
_MARGIN = 330  # at the left, where messages pop up
_PATIENCE = 60.0  # seconds
# Chromium draws on the processor where there is no GPU.
_ARGUMENTS = (
  "--no-sandbox",
  "--use-gl=angle",
  "--use-angle=swiftshader",
  "--enable-unsafe-swiftshader",
)
# Pictures that reach the screen, as opposed to those that are sent.
_COUNTER = """
window.__uploads = [];
for (const kind of [WebGLRenderingContext, WebGL2RenderingContext])
  for (const name of ["texImage2D", "texSubImage2D"]) {
    const original = kind.prototype[name];
    kind.prototype[name] = function (...given) {
      const last = given[given.length - 1];
      if (last instanceof HTMLImageElement || last instanceof ImageBitmap)
        window.__uploads.push([performance.now(), last.width, last.height]);
      return original.apply(this, given);
    };
  }
"""


def missing() -> str | None:
  """Why there is no browser here, or None."""
  for name in ("viser", "playwright"):
    if importlib.util.find_spec(name) is None:
      return f"{name} is not installed"
  if executable() is None:
    return "there is no Chromium: apt-get install chromium"
  return None


def executable() -> str | None:
  """Chromium's program; $CHROMIUM names another."""
  return (
    os.environ.get("CHROMIUM")
    or shutil.which("chromium")
    or (shutil.which("google-chrome"))
  )


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
  """A running browser of Playwright's."""
  from playwright import sync_api  # pylint: disable=import-outside-toplevel

  with sync_api.sync_playwright() as playwright:
    browser = playwright.chromium.launch(
      executable_path=executable(), args=list(_ARGUMENTS), headless=True
    )
    try:
      yield browser
    finally:
      browser.close()


class Window:
  """A window of its own, as another person would open it.

  Attributes:
    page: Playwright's.
    problems: errors of the console, of scripts, and of requests.
  """

  def __init__(self, browser: Any, address: str, *, wait: bool = True):
    """Opens the address, and waits until a face is shown if `wait`."""
    self._context = browser.new_context(
      viewport={"width": WIDTH, "height": HEIGHT}, accept_downloads=True
    )
    self.page = self._context.new_page()
    self.problems: list[str] = []
    page, note = self.page, self.problems.append
    page.on(
      "console", lambda one: note(one.text) if one.type == "error" else None
    )
    page.on("pageerror", lambda error: note(str(error)))
    page.on("requestfailed", lambda request: note(request.url))
    page.add_init_script(_COUNTER)
    page.goto(address)
    if wait:
      until(lambda: self.still(), "the first picture")

  def close(self):
    """Leaves, whatever is going on."""
    self._context.close()

  def still(self) -> bool:
    """Whether a picture is shown, and it is refined."""
    return "rays," in self.page.locator("body").inner_text()

  def uploads(self) -> list[Any]:
    """(milliseconds, width, height) of each picture that was shown."""
    return self.page.evaluate("window.__uploads")

  def rest(self, seconds: float = 0.8) -> np.ndarray:
    """The face once nothing has been shown for a while, [H, W, 3]."""
    ended = time.monotonic() + _PATIENCE
    count, since = len(self.uploads()), time.monotonic()
    while time.monotonic() - since < seconds:
      if time.monotonic() > ended:
        raise AssertionError("the picture does not come to rest")
      time.sleep(0.05)
      now = len(self.uploads())
      if now != count:
        count, since = now, time.monotonic()
    return self.face()

  def change(self, act: Callable[[], Any], least: float) -> float:
    """How much another picture it is after something was done, in 1/255.

    Pictures that were on their way before may come first.

    Raises: AssertionError: it never differs by more than `least`.
    """
    before = self.rest()
    act()
    until(lambda: difference(before, self.face()) > least, "another picture")
    return difference(before, self.rest())

  def face(self) -> np.ndarray:
    """What is in the middle, uint8 [H, W, 3]."""
    shot = self.page.screenshot(
      clip={
        "x": _MARGIN,
        "y": 0,
        "width": WIDTH - _PANEL - _MARGIN,
        "height": HEIGHT,
      }
    )
    return np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"))

  def drag(
    self,
    right: float,
    down: float = 0.0,
    *,
    steps: int = 10,
    pause: float = 0.02,
  ):
    """Drags the face by pixels."""
    x, y = (WIDTH - _PANEL) / 2, HEIGHT / 2
    mouse = self.page.mouse
    mouse.move(x, y)
    mouse.down()
    for i in range(1, steps + 1):
      mouse.move(x + right * i / steps, y + down * i / steps)
      time.sleep(pause)
    mouse.up()

  def sway(self, seconds: float, *, reach: float = 150.0):
    """Drags to and fro without a rest."""
    x, y = (WIDTH - _PANEL) / 2, HEIGHT / 2
    mouse = self.page.mouse
    mouse.move(x, y)
    mouse.down()
    began = time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
      mouse.move(x + reach * np.sin(3 * passed), y)
      time.sleep(0.01)
    mouse.up()

  def slide(self, label: str, key: str, times: int = 1):
    """Presses a key (End, Home, ArrowRight, …) on a slider."""
    slider = self.row(label).locator("[role=slider]").first
    slider.focus()
    for _ in range(times):
      slider.press(key)

  def row(self, label: str) -> Any:
    """A control with its label."""
    return (
      self.page.locator("label")
      .get_by_text(label, exact=True)
      .or_(self.page.locator(f"label:text-is('{label}')"))
      .first.locator("xpath=../../..")
    )

  def choose(self, label: str, option: str):
    """Chooses in a list."""
    self.page.get_by_label(label, exact=True).first.click()
    self.page.get_by_role("option", name=option, exact=True).click()

  def check(self, label: str, value: bool):
    """Sets a check mark."""
    self.page.get_by_label(label, exact=True).set_checked(value)

  def press(self, label: str):
    """Presses a button."""
    self.page.get_by_role("button", name=label, exact=True).click()


def until(condition: Callable[[], bool], what: str, seconds: float = _PATIENCE):
  """Waits; raises AssertionError that names what did not come."""
  ended = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > ended:
      raise AssertionError(f"{what}: not within {seconds:.0f} s")
    time.sleep(0.05)


def difference(a: np.ndarray, b: np.ndarray) -> float:
  """The mean difference of two pictures, in 1/255."""
  return float(np.mean(np.abs(a.astype(np.float32) - b.astype(np.float32))))

"""Tests the viewer in Chromium: its reactions and its speed.

    python -m benchmarks.viewer_session --runs runs/demo,runs/another \\
        --picture docs/pictures/viewer.png

Starts my3dgen viewer, opens windows as users would, and prints the results:
console errors; whether the picture changes after a drag, a slider, another
person; whether two windows keep their own cameras; whether the server survives
when a window closes during rendering; frames per second on the screen. Needs
viser, Playwright and Chromium.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

from tests.support import browser as browser_lib
from tests.support.browser import difference, until, Window

_LEAST = 1.0  # smallest mean difference of different pictures, in 1/255
_LEAST_FPS = 5.0
_SECONDS = 5.0  # duration of dragging


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--runs",
    required=True,
    help="Folders of runs, two or more, separated by commas.",
  )
  parser.add_argument("--picture", help="File for a screenshot; default: none.")
  parser.add_argument(
    "--port",
    type=int,
    default=8090,
    help="Port of the viewer, 1 to 65535; default: 8090.",
  )
  arguments = parser.parse_args()
  reason = browser_lib.missing()
  if reason:
    sys.exit(f"error: {reason}")
  with tempfile.TemporaryDirectory() as out:
    began = time.monotonic()
    server = subprocess.Popen(
      [
        sys.executable,
        "-m",
        "my3dgen_jax.launch.viewer",
        f"--runs={arguments.runs}",
        f"--port={arguments.port}",
        f"--out={out}",
      ],
      stdout=subprocess.PIPE,
      text=True,
    )
    try:
      address = _address(server)
      seen = {"seconds until it listens": round(time.monotonic() - began, 1)}
      with browser_lib.chromium() as browser:
        _session(browser, address, out, seen, arguments.picture)
      seen["server lives"] = server.poll() is None
    finally:
      server.terminate()
      rest = server.communicate(timeout=30)[0]
  seen["server ended with"] = server.returncode
  seen["server said"] = rest.strip().splitlines()
  print(json.dumps(seen, indent=2, ensure_ascii=False))
  failed = [name for name, value in seen.items() if value is False]
  sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def _address(server) -> str:
  for line in server.stdout:
    print(line.rstrip(), file=sys.stderr)
    found = re.search(r"open (http\S+)", line)
    if found:
      return found[1]
  sys.exit("error: the viewer ended before it listened; see its output above")


def _session(browser, address, out, seen, picture):
  began = time.monotonic()
  one = Window(browser, address)
  seen["seconds until the first face"] = round(time.monotonic() - began, 1)
  first = one.rest()

  def changed(what, act):
    size = _change(one, act)
    seen[f"{what}: changes by, of 255"] = round(size, 2)
    seen[f"{what} shows"] = size > _LEAST

  changed("drag", lambda: one.drag(140, 30))
  changed("front again", lambda: one.press("From the front"))
  seen["front is front"] = difference(first, one.rest()) < _LEAST
  changed("smile", lambda: one.slide("Smile", "End"))
  changed("age", lambda: one.slide("Age", "End"))
  one.press("No edits")
  changed("photo's camera", lambda: one.press("The photo's camera"))
  one.press("From the front")
  changed("pretrained", lambda: one.check("Personalized", False))
  one.check("Personalized", True)
  changed(
    "between two",
    lambda: (one.choose("Start", "between two"), one.slide("Way", "End")),
  )
  changed(
    "a mix",
    lambda: (
      one.choose("Start", "a mix"),
      one.slide("α 1", "Home"),
      one.slide("α 3", "End"),
    ),
  )
  changed("a seed", lambda: one.choose("Start", "a seed"))
  changed("truncation", lambda: one.slide("Truncation", "Home"))
  one.slide("Truncation", "End")
  one.choose("Start", "a photo")
  person = one.page.get_by_label("Person", exact=True).first
  names = person.input_value()
  person.click()
  options = one.page.get_by_role("option").all_inner_texts()
  one.page.keyboard.press("Escape")
  other = next(name for name in options if name != names)
  changed("another person", lambda: one.choose("Person", other))
  count = len(one.uploads())
  one.choose("Person", names)
  until(lambda: len(one.uploads()) > count, "the first person")

  # Two windows.
  two = Window(browser, address)
  before = two.rest()
  one.drag(140)
  turned = one.rest()
  seen["the other window stays"] = difference(before, two.rest()) < 0.5
  two.slide("Smile", "Home")
  two.drag(-140)
  seen["and moves by itself"] = difference(before, two.rest()) > _LEAST
  seen["without moving the first"] = difference(turned, one.rest()) < 0.5

  # Windows that close during rendering, several times.
  for _ in range(3):
    guest = Window(browser, address)
    guest.sway(0.3)
    guest.press("Video")
    guest.close()
  two.page.reload()
  until(two.still, "a reloaded window")
  seen["after guests left, a drag shows"] = (
    _change(two, lambda: two.drag(120)) > _LEAST
  )
  two.close()

  with one.page.expect_download(timeout=60_000) as download:
    one.press("Picture")
  seen["saved picture"] = download.value.suggested_filename
  seen["kept in --out"] = download.value.suggested_filename in os.listdir(out)

  one.press("From the front")
  one.rest()
  for what, act in (
    ("drag", lambda: one.sway(_SECONDS)),
    ("slider", lambda: _wiggle(one, "Smile")),
  ):
    count, began = len(one.uploads()), time.monotonic()
    act()
    seconds = time.monotonic() - began
    frames = one.uploads()[count:]
    seen[f"{what}: frames a second on the screen"] = round(
      len(frames) / seconds, 1
    )
    seen[f"{what}: at least {_LEAST_FPS:.0f}"] = (
      len(frames) / seconds >= _LEAST_FPS
    )
    seen[f"{what}: pixels of a moving frame's height"] = (
      sorted(row[2] for row in frames)[len(frames) // 2] if frames else 0
    )
  one.press("No edits")
  if picture:
    _pose(one, picture)
  seen["console errors"] = one.problems
  seen["no console errors"] = not one.problems


def _change(window, act) -> float:
  """How much the picture changes, 0 if it does not."""
  try:
    return window.change(act, _LEAST)
  except AssertionError:
    return 0.0


def _wiggle(window, label):
  """Presses arrow keys on a slider, as fast as possible."""
  slider = window.row(label).locator("[role=slider]").first
  slider.focus()
  began = time.monotonic()
  while time.monotonic() - began < _SECONDS:
    for key in ("ArrowRight",) * 10 + ("ArrowLeft",) * 10:
      slider.press(key)


def _pose(window, picture):
  """Takes a screenshot of the page."""
  window.press("From the front")
  window.slide("Smile", "ArrowRight", 24)
  window.drag(-60, 12)
  window.page.mouse.move(640, 790)
  for button in window.page.locator(".mantine-Notification-closeButton").all():
    button.click()
  window.rest(1.5)
  window.page.screenshot(path=picture)


if __name__ == "__main__":
  main()

"""Compares pages of my3dgen share, in browsers, with the generator's pictures.

    python -m benchmarks.shared_pages --run=runs/demo --latents=photo003 \\
        --picture=pages.png

Writes a page of each content, opens it in headless browsers from a file:// path,
and compares seven yaw angles with the generator's own views: the field
with `image_raw` (PSNR), the splats with `image` (PSNR, and LPIPS beside that of
enlarged `image_raw`). Reports the page's size, requests and console messages,
and pictures per second at 256 x 256. Needs Playwright and Chromium.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from PIL import Image

from benchmarks import browser_views, report
from my3dgen_jax.apps import share
from my3dgen_jax.apps.rendering import render, scenes
from my3dgen_jax.demo import shipped
from my3dgen_jax.launch.support import cli, config_flags, person_flags
from my3dgen_jax.losses.lpips import load_lpips
from tests.support import browser as browser_lib
from tests.support import other_browsers

_LATENTS = config_flags.define(scenes.LatentsConfig)
_CONFIG = config_flags.define(share.ShareConfig, skip=["content"])
_PICTURE = cli.string(
  "picture", None, "Picture to write, one row per kind; default: none."
)
_KEEP = cli.string(
  "keep", None, "Folder to keep the pages in; default: they are deleted."
)
_LPIPS = cli.string("lpips", str(shipped.LPIPS), "Folder of LPIPS's weights.")

_CHROMIUM = "chromium"
_BROWSERS = cli.multi_enum(
  "browser",
  [_CHROMIUM],
  [_CHROMIUM, *other_browsers.NAMES],
  "Browser to open the pages in; may be repeated.",
)

_YAWS = np.linspace(-0.6, 0.6, 7)


def main():
  config = _CONFIG()
  person = person_flags.person()
  found, _ = scenes.look_up(person, _LATENTS())
  one = found[0]
  network = one.generator or person.generator
  c = render.about_front(network, one.c, _YAWS, np.zeros(len(_YAWS)))
  seen = render.synthesize(
    network, np.broadcast_to(one.ws, (len(c), *one.ws.shape)), c
  )
  image, raw = (
    np.clip(np.asarray(value) / 2 + 0.5, 0, 1)
    for value in (seen.image, seen.image_raw)
  )
  lpips = load_lpips(_LPIPS.value)
  distance = jax.jit(lambda a, b: lpips(2 * a - 1, 2 * b - 1))
  side = image.shape[1]
  enlarged = np.asarray(
    jax.image.resize(raw, (*image.shape[:3], 3), "cubic")
  ).clip(0, 1)
  print(
    f"image_raw against image: LPIPS {_words(distance(enlarged, image), 4)}"
  )
  rows = [image, enlarged]
  with tempfile.TemporaryDirectory() as folder:
    for content, wanted in (("field", raw), ("splats", image)):
      path = pathlib.Path(_KEEP.value or folder, f"{content}.html")
      began = time.perf_counter()
      share.write_scenes(
        person,
        scenes.stills(person, found[:1]),
        dataclasses.replace(config, content=content),
        path,
      )
      print(f"{content}: written in {time.perf_counter() - began:.0f} s")
      for name in _BROWSERS.value:
        with _opened(name, path) as (page, problems):
          look = lambda size, page=page: np.stack(
            [
              browser_views.painted(page, yaw=float(yaw), size=size)
              for yaw in _YAWS
            ]
          )
          shown, large = look(wanted.shape[1]), look(side)
          speed = page.evaluate("head.speed({size: 256, count: 20})")
          if wrong := problems():
            raise AssertionError(f"{path} in {name}: {wrong}")
        psnr = -10 * np.log10(((shown - wanted) ** 2).mean((1, 2, 3)))
        print(
          f"{content} in {name}: {path.stat().st_size / 1e6:.2f} MB; PSNR "
          f"{_words(psnr, 1)} dB; LPIPS to image "
          f"{_words(distance(large, image), 4)}; {speed:.1f} pictures/s at "
          "256 x 256; no request, no console message",
          flush=True,
        )
      rows.append(large)
  print(report.machine())
  if _PICTURE.value:
    sheet = np.concatenate([np.concatenate(list(row), 1) for row in rows])
    Image.fromarray(np.uint8(sheet * 255 + 0.5)).save(_PICTURE.value)


@contextlib.contextmanager
def _opened(name: str, path: pathlib.Path) -> Iterator[tuple[Any, Any]]:
  """An open page, and what tells its problems."""
  if name == _CHROMIUM:
    with browser_lib.chromium() as chromium:
      page, problems = browser_views.open_offline(chromium, path)
      yield page, lambda: problems
    return
  with other_browsers.opened(name, path) as page:
    yield page, page.problems


def _words(values: Any, digits: int) -> str:
  return " ".join(f"{float(value):.{digits}f}" for value in np.ravel(values))


if __name__ == "__main__":
  cli.run(main)

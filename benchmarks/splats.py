"""Compares splats, in a third-party viewer, with the generator's pictures.

    python -m benchmarks.splats --run=runs/demo --latents=photo003 \\
        --node_modules=node_modules --picture=splats.png

Makes splats of each latent as my3dgen splats does, and renders them from eight
cameras between those that they were fitted to: with the rasterizer of this
project, and from the file with Spark (three.js) and with PlayCanvas, the engine
of SuperSplat, in headless Chromium. Compares the pictures with the generator's,
after super-resolution, on the head (with --background: everywhere). plyfile
reads the file, too.
"""

import importlib
import pathlib
import tempfile
import time

import numpy as np

from benchmarks import browser_views
from my3dgen_jax.apps.rendering import scenes, views
from my3dgen_jax.apps.splats import files, fitting, splats
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_LATENTS = config_flags.define(scenes.LatentsConfig)
_CONFIG = config_flags.define(splats.SplatsConfig)
_MODULES = cli.string("node_modules", "node_modules", "Folder of npm packages.")
_PICTURE = cli.string(
  "picture", None, "Picture of all results to write; default: none."
)
_KEEP = cli.string(
  "keep", None, "Folder to keep the files in; default: they are deleted."
)

_CAMERAS = 8
_FINE = 4  # browser pixels per pixel, along a side
_SHOWN = 5
_VIEWERS = {"three": "Spark", "playcanvas": "PlayCanvas"}


def main():
  config, modules = _CONFIG().validate(), pathlib.Path(_MODULES.value)
  person = person_flags.person()
  found, _ = scenes.look_up(person, _LATENTS())
  rendering = person.generator.module.config.rendering
  rows = []
  for one in found:
    began = time.perf_counter()
    made = splats.make(person, one, config).splats
    seconds = time.perf_counter() - began
    # Not the cameras that the command measures itself with.
    c = views.between(rendering, one.c, config.views, 2 * _CAMERAS)[-_CAMERAS:]
    wanted = splats.look(person, one, config, c)
    side = wanted.image.shape[1]
    counted = wanted.head & wanted.sure
    score = lambda pictures: np.array(
      [
        -10 * np.log10(np.mean((picture - true)[inside] ** 2))
        for picture, true, inside in zip(pictures, wanted.image, counted)
      ]
    )
    own = [
      np.clip(fitting.picture(made, camera, side)[0], 0, 1) for camera in c
    ]
    rows += [wanted.image[:_SHOWN], own[:_SHOWN]]
    print(
      f"{one.name}: {len(made.means)} splats in {seconds:.0f} s; here "
      + _words(score(own))
    )
    with tempfile.TemporaryDirectory() as folder:
      for suffix in files.FORMATS:
        path = pathlib.Path(_KEEP.value or folder, f"{one.name}{suffix}")
        files.write_splats(path, made, person.made("splats"))
        if suffix == files.PLY:
          plyfile = importlib.import_module("plyfile")
          read = plyfile.PlyData.read(str(path))["vertex"]
          for i, name in enumerate("xyz"):
            np.testing.assert_array_equal(read[name], made.means[:, i])
          height = np.percentile(read["y"], 99.5) - np.percentile(
            read["y"], 0.5
          )
          print(f"{one.name}: {height:.3f} world units from top to bottom")
        for viewer, name in _VIEWERS.items():
          if viewer == "playcanvas" and suffix != files.PLY:
            continue
          with browser_views.opened(
            path, modules, pixels=_FINE * side, viewer=viewer
          ) as page:
            shown = [page.look(camera, side) for camera in c]
            assert not page.problems, page.problems
            assert page.count == len(made.means), page.count
          rows.append(shown[:_SHOWN])
          print(
            f"{one.name}{suffix}: {path.stat().st_size / 1e6:.2f} MB; "
            f"in {name} {_words(score(shown))}",
            flush=True,
          )
  if _PICTURE.value:
    browser_views.save_rows(_PICTURE.value, rows)


def _words(psnr):
  return f"{psnr.mean():.2f} dB, {psnr.min():.2f} from the worst camera"


if __name__ == "__main__":
  cli.run(main)

"""Compares textured meshes, in a browser, with the generator's pictures.

    python -m benchmarks.textured_mesh --run=runs/demo --latents=photo003 \\
        --node_modules=node_modules --picture=textured.png

Writes three files per latent: colors at the vertices, as my3dgen mesh writes
them; the same colors on the textured mesh's own triangles; and the texture.
Chromium renders each from five cameras between those that the texture was made
from. The pictures are compared with the generator's, after super-resolution, on
pixels that the mesh covers fully. Khronos' validator checks the files.
"""

import pathlib
import tempfile
import time

import numpy as np

from benchmarks import browser_views
from my3dgen_jax.apps.meshing import atlas, files, mesh, surface, textured_files
from my3dgen_jax.apps.rendering import scenes, views
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_LATENTS = config_flags.define(scenes.LatentsConfig)
_CONFIG = config_flags.define(mesh.MeshConfig, texture=2048)
_MODULES = cli.string("node_modules", "node_modules", "Folder of npm packages.")
_PICTURE = cli.string(
  "picture", None, "Picture of all results to write; default: none."
)

_CAMERAS = 5
_FINE = 8  # browser pixels per pixel, along a side


def main():
  config, modules = _CONFIG().validate(), pathlib.Path(_MODULES.value)
  person = person_flags.person()
  found, _ = scenes.look_up(person, _LATENTS())
  rendering = person.generator.module.config.rendering
  rows = []
  for one in found:
    network = one.generator or person.generator
    started = time.perf_counter()
    whole = surface.extract_mesh(
      network, one.ws, resolution=config.resolution, level=config.level
    )
    extracted = time.perf_counter()
    textured = mesh.with_texture(whole, network, one, config)
    print(
      f"{one.name}: surface {extracted - started:.0f} s, texture "
      f"{time.perf_counter() - extracted:.0f} s"
    )
    vertices, faces = atlas.simplify(
      whole.vertices, whole.faces, config.triangles
    )
    few = surface.Mesh(
      vertices, faces, surface.colors_at(network, one.ws, vertices)
    )
    c = views.between(rendering, one.c, config.views, _CAMERAS)
    true = views.take(network, one.ws, c).image
    side = true.shape[1]
    rows.append(true)
    with tempfile.TemporaryDirectory() as folder:
      for name, write in (
        (
          "vertices",
          lambda path: files.write_mesh(path, whole, _origin(person)),
        ),
        ("few", lambda path: files.write_mesh(path, few, _origin(person))),
        (
          "texture",
          lambda path: textured_files.write_textured(
            path, textured, _origin(person)
          ),
        ),
      ):
        path = pathlib.Path(folder, f"{name}.glb")
        write(path)
        issues = browser_views.gltf_issues(path, modules)
        shown = []
        for color in (None, "#ffffff"):
          with browser_views.opened(
            path, modules, pixels=_FINE * side, background=color
          ) as page:
            shown.append([page.look(camera, side) for camera in c])
            assert not page.problems, page.problems
        black, white = np.array(shown)
        # Pixels that look the same on black and on white are fully covered.
        covered = np.abs(white - black).max(axis=-1) < 1 / 255
        psnr = [
          -10 * np.log10(np.mean((picture - wanted)[inside] ** 2))
          for picture, wanted, inside in zip(black, true, covered)
        ]
        print(
          f"{one.name} {name}: {np.mean(psnr):.2f} dB ("
          + ", ".join(f"{value:.2f}" for value in psnr)
          + f"), {path.stat().st_size / 1e6:.2f} MB, validator: "
          f"{issues['numErrors']} errors, {issues['numWarnings']} warnings",
          flush=True,
        )
        rows.append(black)
  if _PICTURE.value:
    browser_views.save_rows(_PICTURE.value, rows)


def _origin(person):
  return person.made("mesh")


if __name__ == "__main__":
  cli.run(main)

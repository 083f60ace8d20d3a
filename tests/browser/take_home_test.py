"""Files to take home in readers of others.

They are Khronos' validator, Spark (three.js) and PlayCanvas, the engine of
SuperSplat. $NODE_PATH names the folder of npm's gltf-validator, three,
@sparkjsdev/spark and playcanvas.
"""

import importlib.util
import os
import pathlib
import shutil
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.meshing import atlas, files, surface
from my3dgen_jax.apps.meshing.textured_files import Textured, write_textured
from my3dgen_jax.apps.splats.files import write_splats
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering.splats import Splats
from tests.support import browser

ORIGIN = Origin("me", "base", "mesh", (("latent", "photo\n003 <b>"),))


def pyramid():
  """Of four sides, its tip up."""
  vertices = np.array(
    [[-1, 0, -1], [1, 0, -1], [1, 0, 1], [-1, 0, 1], [0, 1.5, 0]], np.float32
  )
  faces = np.array(
    [[1, 0, 4], [2, 1, 4], [3, 2, 4], [0, 3, 4], [0, 1, 2], [0, 2, 3]], np.int32
  )
  return 0.15 * vertices, faces


def front():
  return np.asarray(
    cameras.pack_label(
      cameras.look_at(0.0, 0.0, (0.0, 0.0, 0.0), 2.7),
      cameras.intrinsics_from_focal(4.2647),
    )
  )


class TakeHomeTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.modules = pathlib.Path(os.environ.get("NODE_PATH", "nowhere"))
    self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

  def needs(self, *packages, chromium):
    if shutil.which("node") is None:
      self.skipTest("there is no node")
    for name in packages:
      if not (self.modules / name).is_dir():
        self.skipTest(f"npm's {name} is not in $NODE_PATH")
    if chromium and importlib.util.find_spec("playwright") is None:
      self.skipTest("playwright is not installed")
    if chromium and browser.executable() is None:
      self.skipTest("there is no Chromium")

  def test_the_validator_finds_no_error(self):
    from benchmarks import browser_views

    self.needs("gltf-validator", chromium=False)
    vertices, faces = pyramid()
    colors = np.full((5, 3), 128, np.uint8)
    textured, plain = self.folder / "textured.glb", self.folder / "plain.glb"
    texture = np.zeros((64, 64, 3), np.uint8)
    mesh = atlas.unwrap(vertices, faces, 64)
    write_textured(textured, Textured(mesh, texture), ORIGIN)
    # A flap that is folded flat: its normals cancel each other.
    folded = np.concatenate([faces, faces[:, ::-1]])
    files.write_mesh(plain, surface.Mesh(vertices, folded, colors), ORIGIN)
    for path in (textured, plain):
      issues = browser_views.gltf_issues(path, self.modules)
      self.assertEqual(issues["numErrors"], 0, issues)
      self.assertEqual(issues["numWarnings"], 0, issues)

  @parameterized.parameters(
    ("three", "@sparkjsdev/spark"), ("playcanvas", "playcanvas")
  )
  def test_splats_stand_upright(self, viewer, package):
    from benchmarks import browser_views

    self.needs("three", package, chromium=True)
    # Red above, blue to the right of who looks, in world units.
    path = self.folder / "head.ply"
    write_splats(
      path,
      Splats(
        means=np.array([[0, 0.2, 0], [0.2, 0, 0]], np.float32),
        log_scales=np.full((2, 3), np.log(0.02), np.float32),
        quaternions=np.tile(np.array([1, 0, 0, 0], np.float32), (2, 1)),
        logits=np.full(2, 5, np.float32),
        colors=np.array([[1, 0, 0], [0, 0, 1]], np.float32),
      ),
      ORIGIN,
    )
    with browser_views.opened(
      path, self.modules, pixels=256, viewer=viewer
    ) as page:
      picture = page.look(front(), 64)
      self.assertEqual(page.count, 2)
      self.assertEmpty(page.problems)
    offset = 64 * 4.2647 * 0.2 / 2.7
    for channel, wanted in ((0, (32 - offset, 32)), (2, (32, 32 + offset))):
      place = np.unravel_index(np.argmax(picture[..., channel]), (64, 64))
      np.testing.assert_allclose(np.array(place) + 0.5, wanted, atol=1)
      self.assertGreater(picture[..., channel].max(), 0.9)


if __name__ == "__main__":
  absltest.main()

"""Videos of faces that turn."""

import os
import pathlib
import tempfile

import jax
import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image

from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.data import provenance
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.types import Network
from tests.support.tiny import random_variables, TINY

ORIGIN = provenance.Origin(adapter="none", base="0123", task="render")
NETWORK = Network(random_variables(), Generator(TINY))
WS = (
  np.random.default_rng(0)
  .standard_normal((1, TINY.num_ws, TINY.w_dim))
  .astype(np.float32)
)
C = np.asarray(render.view_labels(TINY.rendering, [-0.3, 0.0, 0.3], [0.0]))


class OrbitTest(absltest.TestCase):
  def test_reaches_as_far_as_it_says(self):
    """Its extremes are those of cameras at these angles."""
    c = render.orbit(NETWORK, C[1], frames=48, yaw=0.3, pitch=0.2)
    ends = np.asarray(render.view_labels(TINY.rendering, [0.0], [-0.2, 0.2]))
    height = c[:, 7]
    np.testing.assert_allclose(
      [height.min(), height.max()], np.sort(ends[:, 7]), atol=1e-5
    )
    aside = np.asarray(render.view_labels(TINY.rendering, [-0.3, 0.3], [0.0]))
    np.testing.assert_allclose(
      [c[:, 3].min(), c[:, 3].max()], np.sort(aside[:, 3]), atol=1e-5
    )


class VideoTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.out = pathlib.Path(folder.name) / "turn.gif"

  def write(self, **options):
    render.render_video(
      NETWORK,
      WS,
      C,
      self.out,
      **{"fps": 10, "origin": ORIGIN, "devices": jax.devices()[:1], **options},
    )

  def pictures(self):
    with Image.open(self.out) as video:
      for i in range(video.n_frames):
        video.seek(i)
        yield np.asarray(video.convert("RGB"), np.float32)

  @parameterized.parameters(
    ("raw", 4), ("normals", 4), ("depth", 4), ("image", 16)
  )
  def test_kinds(self, kind, side):
    told = []
    self.write(kind=kind, on_progress=lambda *numbers: told.append(numbers))
    arrays = [
      frame[kind]
      for frame in frames.render_frames(
        NETWORK, WS, C, kinds=(kind,), devices=jax.devices()[:1]
      )
    ]
    limits = frames.depth_limits(arrays) if kind == "depth" else None
    shown = list(self.pictures())
    self.assertLen(shown, 3)
    for picture, array in zip(shown, arrays):
      self.assertEqual(picture.shape, (side, side, 3))
      # A GIF of so few pixels has a color for each.
      np.testing.assert_allclose(
        picture,
        np.broadcast_to(frames.picture_of(kind, array, limits), picture.shape),
        atol=1.1,
      )
    self.assertEqual(told, [(1, 3), (2, 3), (3, 3)])
    self.assertEqual(provenance.read_origin(self.out), ORIGIN)

  def test_depth_has_one_scale(self):
    self.write(kind="depth")
    shown = np.stack(list(self.pictures()))
    self.assertEqual(shown.max(), 255)
    self.assertEqual(shown.min(), 0)
    depths = np.stack(
      [
        frame["depth"]
        for frame in frames.render_frames(
          NETWORK, WS, C, kinds=("depth",), devices=jax.devices()[:1]
        )
      ]
    )
    own = [np.ptp(depth) for depth in depths]
    self.assertLess(min(own), np.ptp(depths) * 0.999)
    self.assertLess(min(np.ptp(picture) for picture in shown), 255)

  def test_side(self):
    self.write(side=8)
    self.assertEqual(
      {picture.shape for picture in self.pictures()}, {(8, 8, 3)}
    )

  def test_whoever_raises_leaves_nothing(self):
    def stop(done, total):
      del total
      if done == 2:
        raise KeyboardInterrupt

    with self.assertRaises(KeyboardInterrupt):
      self.write(on_progress=stop)
    self.assertEmpty(os.listdir(self.out.parent))

  def test_normals_as_colors(self):
    facing = np.broadcast_to(np.float32([0, 0, 1]), (2, 2, 3))
    np.testing.assert_array_equal(
      frames.picture_of("normals", facing)[0, 0], [128, 128, 255]
    )


if __name__ == "__main__":
  absltest.main()

"""A rendered MP4 in a real browser: it plays, and shows what was rendered."""

import base64
import importlib.util
import pathlib
import tempfile

import jax
import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.data import images, provenance
from my3dgen_jax.models.generator import Generator
from my3dgen_jax.types import Network
from tests.support import browser
from tests.support.tiny import random_variables, TINY

_FRAMES, _FPS, _SIDE = 12, 24, 64
# Plays to the end, then shows one frame and reads its pixels.
_PLAY = """
async ({url, time}) => {
  const video = document.createElement('video');
  video.muted = true;
  const ended = new Promise((resolve, reject) => {
    video.onended = resolve;
    video.onerror = () => reject(new Error(video.error.message));
  });
  video.src = url;
  await video.play();
  await ended;
  const seeked = new Promise(resolve => { video.onseeked = resolve; });
  video.currentTime = time;
  await seeked;
  const canvas = document.createElement('canvas');
  canvas.width = video.videoWidth;
  canvas.height = video.videoHeight;
  const context = canvas.getContext('2d');
  context.drawImage(video, 0, 0);
  return {width: video.videoWidth, height: video.videoHeight,
          duration: video.duration,
          pixels: Array.from(context.getImageData(
              0, 0, canvas.width, canvas.height).data)};
}
"""


class Mp4Test(absltest.TestCase):
  def setUp(self):
    super().setUp()
    if importlib.util.find_spec("playwright") is None:
      self.skipTest("playwright is not installed")
    if browser.executable() is None:
      self.skipTest("there is no Chromium")

  def play(self, path, time):
    """What the browser says of a video, and a frame's pixels."""
    # As the report has it: within the page.
    url = (
      "data:video/mp4;base64," + base64.b64encode(path.read_bytes()).decode()
    )
    with browser.chromium() as one:
      return one.new_page().evaluate(_PLAY, {"url": url, "time": time})

  def test_plays_and_shows_the_frames(self):
    network = Network(random_variables(), Generator(TINY))
    ws = (
      np.random.default_rng(0)
      .standard_normal((1, TINY.num_ws, TINY.w_dim))
      .astype(np.float32)
    )
    c = render.about_front(
      network,
      render.view_labels(TINY.rendering, [0.0], [0.0])[0],
      np.linspace(-0.35, 0.35, _FRAMES),
      0.0,
    )
    options = {"devices": jax.devices()[:1]}
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "turn.mp4"
      render.render_video(
        network,
        ws,
        c,
        path,
        fps=_FPS,
        kind="normals",
        side=_SIDE,
        origin=provenance.Origin(adapter="none", base="0123", task="render"),
        **options,
      )
      shown = self.play(path, time=7.5 / _FPS)
    self.assertEqual((shown["width"], shown["height"]), (_SIDE, _SIDE))
    self.assertAlmostEqual(shown["duration"], _FRAMES / _FPS, delta=0.01)
    pixels = np.reshape(shown["pixels"], (_SIDE, _SIDE, 4))[..., :3]
    pictures = [
      images.fitted(
        frames.picture_of("normals", frame["normals"]), _SIDE
      ).astype(int)
      for frame in frames.render_frames(
        network, ws, c, kinds=("normals",), **options
      )
    ]
    errors = [np.abs(pixels - picture).mean() for picture in pictures]
    # Colors have half the resolution in the video, and the browser's own
    # rounding on top.
    self.assertLess(errors[7], 6)
    self.assertGreater(errors[0], 2 * errors[7])
    self.assertGreater(errors[-1], 2 * errors[7])


if __name__ == "__main__":
  absltest.main()

"""The sharpest frame of each moment of a video."""

import pathlib
import sys
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest

from my3dgen_jax.data import video_frames
from my3dgen_jax.data.decoding import video_streams
from my3dgen_jax.errors import UserError

try:
  import imageio_ffmpeg
except ImportError:
  imageio_ffmpeg = None

FPS = 20
SIZE = (96, 64)


def write(path, frames, *options):
  writer = imageio_ffmpeg.write_frames(
    str(path),
    SIZE,
    fps=FPS,
    macro_block_size=16,
    codec="libx264",
    output_params=["-crf", "1", "-pix_fmt", "yuv444p", *options],
  )
  writer.send(None)
  for frame in frames:
    writer.send(frame)
  writer.close()


def frame(level, sharp):
  """Its mean says which it is; stripes are sharp, one color is not."""
  result = np.full((SIZE[1], SIZE[0], 3), level, np.uint8)
  if sharp:
    result[::2, ::2] += 40
    result[1::2, 1::2] -= 40
  return result


class VideoFramesTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    if imageio_ffmpeg is None:
      self.skipTest("imageio-ffmpeg is not installed")
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "a b: 100%.mp4"

  def candidates(self, **options):
    return list(video_frames.candidates(self.path, **options))

  def test_the_sharpest_of_each_part(self):
    sharp = (4, 16, 22, 38)
    write(self.path, [frame(50 + 4 * i, i in sharp) for i in range(40)])
    found = self.candidates(count=4)
    self.assertLen(found, 4)
    for i, one in zip(sharp, found):
      self.assertEqual(one.pixels.shape, (SIZE[1], SIZE[0], 3))
      self.assertAlmostEqual(one.seconds, i / FPS, delta=0.051)
      self.assertAlmostEqual(one.pixels.mean(), 50 + 4 * i, delta=3)
    self.assertLen(self.candidates(count=1), 1)
    # Ten a second are looked at, and no part is without one.
    self.assertLen(self.candidates(count=500), 20)

  def test_upright_videos(self):
    half = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    half[:, : SIZE[0] // 2] = 200
    write(self.path, [half] * 4)
    turned = self.path.with_name("turned.mp4")
    # As a phone that was held upright marks it.
    imageio_ffmpeg._utils.subprocess.run(  # pylint: disable=protected-access
      [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-display_rotation",
        "90",
        "-i",
        str(self.path),
        "-c",
        "copy",
        str(turned),
      ],
      check=True,
    )
    (one,) = video_frames.candidates(turned, count=1)
    self.assertEqual(one.pixels.shape, (SIZE[0], SIZE[1], 3))
    halves = one.pixels[:40].mean(), one.pixels[56:].mean()
    self.assertGreater(abs(halves[0] - halves[1]), 150)

  def test_no_video(self):
    self.path.write_bytes(b"no video\n" * 99)
    with self.assertRaisesRegex(UserError, "not a video: ") as caught:
      self.candidates(count=1)
    self.assertIn(str(self.path), str(caught.exception))
    self.assertNotIn("\n", str(caught.exception))
    self.assertLess(len(str(caught.exception)), 300)
    with self.assertRaisesRegex(UserError, "gone.mp4: .*No such file"):
      list(video_frames.candidates(self.path.with_name("gone.mp4"), count=1))

  def test_cut_off(self):
    write(
      self.path,
      [frame(50 + i, True) for i in range(40)],
      "-movflags",
      "frag_keyframe+empty_moov",
      "-g",
      "5",
    )
    data = self.path.read_bytes()
    self.path.write_bytes(data[: len(data) // 2])
    self.assertBetween(len(self.candidates(count=40)), 3, 19)

  def test_too_large(self):
    write(self.path, [frame(50, True)] * 2)
    with mock.patch.object(video_streams, "MAX_PIXELS", 96 * 64 - 1):
      with self.assertRaisesRegex(UserError, "too many pixels, 96 x 64"):
        self.candidates(count=1)

  def test_missing_library(self):
    self.path.write_bytes(b"")
    with mock.patch.dict(sys.modules, {"imageio_ffmpeg": None}):
      with self.assertRaisesRegex(UserError, r"\.\[video\]"):
        self.candidates(count=1)


if __name__ == "__main__":
  absltest.main()

"""Videos come out as a player shows them."""

import pathlib
import subprocess
import tempfile
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.data import video_frames
from my3dgen_jax.data.decoding import color_spaces, video_streams
from my3dgen_jax.data.decoding.video_streams import Stream
from my3dgen_jax.errors import UserError

try:
  import imageio_ffmpeg
except ImportError:
  imageio_ffmpeg = None

SIZE = 64, 48
COLORS = {"arib-std-b67": 18, "smpte2084": 16}


def tagged(primaries, transfer, matrix, codec="libx265"):
  """Options that say it in every place where a version of FFmpeg looks."""
  x265 = f"colorprim={primaries}:transfer={transfer}:colormatrix={matrix}"
  return (
    *("-color_primaries", primaries, "-color_trc", transfer),
    *("-colorspace", matrix, "-c:v", codec, "-crf", "1"),
    *(
      ("-x265-params", f"log-level=error:lossless=1:{x265}")
      if codec == "libx265"
      else ()
    ),
  )


def as_tagged(primaries, transfer, matrix):
  return (
    f"setparams=color_primaries={primaries}:color_trc={transfer}:"
    f"colorspace={matrix}:range=tv"
  )


class VideoStreamsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    if imageio_ffmpeg is None:
      self.skipTest("imageio-ffmpeg is not installed")
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.path = pathlib.Path(folder.name) / "a.mp4"

  def ffmpeg(self, *options, **kwargs):
    subprocess.run(
      [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *options],
      check=True,
      **kwargs,
    )

  def record(self, *options, size=SIZE, color="0xC6866E", source=()):
    self.ffmpeg(
      *("-f", "lavfi", "-i", f"color={color}:{size[0]}x{size[1]}:r=10:d=0.3"),
      *(*source, *options, str(self.path)),
    )

  def first(self):
    return next(video_frames.candidates(self.path, count=1)).pixels

  def assert_shows(self, color, tolerance=3):
    pixels = self.first()
    np.testing.assert_allclose(pixels.mean((0, 1)), color, atol=tolerance)
    return pixels

  @parameterized.parameters((4 / 3, (85, 48)), (0.5, (64, 96)), (1, SIZE))
  def test_pixels_that_are_not_square(self, aspect, size):
    self.record("-vf", f"setsar={aspect}")
    self.assertEqual(self.first().shape, (size[1], size[0], 3))

  def test_lying_and_not_square(self):
    self.record("-vf", "setsar=2")
    upright = self.path.with_name("b.mp4")
    self.ffmpeg(
      *("-display_rotation", "90", "-i", str(self.path)),
      *("-c", "copy", str(upright)),
    )
    self.path = upright
    self.assertEqual(self.first().shape, (128, 48, 3))

  @parameterized.parameters(*COLORS)
  def test_hdr_is_what_the_formulas_say(self, transfer):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 0xB000, (4, 4, 3)).astype(np.uint16)
    pixels = codes.repeat(12, 0).repeat(16, 1)
    self.ffmpeg(
      *("-f", "rawvideo", "-pix_fmt", "rgb48le", "-r", "10"),
      *("-s", f"{SIZE[0]}x{SIZE[1]}", "-i", "-"),
      *(
        "-vf",
        "scale=out_color_matrix=bt2020:out_range=tv,format=yuv444p12le,"
        + as_tagged("bt2020", transfer, "bt2020nc"),
      ),
      *tagged("bt2020", transfer, "bt2020nc"),
      str(self.path),
      input=pixels.tobytes(),
    )
    expected = color_spaces.of_codes(
      primaries=9, transfer=COLORS[transfer]
    ).to_srgb(codes)
    shown = self.first()[6::12, 8::16]
    np.testing.assert_allclose(shown.astype(int), expected, atol=3)

  def test_display_p3(self):
    self.record(
      *(
        "-vf",
        "format=rgb24,scale=out_color_matrix=bt709,format=yuv444p10le,"
        + as_tagged("smpte432", "bt709", "bt709"),
      ),
      *tagged("smpte432", "bt709", "bt709"),
      color="0xBD8973",
    )
    self.assert_shows((198, 134, 110))

  def test_untagged_high_definition(self):
    unknown = ("unknown",) * 3
    for size, matrix in (((1280, 720), "bt709"), ((640, 480), "bt601")):
      self.record(
        *(
          "-vf",
          f"format=rgb24,scale=out_color_matrix={matrix},format=yuv444p,"
          + as_tagged(*unknown),
        ),
        *tagged(*unknown, codec="libx264"),
        size=size,
      )
      stream = video_streams.probe(imageio_ffmpeg.get_ffmpeg_exe(), self.path)
      self.assertEqual(stream.matrix, "unknown")
      self.assert_shows((198, 134, 110), 2)

  def test_hdr_of_an_odd_size(self):
    names = "bt2020", "arib-std-b67", "bt2020nc"
    self.record(
      *("-vf", "format=yuv420p10le,setsar=4/3," + as_tagged(*names)),
      *tagged(*names),
    )
    with mock.patch.object(video_streams, "_MOST_PIXELS", 2000):
      self.assertEqual(self.first().shape[0] % 2, 1)

  def test_a_cover_is_no_video(self):
    cover = self.path.with_name("cover.jpg")
    self.ffmpeg(
      *("-f", "lavfi", "-i", "color=red:640x640", "-frames:v", "1", str(cover))
    )
    self.record(
      *("-map", "1", "-map", "0", "-c:v:0", "copy"),
      *("-disposition:v:0", "attached_pic"),
      source=("-i", str(cover)),
    )
    self.assert_shows((198, 134, 110))

  def test_a_duration_that_nobody_wrote_down(self):
    self.path = self.path.with_suffix(".webm")
    stream = (
      *("-f", "lavfi", "-i", "testsrc=64x48:r=10:d=2", "-c:v", "libvpx"),
      *("-f", "webm", "-live", "1", "-"),
    )
    with open(self.path, "wb") as file:
      self.ffmpeg(*stream, stdout=file)
    frames = list(video_frames.candidates(self.path, count=4))
    self.assertLen(frames, 4)
    self.assertGreater(frames[-1].seconds, 1.4)

  def test_frames_are_no_larger_than_a_face_needs(self):
    self.record("-c:v", "libx264", size=(640, 480))
    with mock.patch.object(video_streams, "_MOST_PIXELS", 640 * 480 // 4):
      self.assertEqual(self.first().shape, (240, 320, 3))

  @parameterized.parameters(
    ({"width": 8000, "height": 8000}, "too many pixels, 8000 x 8000"),
    (
      {"width": 6000, "height": 4000, "aspect": 3.0},
      "too many pixels, 18000 x 4000",
    ),
    ({"transfer": "log316"}, "logarithmic"),
    ({"matrix": "ipt-c2"}, "Dolby Vision profile 5"),
  )
  def test_what_cannot_be_shown(self, facts, reason):
    stream = Stream(0, **{"width": 64, "height": 48, **facts})
    with mock.patch.object(video_streams, "_stream", return_value=stream):
      self.record()
      with self.assertRaisesRegex(UserError, f"^{self.path}: .*{reason}"):
        self.first()

  def test_sound_alone(self):
    self.ffmpeg("-f", "lavfi", "-i", "sine=d=0.2", str(self.path))
    with self.assertRaisesRegex(UserError, "contains no video"):
      self.first()

  def test_dolby_vision_and_unknown_codecs(self):
    line = "  Stream #0:0[0x1](und): Video: {}, 64x48, 10 fps\n"
    for header, reason in (
      (line.format("none (abcd / 0x61626364), none"), "cannot read .none"),
      (
        line.format("hevc (Main 10), yuv420p10le(tv)")
        + "      DOVI configuration record: version: 1.0, profile: 5, level: 6",
        "profile 5",
      ),
    ):
      with mock.patch.object(video_streams, "_told", return_value=header):
        with self.assertRaisesRegex(UserError, reason):
          video_streams.probe("ffmpeg", self.path)

  def test_an_ffmpeg_without_zscale(self):
    self.record()
    stream = Stream(0, *SIZE, transfer="smpte2084")
    with (
      mock.patch.object(video_streams, "probe", return_value=stream),
      mock.patch.object(Stream, "filters", return_value=["no_such_zscale"]),
    ):
      with self.assertRaisesRegex(UserError, "is HDR, which needs an FFmpeg"):
        self.first()


if __name__ == "__main__":
  absltest.main()

"""Candidate photos from a video: the sharpest frame of every moment.

    for frame in video_frames.candidates("selfie.mp4", count=200):
      frame.seconds, frame.pixels

FFmpeg, which comes with imageio-ffmpeg, decodes them as a player shows them:
upright, with square pixels, HDR and wide colors converted to sRGB. Which of
them show new poses is decided after face detection: `pose_spread.farthest`.
"""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from my3dgen_jax.data.decoding import video_streams
from my3dgen_jax.data.decoding.video_streams import Stream
from my3dgen_jax.data.faces import photo_quality
from my3dgen_jax.errors import one_line, UserError, without_package

_FPS = 10.0  # frames per second that are examined; no one turns faster
_LONGEST_MOMENT = 0.5  # seconds per candidate, if the duration is unknown
_LOOK_AT = 480  # longer side at which sharpness is compared, pixels


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
  """A frame of a video.

  Attributes:
    seconds: time since the beginning, seconds.
    pixels: [H, W, 3] uint8.
  """

  seconds: float
  pixels: np.ndarray


def candidates(path: str | os.PathLike, *, count: int) -> Iterator[Frame]:
  """Yields the sharpest frame of each of equally long parts of a video.

  Args:
    path: the video.
    count: largest number of parts; a part has at least one frame.

  Raises: UserError: imageio-ffmpeg is missing, or FFmpeg cannot read the
    video; names the file.
  """
  path = pathlib.Path(path)
  ffmpeg = _ffmpeg(path)
  try:
    with open(path, "rb"):
      pass
  except OSError as error:
    raise UserError(f"{path}: cannot be read: {error.strerror}") from None
  stream = video_streams.probe(ffmpeg, path)
  duration = stream.duration
  part = max(1 / _FPS, duration / count if duration else _LONGEST_MOMENT)
  best: Frame | None = None
  best_sharpness, best_part = -1.0, 0
  with contextlib.closing(_frames(ffmpeg, path, stream)) as frames:
    for i, pixels in enumerate(frames):
      frame = Frame(i / _FPS, pixels)
      sharpness = _sharpness(pixels)
      number = min(int(frame.seconds / part + 1e-9), count - 1)
      if best is not None and number != best_part:
        yield best
        best_sharpness = -1.0
      if sharpness > best_sharpness:
        best, best_sharpness, best_part = frame, sharpness, number
  if best is None:
    raise UserError(f"{path}: contains no frames")
  yield best


def _sharpness(pixels: np.ndarray) -> float:
  """Sharpness of a whole frame, for comparing frames of one video."""
  step = max(1, max(pixels.shape) // _LOOK_AT)
  # Skips pixels instead of averaging: a blur of one pixel should count, too.
  return photo_quality.sharpness(
    photo_quality.luminance(pixels[::step, ::step])
  )


def _ffmpeg(path: pathlib.Path) -> str:
  """The FFmpeg executable."""
  try:
    # pylint: disable-next=import-outside-toplevel
    import imageio_ffmpeg
  except ImportError as error:
    raise without_package(
      error,
      "imageio-ffmpeg",
      f'{path}: videos need imageio-ffmpeg: pip install ".[video]"',
    ) from None
  try:
    return imageio_ffmpeg.get_ffmpeg_exe()
  except RuntimeError as error:
    raise UserError(f"{path}: {one_line(error)}") from None


def _frames(
  ffmpeg: str, path: pathlib.Path, stream: Stream
) -> Generator[np.ndarray, None, None]:
  """Yields ten frames per second, [H, W, 3], until the file is damaged."""
  filters = [f"fps={_FPS:g}", *stream.filters()]
  command = [
    *(ffmpeg, "-v", "error", *video_streams.READING),
    *("-i", video_streams.address(path), "-map", f"0:{stream.index}"),
    # Images with their size in the header.
    *("-vf", ",".join(filters), "-c:v", "ppm", "-pix_fmt", "rgb24"),
    *("-f", "image2pipe", "-"),
  ]
  read = 0
  with tempfile.TemporaryFile() as told:
    with video_streams.without_fork_warnings():
      process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=told,
        # Ctrl-C is for this process, which stops after storing its frame.
        start_new_session=True,
      )
    pipe: Any = process.stdout
    try:
      while (pixels := _read_ppm(pipe)) is not None:
        yield pixels
        read += 1
    finally:
      process.kill()
      pipe.close()
      process.wait()
    if not read:
      told.seek(0)
      text = told.read().decode("utf-8", "replace")
      if "No such filter" in text and stream.is_hdr:
        raise UserError(
          f"{path}: is HDR, which needs an FFmpeg with the filters zscale and "
          "tonemap, as included in imageio-ffmpeg"
        )
      raise UserError(
        f"{path}: cannot be decoded: {video_streams.reason_of(text)}"
      )


def _read_ppm(pipe: Any) -> np.ndarray | None:
  """FFmpeg's next frame, [H, W, 3] uint8; None if there is none."""
  if pipe.readline() != b"P6\n":
    return None
  width, height = map(int, pipe.readline().split())
  pipe.readline()  # the largest number, 255
  data = pipe.read(3 * width * height)
  if len(data) < 3 * width * height:
    return None
  return np.frombuffer(data, np.uint8).reshape(height, width, 3)

"""Frames of a video that may become photos: the sharpest of every moment.

    for frame in video_frames.candidates("selfie.mp4", count=200):
      frame.seconds, frame.pixels

FFmpeg decodes them, which imageio-ffmpeg brings along; it also turns videos
that a phone has recorded upright. Which of them show new poses is decided once
the faces are found: `pose_spread.farthest`.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from my3dgen_jax.data import photo_files
from my3dgen_jax.data.faces import photo_quality
from my3dgen_jax.errors import one_line, UserError

_FPS = 10.0  # frames a second that are looked at; nobody turns faster
_LONGEST_MOMENT = (
  0.5  # seconds in which at most one is taken, of unknown duration
)
_LOOK_AT = 480  # pixels along the longer side, in which sharpness is compared
_FILE = "file:"  # lest a name look like a URL to FFmpeg


@dataclasses.dataclass(frozen=True, eq=False)
class Frame:
  """A moment of a video.

  Attributes:
    seconds: since its beginning.
    pixels: [H, W, 3] uint8.
  """

  seconds: float
  pixels: np.ndarray


def candidates(path: str | os.PathLike, *, count: int) -> Iterator[Frame]:
  """Yields the sharpest frame of each of equally long parts of a video.

  Args:
    path: the video.
    count: how many parts at most; a part has at least one frame.

  Raises: UserError, which names the file: imageio-ffmpeg is missing; FFmpeg
    cannot read the video.
  """
  path = pathlib.Path(path)
  with _reading(path) as (meta, frames):
    width, height = meta["size"]
    if width * height > photo_files.MAX_PIXELS:
      raise UserError(f"{path}: has too many pixels, {width} x {height}")
    duration = meta.get("duration") or 0.0
    part = max(1 / _FPS, duration / count if duration else _LONGEST_MOMENT)
    best: Frame | None = None
    best_sharpness, best_part, yielded = -1.0, 0, 0
    for i, data in enumerate(frames):
      pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
      frame = Frame(i / _FPS, pixels)
      sharpness = _sharpness(pixels)
      number = min(int(frame.seconds / part + 1e-9), count - 1)
      if best is not None and number != best_part:
        yield best
        yielded += 1
        best_sharpness = -1.0
      if sharpness > best_sharpness:
        best, best_sharpness, best_part = frame, sharpness, number
    if best is None:
      raise UserError(f"{path}: holds no picture")
    yield best


def _sharpness(pixels: np.ndarray) -> float:
  """Of a whole frame; compares those of one video."""
  step = max(1, max(pixels.shape) // _LOOK_AT)
  # Pixels left out, not averaged: a blur of one pixel should count as well.
  return photo_quality.sharpness(
    photo_quality.luminance(pixels[::step, ::step])
  )


@contextlib.contextmanager
def _reading(path: pathlib.Path) -> Iterator[Any]:
  """What imageio-ffmpeg knows of the video, and its frames as bytes."""
  try:
    # pylint: disable-next=import-outside-toplevel
    import imageio_ffmpeg
  except ImportError:
    raise UserError(
      f'{path}: videos need imageio-ffmpeg: pip install ".[video]"'
    ) from None
  try:
    with open(path, "rb"):
      pass
  except OSError as error:
    raise UserError(f"{path}: cannot be read: {error.strerror}") from None
  # It warns that an upright video is of another size than the one lying.
  logging.getLogger("imageio_ffmpeg").setLevel(logging.ERROR)
  reader = imageio_ffmpeg.read_frames(
    _FILE + str(path.absolute()),
    pix_fmt="rgb24",
    # A playlist in disguise must not make it load anything.
    input_params=["-protocol_whitelist", "file"],
    output_params=["-vf", f"fps={_FPS}"],
  )
  try:
    with warnings.catch_warnings():
      # FFmpeg is another program, so the threads of JAX do not matter to it.
      warnings.filterwarnings("ignore", r"os\.fork")
      meta: dict[str, Any] = next(reader)
  except (OSError, RuntimeError, StopIteration) as error:
    lines = [line.strip() for line in str(error).splitlines()]
    reason = next(
      (
        line
        for line in reversed(lines)
        if "Invalid" in line or "not found" in line
      ),
      one_line(lines[0] if lines else error),
    )
    raise UserError(f"{path}: is damaged, or no video: {reason}") from None
  try:
    yield meta, _guarded(reader, path)
  finally:
    reader.close()


def _guarded(reader: Any, path: pathlib.Path) -> Iterator[bytes]:
  """The frames up to where the file is damaged."""
  read = 0
  try:
    for data in reader:
      yield data
      read += 1
  except (OSError, RuntimeError) as error:
    if not read:
      raise UserError(
        f"{path}: cannot be decoded: {one_line(error)[:200]}"
      ) from None

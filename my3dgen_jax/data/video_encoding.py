"""Encodes frames to GIF and MP4, with Pillow and ffmpeg."""

import contextlib
import fractions
import io
import itertools
import pathlib
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from my3dgen_jax.errors import UserError, without_package

# If a video does not state its colors, players guess them from the size.
_COLORS = (
  "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
  "setparams=colorspace=bt709:color_primaries=bt709:"
  "color_trc=bt709:range=tv"
)
MP4_UUID = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
GIF_XMP = b"!\xff\x0bXMP DataXMP"
# A reader that takes the packet for GIF sub-blocks, a length and as many bytes
# each, lands anywhere in here, and every byte leads to the last one.
GIF_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\0"


def checked_frames(
  path: pathlib.Path, frames: Iterable[np.ndarray]
) -> Iterator[np.ndarray]:
  """The same frames, checked: at least one, of one size and kind."""
  size = None
  for index, frame in enumerate(frames):
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[-1] != 3:
      raise UserError(
        f"{path}: frame {index}: expected uint8 [H, W, 3], got "
        f"{frame.dtype} {list(frame.shape)}"
      )
    size = size or frame.shape
    if frame.shape != size:
      raise UserError(
        f"{path}: frame {index} has {frame.shape[0]} x "
        f"{frame.shape[1]} pixels, the others {size[0]} x "
        f"{size[1]}"
      )
    yield frame
  if size is None:
    raise UserError(f"{path}: there are no frames to write")


def durations(number: int, fps: float, clock: int) -> list[int]:
  """How long each frame is shown, milliseconds.

  Args:
    number: number of frames.
    fps: frames per second.
    clock: ticks per second of the format. A frame's rounding error is carried
      to the next frame; otherwise 24 frames per second would become 25.
  """
  ticks = [round(index * clock / fps) for index in range(number + 1)]
  return [(end - start) * 1000 // clock for start, end in zip(ticks, ticks[1:])]


def write_gif(
  file: BinaryIO,
  frames: list[np.ndarray],
  fps: float,
  sentence: str,
  packet: bytes,
):
  """Writes frames, uint8 [H, W, 3], with 256 colors each, and metadata."""
  pictures = [Image.fromarray(frame) for frame in frames]
  memory = io.BytesIO()
  pictures[0].save(
    memory,
    format="GIF",
    save_all=True,
    append_images=pictures[1:],
    duration=durations(len(pictures), fps, 100),
    loop=0,
    comment=sentence.encode(),
  )
  gif = memory.getvalue()
  # Pillow writes no XMP; it may be anywhere before the last byte.
  file.write(gif[:-1] + GIF_XMP + packet + GIF_TRAILER + gif[-1:])


def find_ffmpeg(path: pathlib.Path) -> str:
  """The program that encodes MP4.

  Raises: UserError: it is not installed.
  """
  remedy = "pip install imageio-ffmpeg"
  try:
    # pylint: disable-next=import-outside-toplevel
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()
  except ImportError as error:
    raise without_package(
      error,
      "imageio-ffmpeg",
      f"{path}: MP4 needs imageio-ffmpeg: {remedy}, or a name "
      "that ends in .gif or .webp",
    ) from error
  except RuntimeError as error:  # the package lacks the program
    raise UserError(f"{path}: MP4 needs ffmpeg: {remedy} ({error})") from error


def write_mp4(
  path: pathlib.Path,
  file: BinaryIO,
  executable: str,
  frames: Iterator[np.ndarray],
  fps: float,
  crf: int,
  sentence: str,
  comment: str,
  packet: bytes,
):
  """Writes H.264 for every browser, with metadata.

  Args:
    path: the final file, as named in messages.
    file: the file to write to.
    executable: the ffmpeg executable.
    frames: uint8 [H, W, 3]; odd sides grow by one pixel.
    fps: frames per second.
    crf: x264's quality, 0 to 51.
    sentence: how the video was made, in words.
    comment: how it was made, for the comment field.
    packet: the XMP packet.

  Raises: UserError: ffmpeg fails.
  """
  first = next(frames)
  height, width = (side + side % 2 for side in first.shape[:2])
  padding = ((0, height - first.shape[0]), (0, width - first.shape[1]), (0, 0))
  padded = (
    np.pad(frame, padding, mode="edge")
    for frame in itertools.chain([first], frames)
  )
  # ffmpeg seeks back to the start at the end, so it needs a named file.
  with tempfile.TemporaryDirectory() as folder:
    video = pathlib.Path(folder) / "video.mp4"
    _encode(
      path,
      [
        executable,
        "-loglevel",
        "error",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-s",
        f"{width}x{height}",
        "-r",
        str(fractions.Fraction(fps).limit_denominator(10_000)),
        "-i",
        "-",
        "-an",
        "-c:v",
        "libx264",
        "-crf",
        str(crf),
        "-vf",
        _COLORS,
        "-pix_fmt",
        "yuv420p",
        *_metadata(
          {"comment": comment, "description": sentence, "synopsis": sentence}
        ),
        # The index first: browsers play before everything is loaded.
        "-movflags",
        "+faststart",
        str(video),
      ],
      padded,
      pathlib.Path(folder) / "log",
    )
    with open(video, "rb") as encoded:
      shutil.copyfileobj(encoded, file)
  # At the end, because the index counts bytes from the file's start.
  file.write(
    struct.pack(">I4s16s", 24 + len(packet), b"uuid", MP4_UUID) + packet
  )


def _metadata(tags: dict[str, str]) -> list[str]:
  return list(
    itertools.chain.from_iterable(
      ("-metadata", f"{key}={value}") for key, value in tags.items()
    )
  )


def _encode(
  path: pathlib.Path,
  command: list[str],
  frames: Iterator[np.ndarray],
  log: pathlib.Path,
):
  """Feeds frames to ffmpeg; it has ended on return, whatever happens.

  Raises: UserError: ffmpeg failed; gives the reason.
  """
  # A pipe for its messages could fill up, and it would block forever. In a
  # separate session, only this process receives Ctrl-C.
  with open(log, "wb") as messages:
    process = subprocess.Popen(
      command,
      stdin=subprocess.PIPE,
      stdout=subprocess.DEVNULL,
      stderr=messages,
      start_new_session=True,
    )
  try:
    for frame in frames:
      try:
        process.stdin.write(frame.tobytes())
        process.stdin.flush()
      except BrokenPipeError:  # the log says why
        break
    with contextlib.suppress(BrokenPipeError):
      process.stdin.close()
    process.wait()
  finally:
    process.kill()  # does nothing if it has ended
    with contextlib.suppress(BrokenPipeError):
      process.stdin.close()
    process.wait()
  if process.returncode:
    lines = log.read_text(errors="replace").strip().splitlines()
    reason = lines[-1] if lines else f"exit status {process.returncode}"
    raise UserError(f"{path}: ffmpeg cannot write it: {reason}")

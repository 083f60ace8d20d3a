"""Reads video headers, and chooses FFmpeg's filters to show a video correctly.

    stream = video_streams.probe(ffmpeg, path)
    ffmpeg -i … -map 0:{stream.index} -vf {','.join(stream.filters())} …

FFmpeg rotates frames as their display matrix says. The rest is up to its
user: pixels that are not square, HDR (HLG and PQ), wide colors, and the color
matrix of an untagged high-definition video.
"""

import contextlib
import dataclasses
import math
import pathlib
import re
import subprocess
import warnings
from collections.abc import Iterator

from my3dgen_jax.data.decoding import color_spaces
from my3dgen_jax.errors import one_line, UserError

# Larger than 8K, whose frames are 33 million pixels.
MAX_PIXELS = 36_000_000
# Videos above 4K are scaled down: a face in them is large enough.
_MOST_PIXELS = 9_000_000
_PATIENCE = 60.0  # seconds for a header; a file may be on a slow disk
_FILE = "file:"  # so that no name looks like a URL to FFmpeg
# A disguised playlist must not make it load anything.
READING = ("-nostdin", "-hide_banner", "-protocol_whitelist", "file")

_HDR = ("arib-std-b67", "smpte2084")
_WIDE = ("bt2020", "smpte431", "smpte432", "film", "smpte428", "bt470m")
_ODD_TRANSFERS = ("linear", "smpte428")  # linear light, or for cinemas
_UNREADABLE = ("log100", "log316")
_HIGH_DEFINITION = 1280, 720

_STREAM = re.compile(
  r"^  Stream #0:(\d+)\S*: Video: (?P<codec>\w+).*?, "
  r"(?P<format>\w+)(?:\((?P<facts>[^)]*)\))?, "
  r"(?P<width>\d+)x(?P<height>\d+)"
  r"(?:,? \[?SAR (?P<across>\d+):(?P<down>\d+))?"
)
_ANY_VIDEO = re.compile(r"^  Stream #0:\d+\S*: Video: ")
_DURATION = re.compile(r"^  Duration: (\d+):(\d+):([\d.]+)")
_TIME = re.compile(r"time=(\d+):(\d+):([\d.]+)")
_DOLBY = re.compile(r"DOVI configuration record: .*profile: 5\b")


@dataclasses.dataclass(frozen=True)
class Stream:
  """A video's image stream.

  Attributes:
    index: the stream's number in the file.
    width, height: stored size, pixels.
    aspect: a pixel's width divided by its height.
    duration: duration, seconds; 0.0: not stated in the file.
    pixel_format: FFmpeg's name of the pixel format.
    matrix, primaries, transfer: FFmpeg's names of its colors; "unknown".
  """

  index: int
  width: int
  height: int
  aspect: float = 1.0
  duration: float = 0.0
  pixel_format: str = "yuv420p"
  matrix: str = "unknown"
  primaries: str = "unknown"
  transfer: str = "unknown"

  @property
  def is_hdr(self) -> bool:
    return self.transfer in _HDR

  @property
  def shown_size(self) -> tuple[int, int]:
    """Width and height with square pixels, before rotation to upright."""
    wide = max(1, round(self.width * max(self.aspect, 1)))
    high = max(1, round(self.height / min(self.aspect, 1)))
    return wide, high

  def filters(self) -> list[str]:
    """FFmpeg's filters to sRGB with square pixels, at most 4K."""
    result = []
    wide, high = self.shown_size
    shrink = min(1.0, math.sqrt(_MOST_PIXELS / (wide * high)))
    across = max(self.aspect, 1) * shrink
    down = shrink / min(self.aspect, 1)
    if (across, down) != (1, 1):
      # In terms of iw and ih, which are swapped by rotation, as is sar.
      if self.aspect != 1:
        result.append("scale=w='iw*max(sar,1)':h='ih/min(sar,1)',setsar=1")
      if shrink < 1:
        result.append(f"scale=w='iw*{shrink:.6f}':h='ih*{shrink:.6f}'")
    return result + self._colors()

  def _colors(self) -> list[str]:
    coded = self.pixel_format.startswith(("yuv", "nv", "p0", "p2"))
    if (
      self.is_hdr
      or self.transfer in _ODD_TRANSFERS
      or (self.primaries in _WIDE)
    ):
      first = {"transfer": "linear", "agamma": "0"}
      if self.is_hdr:
        first["npl"] = f"{color_spaces.WHITE_NITS:g}"
      elif self.transfer not in _ODD_TRANSFERS:
        # As screens show it, not by the camera's curve.
        first["transferin"] = "iec61966-2-1"
      if self.primaries == "unknown":
        first["primariesin"] = "bt2020" if self.is_hdr else "bt709"
      if self.matrix == "unknown" and coded:
        first["matrixin"] = (
          "bt709" if self.primaries.startswith("smpte43") else "bt2020nc"
        )
      return [
        # zscale cannot halve odd sizes.
        *(["format=yuv444p12le"] if coded else []),
        _filter("zscale", first),
        "format=gbrpf32le",
        "zscale=primaries=bt709",
        *([_TONE_MAP] if self.is_hdr else []),
        "zscale=transfer=iec61966-2-1:range=full",
        "format=gbrp",
      ]
    large = max(self.width, self.height) >= _HIGH_DEFINITION[0] or (
      min(self.width, self.height) >= _HIGH_DEFINITION[1]
    )
    if self.matrix == "unknown" and coded and large:
      return ["scale=in_color_matrix=bt709"]
    return []


_TONE_MAP = (
  f"tonemap=mobius:param={color_spaces.KNEE:g}:desat=0:"
  f"peak={color_spaces.PEAK_NITS / color_spaces.WHITE_NITS:.6f}"
)


def _filter(name: str, options: dict[str, str]) -> str:
  return f"{name}=" + ":".join(f"{k}={v}" for k, v in options.items())


@contextlib.contextmanager
def without_fork_warnings() -> Iterator[None]:
  """FFmpeg is a separate program: JAX's threads do not affect it."""
  with warnings.catch_warnings():
    warnings.filterwarnings("ignore", r"os\.fork")
    yield


def address(path: pathlib.Path) -> str:
  """A file's address, which FFmpeg cannot mistake for anything else."""
  return _FILE + str(path.absolute())


def probe(ffmpeg: str, path: pathlib.Path) -> Stream:
  """Reads a video's header.

  Args:
    ffmpeg: the FFmpeg executable.
    path: the video.

  Returns: its first image stream that is not a cover.
  Raises: UserError: it is not a video, or one that cannot be shown; names the
    file.
  """
  text = _told(ffmpeg, path, [])
  lines = text.splitlines()
  videos = [line for line in lines if _ANY_VIDEO.match(line)]
  if not videos:
    if any(line.startswith("  Stream #0:") for line in lines):
      raise UserError(f"{path}: contains no video, only sound or text")
    raise UserError(f"{path}: is damaged, or not a video: {reason_of(text)}")
  moving = [line for line in videos if "(attached pic)" not in line]
  if not moving:
    raise UserError(f"{path}: contains no video, only a cover picture")
  found = next((m for m in map(_STREAM.match, moving) if m), None)
  if found is None or found["codec"] == "none":
    kind = one_line(moving[0].partition("Video: ")[2].partition(",")[0])
    raise UserError(
      f"{path}: has a codec that this FFmpeg cannot read ({kind}); convert it "
      "to MP4 (H.264)"
    )
  stream = _stream(found, lines)
  _check(stream, path, text)
  if not stream.duration:
    stream = dataclasses.replace(
      stream, duration=_measured(ffmpeg, path, stream.index)
    )
  return stream


def _stream(found: re.Match, lines: list[str]) -> Stream:
  across, down = int(found["across"] or 1), int(found["down"] or 1)
  colors = ["unknown"] * 3
  for fact in (found["facts"] or "").split(", "):
    if fact.count("/") == 2:
      colors = fact.split("/")
    elif re.match(r"bt|smpte|gbr|fcc|ycgco|film|ictcp|ipt", fact):
      colors = [fact] * 3
  spans = [match for match in map(_DURATION.match, lines) if match]
  return Stream(
    index=int(found[1]),
    width=int(found["width"]),
    height=int(found["height"]),
    aspect=across / down if across and down else 1.0,
    duration=_seconds(spans[0]) if spans else 0.0,
    pixel_format=found["format"],
    matrix=colors[0],
    primaries=colors[1],
    transfer=colors[2],
  )


def _check(stream: Stream, path: pathlib.Path, header: str):
  wide, high = stream.shown_size
  for width, height in ((stream.width, stream.height), (wide, high)):
    if width * height > MAX_PIXELS:
      raise UserError(
        f"{path}: has too many pixels, {width} x {height}; make it smaller, "
        f"to at most {MAX_PIXELS // 10**6} million"
      )
  if _DOLBY.search(header) or stream.matrix.startswith("ipt"):
    raise UserError(
      f"{path}: is Dolby Vision profile 5, whose colors only its own "
      "players show; export it as HDR10, HLG or SDR"
    )
  if stream.transfer in _UNREADABLE:
    raise UserError(
      f"{path}: has colors in a logarithmic curve ({stream.transfer}); "
      "export it as ordinary video"
    )


def _measured(ffmpeg: str, path: pathlib.Path, index: int) -> float:
  """Seconds of a stream whose file does not state them: read, not decoded."""
  text = _told(
    ffmpeg, path, ["-map", f"0:{index}", "-c", "copy", "-f", "null", "-"]
  )
  times = _TIME.findall(text)
  return _seconds((None, *times[-1])) if times else 0.0


def _seconds(match: "re.Match | tuple") -> float:
  return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])


def _told(ffmpeg: str, path: pathlib.Path, output: list[str]) -> str:
  """FFmpeg's output on stderr."""
  try:
    with without_fork_warnings():
      result = subprocess.run(
        [ffmpeg, *READING, "-i", address(path), *output],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        timeout=_PATIENCE,
        check=False,
      )
  except subprocess.TimeoutExpired:
    raise UserError(
      f"{path}: FFmpeg needs more than {_PATIENCE:g} s to look at it"
    ) from None
  except OSError as error:
    raise UserError(
      f"{path}: FFmpeg cannot be started: {one_line(error)}"
    ) from None
  return result.stderr.decode("utf-8", "replace")


def reason_of(text: str) -> str:
  """The line of FFmpeg's output with the reason, without the file's name."""
  lines = [line.strip() for line in text.splitlines() if line.strip()]
  reason = next(
    (
      line
      for line in reversed(lines)
      if re.search("Invalid|not found|rror|No such|nsupported", line)
    ),
    lines[-1] if lines else "it prints nothing",
  )
  reason = re.sub(r"^\[[^]]*\] *", "", reason)
  reason = re.sub(r"(Error opening input files?|file:.*): +", "", reason)
  return one_line(reason)[:200]

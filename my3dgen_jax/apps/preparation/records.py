"""Records of photos and video frames on their way into an album."""

import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Callable

from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.apps.preparation.looks import Look, Seen
from my3dgen_jax.data import (
  album_files,
  dataset_json,
  photo_files,
  video_frames,
)
from my3dgen_jax.data.faces import pose_spread
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.storage.files import is_leftover, replacing

MIRRORED_SUFFIX = "_mirrored"
_FRAMES_AT_HAND = 3  # candidates per requested frame of a video
_JPEG_QUALITY = 97  # of cached frames
_LONGEST_NAME = 150  # bytes; file systems allow 255, and suffixes are added


@dataclasses.dataclass
class Record:
  """A photo on its way into the album.

  Attributes:
    file: its name in messages and the report.
    name: its name in the album, without extension.
    path: the file to read.
    video: the video it is a frame of, or None.
    look: what was found in it.
    seen: the face that counts, or None.
    reason: why it is set aside; "": it is kept.
    similarity: cosine similarity to the person, or None.
    part: part of the album: train, test or reference; "": not in it.
  """

  file: str
  name: str
  path: pathlib.Path
  video: pathlib.Path | None = None
  look: Look | None = None
  seen: Seen | None = None
  reason: str = ""
  similarity: float | None = None
  part: str = ""

  @property
  def kept(self) -> bool:
    return self.seen is not None and not self.reason

  @property
  def turned(self) -> int:
    """See `Look.turned`."""
    return self.look.turned if self.look is not None else 0

  @property
  def angles(self) -> tuple[float, float, float]:
    """Yaw, pitch and roll, degrees."""
    return pose_spread.angles(self.seen.label)


def find_records(
  config: PrepareConfig,
  found: photo_files.Found,
  work: pathlib.Path,
  stop: StopRequest,
  log: Callable[[str], None],
) -> list[Record]:
  """Lists photos and candidate frames, with valid names for the album.

  Args:
    config: the settings, with the photos' folder and frames per video.
    found: the files.
    work: folder to cache frames in.
    stop: request to stop, checked after each frame.
    log: called with one line per video.

  Returns: one record per photo and frame, and per video that cannot be read,
    with its reason.
  Raises: Interrupted: `stop` was requested; frames so far are cached.
  """
  root = pathlib.Path(config.photos).expanduser()
  records = [
    Record(relative_name(path, root), "", path) for path in found.photos
  ]
  for video in found.videos:
    file = relative_name(video, root)
    try:
      frames = _frames(video, config, work, stop)
    except UserError as error:
      records.append(
        Record(file, "", video, reason=str(error).removeprefix(f"{video}: "))
      )
      log(str(error))
      continue
    log(f"{file}: {len(frames)} frames to choose from")
    records += [
      Record(f"{file} at {int(path.stem) / 1000:.1f} s", "", path, video)
      for path in frames
    ]
  taken = set()
  for record in records:
    base = name = _safe_name(record.file)
    number = 2
    while name.casefold() in taken:
      name = f"{base}_{number}"
      number += 1
    taken.add(name.casefold())
    record.name = name
  return records


def relative_name(path: pathlib.Path, root: pathlib.Path) -> str:
  """A file's name in messages and landmarks."""
  name = path.relative_to(root).as_posix() if path != root else path.name
  return printable(dataset_json.normal_name(name))


def printable(text: str) -> str:
  """A text without placeholders for bytes that are not UTF-8."""
  return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _safe_name(file: str) -> str:
  """A name for the album: flat, and not a reserved one."""
  name = (
    album_files.stem(file)
    if pathlib.PurePosixPath(file).suffix.lower() in photo_files.EXTENSIONS
    else file
  )
  name = short(re.sub(r"[^\w-]+", "_", name).strip("_") or "photo")
  # "me_mask" beside "me" would be taken for its mask.
  for suffix in (
    album_files.MASK_SUFFIX,
    album_files.MARKS_SUFFIX,
    album_files.LATENT_SUFFIX,
    MIRRORED_SUFFIX,
  ):
    if name.endswith(album_files.stem(suffix) or suffix):
      name += "_"
  return name


def short(name: str) -> str:
  """A name of at most 150 bytes: a long one becomes a hash and its end."""
  data = name.encode()
  if len(data) <= _LONGEST_NAME:
    return name
  start = hashlib.sha256(data).hexdigest()[:8] + "_"
  # What remains of a cut character is not valid UTF-8.
  return start + data[len(start) - _LONGEST_NAME :].decode(errors="ignore")


def _frames(
  video: pathlib.Path,
  config: PrepareConfig,
  work: pathlib.Path,
  stop: StopRequest,
) -> list[pathlib.Path]:
  """Candidate frames as files, named by their milliseconds."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image

  count = _FRAMES_AT_HAND * config.frames
  try:
    facts = video.stat()
  except OSError as error:
    raise UserError(f"{video}: cannot be read: {error.strerror}") from None
  # Hashing gigabytes would take as long as decoding them.
  key = short(
    re.sub(
      r"\W+", "_", f"{video.stem}-{facts.st_size}-{facts.st_mtime_ns}-{count}"
    )
  )
  folder = work / "frames" / key
  complete = folder / "complete"
  if not complete.exists():
    folder.mkdir(parents=True, exist_ok=True)
    for frame in video_frames.candidates(video, count=count):
      stop.raise_if_wanted(
        "stopped while reading a video; the same command resumes"
      )
      with replacing(folder / f"{round(1000 * frame.seconds):08d}.jpg") as f:
        Image.fromarray(frame.pixels).save(
          f, format="JPEG", quality=_JPEG_QUALITY, subsampling=0
        )
    complete.touch()
  return sorted(path for path in folder.glob("*.jpg") if not is_leftover(path))

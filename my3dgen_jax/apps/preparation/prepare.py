"""From anybody's photos or video to an album.

    out/album/            what `data.album.Album` opens: photos, cameras, masks
                          where a photo ended, test.txt and reference.txt
    out/report.csv        a line for each photo: kept or why not, and numbers
    out/kept.png, out/set_aside.png
    out/set_aside/        the crops that are not in the album, with labels
    out/landmarks.json    what was found in the photos, for --detections
    out/unfinished/       what is remembered; may be deleted

Photos themselves are only read. Nothing but pixels and the files' names comes
out of them: no place, no time, no device.
"""

import csv
import dataclasses
import hashlib
import io
import math
import os
import pathlib
import re
import shutil
from typing import (Any, Callable, Dict, Iterator, List, Literal, Optional,
                    Sequence, Tuple)

import jax
import numpy as np

from my3dgen_jax.apps.preparation import contact_sheets, looks
from my3dgen_jax.apps.preparation.contact_sheets import Tile
from my3dgen_jax.apps.preparation.looks import Look, Looking, Seen, Task
from my3dgen_jax.config import ConfigError, setting
from my3dgen_jax.data import (album, dataset_json, images, photo_files,
                              video_frames)
from my3dgen_jax.data.faces import (cat_face, landmarks, mediapipe_models,
                                    photo_quality, pose_spread)
from my3dgen_jax.storage.files import is_leftover, replacing
from my3dgen_jax.data.faces.landmarks import Face, Given
from my3dgen_jax.errors import UserError
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.ops import cameras
from my3dgen_jax.jobs.interrupts import StopRequest, stopping_gently
from my3dgen_jax.jobs.progress import Progress

SET_ASIDE_FOLDER = "set_aside"
REPORT_FILE, LANDMARKS_FILE = "report.csv", "landmarks.json"
TEST_FILE, REFERENCE_FILE = "test.txt", "reference.txt"
MIRRORED_SUFFIX = "_mirrored"

_UNFINISHED = "unfinished"
_FRAMES_AT_HAND = 3  # candidates for each frame of a video that is wanted
_JPEG_QUALITY = 97  # of frames while they are looked at
_MOST_CUT_OFF = 0.1  # share of a face's landmarks outside of its photo
_LEAST_SPLIT = 5  # photos; of fewer, a share of them is none
_LOOKS_LIKE = "looks like"
_LONGEST_NAME = 150  # bytes; file systems allow 255, and endings are added
_RIVAL = 0.8  # share of the person's photos from which on another is told of
_BATCH = 16  # faces that a recognition network sees at a time
# Networks trained on faces aligned to ArcFace's template; others see the
# generator's crop.
_ALIGNED_NETWORKS = ("ir_se50", "mobilefacenet")


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
  """How photos become an album."""

  photos: str = setting("", "Folder of photos and videos, with all that is "
                        "in it; or one video.")
  out: str = setting("", "Folder to write; the album is in its album/.")
  size: int = setting(512, "Side of the crops, pixels: the generator's.")
  domain: Literal["face", "cat"] = setting("face", "Whose faces: face (of "
                                           "people) or cat.")
  detections: str = setting("", "Landmarks to use instead of a detector: a "
                            "folder of NAME.txt (cats: NAME.jpg.cat), or a "
                            "JSON file. Cats' are looked for beside photos.")
  identity: str = setting("", "Folder of a face recognition network, to set "
                          "other people aside; none: no such check.")
  min_sharpness: float = setting(photo_quality.MIN_SHARPNESS, "Blurred faces "
                                 "have less.")
  min_colour: float = setting(photo_quality.MIN_COLOUR, "Grey and sepia "
                              "photos of people have less.")
  min_scale: float = setting(0.4, "Least pixels of a photo for one of the "
                             "crop, along a side.")
  min_inside: float = setting(0.5, "Least share of the crop that lies in the "
                              "photo; the rest is filled up and masked.")
  duplicate: float = setting(photo_quality.DUPLICATE, "From this correlation "
                             "on a face repeats another; 1: none does.")
  frames: int = setting(60, "Of each video, at most.")
  test: float = setting(0.1, "Photos to hold out: a share, or from 1 on a "
                        "number.")
  reference: float = setting(0.1, "Photos to compare identity with, likewise.")
  mirror: bool = setting(False, "Add mirrored copies of the photos to learn "
                         "from.")
  keep: Tuple[str, ...] = setting((), "Names of photos that no check sets "
                                  "aside.")
  workers: int = setting(0, "Processes; 0: one a core.")
  overwrite: bool = setting(False, "Replace the album that --out holds.")

  def validate(self) -> "PrepareConfig":
    """Checks the fields; raises ConfigError that names one."""
    for name in ("photos", "out"):
      if not getattr(self, name):
        raise ConfigError(f"{name}: is missing: the folder "
                          + ("to write" if name == "out" else "of photos"))
    if self.domain not in looks.DOMAINS:
      raise ConfigError("domain: expected one of "
                        f"{', '.join(looks.DOMAINS)}, got "
                        f"{self.domain!r}")
    for name, low, high in (
        ("size", 16, 4096), ("frames", 1, 10_000), ("workers", 0, 256)):
      value = getattr(self, name)
      if value != int(value) or not low <= value <= high:
        raise ConfigError(f"{name}: expected a whole number from {low} to "
                          f"{high}, got {value}")
    for name, high in (
        ("min_sharpness", 1), ("min_colour", 255), ("min_scale", math.inf),
        ("min_inside", 1), ("duplicate", 1)):
      if not 0 <= getattr(self, name) <= high:
        raise ConfigError(f"{name}: expected a number from 0 to {high}, got "
                          f"{getattr(self, name)}")
    for name in ("test", "reference"):
      value = getattr(self, name)
      if not 0 <= value < 2**31 or value > 1 and value != int(value):
        raise ConfigError(f"{name}: expected a share below 1 or a whole "
                          f"number, got {value}")
    if self.domain != "face" and self.identity:
      raise ConfigError("identity: tells people apart, not cats; leave it out")
    return self


@dataclasses.dataclass
class Record:
  """A photo on its way into the album.

  Attributes:
    file: what messages and the report call it.
    name: in the album, without an extension.
    path: the file to look at.
    video: of which it is a frame, or None.
    look: what was seen.
    seen: the face of it that counts, or None.
    reason: why it is set aside; "" if it is not.
    similarity: to the person, or None.
    part: of the album: train, test or reference; "" where it is not in it.
  """

  file: str
  name: str
  path: pathlib.Path
  video: Optional[pathlib.Path] = None
  look: Optional[Look] = None
  seen: Optional[Seen] = None
  reason: str = ""
  similarity: Optional[float] = None
  part: str = ""

  @property
  def kept(self) -> bool:
    return self.seen is not None and not self.reason

  @property
  def angles(self) -> Tuple[float, float, float]:
    """Yaw, pitch and roll, degrees."""
    return pose_spread.angles(self.seen.label)


def prepare(config: PrepareConfig, *,
            make_detector: looks.MakeDetector
            = mediapipe_models.face_detector,
            report: Callable[[str], None] = print) -> List[Record]:
  """Makes an album.

  A script that calls it with several workers must do so below `if __name__ ==
  "__main__"`, as each of them imports the script.

  Args:
    config: how.
    make_detector: makes what finds people's faces, in each process; a
      function that can be pickled.
    report: called with lines about what happens.

  Returns: what became of each photo and candidate frame.
  Raises:
    UserError: bad input, or no photo is left; what was seen is remembered,
      and `report.csv` says why each photo was set aside.
    Interrupted: SIGTERM or SIGINT; the same call goes on.
  """
  config.validate()
  tell = lambda line: report(_printable(line))
  out = pathlib.Path(config.out).expanduser()
  if (out / album.ALBUM_FOLDER).exists() and not config.overwrite:
    raise UserError(f"{out}: holds an album already; --overwrite makes it "
                    "anew, another --out keeps both")
  if out.exists() and any(out.iterdir()) and not _is_ours(out):
    raise UserError(f"{out}: holds other things; give a new folder")
  found = photo_files.find(config.photos, without=out)
  if not found.photos and not found.videos:
    raise UserError(f"{config.photos}: holds no photos "
                    f"({', '.join(photo_files.EXTENSIONS[:6])}, …)")
  network = identity_lib.load_identity(
      config.identity) if config.identity else None
  known = _known_faces(config, found.photos)
  work = out / _UNFINISHED
  work.mkdir(parents=True, exist_ok=True)
  with stopping_gently() as stop:
    for line in found.unreadable:
      tell(f"{line}: passed over")
    records = _records(config, found, work, stop, tell)
    _look(records, config, known, work, make_detector, stop)
    _choose_faces(records, config.domain, network, tell)
    _set_aside(records, config)
    _split([record for record in records if record.kept], config, tell)
    stop.raise_if_wanted("stopped before writing; the same command goes on")
    _write(records, config, out)
  _tell(records, found, config, out, tell)
  if not any(record.kept for record in records):
    raise UserError(f"{config.photos}: no photo is left for an album; "
                    f"{out / REPORT_FILE} says why")
  return records


# What to look at.


def _known_faces(config: PrepareConfig, photos: Sequence[pathlib.Path]
                 ) -> Optional[Given]:
  """Landmarks that were given; None: they are to be found."""
  cat = config.domain == "cat"
  count = cat_face.POINTS if cat else landmarks.FACE_POINTS
  if config.detections:
    place = pathlib.Path(config.detections).expanduser()
    if not place.exists():
      raise UserError(f"{place}: no such folder or file of landmarks")
    if not place.is_dir():
      return landmarks.read_json(place, count)
    beside = sorted(place.glob(f"*{cat_face.SUFFIX}")) if cat else ()
    if not beside:
      return landmarks.read_folder(place, count)
    return landmarks.read_files([(path.stem, path) for path in beside], count)
  if not cat:
    return None
  root = pathlib.Path(config.photos).expanduser()
  beside = [(_relative(path, root), path.with_name(path.name
                                                   + cat_face.SUFFIX))
            for path in photos]
  beside = [(name, path) for name, path in beside if path.exists()]
  if not beside:
    raise UserError(f"{config.photos}: cats need landmarks, NAME.jpg"
                    f"{cat_face.SUFFIX} beside NAME.jpg; or give --detections")
  return landmarks.read_files(beside, count)


def _relative(path: pathlib.Path, root: pathlib.Path) -> str:
  """A file's name as messages and landmarks call it."""
  name = path.relative_to(root).as_posix() if path != root else path.name
  return _printable(dataset_json.normal_name(name))


def _printable(text: str) -> str:
  """Without what stands for a file name's bytes that are no UTF-8."""
  return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _faces_of(record: Record, known: Given,
              owners: Dict[str, List[Record]]) -> Optional[List[Face]]:
  """What is said about a photo, and about no other.

  Returns: None if there is nothing that can be used; the record says why then.
  """
  names = [name for name in _landmark_names(record)
           if name in known.faces or name in known.faults]
  for name in names:
    if len(owners[name]) > 1 or owners[name][0] is not record:
      continue
    if name in known.faces:
      return known.faces[name]
    record.reason = f"bad landmarks: {known.faults[name]}"
    return None
  if names:
    other = next(other for other in owners[names[0]] if other is not record)
    record.reason = (f"landmarks of {names[0]!r} may be those of "
                     f"{other.file}; name both with their folders, in a JSON "
                     "file")
  else:
    record.reason = "has no landmarks in what was given"
  return None


def _landmark_names(record: Record) -> Tuple[str, ...]:
  """Its path in its folder or its name, with or without ending."""
  names = record.file, record.file.rpartition("/")[2]
  return (*names, *(album.stem(name) for name in names), record.name)


def _owners(records: Sequence[Record]) -> Dict[str, List[Record]]:
  """Whose landmarks a name may stand for; a whole path is one photo's."""
  whole: Dict[str, List[Record]] = {}
  parts: Dict[str, List[Record]] = {}
  for record in records:
    whole.setdefault(record.file, []).append(record)
    for name in set(_landmark_names(record)):
      parts.setdefault(name, []).append(record)
  return {**parts, **whole}


def _records(config: PrepareConfig, found: photo_files.Found,
             work: pathlib.Path, stop: StopRequest,
             report: Callable[[str], None]) -> List[Record]:
  """All photos and candidate frames, with names that the album can have."""
  root = pathlib.Path(config.photos).expanduser()
  records = [Record(_relative(path, root), "", path)
             for path in found.photos]
  for video in found.videos:
    file = _relative(video, root)
    try:
      frames = _frames(video, config, work, stop)
    except UserError as error:
      records.append(Record(file, "", video, reason=str(error).removeprefix(
          f"{video}: ")))
      report(str(error))
      continue
    report(f"{file}: {len(frames)} frames to choose from")
    records += [Record(f"{file} at {int(path.stem) / 1000:.1f} s", "", path,
                       video) for path in frames]
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


def _safe_name(file: str) -> str:
  """A name for the album: flat, and none that has a meaning there."""
  name = album.stem(file) if pathlib.PurePosixPath(
      file).suffix.lower() in photo_files.EXTENSIONS else file
  name = _short(re.sub(r"[^\w-]+", "_", name).strip("_") or "photo")
  # "me_mask" beside "me" would be taken for its mask.
  for suffix in (album.MASK_SUFFIX, album.MARKS_SUFFIX, album.LATENT_SUFFIX,
                 MIRRORED_SUFFIX):
    if name.endswith(album.stem(suffix) or suffix):
      name += "_"
  return name


def _short(name: str) -> str:
  """The end of a long name, after what stands for the whole."""
  data = name.encode()
  if len(data) <= _LONGEST_NAME:
    return name
  start = hashlib.sha256(data).hexdigest()[:8] + "_"
  # What is left of a character that is cut is no UTF-8.
  return start + data[len(start) - _LONGEST_NAME:].decode(errors="ignore")


def _frames(video: pathlib.Path, config: PrepareConfig, work: pathlib.Path,
            stop: StopRequest) -> List[pathlib.Path]:
  """Candidate frames as files, named by their milliseconds."""
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image
  count = _FRAMES_AT_HAND * config.frames
  try:
    facts = video.stat()
  except OSError as error:
    raise UserError(f"{video}: cannot be read: {error.strerror}") from None
  # To hash gigabytes would take as long as to decode them.
  key = _short(re.sub(r"\W+", "_", f"{video.stem}-{facts.st_size}-"
                      f"{facts.st_mtime_ns}-{count}"))
  folder = work / "frames" / key
  complete = folder / "complete"
  if not complete.exists():
    folder.mkdir(parents=True, exist_ok=True)
    for frame in video_frames.candidates(video, count=count):
      stop.raise_if_wanted("stopped while reading a video; the same command "
                           "goes on")
      with replacing(folder / f"{round(1000 * frame.seconds):08d}.jpg") as f:
        Image.fromarray(frame.pixels).save(
            f, format="JPEG", quality=_JPEG_QUALITY, subsampling=0)
    complete.touch()
  return sorted(path for path in folder.glob("*.jpg")
                if not is_leftover(path))


def _look(records: Sequence[Record], config: PrepareConfig,
          known: Optional[Given], work: pathlib.Path,
          make_detector: looks.MakeDetector, stop: StopRequest):
  """Fills in what is seen."""
  to_see, tasks = [], []
  owners = _owners([record for record in records if not record.reason])
  for record in records:
    faces = None
    if known is not None and not record.reason:
      faces = _faces_of(record, known, owners)
    if not record.reason:
      to_see.append(record)
      tasks.append(Task(record.path, faces))
  looking = Looking(
      cache=work / "looks", size=config.size, domain=config.domain,
      make_detector=make_detector if known is None else None)
  progress = Progress("photos", len(tasks), "photos")

  def done(count: int, remembered: bool):
    if remembered:
      progress.skip(1)
    progress.update(count)

  workers = min(config.workers or _cores(), max(1, len(tasks)))
  for record, look in zip(to_see, looks.look_at_all(
      tasks, looking, workers=workers, stop=stop, done=done)):
    record.look, record.reason = look, look.reason


def _cores() -> int:
  """Those that this process may use."""
  if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


# Which of it to keep.


def _choose_faces(records: Sequence[Record], domain: str, network: Any,
                  report: Callable[[str], None]):
  """Fills in which face of a photo counts."""
  seen = [(i, face) for i, record in enumerate(records)
          if record.look is not None for face in record.look.faces]
  several = sum(record.look is not None and len(record.look.faces) > 1
                for record in records)
  if network is None:
    for record in records:
      if record.look is not None and record.look.faces:
        record.seen = record.look.faces[0]
    report("whose faces they are is not checked" + (
        ": that needs a face recognition network (--identity)"
        if domain == "face" else "") + (
            f"; of {several} photos that show several, the largest face is "
            "taken" if several else ""))
    return
  embeddings, photos = _embed(network, records, seen), [i for i, _ in seen]
  mine, similarity = photo_quality.find_person(embeddings, photos)
  for (i, face), is_mine, cosine in zip(seen, mine, similarity):
    record = records[i]
    if is_mine:
      record.seen, record.similarity = face, float(cosine)
      record.reason = ""
    elif record.seen is None and not record.reason:
      record.seen, record.similarity = face, float(cosine)  # the largest
      record.reason = f"another person, it seems: similarity {cosine:.2f}"
  if several:
    report(f"{several} photos show several faces; the person's was taken")
  other = photo_quality.photos_of_another(embeddings, photos, mine)
  if other and other >= _RIVAL * mine.sum():
    report(f"another person is in {other} photos, the album's in {mine.sum()}:"
           " kept.png shows whether it is the right one; if not, add photos "
           "of the right one or take out some of the other")


def _embed(network: Any, records: Sequence[Record],
           seen: Sequence[Tuple[int, Seen]]) -> np.ndarray:
  """What a recognition network makes of faces, [N, features]."""
  module, variables = network
  if module.network in _ALIGNED_NETWORKS:
    function = jax.jit(module.embed_faces)
    pictures = lambda i, face: face.recognition
  else:
    function = jax.jit(module.embed)
    pictures = lambda i, face: records[i].look.crop(
        records[i].look.faces.index(face)).image
  result = []
  for start in range(0, len(seen), _BATCH):
    batch = np.stack([pictures(*one) for one in seen[start:start + _BATCH]])
    # Always one shape, which compiles once.
    padding = [(0, _BATCH - len(batch))] + [(0, 0)] * 3
    result.append(np.asarray(function(variables, images.to_float(
        np.pad(batch, padding))))[:len(batch)])
  return np.concatenate(result) if result else np.zeros((0, 1))


def _set_aside(records: Sequence[Record], config: PrepareConfig):
  """Fills in why photos are set aside."""
  wanted = {_printable(name) for name in config.keep}
  free = []  # those that checks may set aside
  for record in records:
    if not record.kept:
      if record.seen is not None and _names(record) & wanted:
        record.reason = ""
      continue
    if _names(record) & wanted:
      continue
    record.reason = _fault(record.seen, config)
    if not record.reason:
      free.append(record)
  unknown = wanted - set().union(*(_names(record) for record in records))
  if unknown:
    raise UserError(f"keep: there is no photo {sorted(unknown)[0]!r}")
  if config.duplicate < 1:
    for i, other in zip(range(len(free)), photo_quality.duplicates(
        [record.seen.quality for record in free],
        threshold=config.duplicate)):
      if other is not None:
        free[i].reason = f"{_LOOKS_LIKE} {free[other].file}"
  _choose_frames([record for record in free if record.kept], config)


def _names(record: Record) -> set:
  """What a user may call a photo."""
  base = record.file.rpartition("/")[2]
  return {record.file, record.name, base, album.stem(base),
          f"{record.name}.png"}


def _fault(seen: Seen, config: PrepareConfig) -> str:
  """What is wrong with a face, as it is said to the user; "" if nothing."""
  quality = seen.quality
  scale = quality.side / config.size
  if seen.cut_off > _MOST_CUT_OFF:
    return "the photo cuts the face off"
  if quality.inside < config.min_inside:
    return (f"only {quality.inside:.0%} of the crop is in the photo "
            f"(min_inside {config.min_inside:g})")
  if scale < config.min_scale:
    return (f"tiny: {quality.side:.0f} pixels for {config.size} "
            f"(min_scale {config.min_scale:g})")
  if quality.sharpness < config.min_sharpness:
    return (f"blurred: {quality.sharpness:.2f} "
            f"(min_sharpness {config.min_sharpness:g})")
  # A cat may be black and white itself.
  if config.domain == "face" and quality.colour < config.min_colour:
    return f"grey: {quality.colour:.1f} (min_colour {config.min_colour:g})"
  return ""


def _choose_frames(records: Sequence[Record], config: PrepareConfig):
  """Sets aside frames of a video, but for those that spread the poses."""
  videos: Dict[pathlib.Path, List[Record]] = {}
  for record in records:
    if record.video is not None:
      videos.setdefault(record.video, []).append(record)
  for frames in videos.values():
    chosen = pose_spread.farthest(
        np.array([record.angles[:2] for record in frames]),
        np.array([record.seen.quality.sharpness for record in frames]),
        config.frames)
    for i in set(range(len(frames))) - set(chosen):
      frames[i].reason = "other frames show this pose"


def _split(kept: Sequence[Record], config: PrepareConfig,
           report: Callable[[str], None]):
  """Fills in which part of the album each photo is."""
  counts = {}
  for part in ("test", "reference"):
    value = getattr(config, part)
    counts[part] = int(value) if value >= 1 else (
        max(1, round(value * len(kept)))
        if value and len(kept) >= _LEAST_SPLIT else 0)
  if sum(counts.values()) > len(kept) // 2:
    report(f"{sum(counts.values())} photos for test and reference would leave "
           f"too few of {len(kept)}: there are none")
    counts = dict.fromkeys(counts, 0)
  for record in kept:
    record.part = "train"
  for part, count in counts.items():
    free = [record for record in kept if record.part == "train"]
    poses = np.array([record.angles[:2] for record in free])
    for i in pose_spread.representative(poses, count):
      free[i].part = part


# What is written.


def _write(records: Sequence[Record], config: PrepareConfig,
           out: pathlib.Path):
  """Writes everything aside, then puts it in its place."""
  fresh = out / _UNFINISHED / "result"
  shutil.rmtree(fresh, ignore_errors=True)
  kept = [record for record in records if record.kept]
  others = [record for record in records if not record.kept]
  if kept:
    _write_album(kept, config, fresh / album.ALBUM_FOLDER)
  _write_crops([(record, record.name) for record in others
                if record.seen is not None], fresh / SET_ASIDE_FOLDER)
  (fresh / REPORT_FILE).write_text(_report(records), encoding="utf-8")
  landmarks.write_json(fresh / LANDMARKS_FILE, {
      record.file: [seen.face for seen in record.look.faces]
      for record in records if record.look is not None
      and record.look.path is not None and record.video is None})
  contact_sheets.write(fresh, "kept", [
      Tile(_picture(record), record.name,
           "yaw {:+.0f}° pitch {:+.0f}°".format(*record.angles)
           + ("" if record.part == "train" else f", {record.part}"),
           "black" if record.part == "train" else "darkblue")
      for record in kept])
  contact_sheets.write(fresh, "set_aside", [
      Tile(_picture(record), record.name, record.reason, "darkred")
      for record in others])
  _put_in_place(fresh, out)


def _index(record: Record) -> int:
  """Which of a photo's faces counts."""
  return record.look.faces.index(record.seen)


def _picture(record: Record) -> Optional[np.ndarray]:
  """For the contact sheets, small; what was filled up is dimmed."""
  if record.seen is not None:
    crop = record.look.crop(_index(record))
    return contact_sheets.small(
        np.where(crop.mask > 0, crop.image, crop.image // 2 + 64))
  return record.look.small() if record.look is not None else None


def _write_album(kept: Sequence[Record], config: PrepareConfig,
                 folder: pathlib.Path):
  named = [(record, record.name) for record in kept]
  mirrored = [(record, record.name + MIRRORED_SUFFIX) for record in kept
              if config.mirror and record.part == "train"]
  _write_crops(named + mirrored, folder)
  for part, file in (("test", TEST_FILE), ("reference", REFERENCE_FILE)):
    lines = [f"{record.name}.png\n" for record in kept if record.part == part]
    if lines:
      (folder / file).write_text("".join(lines), encoding="utf-8")
  album.Album.open(folder, img_resolution=config.size, min_photos=1)


def _write_crops(named: Sequence[Tuple[Record, str]], folder: pathlib.Path):
  """Writes crops, masks and labels; where the name says so, mirrored."""
  folder.mkdir(parents=True, exist_ok=True)
  labels = {}
  for record, name in named:
    crop, label = record.look.crop(_index(record)), record.seen.label
    image, mask = crop.image, crop.mask
    if name != record.name:
      image, mask = image[:, ::-1], mask[:, ::-1]
      label = np.asarray(cameras.mirror(label))
    images.write_png(folder / f"{name}.png", np.ascontiguousarray(image))
    if not mask.all():
      images.write_png(folder / (name + album.MASK_SUFFIX),
                       np.uint8(255) * (mask > 0))
    labels[f"{name}.png"] = label
  dataset_json.write(folder / dataset_json.FILE_NAME, labels)


def _report(records: Sequence[Record]) -> str:
  """The text of report.csv."""
  text = io.StringIO()
  writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
  writer.writeheader()
  for record in records:
    writer.writerow({
        "file": record.file, "name": record.name,
        "status": "kept" if record.kept else "set aside",
        "part": record.part, "reason": record.reason,
        "faces": len(record.look.faces) if record.look else 0,
        **(_numbers(record) if record.seen else {})})
  return _printable(text.getvalue())


_COLUMNS = ("file", "name", "status", "part", "reason", "faces", "yaw",
            "pitch", "roll", "crop_pixels", "inside", "sharpness", "colour",
            "similarity", "score")


def _numbers(record: Record) -> Dict[str, str]:
  seen = record.seen
  yaw, pitch, roll = record.angles
  result = {"yaw": f"{yaw:.1f}", "pitch": f"{pitch:.1f}",
            "roll": f"{roll:.1f}", "crop_pixels": f"{seen.quality.side:.0f}",
            "inside": f"{seen.quality.inside:.3f}",
            "sharpness": f"{seen.quality.sharpness:.3f}",
            "colour": f"{seen.quality.colour:.1f}"}
  if record.similarity is not None:
    result["similarity"] = f"{record.similarity:.3f}"
  if seen.face.score is not None:
    result["score"] = f"{seen.face.score:.2f}"
  return result


def _put_in_place(fresh: pathlib.Path, out: pathlib.Path):
  """Exchanges an earlier result for a fresh one."""
  old = out / _UNFINISHED / "old"
  shutil.rmtree(old, ignore_errors=True)
  old.mkdir()
  for path in _results(out):
    # Whatever went wrong this time, an album that is there is no worse.
    if path.name != album.ALBUM_FOLDER or (fresh / path.name).exists():
      path.rename(old / path.name)
  for path in fresh.iterdir():
    path.rename(out / path.name)
  shutil.rmtree(old, ignore_errors=True)
  fresh.rmdir()


def _is_ours(out: pathlib.Path) -> bool:
  return (out / _UNFINISHED).is_dir() or all(
      (out / name).exists() for name in (REPORT_FILE, LANDMARKS_FILE))


def _results(out: pathlib.Path) -> Iterator[pathlib.Path]:
  """What an earlier `prepare` left."""
  for path in list(out.iterdir()):
    if (path.name in (album.ALBUM_FOLDER, SET_ASIDE_FOLDER, REPORT_FILE,
                      LANDMARKS_FILE)
        or re.fullmatch(r"(kept|set_aside)(_\d+)?\.png", path.name)):
      yield path


def _tell(records: Sequence[Record], found: photo_files.Found,
          config: PrepareConfig, out: pathlib.Path,
          report: Callable[[str], None]):
  """Says what came of it."""
  kept = [record for record in records if record.kept]
  counts: Dict[str, int] = {}
  for record in records:
    if not record.kept:
      kind = re.split(r"[:(]", record.reason)[0].strip()
      if kind.startswith(_LOOKS_LIKE):
        kind = "near duplicate"
      counts[kind] = counts.get(kind, 0) + 1
  parts = {part: sum(record.part == part for record in kept)
           for part in ("train", "test", "reference")}
  report(f"{len(kept)} of {len(records)} kept"
         + (" (" + ", ".join(f"{part} {count}" for part, count
                             in parts.items()) + ")" if kept else "")
         + (f"; {found.others} other files passed over" if found.others
            else ""))
  for kind, count in sorted(counts.items(), key=lambda item: -item[1]):
    report(f"set aside {count}: {kind}")
  if kept:
    angles = np.array([record.angles for record in kept])
    report("yaw {:+.0f} to {:+.0f} degrees, pitch {:+.0f} to {:+.0f}".format(
        *(f(angles[:, i]) for i in (0, 1) for f in (np.min, np.max))))
    report(f"album: {out / album.ALBUM_FOLDER}")

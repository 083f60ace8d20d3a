"""What is to be seen in photos: looked at once, by several processes.

What was found in a photo is kept in a file that the photo's content and the
settings name: stopped work goes on where it was, and other choices among the
same faces take no time. A photo that cannot be looked at is tried again the
next time: a library may have been missing, or memory.
"""

import collections
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
import contextlib
import dataclasses
import functools
import hashlib
import multiprocessing
import os
import pathlib
import signal
import threading
from typing import (Any, Callable, Deque, Dict, Iterator, List, Literal,
                    Mapping, NamedTuple, Optional, Sequence, Tuple)
import warnings

import jax
import numpy as np

from my3dgen_jax.data import photo_files
from my3dgen_jax.data.faces import (cat_face, face_align, face_pose, landmarks,
                                    photo_quality)
from my3dgen_jax.data.faces.face_align import Crop
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.data.faces.photo_quality import Quality
from my3dgen_jax.errors import UserError, one_line
from my3dgen_jax.jobs.interrupts import StopRequest

DOMAINS: Mapping[str, Callable[[], face_pose.Domain]] = {
    "face": face_pose.people, "cat": cat_face.cats}

_FORMAT = 2  # of what is kept; another one forgets all
_MOST_FACES = 6  # of a photo, the largest; a crowd is no album
_SMALL = 160  # pixels, of a whole photo that has no face to show
_IN_HAND = 2  # photos given to each process at a time
_SUFFIX = ".npz"
_LOG_FILE = "detector.log"  # in the cache: what detectors tell of themselves
_LOST = "was lost while it was looked at"

MakeDetector = Callable[[], landmarks.Detector]


@dataclasses.dataclass(frozen=True)
class Looking:
  """How photos are looked at.

  Attributes:
    cache: folder of what was found.
    size: side of the crops, pixels.
    domain: a key of `DOMAINS`.
    make_detector: makes what finds faces, in each process; a function that
      can be pickled; None: all landmarks are given.
  """

  cache: pathlib.Path
  size: int
  domain: Literal["face", "cat"]
  make_detector: Optional[MakeDetector]


class Task(NamedTuple):
  """A photo to look at.

  Attributes:
    path: the file.
    faces: what is known to be in it, in its pixels; None: to be found.
  """

  path: pathlib.Path
  faces: Optional[List[Face]] = None


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
  """One face of a photo.

  Attributes:
    face: in the pixels of the file.
    label: [25] float32, of the crop.
    quality: of the crop.
    cut_off: share of the landmarks that lie outside the photo.
    recognition: [112, 112, 3] uint8, the face for a recognition network.
  """

  face: Face
  label: np.ndarray
  quality: Quality
  cut_off: float
  recognition: Optional[np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Look:
  """What was seen in a photo.

  Attributes:
    path: the file that remembers it; None: it could not be looked at.
    reason: why there is no face; "" where there is one.
    faces: the largest first.
  """

  path: Optional[pathlib.Path]
  reason: str
  faces: Tuple[Seen, ...] = ()

  def crop(self, index: int) -> Crop:
    """The crop of a face, decoded anew each time."""
    with np.load(self.path) as file:
      return Crop(file[f"crop{index}"],
                  file[f"mask{index}"].astype(np.float32)[..., None])

  def small(self) -> Optional[np.ndarray]:
    """The whole photo, made small, where no face was found; or None."""
    if self.path is None:
      return None
    with np.load(self.path) as file:
      return file["small"] if "small" in file.files else None


# One photo.


def key_of(task: Task, looking: Looking) -> str:
  """What names a photo's file in the cache.

  Raises: UserError: the photo cannot be read.
  """
  known = ["found"] if task.faces is None else [
      text for face in task.faces for text in (
          face.points.tobytes().hex(),
          "" if face.dense is None else face.dense.tobytes().hex())]
  detector = looking.make_detector
  settings = [_FORMAT, looking.size, looking.domain,
              None if task.faces is not None or detector is None
              else _name(detector), known]
  digest = hashlib.sha256(repr(settings).encode())
  if not task.path.is_file():  # opening a named pipe would wait for ever
    raise UserError(f"{task.path}: is no ordinary file")
  try:
    with open(task.path, "rb") as file:
      while block := file.read(2**20):
        digest.update(block)
  except OSError as error:
    raise UserError(f"{task.path}: cannot be read: {error.strerror}"
                    ) from None
  return digest.hexdigest()[:32]


def _name(function: Any) -> str:
  if isinstance(function, functools.partial):
    return f"{_name(function.func)} {function.args} {function.keywords}"
  return f"{function.__module__}.{function.__qualname__}"


def look(task: Task, looking: Looking,
         detector: Optional[landmarks.Detector]) -> Dict[str, Any]:
  """Looks at one photo.

  Args:
    task: the photo.
    looking: how.
    detector: finds faces, where the task does not say them.

  Returns: arrays by name, as the cache keeps them; see `load`.
  Raises: UserError: it cannot be looked at.
  """
  try:
    photo = photo_files.read_photo(task.path)
    pixels = photo.pixels
    if task.faces is None:
      with warnings.catch_warnings():
        # Of protobuf, about how MediaPipe calls it, for each photo anew.
        warnings.filterwarnings("ignore", "SymbolDatabase")
        faces = detector(pixels)
    else:
      shrink = lambda points: points / photo.shrunk
      faces = [face.moved(shrink) for face in task.faces]
    seen, reason = [], "no face was found"
    for face in landmarks.largest_first(faces)[:_MOST_FACES]:
      try:
        seen.append(_see(pixels, face, looking))
      except UserError as error:  # landmarks of no face; others may be better
        reason = str(error)
  # Whatever a decoder or a detector makes of the strangest of 200 photos, the
  # others go on.
  except Exception as error:  # pylint: disable=broad-exception-caught
    text = one_line(error).removeprefix(f"{task.path}: ")
    if not isinstance(error, UserError):
      text = f"cannot be looked at: {type(error).__name__}: {text}"
    raise UserError(text) from None
  if not seen:
    return {"reason": reason, "small": _small(pixels)}
  return _arrays(seen, photo.shrunk)


def _see(pixels: np.ndarray, face: Face, looking: Looking
         ) -> Tuple[Seen, Crop]:
  domain = DOMAINS[looking.domain]()
  alignment = face_align.align(face.points, size=looking.size,
                               framing=domain.framing)
  crop = alignment.crop(pixels)
  label = face_pose.label(face.moved(alignment.to_crop), size=looking.size,
                          domain=domain)
  points = face.points if face.dense is None else face.dense[:, :2]
  size = np.array(pixels.shape[1::-1])
  cut_off = float(np.mean(((points < 0) | (points > size)).any(axis=1)))
  recognition = None
  if len(face.points) == landmarks.FACE_POINTS:
    recognition = photo_quality.recognition_face(pixels, face.points)
  return Seen(face, label, photo_quality.measure(pixels, alignment), cut_off,
              recognition), crop


def _small(pixels: np.ndarray) -> np.ndarray:
  # pylint: disable-next=import-outside-toplevel
  from PIL import Image
  image = Image.fromarray(pixels)
  image.thumbnail((_SMALL, _SMALL))
  return np.asarray(image)


_NUMBERS = ("sharpness", "colour", "side", "inside")
_ARRAYS = ("thumbnail", "thumbnail_mask")


def _arrays(faces: Sequence[Tuple[Seen, Crop]], shrunk: int
            ) -> Dict[str, Any]:
  """What the cache keeps; `load` is the way back."""
  result: Dict[str, Any] = {"reason": "", "count": len(faces)}
  for i, (seen, crop) in enumerate(faces):
    face = seen.face.moved(lambda points: points * shrunk)
    arrays = {
        "points": face.points, "dense": face.dense, "box": face.box,
        "score": face.score, "label": seen.label,
        "numbers": [getattr(seen.quality, name) for name in _NUMBERS]
                   + [seen.cut_off],
        **{name: getattr(seen.quality, name) for name in _ARRAYS},
        "recognition": seen.recognition, "crop": crop.image,
        "mask": crop.mask[..., 0] > 0}
    result.update({f"{name}{i}": np.asarray(array)
                   for name, array in arrays.items() if array is not None})
  return result


def load(path: pathlib.Path) -> Look:
  """Reads what the cache keeps of a photo, but for its pictures.

  Raises: OSError, ValueError, KeyError, zipfile.BadZipFile: it is damaged.
  """
  with np.load(path) as file:
    reason = str(file["reason"])
    faces = []
    for i in range(int(file["count"]) if "count" in file.files else 0):
      optional = {name: file[f"{name}{i}"] if f"{name}{i}" in file.files
                  else None for name in ("dense", "box", "score")}
      *numbers, cut_off = file[f"numbers{i}"].tolist()
      faces.append(Seen(
          face=Face(points=file[f"points{i}"], dense=optional["dense"],
                    box=None if optional["box"] is None
                    else tuple(optional["box"].tolist()),
                    score=None if optional["score"] is None
                    else float(optional["score"])),
          label=file[f"label{i}"],
          quality=Quality(*numbers, *(file[f"{name}{i}"]
                                      for name in _ARRAYS)),
          cut_off=cut_off, recognition=file[f"recognition{i}"]
          if f"recognition{i}" in file.files else None))
  return Look(path, reason, tuple(faces))


def _look_and_keep(task: Task, path: pathlib.Path, looking: Looking,
                   detector: Optional[landmarks.Detector]) -> Optional[str]:
  """Returns why a photo cannot be looked at, which is not kept, or None."""
  try:
    arrays = look(task, looking, detector)
  except UserError as error:
    return str(error)
  with replacing(path) as file:
    np.savez_compressed(file, **arrays)
  return None


# Many photos.


def look_at_all(tasks: Sequence[Task], looking: Looking, *, workers: int,
                stop: StopRequest, done: Callable[[int, bool], None]
                ) -> List[Look]:
  """Looks at photos, or remembers what was seen in them.

  Args:
    tasks: the photos.
    looking: how.
    workers: processes, >= 1; of one, it is this one.
    stop: looked at after each photo.
    done: called after each photo with how many are done, and whether this one
      was remembered.

  Returns: one for each photo.
  Raises: Interrupted: `stop` was wanted; what was seen is remembered.
  """
  looking.cache.mkdir(parents=True, exist_ok=True)
  looks: List[Optional[Look]] = [None] * len(tasks)
  paths: List[Optional[pathlib.Path]] = []
  finished = 0

  def finish(i: int, remembered: bool, reason: Optional[str] = None):
    nonlocal finished
    looks[i] = Look(None, reason) if reason is not None else _loaded(paths[i])
    finished += 1
    done(finished, remembered)

  waiting: Deque[int] = collections.deque()
  for i, task in enumerate(tasks):
    stop.raise_if_wanted(_STOPPED)
    try:
      paths.append(looking.cache / (key_of(task, looking) + _SUFFIX))
    except UserError as error:
      paths.append(None)
      finish(i, False, str(error).removeprefix(f"{task.path}: "))
      continue
    looks[i] = _loaded(paths[i])
    if looks[i] is None:
      waiting.append(i)
    else:
      finish(i, True)
  if waiting:
    run = _in_this_process if workers == 1 else _in_processes
    for i, reason in run(tasks, paths, waiting, looking, workers, stop):
      finish(i, False, reason)
      stop.raise_if_wanted(_STOPPED)
  return [Look(None, _LOST) if look is None else look for look in looks]


_STOPPED = "stopped while looking at photos; the same command goes on"


def _loaded(path: pathlib.Path) -> Optional[Look]:
  try:
    return load(path)
  # Not there, or damaged by whatever: it is made anew.
  except Exception:  # pylint: disable=broad-exception-caught
    return None


def _in_this_process(tasks: Sequence[Task], paths: Sequence[Any],
                     waiting: Deque[int], looking: Looking, workers: int,
                     stop: StopRequest
                     ) -> Iterator[Tuple[int, Optional[str]]]:
  del workers, stop
  with _muted(looking.cache):
    detector = looking.make_detector and looking.make_detector()
    while waiting:
      i = waiting.popleft()
      yield i, _look_and_keep(tasks[i], paths[i], looking, detector)


@contextlib.contextmanager
def _muted(cache: pathlib.Path) -> Iterator[None]:
  """What MediaPipe's C++ code tells on stderr goes into a file."""
  kept = os.dup(2)
  try:
    _redirect(cache)
    yield
  finally:
    os.dup2(kept, 2)
    os.close(kept)


def _redirect(cache: pathlib.Path):
  with open(cache / _LOG_FILE, "ab") as log:
    os.dup2(log.fileno(), 2)


def _in_processes(tasks: Sequence[Task], paths: Sequence[Any],
                  waiting: Deque[int], looking: Looking, workers: int,
                  stop: StopRequest) -> Iterator[Tuple[int, Optional[str]]]:
  """Yields the index of each photo, and why it was not looked at, or None."""
  suspects: Deque[int] = collections.deque()
  while waiting or suspects:
    # What a process was looking at when it ended is looked at alone: so it is
    # known who ended it.
    alone = bool(suspects)
    queue, many = (suspects, 1) if alone else (waiting, workers)
    running: Dict[futures.Future, int] = {}
    pool = _pool(min(many, len(queue)), looking)
    try:
      while queue or running:
        while queue and len(running) < (1 if alone else many * _IN_HAND):
          i = queue[0]
          running[pool.submit(_work, tasks[i], paths[i])] = i
          queue.popleft()  # not before: a broken pool takes nothing
        ready, _ = futures.wait(running, timeout=0.5,
                                return_when=futures.FIRST_COMPLETED)
        for future in ready:
          reason = future.result()
          yield running.pop(future), reason
        stop.raise_if_wanted(_STOPPED)
    except BrokenProcessPool:
      if alone:
        for i in running.values():  # one, or none: it ended between photos
          yield i, (f"ends the process that looks at it; see "
                    f"{looking.cache / _LOG_FILE}")
      else:
        suspects.extend(running.values())
    finally:
      pool.shutdown(cancel_futures=True)


def _pool(workers: int, looking: Looking) -> futures.ProcessPoolExecutor:
  # Forked processes would share the threads' locks of JAX and MediaPipe.
  return futures.ProcessPoolExecutor(
      workers, mp_context=multiprocessing.get_context("spawn"),
      initializer=_start, initargs=(looking,))


# Of a worker process: how it looks, and with what.
_WORKER: Dict[str, Any] = {}


def _start(looking: Looking):
  # The parent decides when to stop; and no worker outlives it.
  signal.signal(signal.SIGINT, signal.SIG_IGN)
  threading.Thread(target=_end_with_parent, daemon=True).start()
  _redirect(looking.cache)
  # Labels are small sums; the accelerator's memory is for others.
  jax.config.update("jax_platforms", "cpu")
  _WORKER.update(looking=looking, detector=None, error=None)
  try:
    if looking.make_detector:
      _WORKER["detector"] = looking.make_detector()
  except UserError as error:  # from here nobody would hear of it
    _WORKER["error"] = error


def _end_with_parent():
  parent = multiprocessing.parent_process()
  if parent is not None:
    parent.join()
    os._exit(1)  # pylint: disable=protected-access


def _work(task: Task, path: pathlib.Path) -> Optional[str]:
  if _WORKER["error"]:
    raise _WORKER["error"]
  return _look_and_keep(task, path, _WORKER["looking"], _WORKER["detector"])

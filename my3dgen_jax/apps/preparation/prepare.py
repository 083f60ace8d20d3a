"""From anyone's photos or video to an album.

    out/album/            the album for `data.album.Album`: photos, cameras,
    masks
                          of photos that were extended, test.txt, reference.txt
    out/report.csv        one line per photo: kept or why not, and numbers
    out/kept.png, out/set_aside.png
    out/set_aside/        the crops that are not in the album, with labels
    out/landmarks.json    landmarks found in the photos, for --detections
    out/cat_marks.json    landmarks marked by hand (--mark: face_marks.json)
    out/unfinished/       the cache; may be deleted

Photos are only read. Only their pixels and file names are kept: no place, time
or device.
"""

import functools
import pathlib
from collections.abc import Callable, Sequence

from my3dgen_jax.apps.marking.server import mark_in_browser
from my3dgen_jax.apps.preparation import (
  by_hand,
  choices,
  given_landmarks,
  outcome,
  results,
)
from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.apps.preparation.look_workers import look_at_all
from my3dgen_jax.apps.preparation.looks import Looking, MakeDetector, Task
from my3dgen_jax.apps.preparation.records import find_records, printable, Record
from my3dgen_jax.data import album_files, photo_files
from my3dgen_jax.data.faces import mediapipe_models
from my3dgen_jax.data.faces.landmarks import Given
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs import devices
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.losses import identity as identity_lib
from my3dgen_jax.losses import scores
from my3dgen_jax.storage import locks
from my3dgen_jax.storage.files import holds_nothing


def prepare(
  config: PrepareConfig,
  *,
  make_detector: MakeDetector = mediapipe_models.face_detector,
  mark: by_hand.MarkFaces = mark_in_browser,
  log: Callable[[str], None] = print,
) -> list[Record]:
  """Makes an album.

  A script that calls it with several workers must do so below `if __name__ ==
  "__main__"`, as each of them imports the script.

  Args:
    config: the settings.
    make_detector: function that makes a detector of people's faces in each
      process; can be pickled.
    mark: lets the user mark faces, if `config` or cats require it.
    log: called with lines of progress.

  Returns: the outcome for each photo and candidate frame.
  Raises:
    UserError: bad input, or no photo is left; results are cached, and
      `report.csv` says why each photo was set aside.
    Interrupted: SIGTERM or SIGINT; the same call resumes.
  """
  config.validate()
  tell = lambda line: log(printable(line))
  out = pathlib.Path(config.out).expanduser()
  locks.check_free(out)
  if (out / album_files.ALBUM_FOLDER).exists() and not config.overwrite:
    raise UserError(
      f"{out}: already has an album; --overwrite replaces "
      "it, another --out keeps both"
    )
  if out.exists() and not holds_nothing(out) and not results.is_ours(out):
    raise UserError(f"{out}: has other files; give a new folder")
  found = photo_files.find(config.photos, without=out)
  if not found.photos and not found.videos:
    raise UserError(
      f"{config.photos}: has no photos "
      f"({', '.join(photo_files.EXTENSIONS[:6])}, …)"
      + f"; {found.passed_over()}"
      * (found.others > 0)
    )
  network = (
    identity_lib.load_identity(config.identity) if config.identity else None
  )
  if scores.is_of_demo(network):
    tell(
      "warning: the demo's identity network has only seen procedural people, "
      "and cannot tell strangers apart; give MobileFaceNet or IR-SE-50 with "
      "--identity"
    )
  known = given_landmarks.known_faces(config, found.photos)
  if (
    known is None
    and config.domain == "face"
    and make_detector is mediapipe_models.face_detector
  ):
    mediapipe_models.check()
  work = out / results.UNFINISHED
  work.mkdir(parents=True, exist_ok=True)
  with stopping_gently() as stop, locks.hold(out):
    for line in found.unreadable:
      tell(f"{line}: skipped")
    records = find_records(config, found, work, stop, tell)
    if config.domain == "cat":
      known = by_hand.cats_known(records, config, known, mark, stop, tell)
    look = functools.partial(
      _look,
      config=config,
      known=known,
      work=work,
      make_detector=make_detector,
      stop=stop,
    )
    look(records)
    if config.domain == "face" and config.mark:
      again = by_hand.mark_the_rest(records, config, mark, stop, tell)
      for record in again:
        record.reason = ""
      look(again)
    elif hint := by_hand.hint_of_cats(records, config):
      tell(hint)
    choices.choose_faces(records, config.domain, network, tell)
    choices.set_aside(records, config)
    choices.split([record for record in records if record.kept], config, tell)
    stop.raise_if_wanted("stopped before writing; the same command resumes")
    results.write(records, config, out)
  outcome.tell(records, found, out, tell)
  if not any(record.kept for record in records):
    raise UserError(
      f"{config.photos}: no photo is left for an album; see the reasons in "
      f"{out / results.REPORT_FILE}, relax limits, or name photos with --keep"
    )
  return records


def _look(
  records: Sequence[Record],
  config: PrepareConfig,
  known: Given | None,
  work: pathlib.Path,
  make_detector: MakeDetector,
  stop: StopRequest,
):
  """Fills in what is found in the photos."""
  to_see, tasks = [], []
  marked = by_hand.faces_marked(config) if config.domain == "face" else {}
  owners = given_landmarks.owners_of(
    [record for record in records if not record.reason]
  )
  for record in records:
    faces = marked.get(record.file)
    if faces is None and known is not None and not record.reason:
      faces = given_landmarks.faces_of(record, known, owners)
    if not record.reason:
      to_see.append(record)
      tasks.append(Task(record.path, faces))
  looking = Looking(
    cache=work / "looks",
    size=config.size,
    domain=config.domain,
    make_detector=make_detector
    if any(task.faces is None for task in tasks)
    else None,
  )
  progress = Progress("photos", len(tasks), "photos")

  def done(count: int, remembered: bool):
    if remembered:
      progress.skip(1)
    progress.update(count)

  workers = min(config.workers or devices.cores(), max(1, len(tasks)))
  for record, look in zip(
    to_see, look_at_all(tasks, looking, workers=workers, stop=stop, done=done)
  ):
    record.look, record.reason = look, look.reason

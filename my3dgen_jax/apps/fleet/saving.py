"""Saved states of a run at a URL, so that it can continue elsewhere.

A run's folder must be on a disk. If the storage is not, the run is in a
worker's scratch folder, and each state saved there is copied to RUN/saved.zip:
one file, which is complete or absent, since a half-copied state would look like
a whole.
"""

import contextlib
import io
import itertools
import pathlib
import threading
import zipfile
from collections.abc import Callable, Iterator

from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.storage.files import is_leftover
from my3dgen_jax.training import loop, run_folder

FILE = "saved.zip"
_SECONDS = 2.0  # between checks of the folder
_UNFINISHED = "orbax-checkpoint-tmp"
_TRIES = 3  # to read a folder in which old states are being removed


def fetch(run: Place, folder: pathlib.Path):
  """Restores a run from its last saved state, if there is one.

  Args:
    run: the run, at a URL.
    folder: the run's local folder; left as it is unless empty.
  """
  if folder.exists():
    return
  data = (run / FILE).read()
  if data is not None:
    with contextlib.suppress(zipfile.BadZipFile):
      with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.testzip() is None:
          archive.extractall(folder)
          return
  if (run / run_folder.CONFIG_FILE).read() is not None:
    run.fetch(folder)  # a finished run that is to be extended


def finish(run: Place, folder: pathlib.Path):
  """Writes all of a finished run, and removes its intermediate states."""
  run.mirror(folder, last=run_folder.SUMMARY_FILE)  # does not include FILE


def move_aside(run: Place, before: Place) -> Place:
  """Moves a run aside to make room for the person's next one.

  Args:
    run: the run, here or at a URL.
    before: folder of runs moved aside, named 1, 2, …

  Returns: where it is now.
  Raises: OSError.
  """
  known = {name.partition("/")[0] for name in before.files()}
  number = next(i for i in itertools.count(1) if str(i) not in known)
  target = before / str(number)
  if run.local is not None and target.local is not None:
    target.local.parent.mkdir(parents=True, exist_ok=True)
    run.local.rename(target.local)
    return target
  names = run.files()
  for name in names:
    (target / name).write((run / name).read() or b"")
  for name in names:
    (run / name).remove()
  return target


@contextlib.contextmanager
def saving(
  run: Place,
  folder: pathlib.Path,
  *,
  log: Callable[[str], None] = print,
  seconds: float = _SECONDS,
) -> Iterator[None]:
  """Within the block, states saved in a folder are copied to the run's URL.

  Args:
    run: the run, at a URL.
    folder: the run's local folder.
    log: called with a line if the URL cannot be written; the run continues.
    seconds: seconds between checks of the folder.
  """
  over, written = threading.Event(), set[frozenset[str]]()

  def save():
    names = _saved(folder)
    if names and names not in written:
      try:
        (run / FILE).write(_packed(folder))
        written.add(names)
      except OSError as error:
        log(f"warning: {error}; retrying")

  def watch():
    while not over.wait(seconds):
      save()

  thread = threading.Thread(target=watch, daemon=True, name="saving")
  thread.start()
  try:
    yield
  finally:
    over.set()
    thread.join()
    save()


def _saved(folder: pathlib.Path) -> frozenset[str]:
  """Names of what a run can resume from: photos' anchors and states."""
  states = folder / loop.STATE_FOLDER
  found = [folder / run_folder.ANCHORS_FILE, *states.glob("[0-9]*")]
  return frozenset(
    path.name
    for path in found
    if path.exists() and _UNFINISHED not in path.name
  )


def _packed(folder: pathlib.Path) -> bytes:
  """A folder's files as one zip, except those being written."""
  for left in reversed(range(_TRIES)):
    file = io.BytesIO()
    try:
      with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
          if (
            path.is_file()
            and not is_leftover(path)
            and _UNFINISHED not in str(path)
          ):
            archive.write(path, path.relative_to(folder).as_posix())
      return file.getvalue()
    except FileNotFoundError:  # removed in the meantime
      if not left:
        raise
  raise AssertionError

"""A run that goes on elsewhere: what it has saved, at a URL.

A run's folder must be on a disk. Where the storage is not, it is in a worker's
scratch folder, and each state that is saved there goes to RUN/saved.zip, as one
file, which is there as a whole or not at all: a state of which half the files
were copied would look like one.
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
_SECONDS = 2.0  # between looks at the folder
_UNFINISHED = "orbax-checkpoint-tmp"
_TRIES = 3  # to read a folder in which old states are being removed


def fetch(run: Place, folder: pathlib.Path):
  """Brings a run back as far as it was saved; nothing where it was not.

  Args:
    run: at a URL.
    folder: of the run here; left as it is where it holds anything.
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
    run.fetch(folder)  # a finished one, of which more is wanted


def finish(run: Place, folder: pathlib.Path):
  """Writes all of a finished run; what was saved on the way goes."""
  run.mirror(folder, last=run_folder.SUMMARY_FILE)  # FILE is none of them


def move_aside(run: Place, before: Place) -> Place:
  """Takes a run out of the way of another one of the same person.

  Args:
    run: here or at a URL.
    before: folder of such, which are called 1, 2, …

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
  """Within the block what is saved in a folder goes to the run's URL, too.

  Args:
    run: at a URL.
    folder: of the run here.
    log: called with a line where it cannot be written; the run goes on.
    seconds: between looks at the folder.
  """
  over, written = threading.Event(), set[frozenset[str]]()

  def save():
    names = _saved(folder)
    if names and names not in written:
      try:
        (run / FILE).write(_packed(folder))
        written.add(names)
      except OSError as error:
        log(f"warning: {error}; it is tried again")

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
  """What is there to go on from: photos' anchors, and states' names."""
  states = folder / loop.STATE_FOLDER
  found = [folder / run_folder.ANCHORS_FILE, *states.glob("[0-9]*")]
  return frozenset(
    path.name
    for path in found
    if path.exists() and _UNFINISHED not in path.name
  )


def _packed(folder: pathlib.Path) -> bytes:
  """A folder's files as one, without those that are being written."""
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
    except FileNotFoundError:  # removed meanwhile
      if not left:
        raise
  raise AssertionError

"""A worker: makes one person after another, and keeps what they share."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import shutil
import signal
import socket
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from my3dgen_jax.apps import personalize as personalize_lib
from my3dgen_jax.apps.fleet import saving
from my3dgen_jax.apps.fleet.person import Folders, Hooks, Person
from my3dgen_jax.apps.fleet.places import is_url, Place
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.apps.personalization.shelf import Shelf
from my3dgen_jax.apps.preparation import prepare as prepare_lib
from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.data import album_files
from my3dgen_jax.errors import Interrupted, one_line, UserError
from my3dgen_jax.jobs import compile_time, devices, interrupts
from my3dgen_jax.models.checkpoint import load_config
from my3dgen_jax.storage import locks

SCORES = ("lpips", "psnr", "psnr_marks", "id_sim")


class Outcome(NamedTuple):
  """How a person's work ended.

  Attributes:
    kind: how it ended; "stopped": on request, with the state saved.
    reason: why, in one line, unless it is done.
    final: whether a retry would not help.
    seconds: seconds of this try.
    compile_seconds: seconds of compilation.
    scores: scores, see `states.State`.
  """

  kind: Literal["done", "failed", "stopped"]
  reason: str = ""
  final: bool = False
  seconds: float = 0.0
  compile_seconds: float = 0.0
  scores: dict[str, dict[str, float]] = {}  # never mutated


class Worker:
  """Lives in its own process, or in the fleet's."""

  def __init__(
    self,
    storage: str,
    hooks: Hooks,
    *,
    threads: int | None = None,
    personalize: Callable[..., Any] = personalize_lib.personalize,
    prepare: Callable[..., Any] = prepare_lib.prepare,
  ):
    """Does not start JAX yet.

    Args:
      storage: the storage, a folder or URL.
      hooks: see `Hooks`.
      threads: threads for XLA on CPUs; None: one per core.
      personalize: function that makes a run; tests pass their own.
      prepare: function that makes an album; tests pass their own.
    """
    if threads is not None:
      os.environ["NPROC"] = str(threads)  # read when JAX starts
    if hooks.start is not None:
      hooks.start()
    compile_time.seconds()  # counts from here on
    self._storage, self._hooks = storage, hooks
    self._personalize, self._prepare = personalize, prepare
    self._threads = threads
    self._shelf = Shelf()
    self._scratch = tempfile.TemporaryDirectory(prefix="my3dgen-fleet-")
    self._root = pathlib.Path(self._scratch.name)

  def describe(self) -> str:
    """Host and process; called first, so that JAX starts here."""
    devices.suiting_precision()
    return f"{socket.gethostname()}:{os.getpid()}"

  def stop(self):
    """Asks to stop soon, with the state saved; called from another thread."""
    interrupts.ask_to_stop(signal.SIGTERM)

  def close(self):
    """Removes the worker's scratch files."""
    self._scratch.cleanup()

  def run(self, person: Person) -> Outcome:
    """Makes a person, or resumes; never raises."""
    began, compiled = time.monotonic(), compile_time.seconds()
    outcome = Outcome("failed")
    try:
      with self._logging(person.id):
        outcome = self._tried(person)
    except OSError as error:  # the log's
      outcome = Outcome("failed", one_line(error))
    return outcome._replace(
      seconds=round(time.monotonic() - began, 2),
      compile_seconds=round(compile_time.seconds() - compiled, 2),
    )

  def _tried(self, person: Person) -> Outcome:
    try:
      try:
        summary = self._made(person)
      finally:
        self._forget(person)
    except Interrupted as error:
      return Outcome("stopped", one_line(error).partition(";")[0])
    except UserError as error:
      print(f"error: {one_line(error)}", flush=True)
      return Outcome("failed", one_line(error), final=_is_of_input(error))
    except (OSError, MemoryError) as error:
      print(f"error: {one_line(error)}", flush=True)
      return Outcome("failed", one_line(error))
    except Exception as error:  # any failure: others continue
      traceback.print_exc()
      reason = f"{type(error).__name__}: {one_line(error)}"
      return Outcome("failed", f"{reason} (see its log)")
    scores = {
      name: {
        key: round(float(summary[name][key]), 5)
        for key in SCORES
        if summary[name].get(key) is not None
      }
      for name in ("pretrained", "personalized")
    }
    return Outcome("done", scores=scores)

  def _forget(self, person: Person):
    """Removes a person's photos and run from this machine's scratch."""
    for folder in (
      self._root / _OWN,
      self._root / "albums" / person.id,
      self._root / "runs" / person.id,
    ):
      shutil.rmtree(folder, ignore_errors=True)

  def _made(self, person: Person) -> dict[str, Any]:
    """The summary of a person's run, whose folder is then in the storage."""
    folders = Folders.of(self._storage, person.id)
    run = folders.run.local or self._root / "runs" / person.id
    config = self._with_inputs(
      dataclasses.replace(person.config, out=str(run)), person, folders
    )
    remote = folders.run.local is None
    if remote:
      saving.fetch(folders.run, run)
    try:
      locks.check_free(run)
    except UserError as error:  # perhaps a worker that is only unreachable
      raise OSError(str(error)) from None
    try:
      summary = self._personalized(config, person, folders.run)
    except UserError as error:
      if _OF_ANOTHER_RUN not in str(error):
        raise
      moved = saving.move_aside(folders.run, folders.before)
      shutil.rmtree(run, ignore_errors=True)
      print(
        f"{one_line(error).rpartition(';')[0]}; moved to {moved}, "
        "and starting over",
        flush=True,
      )
      summary = self._personalized(config, person, folders.run)
    if remote:
      saving.finish(folders.run, run)
    return summary

  def _personalized(
    self, config: PersonalizeConfig, person: Person, kept: Place
  ) -> dict[str, Any]:
    """The summary of a run, started or resumed, that is saved at `kept`."""
    precision = (
      config.precision
      or personalize_lib.begun_precision(config.out)
      or devices.suiting_precision()
    )
    with (
      saving.saving(kept, pathlib.Path(config.out))
      if kept.local is None
      else contextlib.nullcontext()
    ):
      return self._personalize(
        dataclasses.replace(config, precision=precision),
        resume=True,
        flags=person.flags,
        log=lambda line: print(line, flush=True),
        shelf=self._shelf,
      )

  def _with_inputs(
    self, config: PersonalizeConfig, person: Person, folders: Folders
  ) -> PersonalizeConfig:
    """The config with everything it names copied to this machine."""
    config = dataclasses.replace(
      config,
      **{
        name: self._fetched(place, own=name == "album")
        for name in ("checkpoint", "lpips", "identity", "album")
        if (place := getattr(config, name))
        and not (name == "album" and person.prepare)  # made below
      },
    )
    own = folders.album.local or self._root / "albums" / person.id
    if person.prepare is not None:
      config = dataclasses.replace(config, album=str(own))
    if person.demo is not None:
      if self._hooks.draw is None:
        raise UserError("demo_person: this fleet cannot draw procedural people")
      config = self._hooks.draw(config, person.demo, str(own))
    if person.prepare is not None:
      self._prepare_album(config, person, person.prepare, folders, own)
    return config

  def _prepare_album(
    self,
    config: PersonalizeConfig,
    person: Person,
    wanted: PrepareConfig,
    folders: Folders,
    own: pathlib.Path,
  ):
    """Makes an album of a person's photos, unless it is there already."""
    album = own / album_files.ALBUM_FOLDER
    remote = folders.album.local is None
    marker = folders.album / _PREPARED
    known, now = marker.read(), person.photos(Place(self._storage)).encode()
    # Photos that are gone have not changed: there is nothing to prepare from.
    same = known == now or not now
    if same and remote and known is not None:
      folders.album.fetch(own)
    if same and album.exists():
      return
    marker.remove()  # until the album is complete
    self._prepare(
      dataclasses.replace(
        wanted,
        overwrite=album.exists(),
        photos=self._fetched(wanted.photos, own=True),
        out=str(own),
        size=load_config(config.checkpoint)[0].img_resolution,
        identity=config.identity or "",
        workers=self._threads or 0,
      ),
      log=lambda line: print(line, flush=True),
    )
    (own / _PREPARED).write_bytes(now)
    if remote:
      folders.album.mirror(own, last=_PREPARED)

  def _fetched(self, place: str, *, own: bool = False) -> str:
    """A local path of what may be at a URL; `own`: used by one person only."""
    if not is_url(place):
      return str(Place(place))
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    kind = _OWN if own else "inputs"
    target = self._root / kind / name / pathlib.PurePosixPath(place).name
    if not target.exists():
      with tempfile.TemporaryDirectory(dir=self._root) as folder:
        whole = pathlib.Path(folder) / "whole"
        if not Place(place).fetch(whole):
          raise UserError(f"{place}: no such file or folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        whole.rename(target)
    return str(target)

  @contextlib.contextmanager
  def _logging(self, person: str) -> Iterator[None]:
    """Within the block, printed lines go to the person's log."""
    log = Folders.of(self._storage, person).log
    path = log.local or self._root / "log.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    if log.local is None:
      path.write_bytes(log.read() or b"")
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
      with contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        yield
    if log.local is None:
      log.write(path.read_bytes())
      path.unlink()


def _is_of_input(error: UserError) -> bool:
  """Whether the input is at fault, and not a disk that may have room later."""
  cause = error.__cause__
  return not isinstance(cause, OSError) or isinstance(
    cause, (FileNotFoundError, IsADirectoryError, NotADirectoryError)
  )


_PREPARED = ".prepared"  # beside a complete album: its digest
_OWN = "own"  # in scratch: files used by only one person
_OF_ANOTHER_RUN = "the run began with"  # message of `run_folder.check_same`

"""A worker: makes one person after the other, and keeps what they share."""

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
  """How it went.

  Attributes:
    kind: "stopped" was asked to, with the state saved.
    reason: one line, unless it is done.
    final: trying again would not help.
    seconds: of this try.
    compile_seconds: what of them went into programs.
    scores: see `states.State`.
  """

  kind: Literal["done", "failed", "stopped"]
  reason: str = ""
  final: bool = False
  seconds: float = 0.0
  compile_seconds: float = 0.0
  scores: dict[str, dict[str, float]] = {}  # never changed


class Worker:
  """Lives in a process of its own, or in that of the fleet."""

  def __init__(
    self,
    storage: str,
    hooks: Hooks,
    *,
    threads: int | None = None,
    personalize: Callable[..., Any] = personalize_lib.personalize,
    prepare: Callable[..., Any] = prepare_lib.prepare,
  ):
    """Starts nothing of JAX yet.

    Args:
      storage: folder or URL.
      hooks: see there.
      threads: that XLA works with on processors; None: one for each core.
      personalize: makes a run; tests have their own.
      prepare: makes an album; tests have their own.
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
    """Host and process; asked first, so that JAX starts here."""
    devices.suiting_precision()
    return f"{socket.gethostname()}:{os.getpid()}"

  def stop(self):
    """Stops soon, with the state saved; from another thread."""
    interrupts.ask_to_stop(signal.SIGTERM)

  def close(self):
    """Removes what was only for itself."""
    self._scratch.cleanup()

  def run(self, person: Person) -> Outcome:
    """Makes somebody, or goes on; never raises, whatever goes wrong."""
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
      summary = self._made(person)
    except Interrupted as error:
      return Outcome("stopped", one_line(error).partition(";")[0])
    except UserError as error:
      print(f"error: {one_line(error)}", flush=True)
      return Outcome("failed", one_line(error), final=True)
    except (OSError, MemoryError) as error:
      print(f"error: {one_line(error)}", flush=True)
      return Outcome("failed", one_line(error))
    except Exception as error:  # whatever it is, others go on
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

  def _made(self, person: Person) -> dict[str, Any]:
    """The summary of a person's run, whose folder is in the storage then."""
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
    except UserError as error:  # a worker that is only out of reach, perhaps
      raise OSError(str(error)) from None
    precision = (
      config.precision
      or personalize_lib.begun_precision(str(run))
      or devices.suiting_precision()
    )
    with (
      saving.saving(folders.run, run) if remote else contextlib.nullcontext()
    ):
      summary = self._personalize(
        dataclasses.replace(config, precision=precision),
        resume=True,
        flags=person.flags,
        log=lambda line: print(line, flush=True),
        shelf=self._shelf,
      )
    if remote:
      saving.finish(folders.run, run)
      shutil.rmtree(run)
    return summary

  def _with_inputs(
    self, config: PersonalizeConfig, person: Person, folders: Folders
  ) -> PersonalizeConfig:
    """The config with everything it names on this machine."""
    config = dataclasses.replace(
      config,
      **{
        name: self._fetched(place)
        for name in ("checkpoint", "lpips", "identity", "album")
        if (place := getattr(config, name))
      },
    )
    own = folders.album.local or self._root / "albums" / person.id
    if person.prepare is not None:
      config = dataclasses.replace(config, album=str(own))
    if person.demo is not None:
      if self._hooks.draw is None:
        raise UserError("demo_person: there is nobody who draws it")
      config = self._hooks.draw(config, person.demo, str(own))
    if person.prepare is not None:
      self._prepare_album(config, person.prepare, folders, own)
    return config

  def _prepare_album(
    self,
    config: PersonalizeConfig,
    wanted: PrepareConfig,
    folders: Folders,
    own: pathlib.Path,
  ):
    """Makes an album of somebody's photos, unless that was done."""
    album = own / album_files.ALBUM_FOLDER
    remote = folders.album.local is None
    if remote and not album.exists():
      if (folders.album / _PREPARED).read() is not None:
        folders.album.fetch(own)
    if album.exists():
      return
    self._prepare(
      dataclasses.replace(
        wanted,
        photos=self._fetched(wanted.photos),
        out=str(own),
        size=load_config(config.checkpoint)[0].img_resolution,
        identity=config.identity or "",
        workers=self._threads or 0,
      ),
      log=lambda line: print(line, flush=True),
    )
    if remote:
      (own / _PREPARED).write_text("")
      folders.album.mirror(own, last=_PREPARED)

  def _fetched(self, place: str) -> str:
    """A path of something that may be at a URL."""
    if not is_url(place):
      return str(Place(place))
    name = hashlib.sha256(place.encode()).hexdigest()[:16]
    target = self._root / "inputs" / name / pathlib.PurePosixPath(place).name
    if not target.exists():
      with tempfile.TemporaryDirectory(dir=self._root) as folder:
        whole = pathlib.Path(folder) / "whole"
        if not Place(place).fetch(whole):
          raise UserError(f"{place}: there is nothing")
        target.parent.mkdir(parents=True, exist_ok=True)
        whole.rename(target)
    return str(target)

  @contextlib.contextmanager
  def _logging(self, person: str) -> Iterator[None]:
    """Within the block what is printed goes to the person's log."""
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


_PREPARED = ".prepared"  # beside an album at a URL: all of it is there

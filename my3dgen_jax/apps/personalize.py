"""Personalization: a generator and an album in, a person's generator out.

Source: My3DGen, section 3.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from my3dgen_jax.apps.person import load_person
from my3dgen_jax.apps.personalization.job import Job
from my3dgen_jax.apps.personalization.people import People, Run
from my3dgen_jax.apps.personalization.settings import (
  FREE,
  PersonalizeConfig,
  with_begun_lists,
  with_encoder,
)
from my3dgen_jax.apps.personalization.shared import Shared
from my3dgen_jax.apps.personalization.shelf import Shelf
from my3dgen_jax.apps.reports import report as report_lib
from my3dgen_jax.errors import one_line, UserError
from my3dgen_jax.jobs import devices as devices_lib
from my3dgen_jax.jobs import processes
from my3dgen_jax.jobs.interrupts import stopping_gently
from my3dgen_jax.storage import locks
from my3dgen_jax.storage.files import holds_nothing, is_leftover, replacing
from my3dgen_jax.training import loop, run_folder

_RESULTS = (
  run_folder.SUMMARY_FILE,
  run_folder.PICTURE_FILE,
  run_folder.ADAPTER_FILE,
  f"{report_lib.FOLDER}/{report_lib.FILE}",
)


def personalize(
  config: PersonalizeConfig,
  *,
  resume: bool = False,
  flags: str | None = None,
  log: Callable[[str], None] = print,
  shelf: Shelf | None = None,
) -> dict[str, Any] | None:
  """Personalizes a generator.

  With several processes (`jobs.processes`), all find anchors and tune; only
  process 0 writes files and measures.

  Args:
    config: the run's settings.
    resume: whether to resume the run in `config.out`, if there is one.
    flags: text of a flagfile that reproduces the run, saved with it.
    log: called with lines of progress.
    shelf: networks read by earlier runs of this process.

  Returns: what `summary.json` holds; None in processes other than 0.
  Raises:
    UserError: bad input, in one line; then nothing was written.
    Interrupted: SIGTERM or SIGINT; `resume` continues.
  """
  (summary,) = _personalize(
    [Run(config, flags)], resume=resume, together=1, log=log, shelf=shelf
  )
  return summary


def personalize_all(
  config: PersonalizeConfig,
  albums: Sequence[str],
  *,
  together: int = 0,
  resume: bool = False,
  flags: str | None = None,
  log: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Personalizes a generator for many people, each in a separate run.

  Results equal those of `personalize` for each: bit for bit when tuned one
  after another, up to rounding side by side. The generator is read once and
  programs are compiled once. A person who fails once all have started does not
  stop the others.

  Args:
    config: settings of all runs; `config.out` is the parent of their folders,
      which are named after the albums.
    albums: one album per person.
    together: people to tune side by side; 0: as many as fit in an accelerator's
      memory, one on a CPU.
    resume: whether to resume; finished runs stay as they are.
    flags: text of a flagfile that reproduces the runs, without album and out.
    log: called with lines of progress.

  Returns: folder's name to what `personalize` returns, or to the UserError
    that ended the run.
  Raises: as `personalize`.
  """
  runs = {}
  for out, album in folders(config.out, albums).items():
    repeating = flags and f"{flags}--album={album}\n--out={out}\n"
    own = dataclasses.replace(config, album=album, out=out)
    runs[pathlib.Path(out).name] = Run(own, repeating)
  results = _personalize(
    list(runs.values()), resume=resume, together=together, log=log
  )
  return dict(zip(runs, results))


def folders(out: str, albums: Sequence[str]) -> dict[str, str]:
  """Maps runs' folders to albums.

  Args:
    out: the parent folder.
    albums: one album per person.

  Raises: UserError: two have the same name.
  """
  found: dict[str, str] = {}
  for album in albums:
    name = os.path.basename(os.path.abspath(os.path.expanduser(album)))
    if not name:
      raise UserError(
        f"albums: {album} has no name for its run's folder; give a folder with "
        "a name"
      )
    folder = str(pathlib.Path(out) / name.removesuffix(".zip"))
    if folder in found:
      raise UserError(
        f"albums: {found[folder]} and {album} would both be written to "
        f"{folder}; rename one"
      )
    found[folder] = album
  return found


def _personalize(
  runs: Sequence[Run],
  *,
  resume: bool,
  together: int,
  log: Callable[[str], None],
  shelf: Shelf | None = None,
) -> list[Any]:
  """Summaries of runs that share all settings but album and out, in order."""
  began = time.monotonic()
  runs = [run._replace(config=_absolute(run.config.validate())) for run in runs]
  first = processes.is_first()
  for run in runs:
    if first:
      _check_out(run.out, resume)
  if resume:
    runs = [
      run._replace(
        config=with_begun_lists(run.config, _begun_settings(run.out))
      )
      for run in runs
    ]
  begun = _begun_settings(runs[0].out) if resume else None
  chosen = with_encoder(runs[0].config, begun, log)
  runs = [
    run._replace(
      config=dataclasses.replace(
        run.config, encoder=chosen.encoder, projection=chosen.projection
      )
    )
    for run in runs
  ]
  devices = devices_lib.all_devices(runs[0].config.devices)
  shared = Shared.load(
    runs[0].config, devices, people=len(runs), shelf=shelf, log=log
  )
  jobs = [Job.open(run.config, shared, log) for run in runs]
  shared.read_networks(runs[0].config, shelf)
  for job in jobs:
    job.warn(log)
    job.check_same_everywhere()
  people = People(runs, jobs, log)
  with (
    stopping_gently() as stop,  # starting with the runs' first file
    contextlib.ExitStack() as held,
  ):
    if first:
      for run in runs:
        held.enter_context(locks.hold(run.out))
    processes.barrier()  # so that a signal reaches every process in here
    if first:
      for run, job in zip(runs, jobs):
        _begin(run.out, job.description(), run.flags)
    people.begin(seconds=time.monotonic() - began)
    people.find_anchors(stop)
    people.tune_and_measure(stop, together)
    processes.barrier()  # until process 0 is done
  if first and runs[0].config.report:
    for number, run in enumerate(runs):
      page = run.out / report_lib.FOLDER / report_lib.FILE
      if number in people.measured or (
        isinstance(people.results[number], dict) and not page.exists()
      ):
        _write_report(run.config, run.out, devices_lib.own(devices), log)
  processes.barrier()
  return people.results


def _absolute(config: PersonalizeConfig) -> PersonalizeConfig:
  """The config with absolute paths, so that a run works from any folder."""
  return dataclasses.replace(
    config,
    **{
      name: str(pathlib.Path(place).expanduser().absolute())
      for name in (
        *("checkpoint", "album", "lpips", "identity"),
        *("encoder", "adapter_init"),
      )
      if (place := getattr(config, name))
    },
  )


def begun_precision(out: str) -> str | None:
  """The precision of products that a folder's run began with.

  The same in all processes, which call it at the same time.

  Args:
    out: the run's folder.

  Returns: see `GeneratorConfig`; None: there is no run.
  Raises: CheckpointError: the run's config.json is damaged.
  """
  folder = pathlib.Path(out).expanduser()

  begun = _begun(folder)
  if begun is None:
    return None
  settings = begun["settings"]  # older runs lack the entry
  # Nothing was set, and a CPU needs nothing: so the adapter's file equals that
  # of an uninterrupted run.
  if settings.get("precision") or (
    "precision" in settings and jax.default_backend() == "cpu"
  ):
    return settings["precision"]
  return begun["generator"].get("precision") or None


def _begun_settings(folder: pathlib.Path) -> dict[str, Any] | None:
  """The settings of a folder's run; the same in all processes."""
  begun = _begun(folder)
  return None if begun is None else begun["settings"]


def _begun(folder: pathlib.Path) -> dict[str, Any] | None:
  """The config.json of the run in a folder; None: there is no run."""

  def read() -> dict[str, Any]:
    known = (folder / run_folder.CONFIG_FILE).exists()
    text = json.dumps(run_folder.read_config(folder) if known else None)
    return {"text": np.array(text)}

  return json.loads(str(processes.from_first(read)["text"]))


def _write_report(
  config: "PersonalizeConfig",
  out: pathlib.Path,
  devices: tuple[jax.Device, ...],
  log: Callable[[str], None],
):
  """Writes the run's report; a failure leaves the run finished."""
  try:
    report_lib.write_report(
      load_person(run=out, checkpoint=config.checkpoint, devices=devices),
      out,
      log=log,
    )
  except Exception as error:  # pylint: disable=broad-exception-caught
    log(
      f"warning: no report: {one_line(error)}; the run is "
      "finished; retry with python -m my3dgen_jax.launch.report "
      f"--run={config.out}"
    )


def _check_out(out: pathlib.Path, resume: bool):
  """Refuses to overwrite a run that exists or is being written."""
  locks.check_free(out)
  if out.exists() and not holds_nothing(out):
    if not resume:
      raise UserError(
        f"{out}: is not empty; --resume continues the run "
        "there, or choose another --out"
      )
    run_folder.read_config(out)


def _begin(out: pathlib.Path, description: dict[str, Any], flags: str | None):
  """Makes the folder, or checks that it holds the same run."""
  path = out / run_folder.CONFIG_FILE
  if path.exists():
    old = run_folder.read_config(out)
    begun = any(
      (out / name).exists()
      for name in (loop.STATE_FOLDER, run_folder.ANCHORS_FILE)
    )
    if begun:
      run_folder.check_same(path, old, description, FREE)
    if old != json.loads(json.dumps(description)):
      for name in _RESULTS:  # they belong to other settings
        (out / name).unlink(missing_ok=True)
  out.mkdir(parents=True, exist_ok=True)
  for left in filter(is_leftover, out.iterdir()):
    left.unlink()
  run_folder.write_json(path, description)
  if flags is not None:
    with replacing(out / run_folder.FLAGS_FILE) as file:
      file.write(flags.encode())


def describe_all(results: Mapping[str, Any], out: str) -> str:
  """The summaries of many runs as a table, and where they are."""
  columns = [
    ("lpips", "LPIPS", 4),
    ("psnr", "PSNR", 2),
    ("id_sim", "ID_sim", 3),
  ]
  lines = ["".ljust(22) + "".join(f"{title:>9}" for _, title, _ in columns)]
  for name, summary in results.items():
    if isinstance(summary, UserError):
      lines.append(f"{name:<22} failed: {summary}")
    else:
      lines.append(_row(name, summary["personalized"], columns))
  return "\n".join([*lines, f"{out}/*/{run_folder.ADAPTER_FILE}"])


def describe(summary: dict[str, Any], out: str) -> str:
  """A run's summary as a table, and where to look."""
  names = ("pretrained", "personalized")
  columns = [
    ("lpips", "LPIPS", 4),
    ("psnr", "PSNR", 2),
    ("psnr_marks", "at marks", 2),
    ("id_sim", "ID_sim", 3),
  ]
  if all(summary[name].get("psnr_marks") is None for name in names):
    del columns[2]
  lines = [
    f"{summary['count']} {summary['photos']} photos".ljust(22)
    + "".join(f"{title:>9}" for _, title, _ in columns)
  ]
  for name in names:
    lines.append(_row(name, summary[name], columns))
  if summary["adapter_numbers"]:
    lines.append(
      f"{summary['adapter_numbers']} numbers, "
      f"{summary['adapter_bytes'] / 1e6:.2f} MB"
    )
  lines += [
    f"{pathlib.Path(out) / name}"
    for name in (
      run_folder.PICTURE_FILE,
      run_folder.ADAPTER_FILE,
      f"{report_lib.FOLDER}/{report_lib.FILE}",
    )
    if (pathlib.Path(out).expanduser() / name).exists()
  ]
  return "\n".join(lines)


def _row(
  name: str, scores: Mapping[str, Any], columns: Sequence[tuple[str, str, int]]
) -> str:
  """One line of a table; columns are keys, titles and digits."""
  show = lambda value, digits: "-" if value is None else f"{value:.{digits}f}"
  return f"{name:<22}" + "".join(
    f"{show(scores.get(key), digits):>9}" for key, _, digits in columns
  )

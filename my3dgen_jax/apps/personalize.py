"""The main job: a generator and an album in, a person's own generator out.

Source: My3DGen, section 3.
"""

import contextlib
import dataclasses
import json
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from my3dgen_jax.apps import strangers
from my3dgen_jax.apps.person import load_person
from my3dgen_jax.apps.personalization.job import Job, UNFINISHED
from my3dgen_jax.apps.personalization.settings import (
  FREE,
  PersonalizeConfig,
  with_begun_lists,
)
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
  """Makes a generator somebody's own.

  Of several processes (`jobs.processes`) all fit and tune; process 0
  alone writes files, and measures.

  Args:
    config: the run.
    resume: go on with the run in `config.out`, if there is one.
    flags: text of a flagfile that repeats the run, kept with it.
    log: called with lines about what happens.
    shelf: networks that earlier runs of this process have read.

  Returns: what `summary.json` holds; None in processes other than 0.
  Raises:
    UserError: bad input, in one line; nothing has been written then.
    Interrupted: SIGTERM or SIGINT; `resume` goes on.
  """
  began = time.monotonic()
  # The run must find its base, photos and networks again from any folder.
  config = dataclasses.replace(
    config.validate(),
    **{
      name: str(pathlib.Path(place).expanduser().absolute())
      for name in ("checkpoint", "album", "lpips", "identity")
      if (place := getattr(config, name)) is not None
    },
  )
  out = pathlib.Path(config.out).expanduser()
  first = processes.is_first()
  if first:
    _check_out(out, resume)
  if resume:
    config = with_begun_lists(config, _begun_settings(out))
  devices = devices_lib.all_devices(config.devices)
  job = Job.load(config, devices, log, shelf=shelf)
  job.check_same_everywhere()
  with (
    stopping_gently() as stop,  # from the run's first file on
    locks.hold(out) if first else contextlib.nullcontext(),
  ):
    processes.barrier()  # a signal to any of them finds it here
    if first:
      _begin(out, job.description(), flags)
    log(
      f"{len(job.split.train)} photos to tune on, {len(job.split.test)} "
      f"held out, {len(devices)} device{'s' * (len(devices) > 1)}"
      + f" of {processes.count()} processes"
      * (processes.count() > 1)
    )
    anchors = job.anchors(out, stop)
    seconds = time.monotonic() - began
    saved = job.tune(out, anchors, stop)
    seconds += saved.seconds if saved else 0.0
    began = time.monotonic()
    result = job.write_result(out, saved)
    summary = job.evaluate(out, result, anchors, stop)
    if summary is None:
      processes.barrier()  # until process 0 is done
      return None
  seconds += time.monotonic() - began
  summary.update(
    adapter_bytes=result.bytes,
    adapter_numbers=result.numbers,
    seconds=round(seconds, 1),
    tuning_seconds=round(saved.seconds, 1) if saved else 0.0,
    **({strangers.WARNINGS: job.warnings} if job.warnings else {}),
  )
  run_folder.write_json(out / run_folder.SUMMARY_FILE, summary)
  shutil.rmtree(out / UNFINISHED, ignore_errors=True)
  if config.report:
    _write_report(config, out, devices_lib.own(devices), log)
  processes.barrier()
  return summary


def begun_precision(out: str) -> str | None:
  """The precision of products that the run in a folder began with.

  The same in all processes, which call it at the same time.

  Args:
    out: folder of the run.

  Returns: see `GeneratorConfig`; None: there is no run.
  Raises: CheckpointError: the run's config.json is damaged.
  """
  folder = pathlib.Path(out).expanduser()

  begun = _begun(folder)
  if begun is None:
    return None
  settings = begun["settings"]  # before there was the flag, without it
  # Nothing was said, and on a CPU nothing need be: so the adapter's file is
  # the same as that of a run that nobody has stopped.
  if settings.get("precision") or (
    "precision" in settings and jax.default_backend() == "cpu"
  ):
    return settings["precision"]
  return begun["generator"].get("precision") or None


def _begun_settings(folder: pathlib.Path) -> dict[str, Any] | None:
  """What the run in a folder was told; the same in all processes."""
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
  """The page of a run, which is finished whether there is a page or not."""
  try:
    report_lib.write_report(
      load_person(run=out, checkpoint=config.checkpoint, devices=devices),
      out,
      log=log,
    )
  except Exception as error:  # pylint: disable=broad-exception-caught
    log(
      f"warning: there is no report: {one_line(error)}; the run is "
      "finished, and python -m my3dgen_jax.launch.report "
      f"--run={config.out} tries again"
    )


def _check_out(out: pathlib.Path, resume: bool):
  """Refuses to write over what is there, or is being written."""
  locks.check_free(out)
  if out.exists() and not holds_nothing(out):
    if not resume:
      raise UserError(
        f"{out}: is not empty; --resume goes on with the run "
        "there, or choose another --out"
      )
    run_folder.read_config(out)


def _begin(out: pathlib.Path, description: dict[str, Any], flags: str | None):
  """Makes the folder, or sees that it is of the same run."""
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
      for name in _RESULTS:  # they are not of these settings
        (out / name).unlink(missing_ok=True)
  out.mkdir(parents=True, exist_ok=True)
  for left in filter(is_leftover, out.iterdir()):
    left.unlink()
  run_folder.write_json(path, description)
  if flags is not None:
    with replacing(out / run_folder.FLAGS_FILE) as file:
      file.write(flags.encode())


def describe(summary: dict[str, Any], out: str) -> str:
  """A run's summary as a table, and where to look."""
  show = lambda value, digits: "-" if value is None else f"{value:.{digits}f}"
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
    lines.append(
      f"{name:<22}"
      + "".join(
        f"{show(summary[name].get(key), digits):>9}"
        for key, _, digits in columns
      )
    )
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

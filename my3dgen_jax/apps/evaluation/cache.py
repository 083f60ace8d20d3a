"""Measurements, each cached in a file keyed by all it depends on."""

import functools
import hashlib
import json
import pathlib
import shutil
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from my3dgen_jax._version import __version__
from my3dgen_jax.apps.evaluation import protocols, runs
from my3dgen_jax.apps.evaluation.protocols import Subject
from my3dgen_jax.apps.evaluation.runs import Variant
from my3dgen_jax.apps.evaluation.settings import (
  EvaluateConfig,
  judge_digest,
  judges_of,
)
from my3dgen_jax.apps.person import Person
from my3dgen_jax.config.checks import plain
from my3dgen_jax.jobs import devices
from my3dgen_jax.jobs.interrupts import StopRequest
from my3dgen_jax.jobs.progress import duration
from my3dgen_jax.models.checkpoint import generator_digest
from my3dgen_jax.training import run_folder

_MEASURED = "measured"  # folder
_UNFINISHED = "unfinished"  # in it
_FORMAT = 2  # format of measurements; bump it when a protocol changes


class Bench:
  """Measures generators, and caches the results.

  A generator is loaded only when one of its measurements is missing.
  """

  def __init__(
    self,
    config: EvaluateConfig,
    out: pathlib.Path,
    stop: StopRequest,
    log: Callable[[str], None],
  ):
    """Starts with nothing loaded.

    Args:
      config: what to measure.
      out: folder to keep measurements in.
      stop: request to stop, checked before each measurement.
      log: called with one line per measurement.
    """
    self._config, self._out = config, out / _MEASURED
    self._stop, self._log = stop, log
    self._loaded: tuple[Variant | None, Subject | None] = None, None
    self._seconds: dict[pathlib.Path, float] = {}
    self.measured = 0  # in this call

  @property
  def seconds(self) -> float:
    """Seconds that all measurements took, in this call or earlier."""
    return sum(self._seconds.values())

  def clean_up(self):
    """Removes the files of unfinished measurements."""
    shutil.rmtree(self._out / _UNFINISHED, ignore_errors=True)

  def __call__(self, name: str, variant: Variant) -> dict[str, Any]:
    """A measurement; `name` is a function of `protocols`."""
    key = self._key(name, variant)
    digest = hashlib.sha256(
      json.dumps(key, sort_keys=True, default=str).encode()
    ).hexdigest()[:16]
    path = self._out / f"{name}-{digest}.json"
    if not path.is_file():
      self._stop.raise_if_wanted("stopped; the same command resumes")
      began = time.monotonic()
      measure = getattr(protocols, name)
      if name == "editing":
        measure = functools.partial(measure, directions=self._config.directions)
      values = measure(
        self._subject(variant), self._config.protocol, self._config.seed
      )
      seconds = time.monotonic() - began
      path.parent.mkdir(parents=True, exist_ok=True)
      run_folder.write_json(
        path,
        {
          "of": str(variant.folder),
          "key": key,
          "values": values,
          "seconds": seconds,
        },
      )
      self.measured += 1
      base = " (base)" if variant.pretrained else ""
      self._log(f"{variant.folder}{base}: {name}, {duration(seconds)}")
    found = run_folder.read_json(path)
    self._seconds[path] = found["seconds"]
    return found["values"]

  def _key(self, name: str, variant: Variant) -> dict[str, Any]:
    """The cache key: all that a measurement depends on."""
    protocol = plain(self._config.protocol)
    return {
      "measure": name,
      "protocol": protocol,
      "seed": self._config.seed,
      "format": [_FORMAT, __version__],
      **_identity(variant),
      # Measurements of earlier versions have no such entry.
      **(
        {"precision": self._config.precision} if self._config.precision else {}
      ),
      **{
        kind: judge_digest(folder)
        for kind, folder in judges_of(self._config, variant.folder).items()
      },
      "directions": []
      if name != "editing"
      else [
        (
          one.name,
          hashlib.sha256(np.ascontiguousarray(one.vector)).hexdigest(),
          one.spread,
        )
        for one in self._config.directions
      ],
    }

  def _subject(self, variant: Variant) -> Subject:
    if self._loaded[0] != variant:
      self._loaded = None, None
      devices.forget_programs()
      self._loaded = (
        variant,
        runs.load_subject(
          variant,
          stop=self._stop,
          cache=self._out / _UNFINISHED,
          precision=self._config.precision,
          **judges_of(self._config, variant.folder),
        ),
      )
    return self._loaded[1]

  def person(self, variant: Variant) -> Person:
    """The person of a generator."""
    return self._subject(variant).person


def _identity(variant: Variant) -> dict[str, Any]:
  """Identifies a generator, its anchors and its photos."""
  config = run_folder.read_config(variant.folder)
  found = {
    "base": config[run_folder.BASE_DIGEST],
    "generator": config["generator"],
    "photos": config["photos"],
    "anchors": run_folder.file_digest(variant.folder / run_folder.ANCHORS_FILE),
  }
  if variant.pretrained:
    return found
  if config["settings"]["tuning"]["mode"] == "full":
    own = generator_digest(variant.folder / run_folder.GENERATOR_FOLDER)
  else:
    own = run_folder.file_digest(variant.folder / run_folder.ADAPTER_FILE)
  return {**found, "own": own}

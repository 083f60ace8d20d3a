"""Metrics logs of a run: `metrics.jsonl`, and TensorBoard events."""

import json
import os
import pathlib
from collections.abc import Mapping

from my3dgen_jax.jobs.events import EventWriter
from my3dgen_jax.storage.files import replacing

METRICS_FILE = "metrics.jsonl"


class MetricsLog:
  """Appends a line per step to a run's log.

  A run that resumes from a step first drops what was logged after it, so that
  the file equals that of an uninterrupted run.

  Attributes:
    path: path of `metrics.jsonl`.
  """

  def __init__(self, folder: str | os.PathLike, *, step: int = 0):
    """Opens the log of a run that resumes after `step`."""
    folder = pathlib.Path(folder)
    self.path = folder / METRICS_FILE
    kept = []
    if self.path.exists():
      for line in self.path.read_text(encoding="utf-8").splitlines():
        try:
          if json.loads(line)["step"] <= step:
            kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
          break  # a line truncated by a kill
    with replacing(self.path) as file:
      file.write("".join(kept).encode())
    self._file = self.path.open("a", encoding="utf-8")
    try:
      self._events = EventWriter(folder, purge_step=step + 1)
    except (
      ImportError
    ):  # without tensorboardX the numbers are in the file above
      self._events = None

  def write(self, step: int, values: Mapping[str, float]):
    """Logs the values of a step.

    Raises: OSError if the disk is full.
    """
    try:
      self._file.write(json.dumps({"step": step, **values}) + "\n")
      self._file.flush()
    except OSError as error:
      error.filename = str(self.path)  # errors of a full disk name no file
      raise
    if self._events is not None:
      for name, value in values.items():
        self._events.scalar(f"train/{name}", value, step)
      self._events.flush()

  def __enter__(self) -> "MetricsLog":
    return self

  def __exit__(self, *_):
    self._file.close()
    if self._events is not None:
      self._events.close()

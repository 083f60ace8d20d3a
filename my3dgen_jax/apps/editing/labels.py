"""Labels of samples: how much of an attribute a function measures in them."""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.samples import pictures_from_the_front, samples_of
from my3dgen_jax.apps.person import Person
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.storage.array_files import read_npz
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.types import Array

_FORMAT = 1  # format of cached labels
_SAVE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Measure:
  """Measures how much of an attribute pictures show.

  Attributes:
    name: a name that differs for each function; cached labels are found by it.
    apply: any function from images [N, H, W, 3] in [-1, 1] to scores [N], or
      to a dict from attributes' names to scores.
  """

  name: str
  apply: Callable[[Array], Any]


def label(
  person: Person,
  w: Array,
  measure: Measure,
  *,
  batch_size: int = 4,
  stop: StopRequest | None = None,
  cache: pathlib.Path | None = None,
) -> dict[str, np.ndarray]:
  """Measures pictures of latents, seen from the front.

  Args:
    person: the owner of the generator.
    w: [N, w_dim].
    measure: the measure.
    batch_size: pictures at a time, over all devices.
    stop: request to stop, checked after each batch.
    cache: folder to keep labels in; None: they are not kept.

  Returns: attribute's name to scores [N]; if the measure gives no names, its
    own name.
  Raises:
    Interrupted: `stop` was requested; labels so far are in the cache.
    UserError: the measure does not give one number per picture.
  """
  stop = stop or StopRequest()
  w = np.asarray(w, np.float32)
  path = cache and cache / f"labels-{_label_key(person, w, measure)}.npz"
  scores = _recall(path, len(w))
  done = len(next(iter(scores.values()))) if scores else 0
  progress = Progress("samples", len(w), "pictures", start=done)
  saved = time.monotonic()
  shown = pictures_from_the_front(person, w[done:], batch_size)
  while done < len(w):
    batch = np.stack(list(itertools.islice(shown, batch_size)))
    found = measured(measure, batch)
    scores = {
      name: np.concatenate([scores.get(name, values[:0]), values])
      for name, values in found.items()
    }
    done += len(batch)
    progress.update(done)
    late = time.monotonic() - saved > _SAVE_SECONDS
    if path and (late or stop.signal is not None or done == len(w)):
      path.parent.mkdir(parents=True, exist_ok=True)
      with replacing(path) as file:
        np.savez(file, **scores)
      saved = time.monotonic()
    if done < len(w):
      stop.raise_if_wanted(
        f"stopped after {done} of {len(w)} samples; the same command resumes"
      )
  return scores


def label_samples(
  person: Person, measure: Measure, config: EditConfig, out: str | os.PathLike
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Samples and their labels, see `sample_latents` and `label`.

  Args:
    person: the owner of the generator.
    measure: the measure.
    config: the count of samples and the seed.
    out: folder; labels are kept in it, so a repeated command reuses them.

  Returns: w [N, w_dim], scores.
  Raises: as `label`; Interrupted: SIGTERM or SIGINT.
  """
  config.validate()
  w = samples_of(person, config)
  with stopping_gently() as stop:
    scores = label(
      person,
      w,
      measure,
      batch_size=config.batch_size,
      stop=stop,
      cache=pathlib.Path(out).expanduser() / "unfinished",
    )
    stop.raise_if_wanted(
      "stopped when all samples had their labels; the same command resumes"
    )
  return w, scores


def measured(measure: Measure, batch: np.ndarray) -> dict[str, np.ndarray]:
  """Measures pictures, and checks the numbers.

  Args:
    measure: the measure.
    batch: [N, H, W, 3] in [-1, 1].

  Returns: attribute's name to scores [N].
  Raises: UserError: the measure does not give one finite number per picture.
  """
  found = measure.apply(batch)
  if not isinstance(found, Mapping):
    found = {measure.name: found}
  result = {}
  for name, values in found.items():
    values = np.asarray(values, np.float64)
    if values.shape != (len(batch),) or not np.isfinite(values).all():
      raise UserError(
        f"{measure.name}: {name}: expected {len(batch)} finite "
        f"numbers, one per picture, got {list(values.shape)}"
      )
    result[name] = values
  return result


def _label_key(person: Person, w: np.ndarray, measure: Measure) -> str:
  """A hash of all that labels depend on."""
  digest = hashlib.sha256(
    json.dumps(
      [
        _FORMAT,
        measure.name,
        person.digest,
        person.generator.module.config.to_dict(),
      ]
    ).encode()
  )
  digest.update(np.ascontiguousarray(w))
  return digest.hexdigest()[:32]


def _recall(path: pathlib.Path | None, count: int) -> dict[str, np.ndarray]:
  """Cached labels, equally many of each attribute; none: {}."""
  try:
    scores = read_npz(path) if path else {}
  except CheckpointError:  # damaged or missing: measure again
    return {}
  sizes = {array.shape for array in scores.values()}
  if len(sizes) != 1 or len(min(sizes)) != 1 or min(sizes)[0] > count:
    return {}
  return scores

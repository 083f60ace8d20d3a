"""How much of an attribute samples show, as a function measures it."""

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

_FORMAT = 1  # of remembered labels
_SAVE_SECONDS = 60.0


@dataclasses.dataclass(frozen=True)
class Measure:
  """What tells how much of an attribute pictures show.

  Attributes:
    name: another for any other function; labels are remembered by it.
    apply: images [N, H, W, 3] in [-1, 1] to scores [N], or to several by the
      attribute's name; any function of the user's.
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
  """Measures pictures of latents from the front.

  Args:
    person: whose generator shows them.
    w: [N, w_dim].
    measure: of the attributes.
    batch_size: pictures at a time, over all devices.
    stop: looked at after each batch.
    cache: folder where labels are kept; None: nowhere.

  Returns: scores [N] by the attribute's name; of a measure without names by
    the measure's.
  Raises:
    Interrupted: `stop` was wanted; labels so far are in the cache.
    UserError: the measure does not give a number a picture.
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
        f"stopped after {done} of {len(w)} samples; the same command goes on"
      )
  return scores


def label_samples(
  person: Person, measure: Measure, config: EditConfig, out: str | os.PathLike
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """Samples and their labels, see `sample_latents` and `label`.

  Args:
    person: whose generator is sampled.
    measure: of the attributes.
    config: how many, and the seed.
    out: folder; labels are kept in it, so that a repeated command has them.

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
      "stopped when all samples had their labels; the same command goes on"
    )
  return w, scores


def measured(measure: Measure, batch: np.ndarray) -> dict[str, np.ndarray]:
  """What a measure says of pictures.

  Args:
    measure: of the attributes.
    batch: [N, H, W, 3] in [-1, 1].

  Returns: scores [N] by the attribute's name.
  Raises: UserError: it does not give a finite number a picture.
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
        f"numbers, one a picture, got {list(values.shape)}"
      )
    result[name] = values
  return result


def _label_key(person: Person, w: np.ndarray, measure: Measure) -> str:
  """What labels depend on, hashed."""
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
  """Labels that are remembered, as many of each; none: {}."""
  try:
    scores = read_npz(path) if path else {}
  except CheckpointError:  # damaged or not there: measured again
    return {}
  sizes = {array.shape for array in scores.values()}
  if len(sizes) != 1 or len(min(sizes)) != 1 or min(sizes)[0] > count:
    return {}
  return scores

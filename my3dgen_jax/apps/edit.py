"""One attribute of a person's pictures changes, the person stays.

    w = edit.sample_latents(key, person.generator, 10_000)
    scores = edit.label(person, w, edit.Measure("smiles", my_classifier))
    smile = edit.find_direction(w, scores, "smile", without=["age"])
    edited = edit.edit_strip(person, start, smile, strengths)

A direction is found among samples of the generator, and followed as weights
of the person's anchors, so that an edit stays in (or near) the personal hull.

Source: My3DGen, section 4.4; InterFaceGAN; MyStyle, section 3.3.
"""

import dataclasses
import hashlib
import itertools
import json
import os
import pathlib
import re
import time
from typing import (Any, Callable, Dict, Iterator, List, Literal, Mapping,
                    NamedTuple, Optional, Sequence, Tuple, Union)

import chex
import jax
import numpy as np

from my3dgen_jax import directions, latents
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.person import Person
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.apps.rendering.stations import (Station, look_up_all,
                                                 with_file_names)
from my3dgen_jax.data import images, provenance
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.ops import checks
from my3dgen_jax.training import run_folder
from my3dgen_jax.jobs.interrupts import StopRequest, stopping_gently
from my3dgen_jax.training.photo_fits import read_npz
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.types import Network

APPLIES = ("alpha", "w")
UNITS = ("spread", "w")
STRIP_FILE = "strip.png"
EDITS_FILE = "edits.npz"
SAMPLES_FILE = "samples.npz"
SUMMARY_FILE = "summary.json"

_FORMAT = 1  # of remembered labels
_SAMPLES_AT_ONCE = 1000
_SAVE_SECONDS = 60.0
_LEAST_COSINE = 0.9  # below, one is told
_ROUNDING = 1e-5  # of weights
_MOST = 1_000_000
_REACH = "reach"  # in the summary
_LEAST_SPREAD = 1e-6  # in W


@dataclasses.dataclass(frozen=True)
class EditConfig:
  """How directions are found and followed.

  Attributes:
    samples: latents that a direction is found among.
    truncation_psi: of the samples.
    seed: of the samples.
    batch_size: pictures at a time, over all devices.
    share: see `directions.fit`.
    strengths: how far one goes, a column each.
    unit: "spread": strengths count standard deviations of the samples along
      the direction; "w": they are lengths in W.
    apply: "alpha": the direction is followed as weights of the anchors, as
      far as they can follow it; "w": it is added to w.
    edge: what happens where the hull ends, see `latents.Hull.edit`. Anchors
      lie on its border themselves, so "stop" hardly moves them.
    beta: of the hull.
    turn: the camera's yaw goes from -turn at the first strength to turn at
      the last one, radians; 0: it stays where the start's is.
    frames: of a video a start, in which the strength goes from the first to
      the last and back; 0: none.
    yaw: how far the video's camera turns to either side, radians.
    pitch: how far it nods, radians; both 0: as the start's.
    video: its suffix, see `provenance.VIDEOS`.
  """

  samples: int = 10_000
  truncation_psi: float = 1.0
  seed: int = 0
  batch_size: int = 4
  share: float = 0.1
  strengths: Tuple[float, ...] = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)
  unit: Literal["spread", "w"] = "spread"
  apply: Literal["alpha", "w"] = "alpha"
  edge: Literal["stop", "continue", "project"] = "continue"
  beta: float = 0.02
  turn: float = 0.0
  frames: int = 0
  yaw: float = 0.0
  pitch: float = 0.0
  video: str = ".mp4"

  def validate(self) -> "EditConfig":
    """Checks every field; raises UserError that names one."""
    for name, known in (("unit", UNITS), ("apply", APPLIES),
                        ("edge", latents.EDGES), ("video", provenance.VIDEOS)):
      if getattr(self, name) not in known:
        raise UserError(f"{name}: expected one of {', '.join(known)}, got "
                        f"{getattr(self, name)!r}")
    for name, low, high in (("samples", 1, _MOST), ("seed", 0, 2**32 - 1),
                            ("batch_size", 1, _MOST), ("frames", 0, 100_000)):
      checks.whole_number(name, getattr(self, name), low, high)
    checks.as_float32("truncation_psi", self.truncation_psi, ())
    checks.as_float32("strengths", self.strengths, ("T",))
    for name, low, high in (("share", 1e-6, 0.5), ("beta", 0, 1)):
      if not low <= getattr(self, name) <= high:
        raise UserError(f"{name}: expected a number in [{low}, {high}], got "
                        f"{getattr(self, name)}")
    render.check_reach(self.yaw, self.pitch)
    render.check_reach(self.turn, 0.0)
    return self


@dataclasses.dataclass(frozen=True)
class Measure:
  """What tells how much of an attribute pictures show.

  Attributes:
    name: another for any other function; labels are remembered by it.
    apply: images [N, H, W, 3] in [-1, 1] to scores [N], or to several by the
      attribute's name; any function of the user's.
  """

  name: str
  apply: Callable[[chex.Array], Any]


class Edited(NamedTuple):
  """A start on its way.

  Attributes:
    ws: [T, num_ws, w_dim].
    alpha: [T, N], weights of the anchors, or None.
    c: [T, 25].
    images: [T, H, W, 3] float32.
  """

  ws: np.ndarray
  alpha: Optional[np.ndarray]
  c: np.ndarray
  images: np.ndarray


# Samples and their labels.


def sample_latents(key: chex.PRNGKey, generator: Network, count: int, *,
                   truncation_psi: float = 1.0) -> np.ndarray:
  """Draws latents, for labels of the average camera.

  Args:
    key: of the random numbers.
    generator: its mapping network is used.
    count: how many.
    truncation_psi: see `Generator.mapping`.

  Returns: w, [count, w_dim]; the first ones do not depend on the count.
  """
  config = generator.module.config
  front = render.view_labels(config.rendering, [0.0], [0.0])

  @jax.jit
  def sample(generator, key):
    z = jax.random.normal(key, (_SAMPLES_AT_ONCE, config.z_dim))
    return generator(z, front, truncation_psi=truncation_psi,
                     method="mapping")[:, 0]

  parts = [np.asarray(sample(generator, jax.random.fold_in(key, i)))
           for i in range(-(-count // _SAMPLES_AT_ONCE))]
  return np.concatenate(parts)[:count]


def label(person: Person, w: chex.Array, measure: Measure, *,
          batch_size: int = 4, stop: Optional[StopRequest] = None,
          cache: Optional[pathlib.Path] = None) -> Dict[str, np.ndarray]:
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
  shown = _from_the_front(person, w[done:], batch_size)
  while done < len(w):
    batch = np.stack(list(itertools.islice(shown, batch_size)))
    found = _measured(measure, batch)
    scores = {name: np.concatenate([scores.get(name, values[:0]), values])
              for name, values in found.items()}
    done += len(batch)
    progress.update(done)
    late = time.monotonic() - saved > _SAVE_SECONDS
    if path and (late or stop.signal is not None or done == len(w)):
      path.parent.mkdir(parents=True, exist_ok=True)
      with replacing(path) as file:
        np.savez(file, **scores)
      saved = time.monotonic()
    if done < len(w):
      stop.raise_if_wanted(f"stopped after {done} of {len(w)} samples; the "
                           "same command goes on")
  return scores


def label_samples(person: Person, measure: Measure, config: EditConfig,
                  out: Union[str, os.PathLike]
                  ) -> Tuple[np.ndarray, Dict[str, np.ndarray]]:
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
  w = _samples(person, config)
  with stopping_gently() as stop:
    scores = label(person, w, measure, batch_size=config.batch_size,
                   stop=stop,
                   cache=pathlib.Path(out).expanduser() / "unfinished")
    stop.raise_if_wanted("stopped when all samples had their labels; the same "
                         "command goes on")
  return w, scores


def write_samples(person: Person, config: EditConfig,
                  folder: Union[str, os.PathLike]):
  """Draws samples for people, or for programs of theirs, to label.

  Args:
    person: whose generator is sampled.
    config: how many, and the seed.
    folder: `0000.png` and so on, and `samples.npz`; pictures that are there
      stay.

  Raises:
    UserError: the folder holds other samples.
    Interrupted: SIGTERM or SIGINT; the same command goes on.
  """
  config.validate()
  folder = pathlib.Path(folder).expanduser()
  w = _samples(person, config)
  path = folder / SAMPLES_FILE
  if path.exists():
    known = read_npz(path)
    if str(known.get("digest")) != person.digest or not np.array_equal(
        known.get("w"), w):
      raise UserError(f"{folder}: holds other samples; choose another folder")
  folder.mkdir(parents=True, exist_ok=True)
  names = _sample_names(len(w))
  with stopping_gently() as stop:
    if not path.exists():
      with replacing(path) as file:
        np.savez(file, w=w, digest=person.digest, seed=config.seed,
                 truncation_psi=config.truncation_psi, base=person.origin.base)
    missing = [i for i, name in enumerate(names)
               if not (folder / name).exists()]
    progress = Progress("samples", len(w), "pictures",
                        start=len(w) - len(missing))
    shown = _from_the_front(person, w[missing], config.batch_size)
    for done, (i, image) in enumerate(zip(missing, shown), progress.start + 1):
      provenance.write_picture(
          folder / names[i], images.to_uint8(image),
          person.made("edit", sample=i, seed=config.seed,
                      truncation_psi=config.truncation_psi))
      progress.update(done)
      if done < len(w):
        stop.raise_if_wanted(f"stopped after {done} of {len(w)} samples; the "
                             "same command goes on")


def read_samples(folder: Union[str, os.PathLike], *, w_dim: int,
                 base: Optional[str] = None) -> Tuple[np.ndarray, List[str]]:
  """The latents of `write_samples`, and their pictures' names.

  Args:
    folder: of the samples.
    w_dim: the generator's width of w.
    base: id of its base, whose people share W; None: any.

  Returns: w [N, w_dim], names.
  Raises: CheckpointError, UserError: names the file.
  """
  path = pathlib.Path(folder).expanduser() / SAMPLES_FILE
  arrays = read_npz(path)
  w = arrays.get("w")
  if w is None:
    raise CheckpointError(f"{path}: holds no w; expected a folder that "
                          "--write_samples has written")
  if base and str(arrays.get("base", base)) != base:
    raise CheckpointError(f"{path}: holds samples of another base generator; "
                          "write and label samples of this one")
  w = np.asarray(checks.as_float32(f"{path}: w", w, ("N", w_dim)))
  return w, _sample_names(len(w))


def find_direction(w: chex.Array, scores: Mapping[str, chex.Array], name: str,
                   *, without: Sequence[Union[str, Direction]] = (),
                   share: float = 0.1) -> Direction:
  """The direction in which an attribute grows while others stay.

  Args:
    w: [N, w_dim].
    scores: [N] by the attribute's name; NaN of what has no label.
    name: of the attribute.
    without: names of attributes, or directions, that are to stay.
    share: see `directions.fit`.

  Returns: Direction; its accuracy is that of the attribute's own.
  Raises: as `directions.fit` and `directions.conditioned`.
  """

  def fitted(name: str) -> Direction:
    known = ~np.isnan(scores[name])
    return directions.fit(w[known], scores[name][known], name=name,
                          share=share)

  own = fitted(name)
  free = without_others(own, [fitted(one) if isinstance(one, str) else one
                              for one in without])
  return dataclasses.replace(free, spread=_spread(free.vector, w))


def without_others(direction: Direction, others: Sequence[Direction]
                   ) -> Direction:
  """As `directions.conditioned`; the accuracy is the one before."""
  if not others:
    return direction
  return dataclasses.replace(directions.conditioned(direction, others),
                             accuracy=direction.accuracy)


def with_spread(person: Person, direction: Direction,
                config: EditConfig) -> Direction:
  """A direction that knows how far samples spread along it.

  Raises: UserError: they do not.
  """
  spread = direction.spread
  if spread is None:
    spread = _spread(direction.vector, _samples(person, config))
  if not spread > _LEAST_SPREAD:
    raise UserError(f"{direction.name}: the {config.samples} samples do not "
                    "differ along it, so strengths cannot count their "
                    "standard deviations; draw more, raise truncation_psi, or "
                    "give strengths as lengths (unit w)")
  return dataclasses.replace(direction, spread=spread)


# Editing.


def find_starts(person: Person, names: Sequence[str], config: EditConfig, *,
                report: Callable[[str], None] = print) -> List[Station]:
  """Looks up what is edited.

  Args:
    person: whom it shows.
    names: photos of the run, with or without their extension; "all" of them;
      or files of `apps.invert`, NAME.npz. What bends the generator to the
      photo (NAME.safetensors, NAME_generator) is used if it lies beside.
      Latents outside of the hull are moved onto it, but for those of bent
      generators, which are edited by the same steps where they are.
    config: `apply` and `beta` are used.
    report: called with a line where a latent is moved.

  Raises: UserError, CheckpointError: names what is not there.
  """
  found = look_up_all(person, names, flag="start")
  return with_file_names([ready(person, start, config, report=report)
                          for start in found], flag="start")


def ready(person: Person, start: Station, config: EditConfig, *,
          report: Callable[[str], None] = print) -> Station:
  """A latent as edits begin with it, see `find_starts`."""
  if config.apply != "alpha":
    return start
  return _in_the_hull(person, start, config, report)


def edit_strip(person: Person, start: Station, direction: Direction,
               strengths: Sequence[float], *, apply: str = "alpha",
               edge: str = "continue", beta: float = 0.02,
               c: Optional[chex.Array] = None, batch_size: int = 4) -> Edited:
  """Pictures of a start on its way along a direction.

  Args:
    person: whom it shows.
    start: of `find_starts`.
    direction: in W or W+.
    strengths: [T], lengths in W.
    apply: see `EditConfig`.
    edge: see `latents.Hull.edit`.
    beta: of the hull.
    c: [25] or [T, 25], cameras; None: the start's.
    batch_size: pictures at a time, over all devices.

  Returns: Edited.
  Raises: UserError: the hull is missing, or the direction does not fit.
  """
  ws, alpha = edited_latents(person, start, direction, strengths, apply=apply,
                             edge=edge, beta=beta)
  c = np.broadcast_to(start.c if c is None else c, (len(ws), len(start.c)))
  shown = render.synthesize_many(
      start.generator or person.generator, ws, c, devices=person.devices,
      batch_size=batch_size)
  return Edited(ws, alpha, c, np.stack(list(shown)))


def edited_latents(person: Person, start: Station, direction: Direction,
                   strengths: Sequence[float], *, apply: str = "alpha",
                   edge: str = "continue", beta: float = 0.02
                   ) -> Tuple[np.ndarray, Optional[np.ndarray]]:
  """Latents of a start along a direction, see `edit_strip`.

  Returns: ws [T, num_ws, w_dim], alpha [T, N] or None.
  """
  strengths = np.asarray(strengths, np.float32)
  if apply == "w":
    step = np.broadcast_to(direction.vector, start.ws.shape)
    return start.ws + strengths[:, None, None] * step, None
  hull = person.hull(beta)
  gamma = hull.coordinates(direction.vector).gamma
  rows = np.repeat(start.alpha[None], len(strengths), axis=0)
  alpha = np.asarray(hull.edit(rows, gamma, strengths, edge))
  # The start in the same product: its last digits do not count as an edit.
  ws = np.asarray(hull.latents(np.concatenate([start.alpha[None], alpha])))
  return start.ws + (ws[1:] - ws[:1]), alpha


def write_edits(person: Person, starts: Sequence[Station], direction: Direction,
                config: EditConfig, out: Union[str, os.PathLike], *,
                measure: Optional[Measure] = None,
                report: Callable[[str], None] = print) -> Dict[str, Any]:
  """Edits into a folder.

  Args:
    person: whom the starts show.
    starts: of `find_starts`; none: the direction alone is written.
    direction: its name becomes that of a file.
    config: how.
    out: folder; `strip.png` (a row a start, a column a strength), with frames
      a `NAME.mp4` a start, `edits.npz` (names, ws, alpha, c, strengths,
      unit), `DIRECTION.npy` and `summary.json`.
    measure: of attributes that the summary tells of each picture, or None.
    report: called with a line a start, and with warnings.

  Returns: what `summary.json` holds; "reach" is in the unit of strengths.
  Raises: as `edit_strip`; Interrupted: SIGTERM or SIGINT.
  """
  config.validate()
  unit = 1.0
  if config.unit == "spread":
    direction = with_spread(person, direction, config)
    unit = direction.spread
  summary = {"direction": direction.name, "accuracy": direction.accuracy,
             "spread": direction.spread, "apply": config.apply,
             "edge": config.edge, "unit": config.unit,
             "strengths": list(config.strengths)}
  gamma = None
  if config.apply == "alpha" and person.anchors is not None:
    hull = person.hull(config.beta)
    gamma, cosine = hull.coordinates(direction.vector)
    summary["cosine"] = float(cosine)
    if cosine < _LEAST_COSINE:
      report(f"warning: {direction.name}: the {hull.size} anchors can follow "
             f"only part of it (cosine {cosine:.3f}); more photos help, "
             "apply=w follows all of it")
  out = pathlib.Path(out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  directions.save(out / f"{file_name(direction.name)}{directions.SUFFIX}",
                  direction)
  score = IdentityScore.of(person.identity, person.reference())
  details = dict(direction=direction.name, apply=config.apply,
                 edge=config.edge, unit=config.unit)
  rows, kept, numbers = [], [], {}
  with stopping_gently() as stop:
    for start in starts:
      stop.raise_if_wanted("stopped while drawing; the same command starts "
                           "again")
      edited = edit_strip(
          person, start, direction, unit * np.array(config.strengths),
          apply=config.apply, edge=config.edge, beta=config.beta,
          c=_cameras(person, start, config), batch_size=config.batch_size)
      numbers[start.name] = row = _numbers(edited, score, measure)
      if gamma is not None:
        row[_REACH] = [float(end[0]) / unit + 0.0 for end in hull.reach(
            start.alpha[None], gamma)]
      report(_line(start, row, config))
      rows.append([images.to_uint8(image) for image in edited.images])
      kept.append(edited)
      if config.frames:
        provenance.write_video(
            out / f"{file_name(start.name)}{config.video}",
            _frames(person, start, direction, unit, config, stop),
            person.made("edit", **details, start=start.name,
                        strengths=_sweep_text(config)))
    if rows:
      titles = [f"{strength:+.3g}" for strength in config.strengths]
      provenance.write_picture(
          out / STRIP_FILE, images.with_titles(images.make_grid(rows), titles),
          person.made("edit", **details, strengths=", ".join(titles),
                      starts=", ".join(numbers)))
      _keep(out / EDITS_FILE, numbers, kept, config)
  names = dict.fromkeys(name for row in numbers.values() for name in row
                        if name != _REACH)
  summary.update(starts=numbers, mean={
      name: np.mean([row[name] for row in numbers.values()], axis=0).tolist()
      for name in names})
  run_folder.write_json(out / SUMMARY_FILE, summary)
  return summary


def _samples(person: Person, config: EditConfig) -> np.ndarray:
  return sample_latents(jax.random.key(config.seed), person.generator,
                        config.samples, truncation_psi=config.truncation_psi)


def _sample_names(count: int) -> List[str]:
  digits = max(4, len(str(count - 1)))
  return [f"{i:0{digits}d}.png" for i in range(count)]


def _from_the_front(person: Person, w: np.ndarray,
                    batch_size: int) -> Iterator[np.ndarray]:
  """Pictures of latents [N, w_dim], [H, W, 3] each."""
  if not len(w):
    return iter(())
  model = person.generator.module.config
  front = render.view_labels(model.rendering, [0.0], [0.0])
  return render.synthesize_many(
      person.generator,
      np.broadcast_to(w[:, None], (len(w), model.num_ws, model.w_dim)),
      np.broadcast_to(front, (len(w), front.shape[1])),
      devices=person.devices, batch_size=batch_size)


def _label_key(person: Person, w: np.ndarray, measure: Measure) -> str:
  """What labels depend on, hashed."""
  digest = hashlib.sha256(json.dumps(
      [_FORMAT, measure.name, person.digest,
       person.generator.module.config.to_dict()]).encode())
  digest.update(np.ascontiguousarray(w))
  return digest.hexdigest()[:32]


def _recall(path: Optional[pathlib.Path], count: int
            ) -> Dict[str, np.ndarray]:
  """Labels that are remembered, as many of each; none: {}."""
  try:
    scores = read_npz(path) if path else {}
  except CheckpointError:  # damaged or not there: measured again
    return {}
  sizes = {array.shape for array in scores.values()}
  if len(sizes) != 1 or len(min(sizes)) != 1 or min(sizes)[0] > count:
    return {}
  return scores


def _measured(measure: Measure, batch: np.ndarray) -> Dict[str, np.ndarray]:
  """Scores [N] by name; raises UserError: they are none."""
  found = measure.apply(batch)
  if not isinstance(found, Mapping):
    found = {measure.name: found}
  result = {}
  for name, values in found.items():
    values = np.asarray(values, np.float64)
    if values.shape != (len(batch),) or not np.isfinite(values).all():
      raise UserError(f"{measure.name}: {name}: expected {len(batch)} finite "
                      f"numbers, one a picture, got {list(values.shape)}")
    result[name] = values
  return result


def _spread(vector: np.ndarray, w: chex.Array) -> float:
  """The standard deviation of samples along a direction in W or W+."""
  along = np.asarray(w, np.float64) @ np.atleast_2d(vector).sum(axis=0)
  return float(np.std(along))


def _in_the_hull(person: Person, start: Station, config: EditConfig,
                 report: Callable[[str], None]) -> Station:
  """A start with weights, one set for all layers; see `find_starts`."""
  hull = person.hull(config.beta)
  if start.alpha is not None:
    # What layers have of their own, and what is outside, stays in ws.
    alpha = np.atleast_2d(start.alpha).mean(axis=0, keepdims=True)
    if alpha.min() < -hull.beta - _ROUNDING or (
        abs(alpha.sum() - 1) > _ROUNDING):
      alpha = np.asarray(hull.project(hull.latents(alpha)))
    return start._replace(alpha=alpha[0].astype(np.float32))
  alpha = np.asarray(hull.project(start.ws[None]))
  if start.generator is not None:
    return start._replace(alpha=alpha[0])
  inside = np.asarray(hull.latents(alpha))[0]
  middle = np.mean(person.anchors.ws, axis=0)
  share = np.linalg.norm(inside - start.ws) / max(
      np.linalg.norm(start.ws - middle), 1e-12)
  report(f"{start.name}: moved onto the hull, by {share:.2f} of its distance "
         "from the anchors' mean")
  return start._replace(ws=inside, alpha=alpha[0])


def _cameras(person: Person, start: Station,
             config: EditConfig) -> Optional[np.ndarray]:
  """Those of the strip, [T, 25]; None: the start's."""
  if not config.turn:
    return None
  return render.about_front(person.generator, start.c, np.linspace(
      -config.turn, config.turn, len(config.strengths)), 0.0)


def _frames(person: Person, start: Station, direction: Direction, unit: float,
            config: EditConfig, stop: StopRequest) -> Iterator[np.ndarray]:
  """Frames of a video: from the first strength to the last and back."""
  first, last = config.strengths[0], config.strengths[-1]
  there = (1 - np.cos(np.linspace(0, 2 * np.pi, config.frames,
                                  endpoint=False))) / 2
  ws, _ = edited_latents(person, start, direction,
                         unit * (first + (last - first) * there),
                         apply=config.apply, edge=config.edge,
                         beta=config.beta)
  c = np.broadcast_to(start.c, (config.frames, len(start.c)))
  if config.yaw or config.pitch:
    c = render.orbit(person.generator, start.c, frames=config.frames,
                     yaw=config.yaw, pitch=config.pitch)
  for image in render.synthesize_many(
      start.generator or person.generator, ws, c, devices=person.devices,
      batch_size=config.batch_size):
    stop.raise_if_wanted("stopped while drawing; the same command starts "
                         "again")
    yield images.to_uint8(image)


def _numbers(edited: Edited, score: Optional[IdentityScore],
             measure: Optional[Measure]) -> Dict[str, List[float]]:
  """What can be told of each picture of a start."""
  row = {}
  if score is not None:
    row["id_sim"] = score(edited.images)
  if measure is not None:
    row.update(_measured(measure, edited.images))
  return {name: [float(value) for value in values]
          for name, values in row.items()}


def _line(start: Station, row: Mapping[str, Any], config: EditConfig) -> str:
  parts = [f"{name} {values[0]:.3g} … {values[-1]:.3g}"
           for name, values in row.items() if name != _REACH]
  if _REACH in row:
    low, high = row[_REACH]
    parts.append(f"the hull reaches from {low:.3g} to {high:.3g}")
  return f"{start.name}: " + (", ".join(parts) or
                              f"{len(config.strengths)} pictures")


def _sweep_text(config: EditConfig) -> str:
  return f"{config.strengths[0]:+.3g} to {config.strengths[-1]:+.3g} and back"


def _keep(path: pathlib.Path, names: Mapping[str, Any],
          kept: Sequence[Edited], config: EditConfig):
  """Writes what the strip shows, to go on with."""
  arrays = {"names": np.array(list(names), np.str_),
            "ws": np.stack([one.ws for one in kept]),
            "c": np.stack([one.c for one in kept]),
            "strengths": np.array(config.strengths, np.float32),
            "unit": config.unit}
  if all(one.alpha is not None for one in kept):
    arrays["alpha"] = np.stack([one.alpha for one in kept])
  with replacing(path) as file:
    np.savez(file, **arrays)


def file_name(name: str) -> str:
  """A text without what file names should not hold."""
  return re.sub(r"[^\w.+-]+", "_", name).strip("_.") or "direction"

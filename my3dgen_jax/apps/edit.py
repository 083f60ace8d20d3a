"""Changes one attribute of a person's pictures and keeps the person.

    w = samples.sample_latents(key, person.generator, 10_000)
    scores = labels.label(person, w, labels.Measure("smiles", my_classifier))
    smile = finding.find_direction(w, scores, "smile", without=["age"])
    edited = edit.edit_strip(person, start, smile, strengths)

A direction is found from samples of the generator, and followed as weights
of the person's anchors, so that an edit stays in (or near) the personal hull.

Source: My3DGen, section 4.4; InterFaceGAN; MyStyle, section 3.3.
"""

import os
import pathlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from my3dgen_jax import directions
from my3dgen_jax.apps.editing import limits
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.finding import with_spread
from my3dgen_jax.apps.editing.labels import Measure, measured
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.rendering.photo_latents import (
  look_up_all,
  PhotoLatent,
  with_file_names,
)
from my3dgen_jax.data import images, provenance
from my3dgen_jax.directions import Direction
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training import run_folder
from my3dgen_jax.types import Array

STRIP_FILE = "strip.png"
EDITS_FILE = "edits.npz"
SUMMARY_FILE = "summary.json"

_ROUNDING = 1e-5  # error of weights


class Edited(NamedTuple):
  """A start, moved along a direction.

  Attributes:
    ws: [T, num_ws, w_dim].
    alpha: [T, N], weights of the anchors, or None.
    c: [T, 25], camera labels.
    images: [T, H, W, 3] float32.
  """

  ws: np.ndarray
  alpha: np.ndarray | None
  c: np.ndarray
  images: np.ndarray


def find_starts(
  person: Person,
  names: Sequence[str],
  config: EditConfig,
  *,
  log: Callable[[str], None] = print,
) -> list[PhotoLatent]:
  """Finds the latents to edit.

  Args:
    person: the person shown.
    names: photos of the run, with or without their extension; "all" of them;
      or files of `apps.invert`, NAME.npz. The tuning of the generator to the
      photo (NAME.safetensors, NAME_generator) is used if it lies beside.
      Latents outside the hull are moved onto it, except those of tuned
      generators, which take the same steps from where they are.
    config: the edit's settings; `apply` and `beta` are used.
    log: called with a line for each latent that is moved.

  Raises: UserError, CheckpointError: names what is not there.
  """
  found = look_up_all(person, names, flag="start")
  return with_file_names(
    [ready(person, start, config, log=log) for start in found], flag="start"
  )


def ready(
  person: Person,
  start: PhotoLatent,
  config: EditConfig,
  *,
  log: Callable[[str], None] = print,
) -> PhotoLatent:
  """A latent, ready to be edited; see `find_starts`."""
  if config.apply != "alpha":
    return start
  return _in_the_hull(person, start, config, log)


def edit_strip(
  person: Person,
  start: PhotoLatent,
  direction: Direction,
  strengths: Sequence[float],
  *,
  apply: str = "alpha",
  edge: str = "continue",
  beta: float = 0.02,
  c: Array | None = None,
  batch_size: int = 4,
) -> Edited:
  """Pictures of a start, moved along a direction.

  Args:
    person: the person shown.
    start: a start from `find_starts`.
    direction: the direction, in W or W+.
    strengths: [T], lengths in W.
    apply: see `EditConfig`.
    edge: see `latents.Hull.edit`.
    beta: how far below 0 the hull's weights may be.
    c: [25] or [T, 25], camera labels; None: the start's.
    batch_size: pictures per batch, over all devices.

  Returns: Edited.
  Raises: UserError: there is no hull, or the direction does not fit.
  """
  ws, alpha = edited_latents(
    person, start, direction, strengths, apply=apply, edge=edge, beta=beta
  )
  c = np.broadcast_to(start.c if c is None else c, (len(ws), len(start.c)))
  shown = render.synthesize_many(
    start.generator or person.generator,
    ws,
    c,
    devices=person.devices,
    batch_size=batch_size,
  )
  return Edited(ws, alpha, c, np.stack(list(shown)))


def edited_latents(
  person: Person,
  start: PhotoLatent,
  direction: Direction,
  strengths: Sequence[float],
  *,
  apply: str = "alpha",
  edge: str = "continue",
  beta: float = 0.02,
) -> tuple[np.ndarray, np.ndarray | None]:
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
  # The start goes through the same product, so rounding does not look like
  # an edit.
  ws = np.asarray(hull.latents(np.concatenate([start.alpha[None], alpha])))
  return start.ws + (ws[1:] - ws[:1]), alpha


def write_edits(
  person: Person,
  starts: Sequence[PhotoLatent],
  direction: Direction,
  config: EditConfig,
  out: str | os.PathLike,
  *,
  measure: Measure | None = None,
  log: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Writes edits to a folder.

  Args:
    person: the person shown.
    starts: starts from `find_starts`; none: only the direction is written.
    direction: the direction; its file is named after it.
    config: the edit's settings.
    out: folder; `strip.png` (one row per start, one column per strength), with
      frames one `NAME.mp4` per start, `edits.npz` (names, ws, alpha, c,
      strengths, unit), `DIRECTION.npy` and `summary.json`.
    measure: measures attributes of each picture for the summary, or None.
    log: called with one line per start, and with warnings.

  Returns: what `summary.json` holds; "reach" is in the unit of strengths.
  Raises: as `edit_strip`; Interrupted: SIGTERM or SIGINT.
  """
  config.validate()
  unit = 1.0
  if config.unit == "spread":
    direction = with_spread(person, direction, config)
    unit = direction.spread
  summary = {
    "direction": direction.name,
    "accuracy": direction.accuracy,
    "spread": direction.spread,
    "apply": config.apply,
    "edge": config.edge,
    "unit": config.unit,
    "strengths": list(config.strengths),
  }
  gamma = None
  if config.apply == "alpha" and person.anchors is not None:
    hull = person.hull(config.beta)
    gamma, cosine = hull.coordinates(direction.vector)
    summary["cosine"] = float(cosine)
    if part := limits.followed_in_part(
      direction.name, float(cosine), hull.size, instead="--apply=w"
    ):
      log(f"warning: {part}")
  out = pathlib.Path(out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  directions.save(
    out / f"{file_name(direction.name)}{directions.SUFFIX}", direction
  )
  score = IdentityScore.of(person.identity, person.reference())
  details = dict(
    direction=direction.name,
    apply=config.apply,
    edge=config.edge,
    unit=config.unit,
  )
  rows, kept, numbers = [], [], {}
  with stopping_gently() as stop:
    for start in starts:
      stop.raise_if_wanted(
        "stopped while drawing; the same command starts again"
      )
      edited = edit_strip(
        person,
        start,
        direction,
        unit * np.array(config.strengths),
        apply=config.apply,
        edge=config.edge,
        beta=config.beta,
        c=_cameras(person, start, config),
        batch_size=config.batch_size,
      )
      numbers[start.name] = row = _numbers(edited, score, measure)
      if gamma is not None:
        row[limits.REACH] = [
          float(end[0]) / unit + 0.0
          for end in hull.reach(start.alpha[None], gamma)
        ]
      log(limits.line_of(start.name, row, len(config.strengths)))
      if gamma is not None and (
        end := limits.ended_early(start.name, row[limits.REACH], config)
      ):
        log(f"warning: {end}")
      rows.append([images.to_uint8(image) for image in edited.images])
      kept.append(edited)
      if config.frames:
        provenance.write_video(
          out / f"{file_name(start.name)}{config.video}",
          _frames(person, start, direction, unit, config, stop),
          person.made(
            "edit", **details, start=start.name, strengths=_sweep_text(config)
          ),
        )
    if rows:
      titles = [f"{strength:+.3g}" for strength in config.strengths]
      provenance.write_picture(
        out / STRIP_FILE,
        images.with_titles(images.make_grid(rows), titles),
        person.made(
          "edit",
          **details,
          strengths=", ".join(titles),
          starts=", ".join(numbers),
        ),
      )
      _keep(out / EDITS_FILE, numbers, kept, config)
  names = dict.fromkeys(
    name for row in numbers.values() for name in row if name != limits.REACH
  )
  mean: dict[str, list[float]] = {
    name: np.mean([row[name] for row in numbers.values()], axis=0).tolist()
    for name in names
  }
  summary.update(starts=numbers, mean=mean)
  if little := limits.hardly_changed(direction.name, mean):
    log(f"warning: {little}")
  run_folder.write_json(out / SUMMARY_FILE, summary)
  return summary


def _in_the_hull(
  person: Person,
  start: PhotoLatent,
  config: EditConfig,
  log: Callable[[str], None],
) -> PhotoLatent:
  """A start with one set of weights for all layers; see `find_starts`."""
  hull = person.hull(config.beta)
  if start.alpha is not None:
    # Differences between layers, and what is outside the hull, stay in ws.
    alpha = np.atleast_2d(start.alpha).mean(axis=0, keepdims=True)
    if alpha.min() < -hull.beta - _ROUNDING or (
      abs(alpha.sum() - 1) > _ROUNDING
    ):
      alpha = np.asarray(hull.project(hull.latents(alpha)))
    return start._replace(alpha=alpha[0].astype(np.float32))
  alpha = np.asarray(hull.project(start.ws[None]))
  if start.generator is not None:
    return start._replace(alpha=alpha[0])
  inside = np.asarray(hull.latents(alpha))[0]
  middle = np.mean(person.anchors.ws, axis=0)
  share = np.linalg.norm(inside - start.ws) / max(
    np.linalg.norm(start.ws - middle), 1e-12
  )
  log(
    f"{start.name}: moved onto the hull by {share:.2f} of its distance "
    "from the anchors' mean"
  )
  return start._replace(ws=inside, alpha=alpha[0])


def _cameras(
  person: Person, start: PhotoLatent, config: EditConfig
) -> np.ndarray | None:
  """Camera labels of the strip, [T, 25]; None: the start's."""
  if not config.turn:
    return None
  return render.about_front(
    person.generator,
    start.c,
    np.linspace(-config.turn, config.turn, len(config.strengths)),
    0.0,
  )


def _frames(
  person: Person,
  start: PhotoLatent,
  direction: Direction,
  unit: float,
  config: EditConfig,
  stop: StopRequest,
) -> Iterator[np.ndarray]:
  """Video frames, from the first strength to the last and back."""
  first, last = config.strengths[0], config.strengths[-1]
  there = (
    1 - np.cos(np.linspace(0, 2 * np.pi, config.frames, endpoint=False))
  ) / 2
  ws, _ = edited_latents(
    person,
    start,
    direction,
    unit * (first + (last - first) * there),
    apply=config.apply,
    edge=config.edge,
    beta=config.beta,
  )
  c = np.broadcast_to(start.c, (config.frames, len(start.c)))
  if config.yaw or config.pitch:
    c = render.orbit(
      person.generator,
      start.c,
      frames=config.frames,
      yaw=config.yaw,
      pitch=config.pitch,
    )
  for image in render.synthesize_many(
    start.generator or person.generator,
    ws,
    c,
    devices=person.devices,
    batch_size=config.batch_size,
  ):
    stop.raise_if_wanted("stopped while drawing; the same command starts again")
    yield images.to_uint8(image)


def _numbers(
  edited: Edited, score: IdentityScore | None, measure: Measure | None
) -> dict[str, list[float]]:
  """Measured numbers of each picture of a start."""
  row = {}
  if score is not None:
    row["id_sim"] = score(edited.images)
  if measure is not None:
    row.update(measured(measure, edited.images))
  return {
    name: [float(value) for value in values] for name, values in row.items()
  }


def _sweep_text(config: EditConfig) -> str:
  return f"{config.strengths[0]:+.3g} to {config.strengths[-1]:+.3g} and back"


def _keep(
  path: pathlib.Path,
  names: Mapping[str, Any],
  kept: Sequence[Edited],
  config: EditConfig,
):
  """Writes the latents and cameras of the strip."""
  arrays = {
    "names": np.array(list(names), np.str_),
    "ws": np.stack([one.ws for one in kept]),
    "c": np.stack([one.c for one in kept]),
    "strengths": np.array(config.strengths, np.float32),
    "unit": config.unit,
  }
  if all(one.alpha is not None for one in kept):
    arrays["alpha"] = np.stack([one.alpha for one in kept])
  with replacing(path) as file:
    np.savez(file, **arrays)


def file_name(name: str) -> str:
  """A text without characters that file names should not have."""
  return re.sub(r"[^\w.+-]+", "_", name).strip("_.") or "direction"

"""Fills in what is missing from a photo, using what is known of the person.

Holes (inpainting), detail (superresolution), colors or sharpness: the photo is
searched for in the personal hull, seen through a hole or a degradation; the
generator's picture of what is found has what the photo lacks.

Source: My3DGen, section 4.3; MyStyle, section 4.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from my3dgen_jax.apps.enhancement.cases import Case, case_of
from my3dgen_jax.apps.enhancement.masks import by_depth
from my3dgen_jax.apps.enhancement.photos import lanczos
from my3dgen_jax.apps.enhancement.scoring import compare_with_truth
from my3dgen_jax.apps.enhancement.tasks import EnhanceConfig
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering.render import synthesize
from my3dgen_jax.config import HullFitConfig
from my3dgen_jax.data import images, provenance
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.album_files import stem
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.losses import scores
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.ops import blending, degradations
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.hull_fit import Degradation, HullFit
from my3dgen_jax.training.photo_fits import Targets
from my3dgen_jax.types import Array, RenderOutput

SUMMARY_FILE = "summary.json"
SHEET_FILE = "sheet.png"

# Images [N, H, W, 3] in [-1, 1] to masks [N, H, W, 1] in [0, 1], 1: a person.
Segmenter = Callable[[Array], Array]


class Enhanced(NamedTuple):
  """An enhanced photo.

  Attributes:
    image: uint8 [H, W, 3].
    seen: uint8 [h, w, C], the known pixels; holes are gray.
    generated: uint8 [H, W, 3], the generator's whole picture.
    background: uint8 [H, W, 3], the photo as seen, at full size.
    mask: [H, W, 1] in [0, 1], how much of the image is generated.
    ws: [num_ws, w_dim].
    alpha: [N] or [num_ws, N], weights of the anchors.
  """

  image: np.ndarray
  seen: np.ndarray
  generated: np.ndarray
  background: np.ndarray
  mask: np.ndarray
  ws: np.ndarray
  alpha: np.ndarray


class _Shown(NamedTuple):
  """The search's result, one row per photo."""

  output: RenderOutput
  ws: np.ndarray
  alpha: np.ndarray


def inpaint(
  person: Person,
  photos: Array,
  c: Array,
  holes: Array,
  config: EnhanceConfig,
  *,
  names: Sequence[str] | None = None,
  stop: StopRequest | None = None,
  cache: pathlib.Path | None = None,
) -> list[Enhanced]:
  """Fills holes in photos.

  Args:
    person: the person shown.
    photos: uint8 [N, H, W, 3].
    c: [N, 25].
    holes: [N, H, W] bool, True where nothing is known.
    config: the settings; `hull` is used.
    names: the photos' names, for messages.
    stop: request to stop, checked after each step.
    cache: folder to keep the search in; None: it is not kept.

  Returns: one `Enhanced` per photo; known pixels are unchanged.
  Raises: as `PhotoFits.fit`; UserError if LPIPS or anchors are missing, or a
    photo has no hole or nothing but a hole.
  """
  names = names or _numbers(len(photos))
  for name, hole in zip(names, holes):
    if hole.all() or not hole.any():
      raise UserError(
        f"{name}: its mask leaves "
        + ("nothing of the photo" if hole.all() else "nothing to fill")
        + "; expected white where the photo is known, and black elsewhere"
      )
  # The content of a hole is unknown, so it must not count.
  blank = np.where(holes[..., None], np.uint8(127), photos)
  shown = _search(
    person,
    Targets(
      images.to_float(blank),
      np.asarray(c),
      None,
      (~holes[..., None]).astype(np.float32),
    ),
    names,
    config.hull,
    None,
    stop,
    cache,
  )
  result = []
  for i, hole in enumerate(holes):
    generated = np.asarray(shown.output.image[i])
    blended = blending.seamless(images.to_float(photos[i]), generated, hole)
    result.append(
      Enhanced(
        np.where(hole[..., None], images.to_uint8(blended), photos[i]),
        blank[i],
        images.to_uint8(generated),
        blank[i],
        hole[..., None].astype(np.float32),
        shown.ws[i],
        shown.alpha[i],
      )
    )
  return result


def restore(
  person: Person,
  seen: Array,
  c: Array,
  degradation: Degradation,
  config: EnhanceConfig,
  *,
  names: Sequence[str] | None = None,
  segment: Segmenter | None = None,
  masks: Sequence[np.ndarray | None] | None = None,
  known: np.ndarray | None = None,
  stop: StopRequest | None = None,
  cache: pathlib.Path | None = None,
) -> list[Enhanced]:
  """Undoes a degradation of photos.

  The person is the generator's picture, changed slightly so that the result
  degrades to what was seen; the background is the photo as seen. If that is
  smaller than the result, the background is enlarged by a Lanczos filter and
  changed slightly too.

  Args:
    person: the person shown.
    seen: uint8 [N, h, w, C], three channels or gray.
    c: [N, 25].
    degradation: the degradation to undo.
    config: the settings; `hull`, `everywhere`, `feather` and
      `agreement_steps` are used.
    names: the photos' names, for messages.
    segment: finds the person in the generator's picture; None: its depth does,
      see `by_depth`.
    masks: [H, W] bool each, True where the person is; None: find it.
    known: [N, h, w, 1] in [0, 1], 0 where `seen` is unknown; None: all of it
      is known.
    stop: request to stop, checked after each step.
    cache: folder to keep the search in; None: it is not kept.

  Returns: one `Enhanced` per photo.
  Raises: as `inpaint`; UserError if `seen` does not have the shape that
    the degradation makes.
  """
  names = names or _numbers(len(seen))
  side = person.generator.module.config.img_resolution
  wanted = jax.eval_shape(
    degradation.apply, jax.ShapeDtypeStruct((1, side, side, 3), np.float32)
  ).shape[1:]
  if seen.shape[1:] != wanted:
    raise UserError(
      f"seen: {degradation.name} makes images of "
      f"{list(wanted)}, got {list(seen.shape[1:])}"
    )
  shown = _search(
    person,
    Targets(images.to_float(seen), np.asarray(c), None, known),
    names,
    config.hull,
    degradation,
    stop,
    cache,
  )
  weighted = lambda x, weight: x if weight is None else x * weight
  agree = jax.jit(
    lambda image, seen, weight: degradations.agreeing(
      image,
      weighted(seen, weight),
      lambda x: weighted(degradation.apply(x), weight),
      steps=config.agreement_steps,
    )
  )
  is_small = seen.shape[1] < side
  result = []
  for i in range(len(seen)):
    generated = shown.output.image[i]
    mask = masks[i] if masks else None
    if config.everywhere:
      mask = np.ones((side, side), bool)
    elif mask is None and segment is not None:
      mask = np.asarray(segment(generated[None]))[0, ..., 0] >= 0.5
    elif mask is None:
      mask = by_depth(shown.output.image_depth[i], side)
    weights = blending.edge_weights(mask, config.feather * side)[..., None]
    matched = lambda image, i=i: np.asarray(
      agree(
        image[None],
        images.to_float(seen[i : i + 1]),
        None if known is None else known[i : i + 1],
      )
    )[0]
    background = lanczos(seen[i], side)
    if is_small:  # the Lanczos filter does not quite undo the shrinking
      background = images.to_uint8(matched(images.to_float(background)))
    # The whole generated picture, not the person alone: otherwise the few
    # pixels at an edge would have to make up for what lies beyond it.
    image = weights * matched(generated) + (1 - weights) * images.to_float(
      background
    )
    image = np.where(weights > 0, images.to_uint8(image), background)
    result.append(
      Enhanced(
        image,
        seen[i],
        images.to_uint8(generated),
        background,
        weights,
        shown.ws[i],
        shown.alpha[i],
      )
    )
  return result


def write_enhanced(
  person: Person,
  album: Album,
  config: EnhanceConfig,
  out: str | os.PathLike,
  *,
  mask: str | os.PathLike | None = None,
  degradation: Degradation | None = None,
  segment: Segmenter | None = None,
  log: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Enhances photos into a folder; resumes where it was stopped.

  Args:
    person: the person shown.
    album: photos with cameras, of the generator's size, or smaller for task
      "superresolution". A photo's own mask is white where it is known: the
      rest is filled (task "inpaint") or ignored.
    config: the settings.
    out: folder; per photo `NAME.png`, `NAME_input.png` (what is known),
      `NAME_generated.png` and `NAME.npz` (ws, alpha, c, and how much of each
      pixel is generated); `sheet.png` and `summary.json`.
    mask: mask file, white where photos are known (task "inpaint", instead of
      their own masks) or where the person is.
    degradation: the degradation to undo instead of the task's; the task must
      not be "inpaint".
    segment: see `restore`.
    log: called with one line per photo.

  Returns: what `summary.json` holds: scores against the true photos ("psnr",
    "lpips", for inpainting also "psnr_hole" and "lpips_hole"), "id_sim", and
    for other tasks "grey_levels", the mean difference between the degraded
    result and what was seen and known.
  Raises: as `inpaint` and `restore`; Interrupted: SIGTERM or SIGINT.
  """
  config.validate()
  case = case_of(person, album, config, mask, degradation)
  out = pathlib.Path(out).expanduser()
  names = list(album.names)
  common = {"names": names, "cache": out / "unfinished"}
  for line in person.warnings(album):
    log(f"warning: {line}")
  with stopping_gently() as stop:
    if case.degradation is None:
      holes = np.stack([~known for known in case.masks])
      found = inpaint(
        person, case.seen, album.c, holes, config, stop=stop, **common
      )
    else:
      found = restore(
        person,
        case.seen,
        album.c,
        case.degradation,
        config,
        masks=case.masks,
        known=case.known,
        segment=segment,
        stop=stop,
        **common,
      )
    score = IdentityScore.of(person.identity, person.reference())
    rows, numbers = [], {}
    for i, (name, one) in enumerate(zip(names, found)):
      stop.raise_if_wanted("stopped while drawing; the same command resumes")
      _write(person, case, out, name, album.c[i], one)
      truth = case.truth[i]
      shown = [] if truth is None else [truth]
      rows.append([*shown, one.background, one.generated, one.image])
      numbers[name] = compare_with_truth(
        one.image,
        one.mask,
        truth,
        score and score.without(name),
        case,
        i,
        scores.judge(person.lpips, album),
      )
      log(
        f"{name}: "
        + (
          ", ".join(
            f"{key} {value:.3f}" for key, value in numbers[name].items()
          )
          or "done"
        )
      )
    longest = max(map(len, rows))
    for row in rows:  # an unknown true photo leaves its cell empty
      row[:0] = [np.full_like(row[0], 255)] * (longest - len(row))
    titles = ["photo", "input", "generated", "result"][-longest:]
    provenance.write_picture(
      out / SHEET_FILE,
      images.with_titles(images.make_grid(rows), titles),
      person.made("enhance", kind=case.kind),
    )
  keys = dict.fromkeys(key for row in numbers.values() for key in row)
  summary = {
    "task": case.kind,
    "photos": numbers,
    "mean": {
      key: float(np.mean([row[key] for row in numbers.values() if key in row]))
      for key in keys
    },
  }
  run_folder.write_json(out / SUMMARY_FILE, summary)
  return summary


def _search(
  person: Person,
  targets: Targets,
  names: Sequence[str],
  config: HullFitConfig,
  degradation: Degradation | None,
  stop: StopRequest | None,
  cache: pathlib.Path | None,
) -> _Shown:
  """Finds photos in the hull, and renders what was found."""
  hull = person.hull(config.beta)
  lpips = person.need_lpips() if config.lpips_weight else None
  weights = HullFit(
    config=person.starting(config),
    hull=hull,
    generator=person.generator,
    fingerprint=person.hull_fingerprint(),
    lpips=lpips,
    lpips_fingerprint=person.lpips_digest if lpips else "",
    encoder=person.encoder,
    encoder_fingerprint=person.encoder_digest,
    degradation=degradation,
    devices=person.devices,
    cache=cache,
  ).find(targets, names, stop or StopRequest())
  ws = np.asarray(weights.latents(hull))
  shown = [
    synthesize(person.generator, ws[i : i + 1], targets.c[i : i + 1])
    for i in range(len(ws))
  ]
  alpha = np.asarray(weights.alpha)
  if weights.offsets is not None:
    alpha = alpha[:, None] + np.asarray(weights.offsets)
  return _Shown(
    jax.tree.map(lambda *leaves: np.concatenate(leaves), *shown), ws, alpha
  )


def _write(
  person: Person,
  case: Case,
  out: pathlib.Path,
  name: str,
  c: np.ndarray,
  one: Enhanced,
):
  """Writes a photo's files."""
  path = out / stem(name)
  path.parent.mkdir(parents=True, exist_ok=True)
  for suffix, picture, shows in (
    ("", one.image, "result"),
    ("_input", one.seen, "input"),
    ("_generated", one.generated, "generated"),
  ):
    provenance.write_picture(
      path.with_name(f"{path.name}{suffix}.png"),
      picture,
      person.made("enhance", kind=case.kind, photo=name, shows=shows),
    )
  with replacing(path.with_name(path.name + ".npz")) as file:
    np.savez(
      file,
      ws=one.ws,
      alpha=one.alpha,
      c=c,
      mask=one.mask,
      base=person.origin.base,
    )


def _numbers(count: int) -> list[str]:
  return [f"photo {i}" for i in range(count)]

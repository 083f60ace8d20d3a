"""From a photo to a latent, and to novel views.

Five ways: into W or W+ by projection, by an encoder alone, into the personal
hull, and into W with the generator tuned to the photo (pivotal tuning).

Source: My3DGen, section 4.1 and appendix D.
"""

import dataclasses
import json
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from my3dgen_jax import lora as lora_lib
from my3dgen_jax._version import __version__
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import photo_latents
from my3dgen_jax.apps.rendering.render import (
  about_front,
  check_reach,
  orbit,
  render_views,
  synthesize,
)
from my3dgen_jax.config import (
  HullFitConfig,
  part,
  PivotConfig,
  ProjectionConfig,
  setting,
)
from my3dgen_jax.data import images, provenance
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.album_files import stem
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.losses import scores
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.models.checkpoint import save_generator
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.anchors import AnchorFinder
from my3dgen_jax.training.hull_fit import HullFit
from my3dgen_jax.training.photo_fits import Targets
from my3dgen_jax.training.pivotal import PivotalTuner
from my3dgen_jax.types import Network

WAYS = ("w", "w+", "hull", "pivot", "encoder")
SUMMARY_FILE = "summary.json"
SHEET_FILE = "sheet.png"
ADAPTER_SUFFIX = ".safetensors"
_YAWS = (-0.35, 0.35)  # of the sheet's views


@dataclasses.dataclass(frozen=True)
class InvertConfig:
  """How photos are inverted."""

  way: Literal["w", "w+", "hull", "pivot", "encoder"] = setting(
    "pivot",
    "How to find a photo's latent: w, w+: projection; hull: projection into "
    "the personal hull; pivot: projection into W, then tuning the generator to "
    "the photo; encoder: one or two passes, without optimization.",
  )
  # Its space is set by the way.
  projection: ProjectionConfig = part(ProjectionConfig(steps=600), "latent_")
  hull: HullFitConfig = part(HullFitConfig(), "hull_")
  pivot: PivotConfig = part(PivotConfig(), "tuning_")
  frames: int = setting(48, "Frames of the orbit; 0: no orbit.", low=0)
  yaw: float = setting(
    0.35, "Largest angle of the orbit to either side, radians."
  )
  pitch: float = setting(
    0.25, "Largest angle of the orbit up and down, radians."
  )
  video: str = setting(
    ".mp4", "File format of the orbit.", choices=provenance.VIDEOS
  )

  def validate(self) -> "InvertConfig":
    """Checks every field; raises ConfigError or UserError naming a bad one."""
    if self.way not in WAYS:
      raise UserError(
        f"way: expected one of {', '.join(WAYS)}, got {self.way!r}"
      )
    self.projection.validate("latent_")
    self.hull.validate()
    self.pivot.validate()
    if self.video not in provenance.VIDEOS:
      raise UserError(
        f"video: expected one of {', '.join(provenance.VIDEOS)}, "
        f"got {self.video!r}"
      )
    check_reach(self.yaw, self.pitch)
    if not 0 <= self.frames <= 100_000:
      raise UserError(
        f"frames: expected a whole number >= 0, got {self.frames}"
      )
    return self


class Inverted(NamedTuple):
  """An inverted photo.

  Attributes:
    ws: [num_ws, w_dim], the latent.
    generator: the person's, or one tuned to this photo.
    alpha: [N] or [num_ws, N], weights of the anchors, or None.
    adapter: the tuning, see `PivotalTuner.find`, or None.
  """

  ws: np.ndarray
  generator: Network
  alpha: np.ndarray | None = None
  adapter: Any = None


def invert(
  person: Person,
  album: Album,
  config: InvertConfig,
  *,
  stop: StopRequest | None = None,
  cache: pathlib.Path | None = None,
) -> list[Inverted]:
  """Finds the latents of photos.

  Args:
    person: the person, whose generator is used.
    album: photos with cameras.
    config: the settings.
    stop: request to stop, checked after each step.
    cache: folder to keep unfinished and finished work in; None: not kept.

  Returns: one `Inverted` per photo.
  Raises: as `PhotoFits.fit`; UserError if LPIPS or anchors are missing.
  """
  config.validate()
  stop = stop or StopRequest()
  common: dict[str, Any] = {"devices": person.devices, "cache": cache}
  encoder: dict[str, Any] = {
    "encoder": person.encoder,
    "encoder_fingerprint": person.encoder_digest,
  }
  lpips: dict[str, Any] = {
    "lpips": person.lpips if config.way == "encoder" else person.need_lpips(),
    "lpips_fingerprint": person.lpips_digest,
  }
  batch = album.batch(range(len(album)))
  masked = any(photo.mask is not None for photo in album.photos)
  targets = Targets(batch.image, batch.c, None, batch.mask if masked else None)
  if config.way == "hull":
    hull = person.hull(config.hull.beta)
    found = HullFit(
      config=person.starting(config.hull),
      hull=hull,
      generator=person.generator,
      fingerprint=person.hull_fingerprint(),
      **encoder,
      **lpips,
      **common,
    ).find(targets, album.names, stop)
    alpha = (
      found.alpha
      if found.offsets is None
      else (found.alpha[:, None] + found.offsets)
    )
    return [
      Inverted(np.asarray(ws), person.generator, one)
      for ws, one in zip(found.latents(hull), alpha)
    ]
  projection = dataclasses.replace(
    config.projection, space="w+" if config.way == "w+" else "w"
  )
  if config.way == "encoder":
    projection = dataclasses.replace(
      projection,
      space=person.encoder.module.config.space if person.encoder else "w",
      init="encoder",
      steps=0,
    )
  anchors = AnchorFinder(
    config=person.starting(projection, projection.space),
    flags="latent_",
    again="the same command resumes",
    generator=person.generator,
    fingerprint=person.digest,
    **encoder,
    **lpips,
    **common,
  ).find(album, stop, title="latents")
  if config.way != "pivot":
    return [Inverted(ws, person.generator) for ws in anchors.ws]
  tuner = PivotalTuner(
    config=config.pivot,
    generator=person.generator,
    fingerprint=person.digest,
    **lpips,
    **common,
  )
  bent = tuner.find(targets.replace(ws=anchors.ws), album.names, stop)
  return [
    Inverted(
      ws, tuner.bent(one.trainable), adapter=(one.trainable, tuner.lora_config)
    )
    for ws, one in zip(anchors.ws, bent)
  ]


def write_inversions(
  person: Person,
  album: Album,
  config: InvertConfig,
  out: str | os.PathLike,
  *,
  log: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Inverts photos into a folder; resumes where it was stopped.

  Args:
    person: the person, whose generator is used.
    album: photos with cameras.
    config: the settings.
    out: folder; per photo `NAME.png`, `NAME_depth.png`, `NAME_orbit.mp4`,
      `NAME.npz` (ws, c, alpha) and, with way "pivot", the generator's tuning;
      `sheet.png` and `summary.json`.
    log: called with one line per photo.

  Returns: what `summary.json` holds.
  Raises: as `invert`; Interrupted: SIGTERM or SIGINT.
  """
  config.validate()
  out = pathlib.Path(out).expanduser()
  if config.frames:  # fail before all the work
    provenance.check_video(config.video)
  out.mkdir(parents=True, exist_ok=True)
  for line in person.warnings(album):
    log(f"warning: {line}")
  with stopping_gently() as stop:
    found = invert(person, album, config, stop=stop, cache=out / "unfinished")
    score = IdentityScore.of(person.identity, person.reference())
    rows, numbers = [], {}
    for item, one in zip(album, found):
      stop.raise_if_wanted("stopped while drawing; the same command resumes")
      name = stem(item.name)
      (out / name).parent.mkdir(parents=True, exist_ok=True)
      rows.append(_draw(person, item, one, config, out))
      image = synthesize(one.generator, one.ws[None], item.c[None]).image[0]
      numbers[item.name] = scores.compare(
        image,
        item.image,
        lpips=scores.judge(person.lpips, album),
        identity=score and score.without(item.name),
        mask=item.mask,
      )
      _keep(person, item, one, out / name)
      log(
        f"{item.name}: "
        + ", ".join(
          f"{key} {value:.3f}" for key, value in numbers[item.name].items()
        )
      )
  titles = [
    "photo",
    "inverted",
    *(f"{np.degrees(yaw):+.0f}°" for yaw in _YAWS),
    "depth",
  ]
  provenance.write_picture(
    out / SHEET_FILE,
    images.with_titles(images.make_grid(rows), titles),
    person.made("invert", way=config.way),
  )
  summary = {
    "way": config.way,
    "photos": numbers,
    "mean": {
      key: float(np.mean([row[key] for row in numbers.values()]))
      for key in next(iter(numbers.values()))
    },
  }
  run_folder.write_json(out / SUMMARY_FILE, summary)
  return summary


def _draw(
  person: Person,
  item: Any,
  one: Inverted,
  config: InvertConfig,
  out: pathlib.Path,
) -> list[np.ndarray]:
  """Writes a photo's pictures; returns its row of the sheet."""
  name = stem(item.name)
  made = person.made("invert", way=config.way, photo=item.name)
  ws = one.ws[None]
  c = np.concatenate(
    [item.c[None], about_front(one.generator, item.c, np.array(_YAWS), 0.0)]
  )
  views = [output for _, _, output in render_views(one.generator, ws, c)]
  pictures = [images.to_uint8(view.image[0]) for view in views]
  raw = np.asarray(views[0].image_depth[0])
  depth = images.depth_to_uint8(raw, raw.min(), raw.max())
  provenance.write_picture(out / f"{name}.png", pictures[0], made)
  provenance.write_picture(out / f"{name}_depth.png", depth, made)
  if config.frames:
    way = orbit(
      one.generator,
      item.c,
      frames=config.frames,
      yaw=config.yaw,
      pitch=config.pitch,
    )
    provenance.write_video(
      out / f"{name}_orbit{config.video}",
      (
        images.to_uint8(output.image[0])
        for _, _, output in render_views(one.generator, ws, way)
      ),
      made,
    )
  side = pictures[0].shape[0]
  near = np.arange(side) * depth.shape[0] // side
  large = depth[near][:, near]
  return [
    images.to_uint8(item.image),
    *pictures,
    np.broadcast_to(large, (side, side, 3)),
  ]


def _keep(person: Person, item: Any, one: Inverted, stem_: pathlib.Path):
  """Writes a photo's latent and tuning for other applications."""
  folder = stem_.with_name(stem_.name + "_generator")
  adapter = stem_.with_name(stem_.name + ADAPTER_SUFFIX)
  # An earlier command's tuning does not belong to these latents.
  shutil.rmtree(folder, ignore_errors=True)
  adapter.unlink(missing_ok=True)
  arrays = {"ws": one.ws, "c": item.c, "base": np.array(person.origin.base)}
  if one.alpha is not None:
    arrays["alpha"] = one.alpha
  with replacing(
    stem_.with_name(stem_.name + photo_latents.LATENT_SUFFIX)
  ) as file:
    np.savez(file, **arrays)
  if one.adapter is None:
    return
  trainable, lora_config = one.adapter
  if lora_config is None:
    save_generator(
      folder,
      one.generator.module.config,
      one.generator.variables,
      source={photo_latents.TUNED_FROM: person.digest},
    )
    return
  lora_lib.save(
    adapter,
    trainable,
    lora_config,
    metadata={
      # Relative to the person's merged weights: it is added to them.
      run_folder.BASE_DIGEST: person.digest,
      "version": __version__,
      "on_top_of": json.dumps(
        dict(base=person.origin.base, adapter=person.origin.adapter)
      ),
    },
  )

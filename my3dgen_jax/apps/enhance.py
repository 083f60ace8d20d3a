"""What is missing from a photo, filled in by what is known of the person.

Holes (inpainting), detail (superresolution), colours, sharpness: the photo is
looked for in the personal hull, as it is seen, i.e. through a hole or through
a degradation; what the generator shows then has what is missing.

Source: My3DGen, section 4.3; MyStyle, section 4.
"""

import dataclasses
import functools
import io
import json
import os
import pathlib
from typing import (Any, BinaryIO, Callable, Dict, List, Literal, NamedTuple,
                    Optional, Sequence, Union)

import chex
import jax
import numpy as np
from PIL import Image

from my3dgen_jax.losses import scores
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering.render import synthesize
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.config import HullFitConfig
from my3dgen_jax.data import dataset_json, images, photo_files, provenance
from my3dgen_jax.data.album import (MASK_SUFFIX, Album, File, Photo,
                                    failures_named, stem)
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import blending, degradations
from my3dgen_jax.training import run_folder
from my3dgen_jax.training.hull_fit import Degradation, HullFit
from my3dgen_jax.jobs.interrupts import StopRequest, stopping_gently
from my3dgen_jax.training.photo_fits import Targets
from my3dgen_jax.types import RenderOutput

INPAINT, ENLARGE = "inpaint", "superresolution"
TASKS = (INPAINT, ENLARGE, "colour", "deblur", "jpeg")
SUMMARY_FILE = "summary.json"
SHEET_FILE = "sheet.png"
# Of images as EG3D aligns them: eyes, nose and mouth. Rows and columns, first
# and last, shares of the side.
CENTRE = ((0.35, 0.75), (0.3, 0.7))
_GREY_MODES = ("L", "LA", "1", "I;16")

# Images [N, H, W, 3] in [-1, 1] to masks [N, H, W, 1] in [0, 1], 1: a person.
Segmenter = Callable[[chex.Array], chex.Array]


@dataclasses.dataclass(frozen=True)
class EnhanceConfig:
  """How photos are enhanced.

  Attributes:
    task: one of `TASKS`.
    hull: of the search.
    factor: task "superresolution" of photos of the generator's size: how many
      times smaller they are made first, >= 1.
    sigma: task "deblur": of the blur, pixels.
    quality: task "jpeg": see `degradations.jpeg_like`.
    intact: photos show what is to be found: they are degraded first, and
      results are compared with them. Always so with a factor, for the centre
      as the hole, and with one mask for several photos.
    everywhere: what the generator shows replaces the background too; else
      that is the photo's, as it was seen.
    feather: width of the person mask's soft edge, share of the side.
    agreement_steps: of `degradations.agreeing`; 0: the generator's word
      stands.
  """

  task: Literal["inpaint", "superresolution", "colour", "deblur",
                "jpeg"] = INPAINT
  hull: HullFitConfig = HullFitConfig()
  factor: Optional[float] = None
  sigma: float = 4.0
  quality: float = 10.0
  intact: bool = False
  everywhere: bool = False
  feather: float = 0.02
  agreement_steps: int = 40

  def validate(self) -> "EnhanceConfig":
    """Checks the parts; raises ConfigError or UserError that names one."""
    self.hull.validate()
    if self.task not in TASKS:
      raise UserError(f"task: expected one of {', '.join(TASKS)}, got "
                      f"{self.task!r}")
    if self.factor is not None and not 1 <= self.factor < float("inf"):
      raise UserError(f"factor: expected a number >= 1, got {self.factor}")
    for name, low, high in (("sigma", 1e-3, 1000), ("quality", 1, 100),
                            ("feather", 0, 0.5)):
      if not low <= getattr(self, name) <= high:
        raise UserError(f"{name}: expected a number in [{low}, {high}], got "
                        f"{getattr(self, name)}")
    if not 0 <= self.agreement_steps <= 100_000:
      raise UserError("agreement_steps: expected a whole number >= 0, got "
                      f"{self.agreement_steps}")
    return self


class Enhanced(NamedTuple):
  """A photo with what was missing.

  Attributes:
    image: uint8 [H, W, 3].
    seen: uint8 [h, w, C], what was known; holes are grey.
    generated: uint8 [H, W, 3], all that the generator shows.
    background: uint8 [H, W, 3], the photo as it was seen, in full size.
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
  """Where the search ended: rows of photos."""

  output: RenderOutput
  ws: np.ndarray
  alpha: np.ndarray


def inpaint(person: Person, photos: chex.Array, c: chex.Array,
            holes: chex.Array, config: EnhanceConfig, *,
            names: Optional[Sequence[str]] = None,
            stop: Optional[StopRequest] = None,
            cache: Optional[pathlib.Path] = None) -> List[Enhanced]:
  """Fills holes of photos.

  Args:
    person: whom they show.
    photos: uint8 [N, H, W, 3].
    c: [N, 25].
    holes: [N, H, W] bool, where nothing is known.
    config: how; `hull` is used.
    names: of the photos, for messages.
    stop: looked at after each step.
    cache: folder where the search is kept; None: nowhere.

  Returns: an `Enhanced` each; pixels that are known are what they were.
  Raises: as `PhotoFits.fit`; UserError where LPIPS or anchors are missing, a
    photo has no hole, or is nothing else.
  """
  names = names or _numbers(len(photos))
  for name, hole in zip(names, holes):
    if hole.all() or not hole.any():
      raise UserError(
          f"{name}: its mask leaves " + (
              "nothing of the photo" if hole.all() else "nothing to fill")
          + "; expected white where the photo is known, and black elsewhere")
  # What lies in a hole is no part of what is known.
  blank = np.where(holes[..., None], np.uint8(127), photos)
  shown = _search(person, Targets(
      images.to_float(blank), np.asarray(c), None,
      (~holes[..., None]).astype(np.float32)), names, config.hull, None, stop,
                  cache)
  result = []
  for i, hole in enumerate(holes):
    generated = np.asarray(shown.output.image[i])
    blended = blending.seamless(images.to_float(photos[i]), generated, hole)
    result.append(Enhanced(
        np.where(hole[..., None], images.to_uint8(blended), photos[i]),
        blank[i], images.to_uint8(generated), blank[i],
        hole[..., None].astype(np.float32), shown.ws[i], shown.alpha[i]))
  return result


def restore(person: Person, seen: chex.Array, c: chex.Array,
            degradation: Degradation, config: EnhanceConfig, *,
            names: Optional[Sequence[str]] = None,
            segment: Optional[Segmenter] = None,
            masks: Optional[Sequence[Optional[np.ndarray]]] = None,
            known: Optional[np.ndarray] = None,
            stop: Optional[StopRequest] = None,
            cache: Optional[pathlib.Path] = None) -> List[Enhanced]:
  """Undoes what happened to photos.

  The person is what the generator shows, changed a little so that the result
  degrades to what was seen; the background is the photo as it was seen. Where
  that is smaller than the result, the background is enlarged by Lanczos's
  filter and changed a little too.

  Args:
    person: whom they show.
    seen: uint8 [N, h, w, C], three channels or grey.
    c: [N, 25].
    degradation: what happened.
    config: how; `hull`, `everywhere`, `feather` and `agreement_steps` are
      used.
    names: of the photos, for messages.
    segment: finds the person in what the generator shows; None: by its depth,
      see `by_depth`.
    masks: [H, W] bool each, where the person is, or None for those that are
      to be found.
    known: [N, h, w, 1] in [0, 1], 0 where `seen` says nothing; None: all of
      it counts.
    stop: looked at after each step.
    cache: folder where the search is kept; None: nowhere.

  Returns: an `Enhanced` each.
  Raises: as `inpaint`; UserError where `seen` is not what the degradation
    makes.
  """
  names = names or _numbers(len(seen))
  side = person.generator.module.config.img_resolution
  wanted = jax.eval_shape(degradation.apply, jax.ShapeDtypeStruct(
      (1, side, side, 3), np.float32)).shape[1:]
  if seen.shape[1:] != wanted:
    raise UserError(f"seen: {degradation.name} makes images of "
                    f"{list(wanted)}, got {list(seen.shape[1:])}")
  shown = _search(
      person, Targets(images.to_float(seen), np.asarray(c), None, known),
      names, config.hull, degradation, stop, cache)
  weighted = lambda x, weight: x if weight is None else x * weight
  agree = jax.jit(lambda image, seen, weight: degradations.agreeing(
      image, weighted(seen, weight),
      lambda x: weighted(degradation.apply(x), weight),
      steps=config.agreement_steps))
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
        agree(image[None], images.to_float(seen[i:i + 1]),
              None if known is None else known[i:i + 1]))[0]
    background = lanczos(seen[i], side)
    if is_small:  # Lanczos's filter does not quite undo what made it so
      background = images.to_uint8(matched(images.to_float(background)))
    # All of what was generated, not the person alone: the few pixels at an
    # edge would have to make up for what lies beyond.
    image = (weights * matched(generated)
             + (1 - weights) * images.to_float(background))
    image = np.where(weights > 0, images.to_uint8(image), background)
    result.append(Enhanced(
        image, seen[i], images.to_uint8(generated), background, weights,
        shown.ws[i], shown.alpha[i]))
  return result


def degradation_of(config: EnhanceConfig, *, side: int) -> Degradation:
  """What a task says has happened to a photo.

  Args:
    config: of any task but "inpaint".
    side: of the photos as they were seen, pixels.

  Raises: UserError: nothing has happened to an image.
  """
  if config.task not in TASKS[1:]:
    raise UserError(f"task: {config.task} is no degradation of whole images")
  return _degradation_of(config.task, side, config.sigma, config.quality)


@functools.lru_cache(maxsize=16)
def _degradation_of(task: str, side: int, sigma: float, quality: float
                    ) -> Degradation:
  """The same object for the same settings: a search is compiled for it."""
  return Degradation(*{
      ENLARGE: (f"shrunk {side}", functools.partial(
          degradations.shrunk, side=side)),
      "colour": ("grey", degradations.grey),
      "deblur": (f"blurred {sigma!r}", functools.partial(
          degradations.blurred, sigma=sigma)),
      "jpeg": (f"jpeg {quality!r}", functools.partial(
          degradations.jpeg_like, quality=quality)),
  }[task])


def centre_hole(side: int) -> np.ndarray:
  """The hole that covers eyes, nose and mouth: [side, side] bool."""
  hole = np.zeros((side, side), bool)
  (top, bottom), (left, right) = (
      [round(share * side) for share in pair] for pair in CENTRE)
  hole[top:bottom, left:right] = True
  return hole


def by_depth(depth: chex.Array, side: int) -> np.ndarray:
  """Where something stands in front of the background.

  The threshold is the distance that splits the near from the far with the
  least variance in each. It needs no other network, and a generator's depth
  ends exactly where its person does.

  Args:
    depth: [S, S, 1], of `RenderOutput`; infinite where nothing is.
    side: of the mask, pixels.

  Returns: [side, side] bool.
  Source: Otsu 1979.
  """
  depth = np.asarray(depth, np.float64)[..., 0]
  seen = np.isfinite(depth)
  if not seen.any():
    return np.zeros((side, side), bool)
  values = np.sort(depth[seen])
  count = np.arange(1, len(values))
  total = np.cumsum(values)
  near = total[:-1] / count
  far = (total[-1] - total[:-1]) / (len(values) - count)
  between = count * (len(values) - count) * (far - near)**2
  # All at one distance: there is no background.
  threshold = values[np.argmax(between)] if len(values) > 1 else values[0]
  is_near = (seen & (depth <= threshold)).astype(np.float32)
  large = Image.fromarray(is_near).resize((side, side), Image.BILINEAR)
  return np.asarray(large) >= 0.5


def lanczos(seen: np.ndarray, side: int) -> np.ndarray:
  """A photo in full size and three channels.

  Args:
    seen: uint8 [h, w, C], three channels or grey.
    side: pixels.

  Returns: uint8 [side, side, 3]; enlarged by Lanczos's filter, of three
    periods.
  """
  if seen.shape[-1] == 1:
    seen = np.broadcast_to(seen, seen.shape[:-1] + (3,))
  if seen.shape[:2] == (side, side):
    return np.array(seen)
  return np.asarray(Image.fromarray(np.ascontiguousarray(seen)).resize(
      (side, side), Image.LANCZOS))


def one_photo(path: Union[str, os.PathLike],
              camera: Optional[Union[str, os.PathLike]] = None) -> Album:
  """An album of one photo, of any size, in colours or grey.

  Args:
    path: the photo. `NAME_mask.png` beside it is its mask.
    camera: JSON, a list of 25 numbers or a `dataset.json`; None: the
      `dataset.json` beside the photo.

  Raises: UserError: there is no camera; AlbumError: the photo cannot be used.
  """
  path = pathlib.Path(path).expanduser()
  place = pathlib.Path(camera).expanduser() if camera else (
      path.parent / dataset_json.FILE_NAME)
  if not camera and not place.exists():
    raise UserError(f"{path}: has no camera: there is no {place.name} beside "
                    "it; give one by --camera, a file of 25 numbers, or let "
                    "prepare make one from the photo")
  text = place.read_text(encoding="utf-8", errors="replace")
  try:
    is_list = isinstance(json.loads(text), list)
  except (ValueError, RecursionError):
    is_list = False  # the next reader says what is wrong
  if is_list:
    text = f'{{"labels": [[{json.dumps(path.name)}, {text}]]}}'
  labels = dataset_json.parse(text, str(place))
  name = dataset_json.normal_name(path.name)
  if name not in labels:
    raise UserError(f"{place}: has no camera of {path.name}; add its label, "
                    "or let prepare make one from the photo")
  place = path.with_name(stem(path.name) + MASK_SUFFIX)
  mask = None
  # A label makes `me_with_mask.png` another photo.
  if place.exists() and dataset_json.normal_name(place.name) not in labels:
    mask = File(str(place), lambda: open(place, "rb"))
  return Album.from_photos(str(path), [Photo(
      path.name, labels[name],
      File(str(path), functools.partial(_open_photo, path)), mask)],
                           min_photos=1)


def _open_photo(path: pathlib.Path) -> BinaryIO:
  """A photo's file, or a PNG of three equal channels in place of a grey one.
  """
  with Image.open(path) as picture:
    is_grey = picture.mode in _GREY_MODES
  if not is_grey:
    return open(path, "rb")
  png = io.BytesIO()
  Image.fromarray(photo_files.read_photo(path).pixels).save(png, "PNG")
  png.seek(0)
  return png


def read_mask(path: Union[str, os.PathLike], side: int) -> np.ndarray:
  """Reads a mask as albums have them.

  Args:
    path: a grey picture.
    side: that it must have, pixels.

  Returns: [side, side] bool, True where it is rather white.
  Raises: UserError that names the file: no grey picture, or another size.
  """
  path = pathlib.Path(path).expanduser()
  with failures_named(str(path)), Image.open(path) as picture:
    if picture.mode not in ("L", "1"):
      raise UserError(f"{path}: a mask must be grey, of 8 bits or 1, got mode "
                      f"{picture.mode}")
    mask = np.asarray(picture.convert("L"))
  if mask.shape != (side, side):
    raise UserError(f"{path}: is {mask.shape[1]}x{mask.shape[0]}, the photo "
                    f"is {side}x{side}; they must be of one size")
  return mask >= 128


class _Case(NamedTuple):
  """Photos that are worked on together.

  Attributes:
    kind: the task, or the name of a degradation of the caller's.
    seen: uint8 [N, h, w, C].
    truth: uint8 [H, W, 3] each, or None where it is not known.
    masks: [H, W] bool each, where the photo is known (inpainting) or the
      person is; None: that is to be found.
    degradation: None: inpainting.
    known: of other tasks, see `restore`.
  """

  kind: str
  seen: np.ndarray
  truth: List[Optional[np.ndarray]]
  masks: List[Optional[np.ndarray]]
  degradation: Optional[Degradation]
  known: Optional[np.ndarray] = None


def write_enhanced(person: Person, album: Album, config: EnhanceConfig,
                   out: Union[str, os.PathLike], *,
                   mask: Optional[Union[str, os.PathLike]] = None,
                   degradation: Optional[Degradation] = None,
                   segment: Optional[Segmenter] = None,
                   report: Callable[[str], None] = print) -> Dict[str, Any]:
  """Enhances photos into a folder; a stopped one goes on.

  Args:
    person: whom they show.
    album: photos with cameras, of the generator's size; for task
      "superresolution" also smaller ones. A photo's own mask is white where
      it is known: the rest is filled (task "inpaint") or not looked at.
    config: how.
    out: folder; per photo `NAME.png`, `NAME_input.png` (what is known),
      `NAME_generated.png` and `NAME.npz` (ws, alpha, c, and how much of each
      pixel is generated); `sheet.png` and `summary.json`.
    mask: file, white where photos are known, in place of their own masks
      (task "inpaint"), or where the person is.
    degradation: in place of the task's, which is no "inpaint" then.
    segment: see `restore`.
    report: called with a line a photo.

  Returns: what `summary.json` holds: numbers against photos that are known
    ("psnr", "lpips", of inpainting also "psnr_hole" and "lpips_hole"),
    "id_sim", and of other tasks "grey_levels", how far the result's
    degradation is from what was seen and known, mean.
  Raises: as `inpaint` and `restore`; Interrupted: SIGTERM or SIGINT.
  """
  config.validate()
  case = _case(person, album, config, mask, degradation)
  out = pathlib.Path(out).expanduser()
  names = list(album.names)
  common = {"names": names, "cache": out / "unfinished"}
  with stopping_gently() as stop:
    if case.degradation is None:
      holes = np.stack([~known for known in case.masks])
      found = inpaint(person, case.seen, album.c, holes, config, stop=stop,
                      **common)
    else:
      found = restore(person, case.seen, album.c, case.degradation, config,
                      masks=case.masks, known=case.known, segment=segment,
                      stop=stop, **common)
    score = IdentityScore.of(person.identity, person.reference())
    rows, numbers = [], {}
    for i, (name, one) in enumerate(zip(names, found)):
      stop.raise_if_wanted("stopped while drawing; the same command goes on")
      _write(person, case, out, name, album.c[i], one)
      truth = case.truth[i]
      shown = [] if truth is None else [truth]
      rows.append([*shown, one.background, one.generated, one.image])
      numbers[name] = _compare(person, one, truth, score, case, i)
      report(f"{name}: " + (", ".join(
          f"{key} {value:.3f}" for key, value in numbers[name].items())
                            or "done"))
    longest = max(map(len, rows))
    for row in rows:  # a photo that is not known leaves its place empty
      row[:0] = [np.full_like(row[0], 255)] * (longest - len(row))
    titles = ["photo", "input", "generated", "result"][-longest:]
    provenance.write_picture(
        out / SHEET_FILE, images.with_titles(images.make_grid(rows), titles),
        person.made("enhance", kind=case.kind))
  keys = dict.fromkeys(key for row in numbers.values() for key in row)
  summary = {"task": case.kind, "photos": numbers, "mean": {
      key: float(np.mean([row[key] for row in numbers.values() if key in row]))
      for key in keys}}
  run_folder.write_json(out / SUMMARY_FILE, summary)
  return summary


def _case(person: Person, album: Album, config: EnhanceConfig,
          mask: Optional[Union[str, os.PathLike]],
          degradation: Optional[Degradation]) -> _Case:
  """Degrades what is intact, and checks the rest.

  Raises: UserError that names what does not fit.
  """
  side = person.generator.module.config.img_resolution
  if album.img_resolution > side:
    raise UserError(f"{album.place}: its photos have {album.img_resolution} "
                    f"pixels a side, the generator makes {side}; make them "
                    "smaller")
  is_small = album.img_resolution < side
  if is_small and (config.task != ENLARGE or config.factor is not None):
    raise UserError(
        f"{album.place}: its photos have {album.img_resolution} pixels a "
        f"side, the generator makes {side}" + (
            "; factor is for photos of that size" if config.task == ENLARGE
            else f"; task {config.task} needs photos of that size"))
  if degradation is None and config.task == ENLARGE and not is_small and (
      config.factor is None):
    raise UserError(f"{album.place}: its photos are as large as what the "
                    "generator makes; give smaller ones, or a factor to make "
                    "them smaller by")
  given = None if mask is None else read_mask(mask, side)
  items = list(album)
  photos = np.stack([images.to_uint8(item.image) for item in items])
  own = [None if photo.mask is None else item.mask
         for photo, item in zip(album.photos, items)]
  masks = [given] * len(items)
  if degradation is None and config.task == INPAINT:
    usual = ~centre_hole(side)
    if given is None:
      masks = [None if one is None else one[..., 0] >= 0.5 for one in own]
    # One mask for several photos is a trial; for one it may be its damage.
    is_trial = given is not None and len(items) > 1
    known = [config.intact or is_trial or one is None for one in masks]
    return _Case(INPAINT, photos, [photo if one else None
                                   for photo, one in zip(photos, known)],
                 [usual if one is None else one for one in masks], None)
  small = album.img_resolution
  if config.task == ENLARGE and config.factor is not None:
    small = max(round(side / config.factor), 1)
  kind = config.task if degradation is None else degradation.name
  degradation = degradation or degradation_of(config, side=small)
  degrade = jax.jit(degradation.apply)
  if config.intact and is_small:
    raise UserError(f"{album.place}: small photos are not intact; give those "
                    "of the generator's size, and a factor")
  if config.intact or (config.task == ENLARGE and config.factor is not None):
    seen = images.to_uint8(degrade(images.to_float(photos)))
    return _Case(kind, seen, list(photos), masks, degradation,
                 _known(own, seen))
  channels = jax.eval_shape(degradation.apply, jax.ShapeDtypeStruct(
      (1, side, side, 3), np.float32)).shape[-1]
  if channels == 1:
    photos = images.to_uint8(degradations.grey(images.to_float(photos)))
  return _Case(kind, photos, [None] * len(photos), masks, degradation,
               _known(own, photos))


def _known(own: Sequence[Optional[np.ndarray]], seen: np.ndarray
           ) -> Optional[np.ndarray]:
  """The share of each pixel seen that photos' own masks say is known.

  What `prepare` has mirrored beyond a photo's border is not.

  Args:
    own: [H, W, 1] float32 in [0, 1] each, or None: all is known.
    seen: [N, h, w, C], the photos as they are seen.

  Returns: [N, h, w, 1] float32 in [0, 1]; None: no photo has a mask.
  """
  if all(mask is None for mask in own):
    return None
  height, width = seen.shape[1:3]
  known = np.ones((len(own), height, width, 1), np.float32)
  for i, mask in enumerate(own):
    if mask is not None:
      known[i, ..., 0] = Image.fromarray(
          np.ascontiguousarray(mask[..., 0])).resize((width, height),
                                                     Image.BOX)
  return np.clip(known, 0, 1)  # means may end a rounding beyond


def _search(person: Person, targets: Targets, names: Sequence[str],
            config: HullFitConfig, degradation: Optional[Degradation],
            stop: Optional[StopRequest], cache: Optional[pathlib.Path]
            ) -> _Shown:
  """Photos in the hull, and what the generator shows of them."""
  hull = person.hull(config.beta)
  lpips = person.need_lpips() if config.lpips_weight else None
  weights = HullFit(
      config=config, hull=hull, generator=person.generator,
      identity=person.hull_identity(), lpips=lpips,
      lpips_identity=person.lpips_digest if lpips else "",
      degradation=degradation, devices=person.devices, cache=cache).find(
          targets, names, stop or StopRequest())
  ws = np.asarray(weights.latents(hull))
  shown = [synthesize(person.generator, ws[i:i + 1], targets.c[i:i + 1])
           for i in range(len(ws))]
  alpha = np.asarray(weights.alpha)
  if weights.offsets is not None:
    alpha = alpha[:, None] + np.asarray(weights.offsets)
  return _Shown(jax.tree.map(lambda *leaves: np.concatenate(leaves), *shown),
                ws, alpha)


def _write(person: Person, case: _Case, out: pathlib.Path,
           name: str, c: np.ndarray, one: Enhanced):
  """Writes a photo's files."""
  path = out / stem(name)
  path.parent.mkdir(parents=True, exist_ok=True)
  for suffix, picture, shows in (
      ("", one.image, "result"), ("_input", one.seen, "input"),
      ("_generated", one.generated, "generated")):
    provenance.write_picture(
        path.with_name(f"{path.name}{suffix}.png"), picture,
        person.made("enhance", kind=case.kind, photo=name, shows=shows))
  with replacing(path.with_name(path.name + ".npz")) as file:
    np.savez(file, ws=one.ws, alpha=one.alpha, c=c, mask=one.mask,
             base=person.origin.base)


def _compare(person: Person, one: Enhanced, truth: Optional[np.ndarray],
             score: Optional[IdentityScore], case: _Case, row: int
             ) -> Dict[str, float]:
  """A result's numbers, see `write_enhanced`."""
  image = images.to_float(one.image)
  found = {}
  if truth is not None:
    found = scores.compare(image, images.to_float(truth), lpips=person.lpips)
    if case.degradation is None:
      found.update({f"{name}_hole": value for name, value in scores.compare(
          image, images.to_float(truth), lpips=person.lpips,
          mask=one.mask).items()})
  if score is not None:
    found["id_sim"] = float(score(image[None])[0])
  if case.degradation is not None:
    again = np.asarray(case.degradation.apply(image[None]))[0]
    missing = np.abs(again - images.to_float(case.seen[row]))
    known = (None if case.known is None
             else np.broadcast_to(case.known[row], missing.shape))
    found["grey_levels"] = float(np.average(missing, weights=known) * 127.5)
  return found


def _numbers(count: int) -> List[str]:
  return [f"photo {i}" for i in range(count)]

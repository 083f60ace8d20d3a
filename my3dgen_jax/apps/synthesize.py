"""New appearances of a person: random latents of the hull, random cameras.

Each picture has a number: number i of a seed is the same latent and camera in
every command, however many others are requested with it.

Source: My3DGen, section 4.2; MyStyle, section 3.3 (P_0).
"""

import dataclasses
import functools
import math
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import chex
import jax
import numpy as np
from PIL import Image

from my3dgen_jax import latents
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.config import RenderConfig, setting
from my3dgen_jax.data import images, provenance
from my3dgen_jax.data.album_files import failures_named
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.ops import checks
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training import run_folder

SAMPLES_FILE = "samples.npz"
SHEET_FILE = "sheet.png"
SUMMARY_FILE = "summary.json"

_MAX_PICTURES = 100_000  # pictures per folder
_MOST_SHEET = 400  # pictures on the sheet
_COLUMNS = 8  # columns of the sheet
_TILE = 256  # approximate side of a picture on the sheet, pixels


@dataclasses.dataclass(frozen=True)
class SynthesizeConfig:
  """Settings of the samples."""

  count: int = setting(
    64, "Number of pictures to render, numbered 0 to count - 1.", low=1
  )
  only: tuple[int, ...] | None = setting(
    None,
    "Numbers of the pictures to render, not all of --count: 5,17 or 0-3,8.",
  )
  seed: int = setting(0, "Seed of the appearances, >= 0.", low=0)
  mixed: int = setting(
    3, "Number of anchors that each latent mixes, >= 1.", low=1
  )
  yaw: float = setting(
    0.35, "Largest angle of the cameras to either side, radians."
  )
  pitch: float = setting(
    0.25, "Largest angle of the cameras up and down, radians."
  )
  batch_size: int = setting(
    4, "Images at a time, over all devices, >= 1.", low=1
  )
  sheet: int = setting(
    64, "Maximum number of pictures on the contact sheet, >= 1.", low=1
  )

  def validate(self) -> "SynthesizeConfig":
    """Checks every field; raises UserError that names the invalid one."""
    for name, low, high in (
      ("count", 1, _MAX_PICTURES),
      ("seed", 0, 2**32 - 1),
      ("mixed", 1, _MAX_PICTURES),
      ("batch_size", 1, _MAX_PICTURES),
      ("sheet", 1, _MOST_SHEET),
    ):
      checks.whole_number(name, getattr(self, name), low, high)
    for number in self.only or ():
      checks.whole_number("only", number, 0, 2**32 - 1)
    render.check_reach(self.yaw, self.pitch)
    return self

  def numbers(self) -> list[int]:
    """The requested numbers, each once, in order."""
    return sorted(set(self.only or ())) or list(range(self.count))


class Samples(NamedTuple):
  """Latents and cameras of numbers.

  Attributes:
    numbers: [M] int64.
    alpha: [M, N], weights of the anchors.
    ws: [M, num_ws, w_dim].
    c: [M, 25], cameras.
  """

  numbers: np.ndarray
  alpha: np.ndarray
  ws: np.ndarray
  c: np.ndarray


def draw(
  person: Person, numbers: Sequence[int], config: SynthesizeConfig
) -> Samples:
  """Latents and cameras of numbers, with the first anchor's intrinsics.

  Args:
    person: a person with anchors.
    numbers: the pictures' numbers, at least one, each >= 0.
    config: the seed and the ranges.

  Raises: UserError: there are no anchors.
  """
  hull, key = person.hull(0.0), jax.random.key(config.seed)
  lens = jax.numpy.asarray(person.anchors.c[0])
  rendering = person.generator.module.config.rendering
  # One by one: in products of several rows, the last digits depend on the
  # number of rows.
  rows = [
    _draw(
      key,
      hull,
      lens,
      np.uint32(number),
      mixed=config.mixed,
      yaw=config.yaw,
      pitch=config.pitch,
      rendering=rendering,
    )
    for number in numbers
  ]
  return Samples(
    np.array(numbers, np.int64), *map(np.stack, zip(*jax.device_get(rows)))
  )


@functools.partial(jax.jit, static_argnames=("mixed", "rendering"))
def _draw(
  key: chex.PRNGKey,
  hull: latents.Hull,
  lens: jax.Array,
  number: chex.Numeric,
  *,
  mixed: int,
  yaw: chex.Numeric,
  pitch: chex.Numeric,
  rendering: RenderConfig,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """alpha [N], ws [num_ws, w_dim] and c [25] of a number."""
  which, where = jax.random.split(jax.random.fold_in(key, number))
  alpha = hull.sample(which, 1, anchors=mixed)
  right, down = jax.random.uniform(where, (2,), minval=-1.0)
  return (
    alpha[0],
    hull.latents(alpha)[0],
    render.label_about_front(rendering, lens, yaw * right, pitch * down),
  )


def write_samples(
  person: Person,
  config: SynthesizeConfig,
  out: str | os.PathLike,
  *,
  log: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Renders new appearances into a folder; existing pictures are kept.

  Args:
    person: a person with anchors.
    config: the settings.
    out: folder; `0000.png` and so on, `samples.npz` (`Samples`), `sheet.png`
      and `summary.json`, the last three of all pictures in the folder.
    log: called with a line at the end.

  Returns: the contents of `summary.json`; "id_sim" is None without an identity
    network or reference photos.
  Raises:
    UserError: there are no anchors, or the folder has pictures of other
      settings.
    Interrupted: SIGTERM or SIGINT; the same command resumes.
  """
  config.validate()
  out = pathlib.Path(out).expanduser()
  origin = _origin(person, config)
  there = _pictures_there(out, origin)
  numbers = sorted(there.union(config.numbers()))
  samples = draw(person, numbers, config)
  out.mkdir(parents=True, exist_ok=True)
  with stopping_gently() as stop:
    _make_missing(person, samples, there, config, out, origin, stop)
    score = IdentityScore.of(person.identity, person.reference())
    found = _scores(score, samples, out, stop) if score else None
    shown = numbers[: config.sheet]
    provenance.write_picture(
      out / SHEET_FILE,
      _sheet([out / file_name(n) for n in shown], shown),
      origin(),
    )
    with replacing(out / SAMPLES_FILE) as file:
      np.savez(file, **samples._asdict())
    summary = {
      "seed": config.seed,
      "count": len(numbers),
      "numbers": numbers,
      "id_sim": None
      if found is None
      else {"mean": float(np.mean(found)), "list": found},
    }
    run_folder.write_json(out / SUMMARY_FILE, summary)
  log(
    f"{len(numbers)} pictures, of which {len(there)} already existed"
    + ("" if found is None else f": id_sim {summary['id_sim']['mean']:.3f}")
  )
  return summary


def file_name(number: int) -> str:
  """File name of a number's picture."""
  return f"{number:04d}.png"


def _origin(
  person: Person, config: SynthesizeConfig
) -> Callable[..., provenance.Origin]:
  """A function from a number (or None, for all) to a picture's origin.

  The origin has everything that the picture depends on, so that pictures can be
  reproduced, and a folder of other settings is recognized.
  """
  person.hull(0.0)  # says so where there are no anchors
  made = person.made(
    "synthesize",
    seed=config.seed,
    mixed=config.mixed,
    yaw=config.yaw,
    pitch=config.pitch,
    hull=person.hull_fingerprint()[: run_folder.ID_LENGTH],
  )

  def origin(number: int | None = None) -> provenance.Origin:
    if number is None:
      return made
    return dataclasses.replace(
      made, details=made.details + (("number", str(number)),)
    )

  return origin


def _pictures_there(
  out: pathlib.Path, origin: Callable[..., provenance.Origin]
) -> set[int]:
  """Numbers of a folder's pictures; UserError if they have other settings."""
  there = set()
  for path in sorted(out.glob("*.png")):
    match = re.fullmatch(r"(\d{4,10})\.png", path.name)
    if not match or file_name(int(match[1])) != path.name:
      continue
    try:
      old = provenance.read_origin(path)
    except UserError as error:
      raise UserError(f"{error}; remove it, or choose another --out") from None
    before, now = _facts(old), _facts(origin(int(match[1])))
    for name in now:
      if before.get(name) != now[name]:
        raise UserError(
          f"{path}: was made with {name} {before.get(name)}, now it is "
          f"{now[name]}; use the same, or choose another --out"
        )
    there.add(int(match[1]))
  return there


def _facts(origin: provenance.Origin) -> dict[str, str]:
  return {
    "task": origin.task,
    "base": origin.base,
    "adapter": origin.adapter,
    **dict(origin.details),
  }


def _make_missing(
  person: Person,
  samples: Samples,
  there: set[int],
  config: SynthesizeConfig,
  out: pathlib.Path,
  origin: Callable[..., provenance.Origin],
  stop: StopRequest,
):
  """Writes the missing pictures."""
  total = len(samples.numbers)
  rows = [
    row for row, number in enumerate(samples.numbers) if number not in there
  ]
  if not rows:
    return
  progress = Progress("pictures", total, "pictures", start=len(there))
  pictures = render.synthesize_many(
    person.generator,
    samples.ws[rows],
    samples.c[rows],
    devices=person.devices,
    batch_size=config.batch_size,
  )
  for done, (row, image) in enumerate(zip(rows, pictures), len(there) + 1):
    number = int(samples.numbers[row])
    provenance.write_picture(
      out / file_name(number), images.to_uint8(image), origin(number)
    )
    progress.update(done)
    if done < total:
      stop.raise_if_wanted(
        f"stopped after {done} of {total} pictures; the same command resumes"
      )


def _scores(
  score: IdentityScore, samples: Samples, out: pathlib.Path, stop: StopRequest
) -> list[float]:
  """ID_sim of each picture on disk, including those of earlier commands."""
  progress = Progress("identity", len(samples.numbers), "pictures")
  found = []
  for number in samples.numbers:
    stop.raise_if_wanted(
      "stopped while comparing identities; the same command resumes"
    )
    picture = np.asarray(_read(out / file_name(number)))
    found.append(float(score(images.to_float(picture[None]))[0]))
    progress.update(len(found))
  return found


def _sheet(paths: Sequence[pathlib.Path], numbers: Sequence[int]) -> np.ndarray:
  """A sheet of downscaled pictures with their numbers; uint8 [H, W, 3]."""
  columns = min(_COLUMNS, math.ceil(math.sqrt(len(paths))))
  tiles = []
  for path in paths:
    picture = _read(path)
    tiles.append(np.asarray(picture.reduce(max(1, picture.width // _TILE))))
  titles = [str(number) for number in numbers]
  rest = -len(tiles) % columns
  tiles += [np.full_like(tiles[0], 255)] * rest
  titles += [""] * rest
  return np.concatenate(
    [
      images.with_titles(
        images.make_grid([tiles[i : i + columns]]), titles[i : i + columns]
      )
      for i in range(0, len(tiles), columns)
    ]
  )


def _read(path: pathlib.Path) -> Image.Image:
  with failures_named(str(path)), Image.open(path) as image:
    return image.convert("RGB")

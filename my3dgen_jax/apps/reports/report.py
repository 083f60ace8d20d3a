"""Writes the report of a run: one page with numbers and pictures.

The page is one file, `report/index.html` in the run's folder; it opens offline
and works without scripts. It contains photos of the person, and names of files
and folders, which everyone who receives it can see.
"""

import io
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from my3dgen_jax._version import __version__
from my3dgen_jax.apps import strangers
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.reports.page import (
  curve,
  film,
  folded,
  page,
  pair,
  paragraph,
  picture,
  section,
  settings,
  table,
  tiles,
)
from my3dgen_jax.apps.reports.sharing import to_share, typical
from my3dgen_jax.data import images, provenance
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.provenance import Origin
from my3dgen_jax.errors import CheckpointError, UserError
from my3dgen_jax.jobs import logs
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.storage.files import is_leftover, replacing
from my3dgen_jax.storage.shareable import without_paths
from my3dgen_jax.training import run_folder

FOLDER, FILE = "report", "index.html"

_PICTURE_SIDE = 1600  # largest side of the before/after picture, pixels
_THUMBNAIL = 160
_FILM_SIDE = 320
_MOST_PAIRS = 30  # maximum number of anchors shown
# A turn of three seconds.
_FRAMES, _FPS = 48, 16
_YAW, _PITCH = 0.4, 0.1  # radians
_QUALITY = 85  # JPEG quality of photos
_CRF = 21
_SCORES = (
  ("id_sim", "ID_sim", 3),
  ("lpips", "LPIPS", 4),
  ("psnr", "PSNR, dB", 2),
  ("psnr_marks", "PSNR at marks, dB", 2),
)
_WHO = ("pretrained", "personalized")


def write_report(
  person: Person, run: str | os.PathLike, *, log: Callable[[str], None] = print
) -> pathlib.Path:
  """Writes the page of a finished run; on failure, the old page is kept.

  Missing files, such as the photos, are left out, and the page says so.

  Args:
    person: the run's person.
    run: the run's folder.
    log: called with a line about missing files.

  Returns: the page's path.
  Raises:
    CheckpointError: the folder does not contain a finished run.
    UserError, OSError: names the file.
  """
  run = pathlib.Path(run).expanduser()
  config = run_folder.read_config(run)
  path = run / run_folder.SUMMARY_FILE
  if not path.exists():
    raise CheckpointError(
      f"{path}: missing, as the run is not finished; continue it with my3dgen "
      "personalize --resume"
    )
  summary = run_folder.read_json(path)
  try:
    parts = [
      *(
        paragraph(f"Warning: {line}.")
        for line in summary.get(strangers.WARNINGS, ())
      ),
      _overview(config, summary),
      _scores(summary),
    ]
    each = _each(summary)
  except (KeyError, TypeError, ValueError, AttributeError):
    raise CheckpointError(
      f"{path}: damaged, not the summary of a run; personalize again"
    ) from None
  with tempfile.TemporaryDirectory() as folder:
    folder = pathlib.Path(folder)
    parts += [
      _turntable(person, folder),
      to_share(person, run.resolve(), FOLDER),
      _before_after(person, run, folder),
      _curves(run),
      each,
      _anchors(person, folder, log),
      _settings(config, run),
    ]
  name = run.resolve().name
  text = page(
    f"{name}: a personalized generator",
    [
      *filter(None, parts),
      paragraph(
        f"Written by my3dgen_jax {__version__}. All pictures except photos are "
        "synthetic, and marked so in their metadata."
      ),
    ],
  )
  out = run / FOLDER
  out.mkdir(exist_ok=True)
  for left in filter(is_leftover, out.iterdir()):
    left.unlink()
  with replacing(out / FILE) as file:
    file.write(text.encode())
  return out / FILE


def _overview(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
  """What was tuned, on which photos."""
  photos, mode = config["photos"], config["settings"]["tuning"]["mode"]
  made = {"none": "Nothing was tuned", "full": "All weights were tuned"}.get(
    mode, "An adapter was tuned"
  )
  size = (
    f": {summary['adapter_numbers']:,} numbers, "
    f"{summary['adapter_bytes'] / 1e6:.2f} MB"
    if summary["adapter_numbers"]
    else ""
  )
  held = len(photos["test"])
  return "\n".join(
    [
      paragraph(
        f"{made} on {len(photos['train'])} photos{size}. The whole "
        f"run took {summary['seconds']:.0f} seconds."
      ),
      paragraph(
        f"Scores are means over {summary['count']} {summary['photos']} photos"
        + (
          "."
          if held
          else ", which the generator was tuned on; hold some out with --test."
        )
      ),
    ]
  )


def _number(value: float | None, digits: int) -> str:
  return "-" if value is None else f"{value:.{digits}f}"


def _scores(summary: Mapping[str, Any]) -> str:
  """Means, before and after."""
  shown = [
    (key, title, digits)
    for key, title, digits in _SCORES
    if any(summary[who].get(key) is not None for who in _WHO)
  ]
  rows = [
    [who, *(_number(summary[who].get(key), digits) for key, _, digits in shown)]
    for who in _WHO
  ]
  return section(
    "Before and after, in numbers",
    table(
      ["", *(title for _, title, _ in shown)],
      rows,
      caption=f"Means over {summary['count']} {summary['photos']} photos. "
      "Higher is better, except for LPIPS, which is a distance.",
    ),
  )


def _turntable(person: Person, folder: pathlib.Path) -> str:
  """A turning video of the anchor closest to the mean."""
  anchors, row = typical(person)
  try:
    provenance.check_video(".mp4")
    out, kind = folder / "turn.mp4", "video/mp4"
  except UserError:
    out, kind = folder / "turn.webp", "image/webp"
  c = render.orbit(
    person.generator, anchors.c[row], frames=_FRAMES, yaw=_YAW, pitch=_PITCH
  )
  progress = Progress("report: turning", _FRAMES, "frames")
  side = min(_FILM_SIDE, person.generator.module.config.img_resolution)

  def frames():
    # Uses the program that renders the anchors, too: one that keeps the planes
    # would take longer to compile than it saves in these few frames.
    for done in range(_FRAMES):
      image = render.synthesize(
        person.generator, anchors.ws[row : row + 1], c[done : done + 1]
      ).image[0]
      progress.update(done + 1)
      yield images.fitted(images.to_uint8(image), side)

  provenance.write_video(
    out,
    frames(),
    person.made("report", latent=anchors.names[row]),
    fps=_FPS,
    crf=_CRF,
  )
  return section(
    "From all sides",
    film(
      out.read_bytes(),
      kind,
      f"The generator's face of {anchors.names[row]}, turning to both sides",
      (side, side),
    ),
  )


def _before_after(
  person: Person, run: pathlib.Path, folder: pathlib.Path
) -> str:
  """The run's before/after picture, downscaled."""
  path = run / run_folder.PICTURE_FILE
  if not path.exists():
    return ""
  with Image.open(path) as opened:
    array = np.asarray(opened.convert("RGB"))
  array = images.fitted(array, min(_PICTURE_SIDE, array.shape[1]))
  return section(
    "Before and after, in pictures",
    paragraph(
      "Each row: a photo; its latent rendered by the pretrained generator, "
      "from the photo's camera and from both sides; and the same by the "
      "personalized generator."
    ),
    _synthetic(
      folder,
      array,
      person.made("report"),
      "A grid: photos, and their renderings by the pretrained and the "
      "personalized generator from three sides",
      large=True,
    ),
  )


def _curves(run: pathlib.Path) -> str:
  """Curves of tuning, from the log."""
  found: dict[str, list[tuple[float, float]]] = {}
  path = run / logs.METRICS_FILE
  text = (
    path.read_text(encoding="utf-8", errors="replace")
    if (path.exists())
    else ""
  )
  for line in text.splitlines():
    try:
      values = json.loads(line)
      step = float(values.pop("step"))
      for name, value in values.items():
        found.setdefault(name, []).append((step, float(value)))
    except (ValueError, KeyError, TypeError, AttributeError):
      break  # a line that was cut off when the process was killed
  if not found:
    return ""
  order = sorted(found, key=lambda name: (name != "loss", name == "gradient"))
  return section(
    "Tuning",
    paragraph(
      "The loss, its parts, and the norm of its gradient over the steps."
    ),
    tiles(curve(name, found[name]) for name in order),
  )


def _each(summary: Mapping[str, Any]) -> str:
  """ID_sim and the other scores of each photo."""
  each = summary.get("each")
  title = "Photo by photo"
  if not isinstance(each, Mapping) or not each:
    return section(
      title, paragraph("This run was made by a version that stored only means.")
    )
  has = lambda key: any(
    key in row for rows in each.values() for row in rows.values()
  )
  shown = [(key, name, digits) for key, name, digits in _SCORES if has(key)]
  header = [
    "photo",
    *(f"{name}, {who}" for _, name, _ in shown for who in _WHO),
  ]
  rows = [
    [
      photo,
      *(
        _number(of[who].get(key), digits)
        for key, _, digits in shown
        for who in _WHO
      ),
    ]
    for photo, of in each.items()
  ]
  return section(
    title,
    table(
      header,
      rows,
      caption=f"The {summary['photos']} photos."
      + (
        " ID_sim is the largest cosine with a reference photo."
        if has("id_sim")
        else " Without --identity there is no ID_sim."
      ),
    ),
  )


def _anchors(
  person: Person, folder: pathlib.Path, log: Callable[[str], None]
) -> str:
  """Photos beside renderings of their latents by the person's generator."""
  anchors = person.anchors
  count = len(anchors.names)
  chosen = np.unique(
    np.linspace(0, count - 1, min(count, _MOST_PAIRS)).astype(int)
  )
  album: Album | None = None
  try:
    album = person.photos_of("train")
    album.verify()
    score = IdentityScore.of(person.identity, person.reference())
  except UserError as error:
    log(f"the report has no photos: {error}")
    album = score = None
  progress = Progress("report: anchors", len(chosen), "anchors")
  figures = []
  for done, row in enumerate(chosen):
    name = anchors.names[row]
    image = np.asarray(
      render.synthesize(
        person.generator, anchors.ws[row : row + 1], anchors.c[row : row + 1]
      ).image
    )
    caption = name
    if score is not None:
      caption += f", ID_sim {float(score.without(name)(image)[0]):.3f}"
    shown = _synthetic(
      folder,
      _small(images.to_uint8(image[0])),
      person.made("report", latent=name),
      f"The generator's rendering for {name}",
    )
    photo = (
      ""
      if album is None
      else _photo(
        _small(images.to_uint8(album[album.names.index(name)].image)),
        f"The photo {name}",
      )
    )
    figures.append(pair(photo, shown, caption))
    progress.update(done + 1)
  more = f" {len(chosen)} of {count} are shown." if len(chosen) < count else ""
  legend = "Left: the photo; right: its latent" if album else "Latents"
  return section(
    "Anchors",
    paragraph(
      "A latent was found for each photo; together they span the person's "
      f"appearances. {legend} rendered by the personalized generator.{more}"
    ),
    tiles(figures, pairs=True),
  )


def _settings(config: Mapping[str, Any], run: pathlib.Path) -> str:
  """All settings of the run, folded."""
  rows = [
    ("base, SHA-256", str(config[run_folder.BASE_DIGEST])),
    ("my3dgen_jax", str(config["version"])),
    *settings(without_paths(config["settings"])),
  ]
  parts = [
    folded("Every setting", table(["setting", "value"], rows, words=True))
  ]
  adapter = run / run_folder.ADAPTER_FILE
  files = [
    (path.name, f"{path.stat().st_size:,} bytes")
    for path in (adapter, run / run_folder.ANCHORS_FILE)
    if path.exists()
  ]
  if files:
    parts.append(folded("Files", table(["file", "size"], files)))
  return section("Settings", *parts)


def _small(array: np.ndarray) -> np.ndarray:
  return images.fitted(array, min(_THUMBNAIL, array.shape[1]))


def _photo(array: np.ndarray, alt: str) -> str:
  """A photo, which has no metadata of synthetic pictures."""
  file = io.BytesIO()
  Image.fromarray(array).save(file, "JPEG", quality=_QUALITY)
  return picture(file.getvalue(), "image/jpeg", alt, array.shape[1::-1])


def _synthetic(
  folder: pathlib.Path,
  array: np.ndarray,
  origin: Origin,
  alt: str,
  *,
  large: bool = False,
) -> str:
  """A synthetic picture, with its origin in its metadata."""
  path = folder / "picture.jpg"
  provenance.write_picture(path, array, origin)
  return picture(
    path.read_bytes(), "image/jpeg", alt, array.shape[1::-1], large=large
  )

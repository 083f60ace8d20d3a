"""The outcome for each photo: a table, and lines for the user."""

import csv
import io
import math
import pathlib
import re
from collections.abc import Callable, Sequence

import numpy as np

from my3dgen_jax.apps.preparation.choices import LOOKS_LIKE, TINY
from my3dgen_jax.apps.preparation.records import printable, Record
from my3dgen_jax.data import album_files, photo_files

_COLUMNS = (
  "file",
  "name",
  "status",
  "part",
  "reason",
  "faces",
  "turned",
  "yaw",
  "pitch",
  "roll",
  "crop_pixels",
  "inside",
  "sharpness",
  "colour",
  "similarity",
  "score",
)


def csv_text(records: Sequence[Record]) -> str:
  """The text of report.csv, one line per photo."""
  text = io.StringIO()
  writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
  writer.writeheader()
  for record in records:
    writer.writerow(
      {
        "file": record.file,
        "name": record.name,
        "status": "kept" if record.kept else "set aside",
        "part": record.part,
        "reason": record.reason,
        "faces": len(record.look.faces) if record.look else 0,
        "turned": record.turned,
        **(_numbers(record) if record.seen else {}),
      }
    )
  return printable(text.getvalue())


def _numbers(record: Record) -> dict[str, str]:
  seen = record.seen
  yaw, pitch, roll = record.angles
  result = {
    "yaw": f"{yaw:.1f}",
    "pitch": f"{pitch:.1f}",
    "roll": f"{roll:.1f}",
    "crop_pixels": f"{seen.quality.side:.0f}",
    "inside": f"{seen.quality.inside:.3f}",
    "sharpness": f"{seen.quality.sharpness:.3f}",
    "colour": f"{seen.quality.color:.1f}",
  }
  if record.similarity is not None:
    result["similarity"] = f"{record.similarity:.3f}"
  if seen.face.score is not None:
    result["score"] = f"{seen.face.score:.2f}"
  return result


def tell(
  records: Sequence[Record],
  found: photo_files.Found,
  out: pathlib.Path,
  log: Callable[[str], None],
):
  """Logs how many photos were kept, why others were not, and the poses.

  Args:
    records: the photos.
    found: the files, some of which were skipped.
    out: the written folder.
    log: called with each line.
  """
  kept = [record for record in records if record.kept]
  kinds: dict[str, list[Record]] = {}
  for record in records:
    if not record.kept:
      kind = re.split(r"[:(]", record.reason)[0].strip()
      if kind.startswith(LOOKS_LIKE):
        kind = "near duplicate"
      kinds.setdefault(kind, []).append(record)
  parts = {
    part: sum(record.part == part for record in kept)
    for part in ("train", "test", "reference")
  }
  log(
    f"{len(kept)} of {len(records)} kept"
    + (
      " (" + ", ".join(f"{part} {count}" for part, count in parts.items()) + ")"
      if kept
      else ""
    )
    + (f"; {found.passed_over()}" if found.others else "")
  )
  turned = sum(record.turned > 0 for record in records)
  if turned:
    log(
      f"turned {turned} sideways or upside-down photos; "
      "report.csv has the angles"
    )
  for kind, those in sorted(kinds.items(), key=lambda item: -len(item[1])):
    log(f"set aside {len(those)}: {kind}{_remedy(kind, those)}")
  if any(
    record.seen is not None for those in kinds.values() for record in those
  ):
    log(
      f"look at {out / 'set_aside.png'}; --keep=NAME,NAME --overwrite keeps "
      "those you want"
    )
  if kept:
    angles = np.array([record.angles for record in kept])
    log(
      "yaw {:+.0f} to {:+.0f} degrees, pitch {:+.0f} to {:+.0f}".format(
        *(f(angles[:, i]) for i in (0, 1) for f in (np.min, np.max))
      )
    )
    log(f"album: {out / album_files.ALBUM_FOLDER}")


def _remedy(kind: str, records: Sequence[Record]) -> str:
  """The flag that decides; for small faces, also their sizes."""
  flag = re.search(r"\((m(?:in|ax)_\w+) ", records[0].reason)
  if flag is None:
    return ""
  if kind != TINY:
    return f" (--{flag[1]})"
  sides = [record.seen.quality.side for record in records if record.seen]
  size = re.search(r" for (\d+)", records[0].reason)
  scale = math.floor(100 * min(sides) / int(size[1])) / 100 if size else 0
  return (
    f", {min(sides):.0f} to {max(sides):.0f} pixels (--{flag[1]}={scale:g} "
    "takes them)"
  )

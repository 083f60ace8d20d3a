"""Measures the accuracy of crops and cameras against those of EG3D's pipeline.

    python -m benchmarks.prepare_accuracy --csv=runs/prepare_accuracy.csv

The reference crops and labels are from EG3D's pipeline. Four numbers, the
position of the mean mesh in EG3D's world, are fitted to such labels: for every
crop, to the other crops only. The mean mesh and the places of the five points
on it were fitted to other people's photos, without labels (`face_constants`).
Nothing is fitted to the pair of photo and crop.

`--fit` prints the four numbers fitted to all crops, for `data.faces.face_pose`.
Needs labeled crops (--data) and MediaPipe; exits with 1 if a bound is missed.
"""

import csv
import io
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from absl import flags
from PIL import Image
from scipy import optimize
from scipy.spatial import transform

from benchmarks import report
from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.faces import (
  face_align,
  face_pose,
  landmarks,
  mediapipe_models,
)
from my3dgen_jax.data.faces.face_pose import HeadShape
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.launch.support import cli
from my3dgen_jax.ops import cameras
from my3dgen_jax.storage.files import replacing

_DATA = flags.DEFINE_string(
  "data",
  "../shared/data",
  "Folder of labeled crops: eg3d_crops/ and raw_to_crop_pair/.",
)
_DETECTIONS = flags.DEFINE_string(
  "detections",
  None,
  "Folder of the crops' five points by another detector, NAME.txt; default: "
  "none.",
)
_CSV = flags.DEFINE_string(
  "csv", None, "CSV file to write one row per crop to; default: none."
)
_FIT = flags.DEFINE_bool(
  "fit", False, "Print the four numbers fitted to all crops."
)
_PAIR = "goae_02.jpg"  # the crop of raw_to_crop_pair/raw_photo.jpg
_NOISE = 3.0, 0.03  # typical errors of a label: degrees, world units


class Crop(NamedTuple):
  """A labeled crop: pixels, label, faces in it and in its mirror image."""

  image: np.ndarray
  c: np.ndarray
  face: Face
  mirrored: Face


def read_crops(
  folder: pathlib.Path, detect: landmarks.Detector
) -> dict[str, Crop]:
  """All crops of a folder with EG3D's `dataset.json`."""
  crops = {}
  for name, c in dataset_json.read(folder / "dataset.json").items():
    image = np.asarray(Image.open(folder / name).convert("RGB"))
    crops[name] = Crop(
      image,
      c,
      detect(image)[0],
      detect(np.ascontiguousarray(image[:, ::-1]))[0],
    )
  return crops


def fit(crops: Sequence[Crop]) -> Mapping[str, float]:
  """How the mean mesh lies in the world of the labels, for `placed`."""
  mean = landmarks.mean_mesh()
  shape = HeadShape(mean.points, mean.deviation)
  poses = [
    face_pose.head_pose(crop.face.dense, shape, size=crop.image.shape[0])
    for crop in crops
  ]
  labels = [_cam2world(crop.c) for crop in crops]

  def turned(pose, tilt):
    nod = (
      HeadShape(np.eye(3), np.zeros((3, 2)))
      .placed(tilt_degrees=tilt, unit=1.0, up=0.0, forward=0.0)
      .points
    )
    return pose[:3, :3] @ nod  # rows of `nod`: the rotated axes

  def turn_error(x):
    return np.concatenate(
      [
        transform.Rotation.from_matrix(
          turned(pose, x[0]) @ label[:3, :3]
        ).as_rotvec(degrees=True)
        for pose, label in zip(poses, labels)
      ]
    )

  tilt = optimize.least_squares(
    turn_error, [0.0], loss="soft_l1", f_scale=_NOISE[0]
  ).x[0]

  def place_error(x):
    unit, *place = x
    errors = []
    for pose, label in zip(poses, labels):
      # The world's origin, as the camera sees it.
      origin = unit * pose[:3, 3] - turned(pose, tilt) @ [0, *place]
      wanted = np.linalg.inv(label)[:3, 3]
      errors += [
        *(origin - wanted)[:2],
        np.linalg.norm(origin) - face_pose.RADIUS,
      ]
    return np.array(errors)

  unit, up, forward = optimize.least_squares(
    place_error, [0.2, 0.0, 0.2], loss="soft_l1", f_scale=_NOISE[1]
  ).x
  return {"tilt_degrees": tilt, "unit": unit, "up": up, "forward": forward}


def _cam2world(c: np.ndarray) -> np.ndarray:
  return np.asarray(c, np.float64)[:16].reshape(4, 4)


def _degrees(a: np.ndarray, b: np.ndarray) -> float:
  """The angle between two labels' rotations."""
  between = _cam2world(a)[:3, :3].T @ _cam2world(b)[:3, :3]
  return float(np.degrees(transform.Rotation.from_matrix(between).magnitude()))


def _distance(a: np.ndarray, b: np.ndarray) -> float:
  return float(np.linalg.norm(_cam2world(a)[:3, 3] - _cam2world(b)[:3, 3]))


def measure(crops: Mapping[str, Crop]) -> Sequence[Mapping[str, float]]:
  """One row per crop; each crop is left out of its own fit."""
  rows = []
  for name, crop in crops.items():
    size = crop.image.shape[0]
    domain = face_pose.people_at(
      **fit([other for key, other in crops.items() if key != name])
    )
    c = face_pose.label(crop.face, size=size, domain=domain)
    few = face_pose.label(Face(crop.face.points), size=size, domain=domain)
    mirrored = face_pose.label(crop.mirrored, size=size, domain=domain)
    alignment = face_align.align(crop.face.points, size=size)
    moved = alignment.to_crop(crop.face.points) - crop.face.points
    position = _cam2world(crop.c)[:3, 3]
    row = {
      "crop": name,
      "yaw": np.degrees(np.arctan2(position[0], position[2])),
      "pitch": np.degrees(np.arcsin(position[1] / np.linalg.norm(position))),
      "rotation": _degrees(c, crop.c),
      "position": _distance(c, crop.c),
      "five_points_rotation": _degrees(few, crop.c),
      "mirror": _degrees(mirrored, cameras.mirror(c)),
      "moved_percent": 100 * np.linalg.norm(moved, axis=1).mean() / size,
      "scale_percent": 100 * (alignment.scale - 1),
    }
    if _DETECTIONS.value:
      points = landmarks.read_points(
        pathlib.Path(_DETECTIONS.value) / f"{pathlib.Path(name).stem}.txt"
      )
      other = face_pose.label(Face(points), size=size, domain=domain)
      row["other_points_rotation"] = _degrees(other, crop.c)
    rows.append(row)
  return rows


def measure_pair(
  photo: np.ndarray, crop: Crop, detect: landmarks.Detector
) -> Mapping[str, float]:
  """Similarity between EG3D's crop of a photo and ours."""
  face = detect(photo)[0]
  size = crop.image.shape[0]
  alignment = face_align.align(face.points, size=size)
  # The square that places the photo's mesh as in EG3D's crop. With it, only
  # interpolation and the detector cause differences.
  seen, wanted = (
    x.dense[:, :2] - x.dense[:, :2].mean(axis=0) for x in (face, crop.face)
  )
  scale = np.sum(seen * wanted) / np.sum(seen**2)
  center = (
    face.dense[:, :2].mean(axis=0)
    - (crop.face.dense[:, :2].mean(axis=0) - size / 2) / scale
  )
  same = face_align.Alignment(tuple(center), size / scale, size)
  alike = lambda a: float(
    np.corrcoef(
      a.crop(photo).image.ravel().astype(np.float64), crop.image.ravel()
    )[0, 1]
  )
  return {
    "correlation": alike(alignment),
    "correlation, EG3D's square": alike(same),
    "shift, % of the width": 100
    * float(
      np.linalg.norm(np.subtract(alignment.centre, same.centre)) / same.side
    ),
    "scale, %": 100 * (alignment.side / same.side - 1),
  }


def main():
  data = pathlib.Path(_DATA.value)
  detect = mediapipe_models.face_detector()
  crops = read_crops(data / "eg3d_crops", detect)
  if _FIT.value:
    print(
      {
        key: round(float(value), 4)
        for key, value in fit(list(crops.values())).items()
      }
    )
  rows = measure(crops)
  pair = measure_pair(
    np.asarray(
      Image.open(data / "raw_to_crop_pair" / "raw_photo.jpg").convert("RGB")
    ),
    crops[_PAIR],
    detect,
  )
  if _CSV.value:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(
      {
        key: value if isinstance(value, str) else f"{value:.3f}"
        for key, value in row.items()
      }
      for row in rows
    )
    with replacing(_CSV.value) as file:
      file.write(text.getvalue().encode())
  column = lambda key: np.array([row[key] for row in rows])
  summary = [
    ("rotation, median, degrees", np.median(column("rotation")), 3.5),
    ("rotation, 90th percentile", np.percentile(column("rotation"), 90), 7.0),
    ("rotation, largest", column("rotation").max(), None),
    ("position, median (radius 2.7)", np.median(column("position")), 0.17),
    (
      "five points alone: rotation, median",
      np.median(column("five_points_rotation")),
      None,
    ),
    ("mirrored label, largest, degrees", column("mirror").max(), 2.0),
    (
      "landmarks moved, median, % of the width",
      np.median(column("moved_percent")),
      3.0,
    ),
  ]
  if _DETECTIONS.value:
    summary.append(
      (
        "five points of the other detector: rotation, median",
        np.median(column("other_points_rotation")),
        None,
      )
    )
  summary = [
    (name, value, bar, bar is None or value <= bar)
    for name, value, bar in summary
  ]
  summary += [
    (
      f"pair: {key}",
      value,
      *((0.98, value >= 0.98) if key == "correlation" else (None, True)),
    )
    for key, value in pair.items()
  ]
  print(
    report.table(
      list(rows[0]),
      [
        [
          value if isinstance(value, str) else f"{value:.2f}"
          for value in row.values()
        ]
        for row in rows
      ],
    )
  )
  print()
  print(
    report.table(
      ["", "measured", "bound", ""],
      [
        [
          name,
          f"{value:.3f}",
          "" if bar is None else f"{bar}",
          "" if bar is None else "met" if met else "MISSED",
        ]
        for name, value, bar, met in summary
      ],
    )
  )
  if not all(row[3] for row in summary):
    sys.exit(1)


if __name__ == "__main__":
  cli.run(main)

"""Where cameras stand and go: sweeps, and files of cameras.

A file of cameras is JSON, one of these:

    {"labels": [["name.png", [25 numbers]], …]}    an album's dataset.json
    [[25 numbers], …]                              a frame each
    {"closed": false, "keys": [                    a smooth way
       {"time": 0, "yaw": -0.35, "pitch": 0, "radius": 2.7, "focal": 4.26},
       {"time": 1, "yaw": 0.35}]}
    transforms.json, camera_path.json              of NeRF tools, a frame each

Labels are those of `ops.cameras`. Keys have angles in radians from the front,
the distance from the world's origin (see `radius_limits`), and the focal
length in image sizes; what a key leaves out is that of the average camera.
Times are of any unit, and each key's number if none has one; a closed way ends
with the key that it began with.
"""

import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import chex
import jax
import numpy as np

from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import dataset_json
from my3dgen_jax.data.cameras import conventions
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.storage import json_files

FIELDS = ("yaw", "pitch", "radius", "focal")

_TIME = "time"
_MAX_FRAMES = 100_000  # frames
_HEAD = 0.3  # what a head reaches from the middle, in sides of the box
_CUT = "; beyond, rays would cut the head: take another focal"
_SLACK = 0.01  # of radii that others have rounded
_PLACE = [3, 7, 11]  # of a label: where the camera is


def label(
  config: RenderConfig,
  yaw: chex.Numeric,
  pitch: chex.Numeric,
  radius: chex.Numeric | None = None,
  focal: chex.Numeric = cameras.FACE_FOCAL,
) -> jax.Array:
  """Cameras that look at what the average one looks at; may be jitted.

  Args:
    config: where the average camera is and looks.
    yaw: [...], radians from the front, see `ops.cameras.look_at`.
    pitch: [...], likewise.
    radius: [...], distance from the world's origin; None: the average one.
    focal: [...], in image sizes.

  Returns: [..., 25].
  """
  return cameras.pack_label(
    cameras.look_at(
      yaw,
      pitch,
      config.avg_camera_pivot,
      config.avg_camera_radius if radius is None else radius,
    ),
    cameras.intrinsics_from_focal(focal),
  )


def radius_limits(config: RenderConfig) -> tuple[float, float]:
  """How near and how far a camera may stand so that a head is not cut.

  A generator's rays see what lies between two distances from the camera,
  wherever that stands. To show a head larger or smaller than from these, take
  another focal length.

  Args:
    config: of the rays.

  Returns: the smallest and the largest radius, world units.
  """
  if config.ray_start == "auto":
    return 0.01, 1000.0
  reach = _HEAD * config.box_warp
  return (
    min(config.ray_start + reach, config.avg_camera_radius),
    max(config.ray_end - reach, config.avg_camera_radius),
  )


def read(
  path: str | os.PathLike,
  config: RenderConfig,
  *,
  frames: int,
  focal: float | None = None,
  default_focal: float = cameras.FACE_FOCAL,
  convention: str = "",
) -> np.ndarray:
  """Cameras of a file, see above.

  Args:
    path: the file, or an album's folder.
    config: of the average camera.
    frames: of a way along keys; labels are a frame each.
    focal: that was asked for, of keys without one; labels have their own.
    default_focal: of keys without one where none was asked for.
    convention: of labels, see `data.albums.open_album`.

  Returns: [F, 25].
  Raises: UserError: names the file, and the entry.
  """
  path = pathlib.Path(path).expanduser()
  if path.is_dir():
    path = path / dataset_json.FILE_NAME
  content = json_files.read(path)
  if isinstance(content, dict) and "keys" in content:
    for name in content:
      if name not in ("keys", "closed"):
        raise UserError(
          f'{path}: {name!r} is not known; beside "keys" there may be "closed"'
        )
    return along_keys(
      content["keys"],
      config,
      frames=frames,
      focal=default_focal if focal is None else focal,
      closed=content.get("closed", False),
      where=str(path),
    )
  if isinstance(content, list):
    # As entries of a dataset.json, whose messages say what is wrong.
    content = {
      "labels": [[f"frame {i}", entry] for i, entry in enumerate(content)]
    }
  words = conventions.parse(convention)
  labels = dataset_json.labels_of(content, str(path), words)
  if not 1 <= len(labels) <= _MAX_FRAMES:
    raise UserError(
      f"{path}: expected 1 to {_MAX_FRAMES} cameras, got {len(labels)}"
    )
  low, high = radius_limits(config)
  for name, one in labels.items():
    radius = float(np.linalg.norm(np.asarray(one)[_PLACE]))
    if not low - _SLACK <= radius <= high + _SLACK:
      raise UserError(
        f"{path}: {name}: the camera is {radius:.4g} from the "
        f"middle, expected {low:.4g} to {high:.4g}{_CUT}"
      )
  if focal is not None:
    raise UserError(f"focal: the cameras of {path} have their own")
  found = np.stack(list(labels.values()))
  conventions.check(
    found,
    list(labels),
    str(path),
    words=dataset_json.convention_of(content, words),
    may_look_away=True,
  )
  return found


def along_keys(
  keys: Sequence[Mapping[str, float]],
  config: RenderConfig,
  *,
  frames: int,
  focal: float = cameras.FACE_FOCAL,
  closed: bool = False,
  where: str = "keys",
) -> np.ndarray:
  """A smooth way by cameras; it does not swing beyond them.

  Args:
    keys: at least one, see above; "time" in all or none, increasing.
    config: of the average camera.
    frames: evenly spaced in time, the first at the first key; the last at
      the last one, or, on a closed way, one step before the first.
    focal: of keys without one.
    closed: whether the last key is the first one again. It then needs the
      same values.
    where: what to call them in messages.

  Returns: [frames, 25].
  Raises: UserError: names the key.
  """
  checks.whole_number("frames", frames, 1, _MAX_FRAMES)
  if not isinstance(closed, bool):
    raise UserError(f"{where}: closed must be true or false, got {closed!r}")
  if not isinstance(keys, (list, tuple)) or not keys:
    raise UserError(f"{where}: keys: expected a list of at least one key")
  usual = {
    "yaw": 0.0,
    "pitch": 0.0,
    "radius": config.avg_camera_radius,
    "focal": focal,
  }
  bounds = {
    "yaw": (-math.pi, math.pi),
    "pitch": (-math.pi / 2, math.pi / 2),
    "radius": radius_limits(config),
    "focal": (0.01, 1000.0),
    _TIME: (-1e9, 1e9),
  }
  rows = [
    _key(key, usual, bounds, f"{where}: key {i}") for i, key in enumerate(keys)
  ]
  times = _times(keys, where)
  values = np.array([[row[name] for name in FIELDS] for row in rows])
  if closed and not np.array_equal(values[0], values[-1]):
    raise UserError(
      f"{where}: a closed way must end with the key that it begins with"
    )
  shown = np.linspace(times[0], times[-1], frames, endpoint=not closed)
  yaw, pitch, radius, focals = _smooth(times, values, shown, closed).T
  return np.asarray(label(config, yaw, pitch, radius, focals))


def _key(
  key: Any,
  usual: dict[str, float],
  bounds: dict[str, tuple[float, float]],
  here: str,
) -> dict[str, float]:
  """A key with all its fields; raises UserError that names one."""
  if not isinstance(key, dict):
    raise UserError(
      f"{here}: expected an object with some of "
      f"{', '.join(FIELDS)}, got {_short(key)}"
    )
  for name, value in key.items():
    if name not in (*FIELDS, _TIME):
      raise UserError(
        f"{here}: {name!r} is none of {', '.join(FIELDS)}, {_TIME}"
      )
    low, high = bounds[name]
    if (
      isinstance(value, bool)
      or not isinstance(value, (int, float))
      or not low <= value <= high
    ):
      remedy = _CUT if name == "radius" else ""
      raise UserError(
        f"{here}: {name}: expected a number in [{low:.4g}, "
        f"{high:.4g}], got {_short(value)}{remedy}"
      )
  return {**usual, **key}


def _times(keys: Sequence[Mapping[str, float]], where: str) -> np.ndarray:
  given = [_TIME in key for key in keys]
  if not any(given):
    return np.arange(len(keys), dtype=np.float64)
  if not all(given):
    raise UserError(
      f"{where}: key {given.index(False)}: has no time, others "
      "have; give it to all or none"
    )
  times = np.array([key[_TIME] for key in keys], np.float64)
  late = np.flatnonzero(np.diff(times) <= 0)
  if late.size:
    raise UserError(
      f"{where}: key {late[0] + 1}: its time must be later than "
      "that of the key before"
    )
  return times


def _smooth(
  times: np.ndarray, values: np.ndarray, shown: np.ndarray, closed: bool
) -> np.ndarray:
  """Piecewise cubic, monotone between keys: [K], [K, V], [F] to [F, V]."""
  if len(times) == 1:
    return np.repeat(values, len(shown), axis=0)
  if closed and len(times) > 2:
    # A turn more on either side: the ends are then smooth as well.
    length = times[-1] - times[0]
    times = np.concatenate([times[:-1] - length, times, times[1:] + length])
    values = np.concatenate([values[:-1], values, values[1:]])
  # Half a second, which most commands need not wait.
  from scipy import interpolate  # pylint: disable=import-outside-toplevel

  return interpolate.PchipInterpolator(times, values, axis=0)(shown)


def _short(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 40 else text[:37] + "..."

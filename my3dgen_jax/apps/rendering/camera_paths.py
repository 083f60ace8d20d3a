"""Camera positions and paths: sweeps, and camera files.

A camera file is JSON, one of these:

    {"labels": [["name.png", [25 numbers]], …]}    an album's dataset.json
    [[25 numbers], …]                              one per frame
    {"closed": false, "keys": [                    a smooth path
       {"time": 0, "yaw": -0.35, "pitch": 0, "radius": 2.7, "focal": 4.26},
       {"time": 1, "yaw": 0.35}]}
    transforms.json, camera_path.json              of NeRF tools, one per frame

Labels are those of `ops.cameras`. Keys have angles in radians from the front,
the distance from the world's origin (see `radius_limits`), and the focal
length in image sizes; what a key leaves out is that of the average camera.
Times are in any unit, or the keys' indices if none has one; a closed path ends
with its first key.
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
_HEAD = 0.3  # a head's radius, in sides of the box
_CUT = "; beyond that, rays would cut the head: use another focal"
_SLACK = 0.01  # for rounded radii in files of other tools
_PLACE = [3, 7, 11]  # camera position within a label


def label(
  config: RenderConfig,
  yaw: chex.Numeric,
  pitch: chex.Numeric,
  radius: chex.Numeric | None = None,
  focal: chex.Numeric = cameras.FACE_FOCAL,
) -> jax.Array:
  """Camera labels that look at the average camera's target; may be jitted.

  Args:
    config: the average camera's settings.
    yaw: [...], radians from the front, see `ops.cameras.look_at`.
    pitch: [...], radians from the front, see `ops.cameras.look_at`.
    radius: [...], distance from the world's origin; None: the average one.
    focal: [...], focal length in image sizes.

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
  """The nearest and farthest camera distances at which a head is not cut.

  A generator's rays cover a fixed range of distances from the camera, wherever
  it stands. To show a head larger or smaller than these allow, use another
  focal length.

  Args:
    config: the rays' settings.

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
  """Reads a camera file, see above.

  Args:
    path: the file, or an album's folder.
    config: the average camera's settings.
    frames: count of frames along keys; labels are one frame each.
    focal: requested focal length of keys without one; labels have their own.
    default_focal: focal length of keys without one if none was requested.
    convention: the labels' convention, see `data.albums.open_album`.

  Returns: [F, 25].
  Raises: UserError: names the file and the entry.
  """
  path = pathlib.Path(path).expanduser()
  if path.is_dir():
    path = path / dataset_json.FILE_NAME
  content = json_files.read(path)
  if isinstance(content, dict) and "keys" in content:
    for name in content:
      if name not in ("keys", "closed"):
        raise UserError(
          f'{path}: {name!r} is unknown; beside "keys", only "closed" is allowed'
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
    # Treated as entries of a dataset.json, for its error messages.
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
        f"{path}: {name}: the camera's distance from the center is "
        f"{radius:.4g}, expected {low:.4g} to {high:.4g}{_CUT}"
      )
  if focal is not None:
    raise UserError(f"focal: the cameras of {path} have their own; drop it")
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
  """A smooth path along cameras, without overshoot.

  Args:
    keys: key cameras, at least one, see above; "time" in all or none,
      increasing.
    config: the average camera's settings.
    frames: count of frames, evenly spaced in time from the first key to the
      last or, on a closed path, to one step before the first.
    focal: focal length of keys without one.
    closed: whether the last key repeats the first; it must have the same
      values.
    where: their name in messages.

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
    raise UserError(f"{where}: a closed path must end with its first key")
  shown = np.linspace(times[0], times[-1], frames, endpoint=not closed)
  yaw, pitch, radius, focals = _smooth(times, values, shown, closed).T
  return np.asarray(label(config, yaw, pitch, radius, focals))


def _key(
  key: Any,
  usual: dict[str, float],
  bounds: dict[str, tuple[float, float]],
  here: str,
) -> dict[str, float]:
  """A key with all its fields; raises UserError naming a bad one."""
  if not isinstance(key, dict):
    raise UserError(
      f"{here}: expected an object with some of "
      f"{', '.join(FIELDS)}, got {_short(key)}"
    )
  for name, value in key.items():
    if name not in (*FIELDS, _TIME):
      raise UserError(
        f"{here}: {name!r} is not one of {', '.join(FIELDS)}, {_TIME}"
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
      f"{where}: key {given.index(False)}: has no time, but others "
      "do; give it to all or none"
    )
  times = np.array([key[_TIME] for key in keys], np.float64)
  late = np.flatnonzero(np.diff(times) <= 0)
  if late.size:
    raise UserError(
      f"{where}: key {late[0] + 1}: its time must be after "
      "that of the previous key"
    )
  return times


def _smooth(
  times: np.ndarray, values: np.ndarray, shown: np.ndarray, closed: bool
) -> np.ndarray:
  """Piecewise cubic, monotone between keys: [K], [K, V], [F] to [F, V]."""
  if len(times) == 1:
    return np.repeat(values, len(shown), axis=0)
  if closed and len(times) > 2:
    # One more turn on either side makes the ends smooth too.
    length = times[-1] - times[0]
    times = np.concatenate([times[:-1] - length, times, times[1:] + length])
    values = np.concatenate([values[:-1], values, values[1:]])
  # Imported here: it takes half a second, which most commands do not need.
  from scipy import interpolate  # pylint: disable=import-outside-toplevel

  return interpolate.PchipInterpolator(times, values, axis=0)(shown)


def _short(value: Any) -> str:
  text = json.dumps(value)
  return text if len(text) <= 40 else text[:37] + "..."

"""What a viewer's window shows: choices to latents, mice to cameras.

Pure functions, no browser and no server: `apps.viewer` puts controls around
them.
"""

import dataclasses
import functools
import math
from typing import Dict, Literal, Mapping, Optional, Sequence, Tuple

import chex
import jax
import numpy as np

from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering.stations import Station, look_up
from my3dgen_jax.config import GeneratorConfig, RenderConfig
from my3dgen_jax.directions import Direction
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras

STARTS = ("a photo", "between two", "a mix", "the mean face", "a seed")
SHOWN = frames.KINDS
BETA = 0.02  # of the hull, as other commands have it

_FREE = 0.7  # share of a limit that angles go through as they are
# A browser's camera turns all around; a generator's does not go far, so it
# turns more slowly.
_TURN = 0.5
_ENOUGH = 1.3  # limits; beyond, `soft_limit` hardly changes
_STEEPEST = 1.5  # radians that a browser's camera rises
_NEAREST, _FARTHEST = 4.0, 0.6  # zoom
_MARGIN = (24, 26, 27)  # beside the picture; the dark theme's background
_LONGEST = 8  # sides of the picture that a frame is long at most
_SAME = 1e-3  # cameras that differ by less are one


# Cameras.


@dataclasses.dataclass(frozen=True)
class Orbit:
  """A camera about the front, as far as a mouse can say it.

  Attributes:
    yaw: radians from the front, as `cameras.look_at` takes it.
    pitch: likewise.
    zoom: 1: as the prior was trained; 2: twice as large.
    shift: how far the picture moves to the right and down, in image sizes.
  """

  yaw: float = 0.0
  pitch: float = 0.0
  zoom: float = 1.0
  shift: Tuple[float, float] = (0.0, 0.0)


@dataclasses.dataclass(frozen=True)
class Limits:
  """How far a camera turns: to either side, and up and down, radians."""

  yaw: float = 0.6
  pitch: float = 0.35

  def validate(self) -> "Limits":
    """Checks both; raises UserError that names one."""
    render.check_reach(self.yaw, self.pitch)
    return self


def soft_limit(angle: float, limit: float) -> float:
  """An angle that goes as told first, and slower the nearer it is to a limit.

  Args:
    angle: radians.
    limit: > 0, radians; what comes out is within.
  """
  free = _FREE * limit
  beyond = abs(angle) - free
  if beyond <= 0:
    return angle
  room = limit - free
  return math.copysign(free + room * math.tanh(beyond / max(room, 1e-9)),
                       angle)


def distance(config: RenderConfig) -> float:
  """From the average camera to what it looks at, world units."""
  return float(np.linalg.norm(_front(config) - config.avg_camera_pivot))


def field_of_view(focal: float = cameras.FACE_FOCAL) -> float:
  """The angle that the picture's height spans, radians."""
  return 2 * math.atan(0.5 / focal)


def orbit_of_pose(position: chex.Array, look_at: chex.Array,
                  config: RenderConfig, limits: Limits, *,
                  focal: float = cameras.FACE_FOCAL) -> Orbit:
  """What a browser's orbiting camera means for a generator's.

  A generator knows one distance, so coming nearer becomes a longer lens, and
  moving sideways moves the picture.

  Args:
    position: [3], world units.
    look_at: [3], what is orbited.
    config: where the average camera is and looks.
    limits: of the angles, kept softly.
    focal: of the lens at zoom 1, in image sizes.
  """
  away = np.asarray(position, np.float64) - look_at
  far = max(float(np.linalg.norm(away)), 1e-6)
  x, y, z = away / far
  yaw, pitch = _angles(x, y, z)
  yaw = soft_limit(yaw, limits.yaw)
  pitch = soft_limit(pitch, limits.pitch)
  zoom = min(max(distance(config) / far, _FARTHEST), _NEAREST)
  right = np.array([z, 0.0, -x]) / max(math.hypot(x, z), 1e-6)
  down = np.cross(right, [x, y, z])
  moved = np.asarray(look_at, np.float64) - config.avg_camera_pivot
  shift = [max(min(-focal * float(axis @ moved) / far, zoom / 2), -zoom / 2)
           for axis in (right, down)]
  return Orbit(yaw, pitch, zoom, (shift[0], shift[1]))


def rested_pose(position: chex.Array, look_at: chex.Array,
                config: RenderConfig, limits: Limits
                ) -> Optional[Tuple[np.ndarray, np.ndarray]]:
  """Where a browser's camera belongs that went so far that nothing changes.

  From there the next drag back is seen at once.

  Args:
    position: [3], world units.
    look_at: [3].
    config: where the average camera is and looks.
    limits: of the angles.

  Returns: position and look_at; None: it may stay where it is.
  """
  away = np.asarray(position, np.float64) - look_at
  far = max(float(np.linalg.norm(away)), 1e-6)
  x, y, z = away / far
  yaw, pitch = _angles(x, y, z)
  ends = [math.copysign(min(abs(angle), _ENOUGH * limit), angle)
          for angle, limit in ((yaw, limits.yaw), (pitch, limits.pitch))]
  if np.allclose(ends, [yaw, pitch], atol=_SAME):
    return None
  orbit = Orbit(*ends, zoom=distance(config) / far)
  pose, pivot = pose_of_orbit(orbit, config)
  moved = np.asarray(look_at, np.float64) - pivot
  return pose + moved, pivot + moved


def pose_of_orbit(orbit: Orbit, config: RenderConfig
                  ) -> Tuple[np.ndarray, np.ndarray]:
  """Where a browser's camera is put to show an orbit, its shift aside.

  Returns: position [3] and the point that is looked at, [3], world units.
  """
  azimuth = orbit.yaw / _TURN
  height = math.asin(max(min(-2 * orbit.pitch / math.pi, 1), -1)) / _TURN
  height = max(min(height, _STEEPEST), -_STEEPEST)
  pivot = np.array(config.avg_camera_pivot, np.float64)
  away = np.array([math.cos(height) * math.sin(azimuth), math.sin(height),
                   math.cos(height) * math.cos(azimuth)])
  return pivot + distance(config) / orbit.zoom * away, pivot


def label_of_orbit(orbit: Orbit, config: RenderConfig, *,
                   focal: float = cameras.FACE_FOCAL) -> np.ndarray:
  """The label [25] of an orbit."""
  return np.asarray(_label(np.array(
      [orbit.yaw, orbit.pitch, focal * orbit.zoom, *orbit.shift], np.float32),
                           config))


@functools.partial(jax.jit, static_argnames="config")
def _label(numbers: chex.Array, config: RenderConfig) -> jax.Array:
  """Of yaw, pitch, focal length, and shift to the right and down."""
  cam2world = cameras.look_at(numbers[0], numbers[1], config.avg_camera_pivot,
                              config.avg_camera_radius)
  intrinsics = cameras.intrinsics_from_focal(numbers[2])
  return cameras.pack_label(cam2world,
                            intrinsics.at[:2, 2].add(numbers[3:]))


def orbit_of_label(c: chex.Array, config: RenderConfig, *,
                   focal: float = cameras.FACE_FOCAL) -> Orbit:
  """The orbit that comes closest to a photo's camera.

  Args:
    c: [25].
    config: where the average camera is and looks.
    focal: of the lens at zoom 1.
  """
  cam2world, intrinsics = map(np.asarray, cameras.unpack_label(c))
  x, y, z = -cam2world[:3, 2].astype(np.float64)  # it looks along z
  pitch = -math.pi / 2 * float(np.clip(y, -1, 1))
  zoom = float(np.clip(intrinsics[0, 0] / focal, _FARTHEST, _NEAREST))
  return Orbit(math.atan2(x, z), pitch, zoom)


def same_orbit(a: Orbit, b: Orbit) -> bool:
  """Whether nobody would see the difference."""
  return bool(np.allclose([a.yaw, a.pitch, a.zoom, *a.shift],
                          [b.yaw, b.pitch, b.zoom, *b.shift], atol=_SAME))


def _angles(x: float, y: float, z: float) -> Tuple[float, float]:
  """Yaw and pitch of a browser's camera in the direction (x, y, z)."""
  # look_at's pitch is that of uniformly spread cameras: a camera's height is
  # -2 pitch / pi.
  height = math.asin(max(min(y, 1.0), -1.0))
  return (_TURN * math.atan2(x, z),
          -math.pi / 2 * math.sin(_TURN * height))


def zoom_distances(config: RenderConfig) -> Tuple[float, float]:
  """The nearest and the farthest that a browser's camera may come."""
  return distance(config) / _NEAREST, distance(config) / _FARTHEST


def _front(config: RenderConfig) -> np.ndarray:
  return np.array([0.0, 0.0, config.avg_camera_radius])


# Faces.


@dataclasses.dataclass(frozen=True)
class Choice:
  """What the controls say about the face.

  Attributes:
    start: of `STARTS`.
    first: a photo of the run.
    second: another, for "between two".
    way: from the first, 0, to the second, 1.
    weights: photos and their weights, for "a mix"; they need not sum to 1.
    seed: for "a seed".
    truncation: 1: as it is; 0: the generator's mean face.
    edits: directions by name and how far, in standard deviations.
    within: edits go as far as the person's anchors can follow them.
  """

  start: Literal["a photo", "between two", "a mix", "the mean face",
                 "a seed"] = "the mean face"
  first: str = ""
  second: str = ""
  way: float = 0.0
  weights: Tuple[Tuple[str, float], ...] = ()
  seed: int = 0
  truncation: float = 1.0
  edits: Tuple[Tuple[str, float], ...] = ()
  within: bool = True


def starts_of(person: Person) -> Sequence[str]:
  """Those of `STARTS` that a person has; a bare base has no photos."""
  return STARTS if person.anchors is not None else STARTS[3:]


def barycentric(weights: Sequence[float]) -> np.ndarray:
  """Weights that sum to 1, in the proportions of those given.

  Args:
    weights: [K], >= 0; if all are 0, they count the same.
  """
  weights = np.maximum(np.asarray(weights, np.float64), 0)
  total = weights.sum()
  if total <= 0:
    return np.full(len(weights), 1 / max(len(weights), 1))
  return weights / total


def alpha_of(person: Person, weights: Sequence[Tuple[str, float]]
             ) -> np.ndarray:
  """Weights of all of a person's anchors, [N], in the personal hull.

  Args:
    person: with anchors.
    weights: photos and what they weigh; a photo may come twice.

  Raises: UserError: there is no such photo, or none at all.
  """
  if not weights:
    raise UserError("weights: choose at least one photo")
  alpha = np.zeros(len(person.anchors.names), np.float32)
  shares = barycentric([weight for _, weight in weights])
  for (name, _), share in zip(weights, shares):
    station = _of_photo(person, name, flag="weights")
    alpha += np.float32(share) * station.alpha
  return alpha


def latents_of(person: Person, choice: Choice,
               steps: Mapping[str, np.ndarray], *,
               mean: np.ndarray, sampled: Mapping[int, np.ndarray]
               ) -> np.ndarray:
  """The latent that controls choose.

  Args:
    person: whose anchors are meant.
    choice: of the controls.
    steps: of `edit_steps`; what a standard deviation of each edit adds.
    mean: [w_dim], the generator's mean w.
    sampled: w by seed, [w_dim]; "a seed" looks its own up.

  Returns: ws, [num_ws, w_dim] float32.
  Raises: UserError: names the control.
  """
  if choice.start not in starts_of(person):
    raise UserError(f"start: {person.name} has no photos to start from; "
                    "choose the mean face or a seed")
  rows = person.generator.module.config.num_ws
  mean = np.asarray(mean, np.float32)
  if choice.start == "a photo":
    ws = _of_photo(person, choice.first, flag="photo").ws
  elif choice.start == "between two":
    ws = _mixed(person, ((choice.first, 1 - choice.way),
                         (choice.second, choice.way)))
  elif choice.start == "a mix":
    ws = _mixed(person, choice.weights)
  elif choice.start == "a seed":
    ws = np.repeat(sampled[choice.seed][None], rows, axis=0)
  else:
    ws = np.repeat(mean[None], rows, axis=0)
  ws = mean + np.float32(choice.truncation) * (ws - mean)
  for name, strength in choice.edits:
    if strength:
      ws = ws + np.float32(strength) * steps[name]
  return np.asarray(ws, np.float32)


def _of_photo(person: Person, name: str, *, flag: str) -> Station:
  """A photo of the run; browsers may send any text, such as a file's name."""
  if name not in person.anchors.names:
    raise UserError(f"{flag}: there is none called {name!r}")
  return look_up(person, name, flag=flag)


def _mixed(person: Person,
           weights: Sequence[Tuple[str, float]]) -> np.ndarray:
  return np.asarray(
      person.hull(BETA).latents(alpha_of(person, weights)[None]))[0]


def edit_steps(person: Person, directions: Sequence[Direction], *,
               within: bool) -> Dict[str, np.ndarray]:
  """What a standard deviation of each direction adds to ws.

  Args:
    person: whose anchors are meant.
    directions: with their spreads.
    within: what the anchors can follow of it, so that an edited face is a
      mean of the person's own, with weights that may leave the hull; else
      all of it. A person without anchors has no choice.

  Returns: [num_ws, w_dim] by the direction's name.
  Source: MyStyle, section 3.3; see `apps.edit`.
  """
  shape = (person.generator.module.config.num_ws,
           person.generator.module.config.w_dim)
  steps = {}
  for direction in directions:
    step = np.broadcast_to(direction.vector, shape)
    if within and person.anchors is not None:
      gamma = person.hull(BETA).coordinates(direction.vector).gamma
      step = np.einsum("n,nld->ld", np.asarray(gamma),
                       np.asarray(person.anchors.ws))
    steps[direction.name] = np.asarray(direction.spread * step, np.float32)
  return steps


def mean_of(person: Person) -> np.ndarray:
  """The generator's mean w, [w_dim]."""
  buffers = person.generator.variables["buffers"]
  return np.asarray(buffers["backbone"]["mapping"]["w_avg"])


def describe(choice: Choice) -> Dict[str, str]:
  """What a saved picture's metadata tell of a choice."""
  found = {"start": choice.start}
  if choice.start in ("a photo", "between two"):
    found["photo"] = choice.first
  if choice.start == "between two":
    found.update(second=choice.second, way=f"{choice.way:.3f}")
  if choice.start == "a mix":
    shares = barycentric([weight for _, weight in choice.weights])
    found["weights"] = ", ".join(
        f"{name} {share:.3f}"
        for (name, _), share in zip(choice.weights, shares) if share)
  if choice.start == "a seed":
    found["seed"] = str(choice.seed)
  if choice.truncation != 1:
    found["truncation_psi"] = f"{choice.truncation:.3f}"
  found.update((f"edit {name}", f"{strength:+.2f}")
               for name, strength in choice.edits if strength)
  return found


# Pictures.


def levels_of(config: GeneratorConfig) -> Sequence[Tuple[int, str]]:
  """What may be shown while a face moves, the finest first.

  Returns: (side of image_raw, of `SHOWN`); super-resolution is left out where
    it would cost the most.
  """
  full = config.neural_rendering_resolution
  sides = [max(full // divisor, 8) for divisor in (1, 2, 4)]
  found = [(side, "image") for side in sides]
  found += [(side, "raw") for side in sides[1:]] + [(max(full // 8, 8), "raw")]
  return list(dict.fromkeys(found))


def framed(picture: np.ndarray, width: int, height: int) -> np.ndarray:
  """A square picture with margins, in the shape of a window.

  Browsers stretch a background over the window; this one fits.

  Args:
    picture: uint8 [S, S, 3].
    width: of the window, any unit.
    height: of the window.

  Returns: uint8 [S', S'', 3], whose shorter side is S; it is no longer than
    `_LONGEST` S, whatever a browser says of its window.
  """
  side = picture.shape[0]
  shorter = max(min(width, height), 1)
  rows, columns = (
      min(max(side, round(side * extent / shorter)), _LONGEST * side)
      for extent in (height, width))
  frame = np.empty((rows, columns, 3), np.uint8)
  frame[:] = _MARGIN
  top, left = (rows - side) // 2, (columns - side) // 2
  frame[top:top + side, left:left + side] = picture
  return frame

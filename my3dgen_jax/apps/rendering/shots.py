"""Shots: scenes with cameras, and names of their files."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from my3dgen_jax.apps.rendering import camera_paths, frames, render
from my3dgen_jax.apps.rendering.scenes import Scene
from my3dgen_jax.config import MAX_RESOLUTION, RenderConfig, setting
from my3dgen_jax.data import provenance
from my3dgen_jax.data.cameras import conventions
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras, checks

GRID, ORBIT, YAW, PITCH, OWN = CAMERAS = (
  "grid",
  "orbit",
  "yaw",
  "pitch",
  "own",
)
STILL = ".png"
FORMATS = (STILL, *provenance.VIDEOS)

_KINDS = frames.KINDS
_MAX_FRAMES = 100_000  # frames
# Default yaws and pitches, radians.
_ANGLES = {
  GRID: ((-0.35, 0.0, 0.35), (0.0,)),
  ORBIT: ((0.35,), (0.25,)),
  YAW: ((-0.35, 0.35), (0.0,)),
  PITCH: ((0.0,), (-0.25, 0.25)),
}


@dataclasses.dataclass(frozen=True)
class RenderFilesConfig:
  """Settings of cameras and output."""

  camera: str = setting(
    GRID,
    "Cameras: grid: every yaw at every pitch; orbit: a closed path around the "
    "front; yaw, pitch: a sweep from one angle to another; own: each latent's "
    "camera; or a file of cameras.",
  )
  camera_convention: str = setting(
    "",
    "Convention of the cameras in a file, see docs/cameras_and_conventions.md; "
    "default: EG3D's, or that of the file's kind.",
  )
  yaws: tuple[float, ...] = setting(
    (),
    "Yaws from the front, radians; default: -0.35,0,0.35 for a grid, "
    "-0.35,0.35 for a sweep, 0.35 for an orbit.",
    low=-math.pi,
    high=math.pi,
  )
  pitches: tuple[float, ...] = setting(
    (),
    "Pitches from the front, radians; default: 0 for a grid, -0.25,0.25 for a "
    "sweep, 0.25 for an orbit.",
    low=-math.pi / 2,
    high=math.pi / 2,
  )
  focal: float | None = setting(
    None,
    "Focal length in image sizes; default: that of the photo's own camera, "
    f"{cameras.FACE_FOCAL} for seeds.",
    low=0.01,
    high=1000,
  )
  frames: int = setting(
    48,
    "Frames of an orbit, a sweep or key frames; with --between, frames from "
    "one latent to the next, including both.",
    low=1,
  )
  format: str = setting(STILL, "Format of the files.", choices=FORMATS)
  fps: float = setting(24.0, "Frames per second of videos, > 0.")
  kinds: tuple[str, ...] = setting(
    (),
    "Kind of picture to write; default: all for pictures, image for videos.",
    choices=_KINDS,
  )
  grid: bool = setting(
    False, "Also write one picture of everything, with one row per scene."
  )
  side: int = setting(
    0, "Side of a face in the pictures, pixels; 0: as rendered.", low=0
  )
  crf: int = setting(
    17,
    "Constant rate factor of MP4, 0 to 51; 6 more halve the file size.",
    low=0,
    high=51,
  )
  neural_rendering_resolution: int | None = setting(
    None,
    "Side of image_raw, pixels; default: the checkpoint's.",
    low=1,
    high=MAX_RESOLUTION,
  )
  batch_size: int = setting(
    0, "Frames at a time, over all devices; 0: chosen for the device.", low=0
  )

  def validate(self) -> "RenderFilesConfig":
    """Checks every field; raises UserError that names the invalid one."""
    conventions.parse(self.camera_convention)
    if self.format not in FORMATS:
      raise UserError(
        f"format: expected one of {', '.join(FORMATS)}, got {self.format!r}"
      )
    for kind in self.kinds:
      if kind not in frames.KINDS:
        raise UserError(
          f"kinds: expected some of {', '.join(frames.KINDS)}, got {kind!r}"
        )
    for name, low, high in (
      ("frames", 1, _MAX_FRAMES),
      ("side", 0, 2**14),
      ("crf", 0, 51),
      ("batch_size", 0, _MAX_FRAMES),
    ):
      checks.whole_number(name, getattr(self, name), low, high)
    if not 0 < self.fps < math.inf:
      raise UserError(f"fps: expected a number > 0, got {self.fps}")
    for yaw in self.yaws:
      render.check_reach(abs(yaw), 0.0)
    for pitch in self.pitches:
      render.check_reach(0.0, abs(pitch))
    if self.focal is not None and not 0 < self.focal < math.inf:
      raise UserError(f"focal: expected a number > 0, got {self.focal}")
    self._check_camera()
    return self

  def _check_camera(self):
    """Refuses angles that the camera does not use."""
    if not self.camera:
      raise UserError(
        f"camera: expected one of {', '.join(CAMERAS)}, or a file of cameras"
      )
    if self.camera not in _ANGLES:
      if self.yaws or self.pitches:
        raise UserError(
          f"yaw, pitch: cameras of {self.camera!r} have their own angles; drop "
          "these flags"
        )
      if self.camera == OWN and self.focal is not None:
        raise UserError("focal: a latent's own camera has its own; drop it")
    elif self.camera != GRID:
      swept = {YAW: self.yaws, PITCH: self.pitches}
      for name, given in ((YAW, self.yaws), (PITCH, self.pitches)):
        most = 2 if self.camera == name else 1
        if len(given) > most:
          raise UserError(
            f"{name}: camera {self.camera} takes "
            f"{'two numbers' if most == 2 else 'one number'}, "
            f"got {len(given)}"
          )
      if len(swept.get(self.camera, (0, 0))) == 1:
        raise UserError(
          f"{self.camera}: a sweep goes from one angle to another; give two"
        )

  @property
  def angles(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Yaws and pitches of a camera with angles."""
    yaws, pitches = _ANGLES[self.camera]
    return self.yaws or yaws, self.pitches or pitches

  @property
  def made(self) -> tuple[str, ...]:
    """The kinds of pictures."""
    return tuple(dict.fromkeys(self.kinds)) or (
      frames.KINDS if self.format == STILL else (frames.IMAGE,)
    )


class Shot(NamedTuple):
  """A scene with cameras.

  Attributes:
    scene: the scene.
    name: name of a video, without kind and suffix.
    c: [F, 25], camera labels.
    frames: F names of pictures, without kind and suffix.
    views: F names of cameras, for the frames' metadata.
  """

  scene: Scene
  name: str
  c: np.ndarray
  frames: Sequence[str]
  views: Sequence[str]


def find_shots(
  rendering: RenderConfig, scene: Scene, config: RenderFilesConfig
) -> list[Shot]:
  """The cameras of a scene.

  For a grid and a scene with moving latents, each view is one shot; otherwise
  all cameras are one shot.

  Args:
    rendering: the generator's settings, for the average camera.
    scene: the scene.
    config: the cameras.

  Raises: UserError: names the file of cameras, or the angle.
  """
  lens = scene.c[0]
  if config.focal is not None:
    lens = np.asarray(
      cameras.pack_label(
        cameras.unpack_label(lens)[0],
        cameras.intrinsics_from_focal(config.focal),
      )
    )
  moves = scene.frames > 1
  if config.camera == GRID:
    yaws, pitches = config.angles
    views = _view_names(yaws, pitches)
    pitch, yaw = (
      grid.ravel() for grid in np.meshgrid(pitches, yaws, indexing="ij")
    )
    c = np.asarray(render.label_about_front(rendering, lens, yaw, pitch))
    if not moves:
      return [
        Shot(
          scene,
          f"{scene.name}_{GRID}",
          c,
          [f"{scene.name}_{view}" for view in views],
          views,
        )
      ]
    return [
      _numbered(scene, view, np.repeat(one[None], scene.frames, axis=0))
      for view, one in zip(views, c)
    ]
  c = _on_the_way(rendering, scene, lens, config)
  name = (
    config.camera
    if config.camera in CAMERAS
    else (pathlib.Path(config.camera).stem)
  )
  if moves and len(c) not in (1, scene.frames):
    raise UserError(
      f"camera: {config.camera} has {len(c)} cameras, but the video "
      f"{scene.frames} frames; give as many cameras, or key frames"
    )
  return [
    _numbered(
      scene,
      name,
      np.broadcast_to(c, (max(len(c), scene.frames), cameras.LABEL_SIZE)),
    )
  ]


def _on_the_way(
  rendering: RenderConfig,
  scene: Scene,
  lens: np.ndarray,
  config: RenderFilesConfig,
) -> np.ndarray:
  """Cameras other than a grid's, [F, 25]."""
  if config.camera == OWN:
    return scene.c
  count = scene.frames if scene.frames > 1 else config.frames
  if config.camera not in CAMERAS:
    return camera_paths.read(
      config.camera,
      rendering,
      frames=count,
      focal=config.focal,
      default_focal=float(lens[16]),
      convention=config.camera_convention,
    )
  yaws, pitches = config.angles
  if config.camera == ORBIT:
    return render.orbit_about(
      rendering, lens, frames=count, yaw=abs(yaws[0]), pitch=abs(pitches[0])
    )
  yaw, pitch = (
    np.linspace(angles[0], angles[-1], count) for angles in (yaws, pitches)
  )
  return np.asarray(render.label_about_front(rendering, lens, yaw, pitch))


def _numbered(scene: Scene, camera: str, c: np.ndarray) -> Shot:
  name = f"{scene.name}_{camera}"
  digits = max(4, len(str(len(c) - 1)))
  numbers = [f"{i:0{digits}d}" for i in range(len(c))]
  if len(c) == 1:
    return Shot(scene, name, c, [name], [camera])
  return Shot(
    scene,
    name,
    c,
    [f"{name}_{number}" for number in numbers],
    [f"{camera} {number}" for number in numbers],
  )


def _view_names(
  yaws: Sequence[float], pitches: Sequence[float]
) -> Sequence[str]:
  """Part of a file name for each view, with as few digits as possible."""
  for digits in range(2, 8):
    names = [
      f"yaw{yaw:+.{digits}f}_pitch{pitch:+.{digits}f}"
      for pitch in pitches
      for yaw in yaws
    ]
    if len(set(names)) == len(names):
      return names
  raise UserError("yaw, pitch: two views are the same; give each angle once")

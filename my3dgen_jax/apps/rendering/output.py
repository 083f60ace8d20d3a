"""Scenes from cameras, as pictures and videos in a folder."""

import dataclasses
import math
import os
import pathlib
from typing import (Callable, Dict, Iterator, List, NamedTuple, Optional,
                    Sequence, Tuple, Union)

import numpy as np

from my3dgen_jax.apps.rendering import camera_paths, frames, render
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering.scenes import Scene
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import images, provenance
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.jobs.interrupts import StopRequest, stopping_gently
from my3dgen_jax.jobs.progress import Progress

GRID, ORBIT, YAW, PITCH, OWN = CAMERAS = ("grid", "orbit", "yaw", "pitch",
                                          "own")
STILL = ".png"
FORMATS = (STILL, *provenance.VIDEOS)

_MOST = 100_000  # frames
_COLUMNS = 9  # of a grid's row that shows frames on the way
_LEAST_SIDE = 128  # pixels; above smaller pictures there is no room for a title
# Yaws and pitches that nobody has said, radians.
_ANGLES = {GRID: ((-0.35, 0.0, 0.35), (0.0,)), ORBIT: ((0.35,), (0.25,)),
           YAW: ((-0.35, 0.35), (0.0,)), PITCH: ((0.0,), (-0.25, 0.25))}


@dataclasses.dataclass(frozen=True)
class RenderFilesConfig:
  """From where, and as what.

  Attributes:
    camera: "grid": every yaw at every pitch; "orbit": a closed way about the
      front, so far to either side; "yaw", "pitch": evenly from the first
      angle to the last; "own": each latent's; else a file of `camera_paths`.
    yaws: radians from the front; none: see `_ANGLES`.
    pitches: likewise.
    focal: in image sizes; None: that of the latent's own camera.
    frames: of orbits, sweeps and ways along keys. The latents of a way that
      moves say it themselves.
    format: one of `FORMATS`.
    fps: frames a second of videos.
    kinds: of `frames.KINDS`; none: all of them for pictures, "image" for
      videos.
    grid: also one picture of all, a row a scene.
    side: of each face in the pictures, pixels; 0: as rendered.
    crf: see `provenance.write_video`.
    neural_rendering_resolution: side of `image_raw`; None: the generator's.
    batch_size: see `frames.render_panels`.
  """

  camera: str = GRID
  yaws: Tuple[float, ...] = ()
  pitches: Tuple[float, ...] = ()
  focal: Optional[float] = None
  frames: int = 48
  format: str = STILL
  fps: float = 24.0
  kinds: Tuple[str, ...] = ()
  grid: bool = False
  side: int = 0
  crf: int = 17
  neural_rendering_resolution: Optional[int] = None
  batch_size: int = 0

  def validate(self) -> "RenderFilesConfig":
    """Checks every field; raises UserError that names one."""
    if self.format not in FORMATS:
      raise UserError(f"format: expected one of {', '.join(FORMATS)}, got "
                      f"{self.format!r}")
    for kind in self.kinds:
      if kind not in frames.KINDS:
        raise UserError(f"kinds: expected some of {', '.join(frames.KINDS)}, "
                        f"got {kind!r}")
    for name, low, high in (("frames", 1, _MOST), ("side", 0, 2**14),
                            ("crf", 0, 51), ("batch_size", 0, _MOST)):
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
    """Angles that the camera does not have must not be given."""
    if not self.camera:
      raise UserError(f"camera: expected one of {', '.join(CAMERAS)}, or a "
                      "file of cameras")
    if self.camera not in _ANGLES:
      if self.yaws or self.pitches:
        raise UserError(f"yaw, pitch: cameras of {self.camera!r} have angles "
                        "of their own")
      if self.camera == OWN and self.focal is not None:
        raise UserError("focal: a latent's own camera has its own")
    elif self.camera != GRID:
      swept = {YAW: self.yaws, PITCH: self.pitches}
      for name, given in ((YAW, self.yaws), (PITCH, self.pitches)):
        most = 2 if self.camera == name else 1
        if len(given) > most:
          raise UserError(f"{name}: camera {self.camera} takes "
                          f"{'two numbers' if most == 2 else 'one number'}, "
                          f"got {len(given)}")
      if len(swept.get(self.camera, (0, 0))) == 1:
        raise UserError(f"{self.camera}: a sweep goes from one angle to "
                        "another; give two")

  @property
  def angles(self) -> Tuple[Tuple[float, ...], Tuple[float, ...]]:
    """Yaws and pitches of a camera that has any."""
    yaws, pitches = _ANGLES[self.camera]
    return self.yaws or yaws, self.pitches or pitches

  @property
  def made(self) -> Tuple[str, ...]:
    """The kinds of pictures."""
    return tuple(dict.fromkeys(self.kinds)) or (
        frames.KINDS if self.format == STILL else (frames.IMAGE,))


class Shot(NamedTuple):
  """A scene from cameras.

  Attributes:
    scene: what they see.
    name: of a video, without kind and suffix.
    c: [F, 25].
    frames: names of pictures, likewise; F of them.
    views: what each frame's metadata call its camera.
  """

  scene: Scene
  name: str
  c: np.ndarray
  frames: Sequence[str]
  views: Sequence[str]


def find_shots(rendering: RenderConfig, scene: Scene,
               config: RenderFilesConfig) -> List[Shot]:
  """The cameras of a scene.

  A grid of a scene whose latents move has a shot for each view, else all
  cameras are one shot.

  Args:
    rendering: of the generator, for the average camera.
    scene: what they see.
    config: which cameras.

  Raises: UserError: names the file of cameras, or the angle.
  """
  lens = scene.c[0]
  if config.focal is not None:
    lens = np.asarray(cameras.pack_label(
        cameras.unpack_label(lens)[0],
        cameras.intrinsics_from_focal(config.focal)))
  moves = scene.frames > 1
  if config.camera == GRID:
    yaws, pitches = config.angles
    views = _view_names(yaws, pitches)
    pitch, yaw = (grid.ravel() for grid in
                  np.meshgrid(pitches, yaws, indexing="ij"))
    c = np.asarray(render.label_about_front(rendering, lens, yaw, pitch))
    if not moves:
      return [Shot(scene, f"{scene.name}_{GRID}", c,
                   [f"{scene.name}_{view}" for view in views], views)]
    return [_numbered(scene, view, np.repeat(one[None], scene.frames, axis=0))
            for view, one in zip(views, c)]
  c = _on_the_way(rendering, scene, lens, config)
  name = config.camera if config.camera in CAMERAS else (
      pathlib.Path(config.camera).stem)
  if moves and len(c) not in (1, scene.frames):
    raise UserError(f"camera: {config.camera} holds {len(c)} cameras, the way "
                    f"has {scene.frames} frames; give as many, or key frames")
  return [_numbered(scene, name, np.broadcast_to(
      c, (max(len(c), scene.frames), cameras.LABEL_SIZE)))]


def _on_the_way(rendering: RenderConfig, scene: Scene, lens: np.ndarray,
                config: RenderFilesConfig) -> np.ndarray:
  """Cameras other than a grid's, [F, 25]."""
  if config.camera == OWN:
    return scene.c
  count = scene.frames if scene.frames > 1 else config.frames
  if config.camera not in CAMERAS:
    return camera_paths.read(config.camera, rendering, frames=count,
                             focal=config.focal, default_focal=float(lens[16]))
  yaws, pitches = config.angles
  if config.camera == ORBIT:
    return render.orbit_about(rendering, lens, frames=count,
                              yaw=abs(yaws[0]), pitch=abs(pitches[0]))
  yaw, pitch = (np.linspace(angles[0], angles[-1], count)
                for angles in (yaws, pitches))
  return np.asarray(render.label_about_front(rendering, lens, yaw, pitch))


def _numbered(scene: Scene, camera: str, c: np.ndarray) -> Shot:
  name = f"{scene.name}_{camera}"
  digits = max(4, len(str(len(c) - 1)))
  numbers = [f"{i:0{digits}d}" for i in range(len(c))]
  if len(c) == 1:
    return Shot(scene, name, c, [name], [camera])
  return Shot(scene, name, c, [f"{name}_{number}" for number in numbers],
              [f"{camera} {number}" for number in numbers])


def _view_names(yaws: Sequence[float],
                pitches: Sequence[float]) -> Sequence[str]:
  """A part of a file name for each view, with as few digits as tell them."""
  for digits in range(2, 8):
    names = [f"yaw{yaw:+.{digits}f}_pitch{pitch:+.{digits}f}"
             for pitch in pitches for yaw in yaws]
    if len(set(names)) == len(names):
      return names
  raise UserError("yaw, pitch: two views are the same; give each angle once")


def write(person: Person, scenes: Sequence[Scene], config: RenderFilesConfig,
          out: Union[str, os.PathLike], *,
          report: Callable[[str], None] = print):
  """Renders scenes into a folder.

  Args:
    person: whose origin the files name, and whose devices are used.
    scenes: of `scenes`, of different names.
    config: from where, and as what.
    out: folder, made if missing. Pictures are `SCENE_VIEW_KIND.png` (on a way
      `SCENE_CAMERA_0007_KIND.png`), videos `SCENE_CAMERA_KIND.mp4`, and with
      `grid` there is a `grid_KIND.png`. Depth: near is white; one scale for
      all frames of a shot.
    report: called with a line of progress a scene.

  Raises:
    UserError: names the argument; nothing has been written then.
    Interrupted: SIGTERM or SIGINT; every file that is there is whole.
  """
  config.validate()
  if config.format != STILL:
    provenance.check_video(config.format)
  rendering = person.generator.module.config.rendering
  shots = [find_shots(rendering, scene, config) for scene in scenes]
  out = pathlib.Path(out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  rows: Dict[str, List[List[np.ndarray]]] = {kind: [] for kind in config.made}
  progress = Progress("frames", sum(len(shot.c) for some in shots
                                    for shot in some), "frames")
  with stopping_gently() as stop:
    done = 0
    for i, (scene, some) in enumerate(zip(scenes, shots)):
      for shot in some:
        drawer = _Drawer(person, shot, config, out, stop, progress, done)
        for kind, row in drawer.draw().items():
          rows[kind].append(row)
        done += len(shot.c)
      count = sum(len(shot.c) for shot in some)
      what = "views" if config.camera == GRID else "frames"
      report(f"{scene.name} ({i + 1} of {len(scenes)}): {count} {what} in "
             f"{out}")
    if config.grid:
      for kind in config.made:
        provenance.write_picture(
            out / f"grid_{kind}{STILL}", images.make_grid(rows[kind]),
            person.made("render", scenes=", ".join(
                scene.name for scene in scenes), camera=config.camera))
      report(f"grid of {len(rows[config.made[0]])} x "
             f"{len(rows[config.made[0]][0])} in {out}")


class _Drawer:
  """Draws one shot.

  The pictures of one kind are written while they come; those of the others
  wait until then, depths because they need one scale.
  """

  def __init__(self, person: Person, shot: Shot, config: RenderFilesConfig,
               out: pathlib.Path, stop: StopRequest, progress: Progress,
               done: int):
    self._person, self._shot, self._config = person, shot, config
    self._out, self._stop = out, stop
    self._progress, self._done = progress, done
    self._kept: Dict[str, List[List[np.ndarray]]] = {}
    count = len(shot.c)
    columns = count if config.camera == GRID else min(count, _COLUMNS)
    self._shown = set(np.rint(np.linspace(0, count - 1, columns)).astype(int)
                      if config.grid else ())

  def draw(self) -> Dict[str, List[np.ndarray]]:
    """Writes all kinds; returns those pictures of each that a grid shows."""
    kinds = self._config.made
    first, *others = sorted(kinds, key=lambda kind: kind == frames.DEPTH)
    if first == frames.DEPTH:
      others = [first]
    self._kept = {kind: [] for kind in others}
    row, arrays = {}, self._arrays(first, kinds)
    if first == frames.DEPTH:
      for _ in arrays:
        pass
    else:
      row[first] = self._write(first, arrays, None)
    for kind in others:
      kept = self._kept.pop(kind)
      limits = None
      if kind == frames.DEPTH:
        limits = frames.depth_limits([one for faces in kept for one in faces])
      row[kind] = self._write(kind, iter(kept), limits)
    return row

  def _arrays(self, first: str, kinds: Sequence[str]
              ) -> Iterator[List[np.ndarray]]:
    """Arrays of all panels a frame, of one kind; keeps those of the others."""
    shown = frames.render_panels(
        [(panel.generator, panel.ws) for panel in self._shot.scene.panels],
        self._shot.c, kinds=kinds, devices=self._person.devices,
        batch_size=self._config.batch_size,
        neural_rendering_resolution=self._config.neural_rendering_resolution)
    for i, faces in enumerate(shown):
      self._stop.raise_if_wanted(
          f"stopped at frame {i} of {len(self._shot.c)} of "
          f"{self._shot.scene.name}; the same command starts again")
      for kind, kept in self._kept.items():
        kept.append([face[kind] for face in faces])
      yield [face[first] for face in faces]
      self._progress.update(self._done + i + 1)

  def _write(self, kind: str, arrays: Iterator[List[np.ndarray]],
             limits: Optional[Tuple[float, float]]) -> List[np.ndarray]:
    """Writes one kind; returns the grid's row."""
    shot, row = self._shot, []

    def pictures():
      for i, faces in enumerate(arrays):
        picture = self._picture([frames.picture_of(kind, face, limits)
                                 for face in faces])
        if i in self._shown:
          row.append(picture)
        yield picture

    if self._config.format != STILL:
      path = self._out / f"{shot.name}_{kind}{self._config.format}"
      provenance.write_video(
          path, map(images.as_colours, pictures()), self._made(
              camera=self._config.camera), fps=self._config.fps,
          crf=self._config.crf)
      return row
    # Pictures first: the last one's successor is asked for then, which ends
    # the work and says so.
    for picture, name, view in zip(pictures(), shot.frames, shot.views):
      provenance.write_picture(self._out / f"{name}_{kind}{STILL}", picture,
                              self._made(view=view))
    return row

  def _made(self, **details: str) -> provenance.Origin:
    return self._person.made("render", **self._shot.scene.details, **details)

  def _picture(self, faces: List[np.ndarray]) -> np.ndarray:
    """One picture of all panels, with titles if there are several."""
    side = self._config.side or None
    if len(faces) == 1:
      return images.fitted(faces[0], side)
    width = faces[0].shape[1]
    side = side or width * -(-_LEAST_SIDE // width)
    faces = [images.as_colours(images.fitted(face, side)) for face in faces]
    rows = []
    for row in self._shot.scene.rows:
      rows.append([images.with_titles(
          images.make_grid([faces[:len(row)]]),
          [panel.title for panel in row])])
      faces = faces[len(row):]
    return images.make_grid(rows)

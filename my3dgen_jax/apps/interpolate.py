"""Interpolates between a person's latents, as pictures and a video.

Source: My3DGen, section 4.2 and figure 4.
"""

import dataclasses
import math
import os
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.scipy.spatial import transform

from my3dgen_jax import latents
from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.rendering.photo_latents import (
  LATENT_SUFFIX,
  look_up,
  PhotoLatent,
  public_name,
)
from my3dgen_jax.config import setting
from my3dgen_jax.data import images, provenance
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.progress import Progress
from my3dgen_jax.losses.scores import IdentityScore
from my3dgen_jax.ops import cameras, checks
from my3dgen_jax.storage.files import replacing
from my3dgen_jax.training import run_folder
from my3dgen_jax.types import Array

CAMERAS = ("front", "first", "photos", "orbit")
STRIP_FILE = "strip.png"
VIDEO_STEM = "video"
PATH_FILE = "path.npz"
SUMMARY_FILE = "summary.json"

_MOST_FRAMES = 10_000  # per leg; all their latents are held in memory


@dataclasses.dataclass(frozen=True)
class InterpolateConfig:
  """How to interpolate."""

  frames: int = setting(
    49, "Frames from one anchor to the next, including both, >= 2.", low=2
  )
  strip: int = setting(
    9, "Maximum number of pictures in the strip, >= 1.", low=1
  )
  # Around w_avg if there is no run.
  spherical: bool = setting(
    False,
    "Follow great circles around the mean of the run's anchors instead of "
    "lines.",
  )
  camera: Literal["front", "first", "photos", "orbit"] = setting(
    "front",
    "Camera: front: the average one; first: the first anchor's; photos: from "
    "each anchor's to the next one's; orbit: once around the front.",
  )
  yaw: float = setting(
    0.35, "Largest angle of an orbit to either side, radians."
  )
  pitch: float = setting(
    0.25, "Largest angle of an orbit up and down, radians."
  )
  video: str = setting(
    ".mp4", "File format of the video.", choices=provenance.VIDEOS
  )
  fps: float = setting(24.0, "Frames per second of the video, > 0.")
  batch_size: int = setting(
    4, "Images per batch, over all devices, >= 1.", low=1
  )

  def validate(self) -> "InterpolateConfig":
    """Checks every field; raises UserError naming a bad one."""
    if self.camera not in CAMERAS:
      raise UserError(
        f"camera: expected one of {', '.join(CAMERAS)}, got {self.camera!r}"
      )
    if self.video not in provenance.VIDEOS:
      raise UserError(
        f"video: expected one of {', '.join(provenance.VIDEOS)}, "
        f"got {self.video!r}"
      )
    checks.whole_number("frames", self.frames, 2, _MOST_FRAMES)
    checks.whole_number("strip", self.strip, 1, _MOST_FRAMES)
    checks.whole_number("batch_size", self.batch_size, 1, _MOST_FRAMES)
    render.check_reach(self.yaw, self.pitch)
    if not 0 < self.fps < math.inf:
      raise UserError(f"fps: expected a number > 0, got {self.fps}")
    return self


class Path(NamedTuple):
  """The frames of an interpolation.

  Attributes:
    t: [T], position: a whole number at each waypoint, 0 at the first.
    ws: [T, num_ws, w_dim].
    c: [T, 25], camera labels.
    alpha: weights of the person's anchors that give ws, [T, N] or
      [T, num_ws, N]; None if a waypoint has none. Spherical paths leave the
      hull: their weights sum to 1, but some can be negative.
  """

  t: np.ndarray
  ws: np.ndarray
  c: np.ndarray
  alpha: np.ndarray | None


def find_photo_latents(
  person: Person, names: Sequence[str] | None = None
) -> list[PhotoLatent]:
  """Finds anchors.

  Args:
    person: the owner of the anchors.
    names: photos of the run, with or without their extension; or their
      numbers, from 0; or NAME.npz files written by `apps.invert`.
      None: the first and the last photo.

  Returns: at least two latents.
  Raises: UserError, CheckpointError: name what is missing.
  """
  anchors = person.anchors
  if names is None:
    if anchors is None:
      raise UserError(
        f"{person.name}: a bare checkpoint has no anchors; give "
        f"{LATENT_SUFFIX} files of my3dgen invert with --anchors, or a run "
        "with --run"
      )
    names = (anchors.names[:1] + anchors.names[-1:])[: len(anchors.names)]
  if len(names) < 2:
    raise UserError(
      f"anchors: a path needs at least two, got {', '.join(names) or 'none'}"
    )
  found = [look_up(person, name, flag="anchors") for name in names]
  warn_of_bent(found)
  return found


def warn_of_bent(found: Sequence[PhotoLatent]):
  """Warns of latents whose own tuned generator is not used."""
  for waypoint in found:
    if waypoint.generator is not None:
      print(
        f"warning: {waypoint.name}: is shown by the person's generator, not "
        "by the one tuned to the photo: a path uses one generator "
        "throughout",
        file=sys.stderr,
      )


def find_path(
  person: Person, waypoints: Sequence[PhotoLatent], config: InterpolateConfig
) -> Path:
  """The path along waypoints, at constant speed between neighbors.

  Args:
    person: the owner of the waypoints.
    waypoints: the latents to pass, at least two.
    config: the settings.

  Returns: Path of (len(waypoints) - 1) * (frames - 1) + 1 frames; at the
    waypoints it has exactly their latents.
  """
  config.validate()
  weighted = all(waypoint.alpha is not None for waypoint in waypoints)
  # Weights per layer, if any waypoint has them.
  layered = config.spherical or any(
    np.ndim(waypoint.alpha) == 2 for waypoint in waypoints
  )
  centre = _centre(person) if config.spherical else 0.0
  even = np.linspace(0, 1, config.frames, dtype=np.float32)
  parts = []
  for leg, (a, b) in enumerate(zip(waypoints, waypoints[1:])):
    t = even[leg > 0 :]  # a waypoint between two legs belongs to the first
    ws = np.asarray(
      latents.between(a.ws, b.ws, t, spherical=config.spherical, centre=centre)
    )
    alpha = np.zeros((len(t), 0))
    if weighted:
      alpha = _weights(a, b, ws, t, centre if config.spherical else None)
      if layered and alpha.ndim == 2:
        alpha = np.repeat(alpha[:, None], ws.shape[1], axis=1)
    parts.append((leg + t, ws, alpha))
  t, ws, alpha = map(np.concatenate, zip(*parts))
  return Path(
    t,
    ws,
    _cameras(person, waypoints, even, config),
    alpha.astype(np.float32) if weighted else None,
  )


def _cameras(
  person: Person,
  waypoints: Sequence[PhotoLatent],
  even: np.ndarray,
  config: InterpolateConfig,
) -> np.ndarray:
  """Labels of all frames, [T, 25]; `even` has the position along each leg."""
  lens = waypoints[0].c
  legs = list(zip(waypoints, waypoints[1:]))
  if config.camera == "photos":
    pivot = person.generator.module.config.rendering.avg_camera_pivot
    return np.concatenate(
      [
        lens[None],
        *(cameras_between(a.c, b.c, even[1:], pivot) for a, b in legs),
      ]
    )
  count = len(legs) * (len(even) - 1) + 1
  if config.camera == "first":
    return np.repeat(lens[None], count, axis=0)
  if config.camera == "orbit":
    return render.orbit(
      person.generator, lens, frames=count, yaw=config.yaw, pitch=config.pitch
    )
  return render.about_front(person.generator, lens, np.zeros(count), 0.0)


def _centre(person: Person) -> np.ndarray:
  """The center of great circles; [num_ws, w_dim] or [w_dim]."""
  if person.anchors is not None:
    return np.mean(person.anchors.ws, axis=0)
  buffers = person.generator.variables["buffers"]
  return np.asarray(buffers["backbone"]["mapping"]["w_avg"])


def _weights(
  a: PhotoLatent,
  b: PhotoLatent,
  ws: np.ndarray,
  t: np.ndarray,
  centre: np.ndarray | None,
) -> np.ndarray:
  """Weights of the anchors on a leg.

  Args:
    a: the waypoint it begins at.
    b: the waypoint it ends at.
    ws: [T, num_ws, w_dim], the latents that the weights must give.
    t: [T], positions along the leg.
    centre: the mean of all anchors if the leg circles it; None: a line.

  Returns: [T, N] or [T, num_ws, N]; weights sum to 1.
  """
  t = t[:, None, None]
  first, last = np.atleast_2d(a.alpha), np.atleast_2d(b.alpha)
  if centre is None:
    alpha = (1 - t) * first + t * last
    return alpha if alpha.shape[1] > 1 else alpha[:, 0]
  # Points between are centre + p (a - centre) + q (b - centre).
  sides = np.stack([a.ws - centre, b.ws - centre], axis=-1).astype(np.float64)
  share = np.einsum(
    "lsd,tld->tls", np.linalg.pinv(sides, rcond=1e-4), ws - centre
  )
  rest = 1 - share.sum(axis=-1, keepdims=True)
  alpha = (
    rest / first.shape[-1] + share[..., :1] * first + share[..., 1:] * last
  )
  return np.where(t == 0, first, np.where(t == 1, last, alpha))


def cameras_between(a: Array, b: Array, t: Array, pivot: Array) -> np.ndarray:
  """Cameras between two others, all around one point.

  The camera turns at constant speed, and the point moves along a line in camera
  space, also at constant speed; so the face stays in the picture, at its size.

  Args:
    a: [25], the label at t = 0.
    b: [25], the label at t = 1.
    t: [T], positions along the leg.
    pivot: [3], the point, world units.

  Returns: [T, 25], equal to the ends at 0 and 1.
  """
  t = np.asarray(t, np.float32)[:, None]
  poses, lenses = map(np.asarray, cameras.unpack_label(np.stack([a, b])))
  rotations, positions = poses[:, :3, :3], poses[:, :3, 3]
  turn = np.asarray(
    transform.Rotation.from_matrix(rotations[0].T @ rotations[1]).as_rotvec()
  )
  rotation = rotations[0] @ np.asarray(
    transform.Rotation.from_rotvec(t * turn).as_matrix()
  )
  seen = np.einsum("nij,ni->nj", rotations, np.asarray(pivot) - positions)
  seen = (1 - t) * seen[0] + t * seen[1]
  found = np.tile(np.eye(4, dtype=np.float32), (len(t), 1, 1))
  found[:, :3, :3] = rotation
  found[:, :3, 3] = pivot - np.einsum("tij,tj->ti", rotation, seen)
  lens = (1 - t[..., None]) * lenses[0] + t[..., None] * lenses[1]
  c = np.asarray(cameras.pack_label(found, lens))
  return np.where(t == 0, a, np.where(t == 1, b, c))


def write_interpolation(
  person: Person,
  config: InterpolateConfig,
  out: str | os.PathLike,
  *,
  names: Sequence[str] | None = None,
  log: Callable[[str], None] = print,
) -> dict[str, Any]:
  """Renders the path along anchors into a folder.

  Args:
    person: the person, whose generator is used.
    config: the settings.
    out: folder for `video.mp4`, `strip.png`, `path.npz` (each frame's t, ws, c
      and, if known, alpha) and `summary.json`.
    names: see `find_photo_latents`.
    log: called with a line at the end.

  Returns: what `summary.json` holds; "id_sim" is None without an identity
    network or reference photos.
  Raises: as `find_photo_latents`; Interrupted: SIGTERM or SIGINT, before any
    file is written.
  """
  waypoints = find_photo_latents(person, names)
  path = find_path(person, waypoints, config)
  names = [public_name(waypoint) for waypoint in waypoints]
  made = person.made(
    "interpolate",
    anchors=", ".join(names),
    spherical=config.spherical,
    camera=config.camera,
  )
  out = pathlib.Path(out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  score = IdentityScore.of(person.identity, person.reference())
  count = len(path.t)
  shown = np.unique(
    np.rint(np.linspace(0, count - 1, min(config.strip, count))).astype(int)
  )
  strip: list[np.ndarray] = []
  found: list[float] = []
  with stopping_gently() as stop:
    provenance.write_video(
      out / f"{VIDEO_STEM}{config.video}",
      _frames(person, path, config, stop, score, shown, strip, found),
      made,
      fps=config.fps,
    )
    provenance.write_picture(
      out / STRIP_FILE,
      images.with_titles(
        images.make_grid([strip]), [f"t = {path.t[i]:.3g}" for i in shown]
      ),
      made,
    )
    with replacing(out / PATH_FILE) as file:
      np.savez(
        file,
        **{
          name: array
          for name, array in path._asdict().items()
          if array is not None
        },
      )
    summary = {
      "anchors": names,
      "spherical": config.spherical,
      "camera": config.camera,
      "t": [round(float(t), 6) for t in path.t],
      "id_sim": {
        "mean": float(np.mean(found)),
        "min": min(found),
        "list": found,
      }
      if found
      else None,
    }
    run_folder.write_json(out / SUMMARY_FILE, summary)
  log(
    f"{count} frames along {', '.join(names)}"
    + (
      f": id_sim {summary['id_sim']['mean']:.3f}, at least "
      f"{summary['id_sim']['min']:.3f}"
      if found
      else ""
    )
  )
  return summary


def _frames(
  person: Person,
  path: Path,
  config: InterpolateConfig,
  stop: StopRequest,
  score: IdentityScore | None,
  shown: np.ndarray,
  strip: list[np.ndarray],
  found: list[float],
) -> Iterator[np.ndarray]:
  """Frames of the video; also fills the strip and the scores."""
  progress = Progress("frames", len(path.t), "frames")
  for i, image in enumerate(
    render.synthesize_many(
      person.generator,
      path.ws,
      path.c,
      devices=person.devices,
      batch_size=config.batch_size,
    )
  ):
    stop.raise_if_wanted(
      f"stopped at frame {i} of {len(path.t)}; the same command starts again"
    )
    if score is not None:
      # One at a time, like the reference photos: one program serves both.
      found.append(float(score(image[None])[0]))
    picture = images.to_uint8(image)
    if i in shown:
      strip.append(picture)
    yield picture
    progress.update(i + 1)

"""Renders scenes from cameras into pictures and videos."""

import os
import pathlib
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.rendering import frames
from my3dgen_jax.apps.rendering.scenes import Scene
from my3dgen_jax.apps.rendering.shots import (
  find_shots,
  GRID,
  RenderFilesConfig,
  Shot,
  STILL,
)
from my3dgen_jax.data import images, provenance
from my3dgen_jax.jobs.interrupts import stopping_gently, StopRequest
from my3dgen_jax.jobs.progress import Progress

_COLUMNS = 9  # of a grid's row of frames along a path
_LEAST_SIDE = 128  # pixels; smaller pictures have no room for a title


def write(
  person: Person,
  scenes: Sequence[Scene],
  config: RenderFilesConfig,
  out: str | os.PathLike,
  *,
  log: Callable[[str], None] = print,
):
  """Renders scenes into a folder.

  Args:
    person: the person, for the files' origin and the devices.
    scenes: the scenes, with distinct names.
    config: the cameras and kinds of output.
    out: folder, created if missing. Pictures are `SCENE_VIEW_KIND.png` (on a
      path `SCENE_CAMERA_0007_KIND.png`), videos `SCENE_CAMERA_KIND.mp4`, and
      with `grid` there is a `grid_KIND.png`. Depth: near is white; one scale
      for all frames of a shot.
    log: called with one line of progress per scene.

  Raises:
    UserError: names the argument; then nothing was written.
    Interrupted: SIGTERM or SIGINT; every existing file is complete.
  """
  config.validate()
  if config.format != STILL:
    provenance.check_video(config.format)
  rendering = person.generator.module.config.rendering
  shots = [find_shots(rendering, scene, config) for scene in scenes]
  out = pathlib.Path(out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  rows: dict[str, list[list[np.ndarray]]] = {kind: [] for kind in config.made}
  progress = Progress(
    "frames", sum(len(shot.c) for some in shots for shot in some), "frames"
  )
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
      log(f"{scene.name} ({i + 1} of {len(scenes)}): {count} {what} in {out}")
    if config.grid:
      for kind in config.made:
        provenance.write_picture(
          out / f"grid_{kind}{STILL}",
          images.make_grid(rows[kind]),
          person.made(
            "render",
            scenes=", ".join(scene.name for scene in scenes),
            camera=config.camera,
          ),
        )
      log(
        f"grid of {len(rows[config.made[0]])} x "
        f"{len(rows[config.made[0]][0])} in {out}"
      )


class _Drawer:
  """Draws one shot.

  The pictures of one kind are written while they come; those of the others
  wait until then, depths because they need one scale.
  """

  def __init__(
    self,
    person: Person,
    shot: Shot,
    config: RenderFilesConfig,
    out: pathlib.Path,
    stop: StopRequest,
    progress: Progress,
    done: int,
  ):
    self._person, self._shot, self._config = person, shot, config
    self._out, self._stop = out, stop
    self._progress, self._done = progress, done
    self._kept: dict[str, list[list[np.ndarray]]] = {}
    count = len(shot.c)
    columns = count if config.camera == GRID else min(count, _COLUMNS)
    self._shown = set(
      np.rint(np.linspace(0, count - 1, columns)).astype(int)
      if config.grid
      else ()
    )

  def draw(self) -> dict[str, list[np.ndarray]]:
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

  def _arrays(
    self, first: str, kinds: Sequence[str]
  ) -> Iterator[list[np.ndarray]]:
    """Arrays of all panels a frame, of one kind; keeps those of the others."""
    shown = frames.render_panels(
      [(panel.generator, panel.ws) for panel in self._shot.scene.panels],
      self._shot.c,
      kinds=kinds,
      devices=self._person.devices,
      batch_size=self._config.batch_size,
      neural_rendering_resolution=self._config.neural_rendering_resolution,
    )
    for i, faces in enumerate(shown):
      self._stop.raise_if_wanted(
        f"stopped at frame {i} of {len(self._shot.c)} of "
        f"{self._shot.scene.name}; the same command starts again"
      )
      for kind, kept in self._kept.items():
        kept.append([face[kind] for face in faces])
      yield [face[first] for face in faces]
      self._progress.update(self._done + i + 1)

  def _write(
    self,
    kind: str,
    arrays: Iterator[list[np.ndarray]],
    limits: tuple[float, float] | None,
  ) -> list[np.ndarray]:
    """Writes one kind; returns the grid's row."""
    shot, row = self._shot, []

    def pictures():
      for i, faces in enumerate(arrays):
        picture = self._picture(
          [frames.picture_of(kind, face, limits) for face in faces]
        )
        if i in self._shown:
          row.append(picture)
        yield picture

    if self._config.format != STILL:
      path = self._out / f"{shot.name}_{kind}{self._config.format}"
      provenance.write_video(
        path,
        map(images.as_colors, pictures()),
        self._made(camera=self._config.camera),
        fps=self._config.fps,
        crf=self._config.crf,
      )
      return row
    # Pictures first: the last one's successor is asked for then, which ends
    # the work and says so.
    for picture, name, view in zip(pictures(), shot.frames, shot.views):
      provenance.write_picture(
        self._out / f"{name}_{kind}{STILL}", picture, self._made(view=view)
      )
    return row

  def _made(self, **details: str) -> provenance.Origin:
    return self._person.made("render", **self._shot.scene.details, **details)

  def _picture(self, faces: list[np.ndarray]) -> np.ndarray:
    """One picture of all panels, with titles if there are several."""
    side = self._config.side or None
    if len(faces) == 1:
      return images.fitted(faces[0], side)
    width = faces[0].shape[1]
    side = side or width * -(-_LEAST_SIDE // width)
    faces = [images.as_colors(images.fitted(face, side)) for face in faces]
    rows = []
    for row in self._shot.scene.rows:
      rows.append(
        [
          images.with_titles(
            images.make_grid([faces[: len(row)]]),
            [panel.title for panel in row],
          )
        ]
      )
      faces = faces[len(row) :]
    return images.make_grid(rows)

"""Two workers that draw for all windows of a viewer, without falling behind.

    renderer = Renderer(log=print)
    renderer.prepare(network)                      # compiles, and measures
    renderer.submit("window 1", request, deliver)  # returns at once
    renderer.close("window 1")

A window's newer request replaces its older one if that has not started. One
worker first draws a quick picture; the other worker draws the full one when no
newer request has arrived for a moment, so that moving pictures never wait for
it. Windows take turns.
"""

import collections
import functools
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from my3dgen_jax.apps.rendering import frames
from my3dgen_jax.apps.viewer import orbits, scene
from my3dgen_jax.errors import one_line
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import normals
from my3dgen_jax.types import Array, Network

# Time without a newer request until the picture is refined: a share of the time
# that refining takes, because it cannot be stopped, within bounds.
_STILL_SECONDS = (0.15, 1.0)
_STILL_SHARE = 0.3
# Time for a moving picture: a third of a frame at 15 frames per second, which
# leaves room for the planes of new latents, the browser and other windows. If
# no level is that fast: a frame at 8 frames per second.
_GOAL_SECONDS = (0.022, 0.12)
# Browsers drop a frame if the next one arrives before it is decoded.
_SHORTEST_SECONDS = 1 / 30
_KEPT_PLANES = 12
_TIMED = 3


class Level(NamedTuple):
  """Resolution and kind of a picture.

  Attributes:
    resolution: side of `image_raw`, pixels.
    shown: kind of picture, one of `scene.SHOWN`.
  """

  resolution: int
  shown: str = "image"

  def __str__(self) -> str:
    return f"{self.resolution}" + (" raw" if self.shown == "raw" else "")


class Request(NamedTuple):
  """A request for a picture.

  Attributes:
    network: the generator.
    key: key that differs for different weights.
    ws: [num_ws, w_dim], the latent.
    c: [25], the camera label.
    moving: level to draw first; None: draw `still` at once.
    still: level to draw if there is no newer request.
  """

  network: Network
  key: Hashable
  ws: np.ndarray
  c: np.ndarray
  moving: Level | None
  still: Level


class Frame(NamedTuple):
  """A picture that was drawn.

  Attributes:
    picture: uint8 [S, S, 3].
    request: its request.
    still: whether it is the refined one.
    seconds: seconds that drawing took.
    failure: the error, one line; None: there is a picture.
  """

  picture: np.ndarray | None
  request: Request
  still: bool
  seconds: float
  failure: str | None = None


Deliver = Callable[[Frame], None]


class _Window:
  """A window's latest request."""

  def __init__(self):
    self.request: Request | None = None
    self.deliver: Deliver | None = None
    self.fresh = False  # whether the request has not been drawn at all
    self.drawn = 0.0  # time at which drawing last started
    self.delivering = threading.Lock()

  @property
  def moves(self) -> bool:
    """Whether a quick picture is to be drawn next."""
    return self.fresh and self.request.moving not in (None, self.request.still)


class Renderer:
  """Draws in its own threads; see the module."""

  def __init__(
    self,
    *,
    log: Callable[[str], None] = print,
    warn: Callable[[Exception], None] | None = None,
    goal_seconds: Sequence[float] = _GOAL_SECONDS,
  ):
    """Starts the threads.

    Args:
      log: called with lines about compilation.
      warn: called with the error if a picture could not be sent; default: the
        error is logged.
      goal_seconds: seconds that a moving picture may take, see `choose_level`.
    """
    self._log, self._goal = log, goal_seconds
    self._warn = warn or (
      lambda error: log(
        f"warning: a picture could not be sent: {one_line(error)}"
      )
    )
    self._planes: collections.OrderedDict[Hashable, Any] = (
      collections.OrderedDict()
    )
    self._windows: collections.OrderedDict[Hashable, _Window] = (
      collections.OrderedDict()
    )
    self._drawn: set[Hashable] = set()
    self._changed = threading.Condition()
    self._stopped = False
    self._still_seconds = 0.0  # seconds that the last still picture took
    self._threads = [
      threading.Thread(
        target=self._work, args=(moves,), daemon=True, name="viewer renderer"
      )
      for moves in (True, False)
    ]
    for thread in self._threads:
      thread.start()

  def prepare(self, network: Network) -> tuple[Level, Level]:
    """Compiles the first pictures, and finds a level that is fast enough.

    Args:
      network: the generator.

    Returns: the levels for moving and for still pictures.
    """
    config = network.module.config
    levels = [Level(*level) for level in scene.levels_of(config)]
    ws = jnp.zeros((1, config.num_ws, config.w_dim))
    c = jnp.asarray(orbits.label_of_orbit(orbits.Orbit(), config.rendering))[
      None
    ]

    def measure(level: Level) -> float:
      self._drawn.add((config, level))
      self._log(
        f"compiling pictures of {level.resolution} x "
        f"{level.resolution} rays"
        + (", without super-resolution" * (level.shown == "raw"))
      )
      jax.block_until_ready(_draw(network, planes, ws, c, level))
      seconds = []
      for _ in range(_TIMED):
        began = time.perf_counter()
        jax.block_until_ready(_draw(network, planes, ws, c, level))
        seconds.append(time.perf_counter() - began)
      return min(seconds)

    self._log("compiling planes")
    planes = jax.block_until_ready(frames.planes_of(network, ws))
    return choose_level(levels, measure, self._goal), levels[0]

  def is_new(self, network: Network, level: Level) -> bool:
    """Whether this kind of picture must be compiled first, taking seconds."""
    return (network.module.config, level) not in self._drawn

  def submit(self, window: Hashable, request: Request, deliver: Deliver):
    """Requests a picture; drops the window's earlier request.

    Args:
      window: the window.
      request: the picture to draw.
      deliver: called with each `Frame`, one after the other, in a thread of the
        renderer; its exceptions are only reported.
    """
    with self._changed:
      one = self._windows.setdefault(window, _Window())
      one.request, one.deliver, one.fresh = request, deliver, True
      self._changed.notify_all()

  def close(self, window: Hashable):
    """Forgets a window; drops a picture that is being drawn for it."""
    with self._changed:
      self._windows.pop(window, None)

  def stop(self):
    """Ends the threads after their current pictures."""
    with self._changed:
      self._stopped = True
      self._changed.notify_all()
    for thread in self._threads:
      thread.join()

  def draw(self, request: Request, level: Level) -> np.ndarray:
    """Draws one picture now, in the caller's thread; uint8 [S, S, 3]."""
    ws = jnp.asarray(request.ws, jnp.float32)[None]
    c = cameras.check_label(np.asarray(request.c, np.float32)[None])
    picture = np.asarray(
      _draw(request.network, self._planes_of(request, ws), ws, c, level)
    )
    self._drawn.add((request.network.module.config, level))
    return picture

  def _planes_of(self, request: Request, ws: jax.Array) -> jax.Array:
    key = (request.key, request.ws.tobytes())
    with self._changed:
      planes = self._planes.get(key)
      if planes is not None:
        self._planes.move_to_end(key)
        return planes
    planes = frames.planes_of(request.network, ws)
    with self._changed:
      self._planes[key] = planes
      while len(self._planes) > _KEPT_PLANES:
        self._planes.popitem(last=False)
    return planes

  def _work(self, moves: bool):
    """Draws moving pictures, or still ones, until the renderer stops."""
    while True:
      with self._changed:
        taken = self._take(moves)
        if taken is None:
          return
      name, one, request, deliver = taken
      frame = self._frame(request, moves)
      with one.delivering:
        with self._changed:
          wanted = self._windows.get(name) is one and (
            moves or one.request is None
          )
          if frame.failure is not None and one.request is request:
            one.request = None  # it would fail again
        if not wanted:
          continue
        try:
          deliver(frame)
        # A browser may disconnect at any time; the others continue.
        except Exception as error:  # pylint: disable=broad-exception-caught
          self._warn(error)

  def _take(
    self, moves: bool
  ) -> tuple[Hashable, _Window, Request, Deliver] | None:
    """Waits for the next request to draw; None: stopped. Needs the lock."""
    while not self._stopped:
      now = time.monotonic()
      waiting = [
        (self._due(one), name, one)
        for name, one in self._windows.items()
        if one.request is not None and one.moves == moves
      ]
      # The window served longest ago comes first.
      ready = [row for row in waiting if row[0] <= now]
      if not ready:
        self._changed.wait(
          min((row[0] for row in waiting), default=now + 3600) - now
        )
        continue
      _, name, one = ready[0]
      self._windows.move_to_end(name)
      request = one.request
      one.fresh, one.drawn = False, now
      if moves:
        self._changed.notify_all()  # it will be refined
      else:
        one.request = None
      return name, one, request, one.deliver
    return None

  def _due(self, one: _Window) -> float:
    """The time at which to draw for a window."""
    if one.fresh:
      return one.drawn + _SHORTEST_SECONDS
    low, high = _STILL_SECONDS
    return one.drawn + min(max(_STILL_SHARE * self._still_seconds, low), high)

  def _frame(self, request: Request, moves: bool) -> Frame:
    began = time.perf_counter()
    try:
      picture = self.draw(request, request.moving if moves else request.still)
    except Exception as error:  # pylint: disable=broad-exception-caught
      failure = one_line(error)
      if "RESOURCE_EXHAUSTED" in failure:
        failure = "not enough memory on the device; choose a lower resolution"
      return Frame(None, request, not moves, 0.0, failure)
    seconds = time.perf_counter() - began
    if not moves:
      self._still_seconds = seconds
    return Frame(picture, request, not moves, seconds)


def choose_level(
  levels: Sequence[Level],
  measure: Callable[[Level], float],
  goal_seconds: Sequence[float],
) -> Level:
  """The first level that is fast enough, or the last one.

  Args:
    levels: the levels, the finest first.
    measure: function that returns the seconds of a picture; called at most once
      per level.
    goal_seconds: seconds that are fast enough; a later goal is used if no level
      meets the earlier ones.
  """
  measure = functools.cache(measure)
  for goal in goal_seconds:
    for level in levels:
      if measure(level) <= goal:
        return level
  return levels[-1]


@functools.partial(jax.jit, static_argnames="level")
def _draw(
  network: Network, planes: Array, ws: Array, c: Array, level: Level
) -> jax.Array:
  """A picture for browsers, uint8 [S, S, 3]."""
  output = network(
    planes,
    ws,
    c,
    method="render_planes",
    neural_rendering_resolution=level.resolution,
  )
  if level.shown == "depth":
    config = network.module.config.rendering
    half = config.box_warp / 2
    near = (output.image_depth - config.avg_camera_radius + half) / (2 * half)
    picture = jnp.repeat(1 - 2 * near, 3, axis=-1)
  elif level.shown == "normals":
    picture = normals.normals_from_depth(output.image_depth, c)
  else:
    picture = output.image_raw if level.shown == "raw" else output.image
  return jnp.clip(jnp.rint((picture[0] + 1) * 127.5), 0, 255).astype(jnp.uint8)

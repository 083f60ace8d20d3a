"""The camera of one browser window: reads it, sets it, and limits it."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from my3dgen_jax.apps.viewer import orbits
from my3dgen_jax.apps.viewer.orbits import Limits, Orbit
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.types import Array

_SETTLING = 0.4  # seconds until a browser's camera is where it was set
_ARRIVING = (
  2.0  # seconds that a new window's camera may need to reach the front
)


class BrowserCamera:
  """A window's camera; call `use` before anything else."""

  def __init__(self, client: Any, limits: Limits):
    """Moves nothing yet.

    Args:
      client: viser's handle of the window.
      limits: limits of the camera's angles.
    """
    self._client, self._limits = client, limits
    self._config: RenderConfig | None = None
    self._photo: tuple[np.ndarray, Orbit] | None = None
    self._settled = 0.0  # time at which a camera that was set has arrived
    # Time until which the camera is moved to the front; 0: it has been there.
    self._arriving = 0.0

  def use(self, config: RenderConfig):
    """Uses the cameras of another person's generator; forgets a photo's.

    Args:
      config: settings of the average camera.
    """
    self._config, self._photo = config, None

  def begin(self, heard: Callable[[Any], None]):
    """Limits the zoom and listens for camera updates.

    Args:
      heard: called when the camera may have moved.
    """
    camera = self._client.camera
    camera.min_orbit_distance, camera.max_orbit_distance = (
      orbits.zoom_distances(self._config)
    )
    # viser's own first camera may override the one that was set, and would then
    # be kept as if a user had turned the face there.
    self._arriving = time.monotonic() + _ARRIVING
    camera.on_update(heard)

  def label(self) -> np.ndarray:
    """The current camera's label, [25]."""
    if self._photo is not None:
      return self._photo[0]
    return orbits.label_of_orbit(self._orbit(), self._config)

  def view(self) -> tuple[int, int, bytes] | None:
    """The window's width and height, pixels, and its label's bytes.

    Returns: values that change whenever a new picture must be drawn; None: the
      camera is still on its way to the front.
    """
    camera = self._client.camera
    if self._arriving:
      in_front = orbits.same_orbit(self._orbit(), Orbit())
      if not in_front and time.monotonic() < self._arriving:
        self._set_pose(*orbits.pose_of_orbit(Orbit(), self._config))
        return None
      if not in_front or time.monotonic() > self._settled:
        self._arriving = 0.0
    settled = time.monotonic() > self._settled
    if (
      self._photo is not None
      and settled
      and (not orbits.same_orbit(self._orbit(), self._photo[1]))
    ):
      self._photo = None
    return camera.image_width, camera.image_height, self.label().tobytes()

  def put(self, orbit: Orbit):
    """Moves the browser's camera."""
    self._photo = None
    self._set_pose(*orbits.pose_of_orbit(orbit, self._config))

  def go_to_photo(self, c: Array):
    """Uses exactly the camera of a photo, until the user drags.

    Args:
      c: [25], the photo's label.
    """
    orbit = orbits.orbit_of_label(c, self._config)
    pose = orbits.pose_of_orbit(orbit, self._config)
    # Dragging continues from the nearest orbit.
    self._photo = c, orbits.orbit_of_pose(*pose, self._config, self._limits)
    self._set_pose(*pose)

  def rest(self):
    """Brings the camera back from far beyond the limits."""
    camera = self._client.camera
    pose = orbits.rested_pose(
      camera.position, camera.look_at, self._config, self._limits
    )
    if pose is not None and self._photo is None and not self._arriving:
      self._set_pose(*pose)

  def _orbit(self) -> Orbit:
    camera = self._client.camera
    return orbits.orbit_of_pose(
      camera.position, camera.look_at, self._config, self._limits
    )

  def _set_pose(self, position: Array, look_at: Array):
    self._settled = time.monotonic() + _SETTLING
    camera = self._client.camera
    with self._client.atomic():
      camera.up_direction = (0.0, 1.0, 0.0)
      camera.position = position
      camera.look_at = look_at

"""The camera of a viewer's window."""

import contextlib
import time
import types

import numpy as np
from absl.testing import absltest

from my3dgen_jax.apps.rendering import render
from my3dgen_jax.apps.viewer import orbits
from my3dgen_jax.apps.viewer.camera import BrowserCamera
from my3dgen_jax.apps.viewer.orbits import Limits, Orbit
from my3dgen_jax.config import RenderConfig

CONFIG = RenderConfig()
FRONT = orbits.pose_of_orbit(Orbit(), CONFIG)


class CameraTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.browser = types.SimpleNamespace(
      image_width=4, image_height=3, on_update=lambda _: None
    )
    client = types.SimpleNamespace(
      camera=self.browser, atomic=contextlib.nullcontext
    )
    self.camera = BrowserCamera(client, Limits())
    self.camera.use(CONFIG)
    self.turn(Orbit())

  def turn(self, orbit):
    self.browser.position, self.browser.look_at = orbits.pose_of_orbit(
      orbit, CONFIG
    )

  def settle(self):
    self.camera._settled = 0.0  # pylint: disable=protected-access

  def test_one_that_does_not_begin_in_front(self):
    """A browser tells of its own first camera before it takes ours."""
    self.camera.begin(lambda _: None)
    self.turn(Orbit(yaw=0.3))
    self.assertIsNone(self.camera.view())
    np.testing.assert_allclose(self.browser.position, FRONT[0])
    self.turn(Orbit(yaw=0.3))
    # pylint: disable-next=protected-access
    self.camera._arriving = time.monotonic() - 1  # it may have been turned
    self.assertEqual(self.camera.view(), (4, 3, self.camera.label().tobytes()))
    self.assertFalse(np.allclose(self.browser.position, FRONT[0]))

  def test_a_photos_camera_until_somebody_drags(self):
    c = render.view_labels(CONFIG, [0.2], [0.1])[0]
    self.camera.go_to_photo(c)
    self.camera.view()
    self.assertIs(self.camera.label(), c)
    self.settle()
    self.camera.view()  # nobody has dragged
    self.assertIs(self.camera.label(), c)
    self.turn(Orbit(yaw=-0.1))
    self.camera.view()
    np.testing.assert_allclose(
      self.camera.label(),
      orbits.label_of_orbit(Orbit(yaw=-0.1), CONFIG),
      atol=1e-5,
    )

  def test_comes_back_from_where_nothing_changes(self):
    self.turn(Orbit(yaw=1.5))
    far = self.browser.position
    self.camera.rest()
    self.assertFalse(np.allclose(self.browser.position, far))
    back = self.browser.position
    self.camera.rest()
    np.testing.assert_allclose(self.browser.position, back)


if __name__ == "__main__":
  absltest.main()

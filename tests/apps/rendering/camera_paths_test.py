"""Cameras from angles and from files."""

import json
import os
import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.rendering import camera_paths, render
from my3dgen_jax.config import RenderConfig
from my3dgen_jax.data import dataset_json
from my3dgen_jax.errors import UserError
from my3dgen_jax.ops import cameras
from tests.support import albums

CONFIG = RenderConfig()


def fields(c):
  """yaw, radius, focal of labels; pitch by its height, as look_at has it."""
  cam2world = c[:, :16].reshape(-1, 4, 4)
  origin = cam2world[:, :3, 3]
  radius = np.linalg.norm(origin, axis=-1)
  return (
    np.arctan2(origin[:, 0], origin[:, 2]),
    -origin[:, 1] / radius,
    radius,
    c[:, 16],
  )


class CameraPathsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)

  def read(self, content, frames=5, **options):
    path = self.folder / "path.json"
    path.write_text(
      content if isinstance(content, str) else json.dumps(content)
    )
    return camera_paths.read(path, CONFIG, frames=frames, **options)

  def test_label(self):
    c = np.asarray(camera_paths.label(CONFIG, [0.3, 0.0], 0.1, 2.8, 5.0))
    cameras.check_label(c)
    yaw, down, radius, focal = fields(c)
    np.testing.assert_allclose(yaw, [0.3, 0], atol=1e-6)
    self.assertTrue((down > 0).all())
    np.testing.assert_allclose(radius, 2.8, rtol=1e-6)
    np.testing.assert_allclose(focal, 5.0)
    np.testing.assert_array_equal(
      camera_paths.label(CONFIG, 0.2, -0.1),
      render.view_labels(CONFIG, [0.2], [-0.1])[0],
    )

  def test_dataset_json_and_lists_are_frames(self):
    labels = albums.labels(3)
    dataset_json.write(self.folder / "dataset.json", dict(zip("cab", labels)))
    found = camera_paths.read(self.folder, CONFIG, frames=99)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(self.read(labels.tolist()), labels)
    np.testing.assert_array_equal(
      self.read(labels.tolist(), default_focal=3.0), labels
    )
    near = labels.copy()
    near[1, [3, 7, 11]] *= 0.8
    with self.assertRaisesRegex(
      UserError,
      r"frame 1: the camera's distance from the center is 2\.1\d+, "
      r"expected 2\.55 to 3; .*cut",
    ):
      self.read(near.tolist())
    with self.assertRaisesRegex(UserError, "^focal: .*path.json have their"):
      self.read(labels.tolist(), focal=3.0)

  def test_keys(self):
    """Through the keys, evenly in time, and by the usual values else."""
    c = self.read(
      {
        "keys": [
          {"yaw": -0.3, "time": 2},
          {"yaw": 0.1, "radius": 2.8, "time": 3},
          {"yaw": 0.3, "focal": 6.0, "pitch": 0.2, "time": 6},
        ]
      },
      frames=9,
    )
    self.assertEqual(c.shape, (9, 25))
    cameras.check_label(c)
    yaw, down, radius, focal = fields(c)
    np.testing.assert_allclose(yaw[[0, 2, 8]], [-0.3, 0.1, 0.3], atol=1e-6)
    np.testing.assert_allclose(radius[[0, 2, 8]], [2.7, 2.8, 2.7], rtol=1e-6)
    np.testing.assert_allclose(
      focal[[0, 8]], [cameras.FACE_FOCAL, 6], rtol=1e-6
    )
    np.testing.assert_allclose(down[:3], 0, atol=1e-6)
    # Nothing swings beyond the keys.
    self.assertTrue((np.diff(yaw) > 0).all())
    self.assertLessEqual(radius.max(), 2.8 + 1e-6)
    self.assertTrue((np.diff(down[2:]) > 0).all())
    other = self.read({"keys": [{}]}, frames=2, focal=3.0)
    np.testing.assert_array_equal(
      other, np.repeat(render.view_labels(CONFIG, [0.0], [0.0], 3.0), 2, 0)
    )

  def test_smooth(self):
    """No corner at a key: the speed changes little from frame to frame."""
    keys = [{"yaw": value} for value in (-0.3, -0.1, 0.3)]
    yaw, *_ = fields(self.read({"keys": keys}, frames=201))
    speed = np.diff(yaw) * 100  # per key
    self.assertLess(np.abs(np.diff(speed)).max(), 0.02)
    self.assertGreater(speed.max() - speed.min(), 0.1)

  @parameterized.parameters(2, 4)
  def test_closed(self, count):
    """Going on after the last frame is going on as before."""
    keys = [{"yaw": value} for value in (-0.3, 0.0, 0.3, 0.1)[:count]]
    yaw, *_ = fields(
      self.read({"closed": True, "keys": keys + keys[:1]}, frames=100 * count)
    )
    np.testing.assert_allclose(yaw[0], -0.3, atol=1e-6)
    steps = np.diff(np.concatenate([yaw, yaw[:2]]))
    self.assertGreater(abs(steps).max(), 1e-3)
    self.assertLess(np.abs(np.diff(steps)).max(), 1e-3 * count)
    self.assertNotAlmostEqual(yaw[-1], yaw[0], places=6)

  def test_radius_limits(self):
    low, high = camera_paths.radius_limits(CONFIG)
    self.assertAlmostEqual(low, 2.55)
    self.assertAlmostEqual(high, 3.0)
    free = RenderConfig(ray_start="auto", ray_end="auto")
    self.assertLess(camera_paths.radius_limits(free)[0], 0.1)

  @parameterized.parameters(
    ("{", "is not valid JSON"),
    ("3", "has no camera labels"),
    ([], "expected 1 to"),
    ([[1.0] * 24], r"frame 0.*expected 25 numbers"),
    ([[0.0] * 25], "frame 0.*rigid"),
    ({"keys": []}, "at least one key"),
    ({"keys": [{"yaw": 0}, {"jaw": 1}]}, "key 1: 'jaw' is not one of yaw"),
    ({"keys": [{"yaw": 4}]}, r"key 0: yaw: expected a number in \[-3.142"),
    ({"keys": [{"yaw": True}]}, "key 0: yaw: .*got true"),
    ({"keys": [{"radius": 2.0}]}, "key 0: radius: .*cut the head"),
    ({"keys": [{"time": float("nan")}]}, "key 0: time: "),
    ({"keys": ["front"]}, 'key 0: expected an object.*"front"'),
    ({"keys": [{"time": 0}, {}]}, "key 1: has no time"),
    ({"keys": [{"time": 0}, {"time": 0}]}, "key 1: its time must be after"),
    ({"closed": True, "keys": [{"yaw": 0}, {"yaw": 1}]}, "must end with"),
    ({"closed": 1, "keys": [{}]}, "closed must be true or false"),
    ({"close": True, "keys": [{}]}, "'close' is unknown"),
    ({"labels": {}}, "expected 1 to 100000 cameras, got 0"),
  )
  def test_bad_files(self, content, pattern):
    with self.assertRaisesRegex(UserError, pattern) as caught:
      self.read(content)
    self.assertIn("path.json", str(caught.exception))
    self.assertNotIn("\n", str(caught.exception))

  def test_missing_file(self):
    with self.assertRaisesRegex(UserError, "dataset.json: cannot be read"):
      camera_paths.read(self.folder, CONFIG, frames=2)
    self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
  absltest.main()

"""Files of NeRF tools become labels, or one line that says what is missing."""

import math

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.data import dataset_json
from my3dgen_jax.errors import UserError
from tests.support import albums

_FLIP = [1, -1, -1, 1]


def _rows(c):
  return (c[:16].reshape(4, 4) * _FLIP).tolist()


class NerfstudioTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.c = albums.labels(3)

  def frames(self, **more):
    return [
      {"file_path": f"images/{i}.png", "transform_matrix": _rows(c), **more}
      for i, c in enumerate(self.c)
    ]

  @parameterized.parameters(
    dict(w=200, h=100, fl_x=852.94, fl_y=426.47, cx=100, cy=50),
    dict(w=100, h=100, fl_x=426.47),
    dict(camera_angle_x=2 * math.atan(0.5 / 4.2647)),
    dict(w=64, h=64, camera_angle_x=2 * math.atan(0.5 / 4.2647), k1=0),
  )
  def test_transforms(self, **shared):
    for content in (
      {**shared, "frames": self.frames()},
      {"frames": self.frames(**shared)},
    ):
      found = dataset_json.labels_of(content, "t.json")
      self.assertEqual(
        list(found), ["images/0.png", "images/1.png"] + ["images/2.png"]
      )
      np.testing.assert_allclose(list(found.values()), self.c, atol=1e-5)

  def test_camera_path(self):
    fov = math.degrees(2 * math.atan(0.5 / 4.2647))
    path = [
      {"camera_to_world": sum(_rows(c), []), "fov": fov, "aspect": 1}
      for c in self.c
    ]
    found = dataset_json.labels_of({"camera_path": path, "fps": 24}, "c.json")
    np.testing.assert_allclose(list(found.values()), self.c, atol=1e-5)

  @parameterized.parameters(
    (dict(), r"frames\[0\]: has neither fl_x nor camera_angle_x"),
    (dict(fl_x=1, w="a", h=2), r"frames\[0\]: w: expected a number"),
    (dict(fl_x=1, w=0, h=2), r"w: expected pixels, > 0"),
    (dict(fl_x=1, w=1, h=1, k1=0.2), "k1: the lens is distorted"),
    (dict(camera_angle_x=4), "camera_angle_x: expected radians"),
  )
  def test_bad_transforms(self, shared, message):
    with self.assertRaisesRegex(UserError, f"^t.json: .*{message}"):
      dataset_json.labels_of({**shared, "frames": self.frames()}, "t.json")

  @parameterized.parameters(
    ({"frames": None}, "frames: expected a list"),
    ({"frames": [1]}, r"frames\[0\]: expected an object"),
    ({"frames": [{"camera_angle_x": 1}]}, "transform_matrix: expected 4x4"),
    ({"camera_path": [{"camera_to_world": [1], "fov": 5}]}, "expected 4x4"),
    ({"camera_path": [{"camera_to_world": [1], "fov": 0}]}, "fov: expected"),
    (
      {"frames": [{"camera_angle_x": 1, "transform_matrix": [[0] * 4] * 4}]},
      r"entry 0: expected \[name",
    ),
  )
  def test_bad_files(self, content, message):
    with self.assertRaisesRegex(UserError, message):
      dataset_json.labels_of(content, "t.json")


if __name__ == "__main__":
  absltest.main()

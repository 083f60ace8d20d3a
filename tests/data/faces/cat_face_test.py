"""Nine points of a cat: crops and cameras."""

import pathlib
import tempfile

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.data.faces import cat_face, face_align, face_pose, landmarks
from my3dgen_jax.data.faces.landmarks import Face
from my3dgen_jax.data.faces.pose_spread import angles
from my3dgen_jax.ops import cameras
from tests.support import dotted_faces

# Which point is where in the mirrored photo.
MIRROR = [1, 0, 2, 8, 7, 6, 5, 4, 3]


class CatFaceTest(parameterized.TestCase):
  def test_symmetric(self):
    points = cat_face.cats().points.points
    np.testing.assert_allclose(points[MIRROR], points * [-1, 1, 1], atol=1e-12)
    self.assertLen(points, cat_face.POINTS)
    # Ears over eyes over mouth; the muzzle in front, the ears behind.
    self.assertGreater(points[3:, 1].min(), points[:2, 1].max())
    self.assertLess(points[2, 1], points[0, 1])
    self.assertGreater(points[2, 2], points[0, 2])
    self.assertLess(points[3:, 2].max(), points[0, 2])

  def test_crop_of_a_cat_that_looks_straight_on(self):
    # An affine camera's view: what the framing is defined by.
    framing = cat_face.cats().framing
    seen = 40 * np.array(framing.points)[:, :2] * [1, -1] + (300, 200)
    alignment = face_align.align(seen, size=512, framing=framing)
    np.testing.assert_allclose(alignment.centre, (300, 200), atol=1e-6)
    points = alignment.to_crop(seen) / 512
    # AFHQ: the eyes at the centre; GRAM: a third of the width apart.
    np.testing.assert_allclose(points[:2].mean(axis=0), 0.5, atol=0.01)
    self.assertAlmostEqual(points[1, 0] - points[0, 0], 1 / 3, delta=0.01)
    # The tips of the ears may be cut off.
    inside = ((points > 0) & (points < 1)).all(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(~inside), [4, 7])

  @parameterized.parameters((0, 0), (30, 0), (-45, 0), (15, 12), (0, -10))
  def test_camera(self, yaw, pitch):
    c = dotted_faces.label(yaw, pitch)
    points = 512 * dotted_faces.points_of(c, "cat")
    label = face_pose.label(Face(points), size=512, domain=cat_face.cats())
    # Ears that turn say little of a nod, so it is played down.
    np.testing.assert_allclose(
      angles(label)[:2], (yaw, pitch), atol=0.2 + abs(pitch) / 4
    )
    self.assertAlmostEqual(np.linalg.norm(label[3:12:4]), 2.7, places=4)
    np.testing.assert_allclose(label[16:], c[16:])
    mirrored = face_pose.label(
      Face(points[MIRROR] * [-1, 1] + [512, 0]),
      size=512,
      domain=cat_face.cats(),
    )
    np.testing.assert_allclose(mirrored, cameras.mirror(label), atol=1e-3)

  def test_a_published_annotation(self):
    """Photo 00000001_000 of the CAT data set, as its description quotes it."""
    with tempfile.TemporaryDirectory() as folder:
      path = pathlib.Path(folder) / "00000001_000.jpg.cat"
      path.write_text(
        "9 175 160 239 162 199 199 149 121 137 78 166 93 281 "
        "101 312 96 296 133 "
      )
      points = landmarks.read_points(path, cat_face.POINTS)
    domain = cat_face.cats()
    alignment = face_align.align(points, framing=domain.framing)
    crop = alignment.to_crop(points) / 512
    np.testing.assert_allclose(crop[:2].mean(axis=0), 0.5, atol=0.08)
    label = face_pose.label(
      Face(points).moved(alignment.to_crop), size=512, domain=domain
    )
    # Its mouth is left of the eyes' middle: the face is turned there.
    self.assertBetween(angles(label)[0], 3, 25)


if __name__ == "__main__":
  absltest.main()

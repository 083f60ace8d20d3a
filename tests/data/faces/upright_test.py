"""Photos that lie or stand on their heads are found out."""

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.data.faces import cat_face, face_align, upright
from my3dgen_jax.data.faces.landmarks import Face
from tests.support import dotted_faces

WIDTH, HEIGHT = 320, 240
CORNER, SIDE = (110, 60), 128


def photo():
  return dotted_faces.photo((dotted_faces.label(10), CORNER, SIDE))


class Detector:
  """Finds the dots, as sure as a test says of each way up.

  Attributes:
    scores: of a photo whose forehead is up, at the right, below, at the left;
      0: nothing is found; negative: a face is seen the right way up that has
      its forehead at the chin.
    calls: how many photos were looked at.
  """

  def __init__(self, *scores):
    self.scores, self.calls = scores, 0

  def __call__(self, image):
    self.calls += 1
    (face,) = dotted_faces.find(image)
    roll = face_align.roll(face.points)
    score = self.scores[round(roll / 90) % 4]
    if not score:
      return []
    points = face.points
    if score < 0:
      middle = points.mean(axis=0)
      points = 2 * middle - points
    return [Face(points, score=abs(score), box=(1.0, 2.0, 30.0, 50.0))]


class UprightTest(parameterized.TestCase):
  @parameterized.parameters(0, 1, 2, 3)
  def test_roll(self, quarters):
    c = dotted_faces.label(25, -10)
    for domain, framing in (
      ("face", face_align.FACE),
      ("cat", cat_face.cats().framing),
    ):
      points = dotted_faces.points_of(c, domain) * SIDE
      face = upright.turned_face(Face(points), quarters, (SIDE, SIDE))
      roll = face_align.roll(face.points, framing)
      self.assertAlmostEqual(
        abs((roll - 90 * quarters + 180) % 360 - 180), 0, delta=5
      )
      self.assertEqual(upright.quarters_of([face], framing), (4 - quarters) % 4)

  @parameterized.parameters(0, 1, 2, 3)
  def test_faces_move_with_their_photo(self, quarters):
    image = photo()
    (face,) = dotted_faces.find(image)
    (there,) = dotted_faces.find(upright.turned(image, quarters))
    face = Face(
      face.points,
      dense=np.concatenate([face.points, np.ones((5, 1))], axis=1),
      box=(10.0, 20.0, 40.0, 80.0),
    )
    moved = upright.turned_face(face, quarters, (WIDTH, HEIGHT))
    np.testing.assert_allclose(moved.points, there.points, atol=1e-6)
    np.testing.assert_allclose(moved.dense[:, 2], 1)
    left, top, right, bottom = moved.box
    self.assertEqual(sorted([right - left, bottom - top]), [30, 60])
    self.assertGreater(min(left, top), 0)
    shape = upright.turned(image, quarters).shape
    back = upright.turned_face(moved, -quarters, (shape[1], shape[0]))
    np.testing.assert_allclose(back.points, face.points)
    self.assertEqual(back.box, face.box)

  @parameterized.product(
    quarters=(0, 1, 2, 3),
    # As sure as detectors are of real photos: lying ones are seen as such, in
    # those upside down a face is seen upright, less surely.
    scores=((0.95, 0.8, -0.84, 0.85), (0.77, 0.0, -0.7, 0.6)),
  )
  def test_every_way_up(self, quarters, scores):
    image = upright.turned(photo(), quarters)
    (face,), found = upright.find(Detector(*scores), image)
    self.assertEqual(found, (4 - quarters) % 4)
    self.assertEqual(face.score, scores[0])
    (right,) = dotted_faces.find(photo())
    np.testing.assert_allclose(face.points, right.points)

  def test_who_is_surely_upright_is_looked_at_once(self):
    detector = Detector(0.95, 0.8, -0.84, 0.85)
    upright.find(detector, photo())
    self.assertEqual(detector.calls, 1)

  def test_doubts_change_nothing(self):
    for scores in ((0.7, 0.0, -0.71, 0.0), (0.0, 0.0, -0.55, 0.0)):
      faces, quarters = upright.find(Detector(*scores), photo())
      self.assertEqual(quarters, 0)
      self.assertLen(faces, scores[0] > 0)

  def test_someone_who_lies_beside_one_who_stands(self):
    points = dotted_faces.points_of(dotted_faces.label(0)) * SIDE
    stands = Face(points)
    lies = upright.turned_face(stands, 1, (SIDE, SIDE))
    self.assertEqual(upright.quarters_of([lies, stands]), 0)
    self.assertEqual(upright.quarters_of([lies]), 3)
    self.assertEqual(upright.quarters_of([Face(np.zeros((5, 2)))]), 0)
    self.assertEqual(upright.quarters_of([]), 0)


if __name__ == "__main__":
  absltest.main()

"""What is measured of faces, and whose they are."""

import io
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized
from PIL import Image
from scipy import ndimage

from my3dgen_jax.data.faces import photo_quality
from my3dgen_jax.data.faces.face_align import Alignment
from my3dgen_jax.errors import UserError

CROP = Alignment((150.0, 150.0), 256.0)


def scene(seed=0, side=300, colour=True):
  """Something with edges and surfaces of all sizes, as photos have."""
  generator = np.random.default_rng(seed)
  image = np.full((side, side, 3), 120.0)
  for size in np.geomspace(side / 2, 2, 150):
    x, y = generator.uniform(0, side - size, 2).astype(int)
    image[y : y + int(size), x : x + int(size)] = generator.uniform(20, 235, 3)
  if not colour:
    image = np.broadcast_to(image.mean(axis=-1, keepdims=True), image.shape)
  return np.rint(image).astype(np.uint8)


def soft(image, sigma):
  return ndimage.gaussian_filter(
    image.astype(np.float64), (sigma, sigma, 0)
  ).astype(np.uint8)


def saved(image, quality):
  file = io.BytesIO()
  Image.fromarray(image).save(file, "JPEG", quality=quality)
  return np.asarray(Image.open(file))


class MeasureTest(parameterized.TestCase):
  def sharpness(self, image):
    return photo_quality.measure(image, CROP).sharpness

  def test_sharpness_falls_with_blur(self):
    values = [self.sharpness(soft(scene(), sigma)) for sigma in (0.01, 1, 2, 4)]
    self.assertGreater(values[0], photo_quality.MIN_SHARPNESS)
    self.assertLess(values[2], photo_quality.MIN_SHARPNESS)
    np.testing.assert_array_less(values[1:], values[:-1])

  def test_blur_is_seen_through_smears_noise_and_compression(self):
    image = scene()
    smeared = ndimage.uniform_filter1d(image, 13, axis=1)
    noise = np.random.default_rng(1).normal(0, 3, image.shape)
    noisy = np.clip(soft(image, 3) + noise, 0, 255).astype(np.uint8)
    for worse in (smeared, noisy, saved(soft(image, 3), 30)):
      self.assertLess(self.sharpness(worse), photo_quality.MIN_SHARPNESS)

  def test_neither_light_nor_size_matters(self):
    image = scene()
    sharpness = self.sharpness(image)
    self.assertAlmostEqual(self.sharpness(image // 4), sharpness, delta=0.03)
    large = np.repeat(np.repeat(image, 3, 0), 3, 1)
    other = photo_quality.measure(large, Alignment((450.0, 450.0), 768.0))
    self.assertAlmostEqual(other.sharpness, sharpness, delta=0.03)
    self.assertEqual(other.side, 768)

  def test_one_colour_has_no_edges(self):
    quality = photo_quality.measure(np.full((300, 300, 3), 7, np.uint8), CROP)
    self.assertEqual((quality.sharpness, quality.inside), (0, 1))
    self.assertAlmostEqual(quality.color, 0)

  def test_colour(self):
    grey = scene(colour=False)
    light = grey[..., :1] / 255
    sepia = saved(
      (light ** [0.8, 1, 1.4] * [255, 240, 200]).astype(np.uint8), 75
    )
    for image in (grey, saved(grey, 75), sepia):
      self.assertLess(
        photo_quality.measure(image, CROP).color, photo_quality.MIN_COLOR
      )
    pale = (0.8 * grey + 0.2 * scene()).astype(np.uint8)
    self.assertGreater(
      photo_quality.measure(pale, CROP).color, photo_quality.MIN_COLOR
    )

  def test_inside(self):
    quality = photo_quality.measure(scene(), Alignment((300.0, 150.0), 256.0))
    self.assertAlmostEqual(quality.inside, 0.5)
    self.assertTrue(quality.thumbnail_mask[:, :16].all())
    self.assertFalse(quality.thumbnail_mask[:, 16:].any())


class DuplicatesTest(absltest.TestCase):
  def test_copies_are_found(self):
    image = scene()
    # The original ends where the crop's right quarter begins, and the copy,
    # which is brighter and worse, was cut at the left.
    first = photo_quality.measure(image[:, :214], CROP)
    copy = saved(
      np.clip(soft(image, 0.7) * 1.1 + 9, 0, 255).astype(np.uint8), 50
    )[:, 70:]
    second = photo_quality.measure(copy, Alignment((80.0, 150.0), 256.0))
    other = photo_quality.measure(scene(1), CROP)
    alike = photo_quality.correlations([first, second, other])
    np.testing.assert_allclose(alike, alike.T, atol=1e-9)
    np.testing.assert_allclose(np.diag(alike), 1)
    self.assertGreater(alike[0, 1], photo_quality.DUPLICATE)
    self.assertLess(np.abs(alike[:2, 2]).max(), 0.6)
    self.assertEqual(
      photo_quality.duplicates([second, first, other]), [1, None, None]
    )
    self.assertEqual(
      photo_quality.duplicates([first, second, other]), [None, 0, None]
    )

  def faces(self, count):
    """Random faces, each third a worse copy of another, or equal to it."""
    generator = np.random.default_rng(0)
    faces = []
    for i in range(count):
      thumbnail = generator.integers(0, 256, (32, 32), np.uint8)
      if i > 5 and i % 3:
        thumbnail = faces[generator.integers(i)].thumbnail
        noise = generator.normal(0, 9 * (i % 3 - 1), (32, 32))
        thumbnail = np.clip(thumbnail + noise, 0, 255).astype(np.uint8)
      mask = np.ones((32, 32), bool)
      mask[:, : generator.integers(20)] = False
      faces.append(
        photo_quality.Quality(
          generator.uniform(0.3, 0.6), 9.0, 300.0, 1.0, thumbnail, mask
        )
      )
    return faces

  def test_blocks_make_no_difference(self):
    faces = self.faces(40)

    def correlation(a, b):  # one pair, by NumPy
      both = a.thumbnail_mask & b.thumbnail_mask
      if both.sum() < 256:
        return 0.0
      return np.corrcoef(a.thumbnail[both], b.thumbnail[both])[0, 1]

    alike = np.array([[correlation(a, b) for b in faces] for a in faces])
    # Sums of 1,024 numbers of order 1, in another order.
    np.testing.assert_allclose(
      photo_quality.correlations(faces), alike, atol=1e-9
    )
    np.testing.assert_allclose(
      photo_quality.correlations(faces[:7], faces[3:]), alike[:7, 3:], atol=1e-9
    )
    self.assertEqual(photo_quality.correlations(faces, []).shape, (40, 0))
    # The definition, with all of the matrix.
    wanted, kept = [None] * len(faces), []
    for i in sorted(range(len(faces)), key=lambda i: -faces[i].sharpness):
      nearest = max(kept, key=lambda j: alike[i, j], default=None)
      if nearest is not None and alike[i, nearest] > photo_quality.DUPLICATE:
        wanted[i] = nearest
      else:
        kept.append(i)
    self.assertGreater(sum(other is not None for other in wanted), 10)
    for block in (1, 7, 128):
      with mock.patch.object(photo_quality, "_BLOCK", block):
        self.assertEqual(photo_quality.duplicates(faces), wanted)

  def test_too_little_in_common_says_nothing(self):
    image = scene()
    left = photo_quality.measure(image[:, :86], CROP)
    right = photo_quality.measure(
      image[:, 80:], Alignment((70.0, 150.0), 256.0)
    )
    self.assertEqual(photo_quality.correlations([left, right])[0, 1], 0)

  def test_none(self):
    self.assertEqual(photo_quality.duplicates([]), [])
    flat = photo_quality.measure(np.zeros((300, 300, 3), np.uint8), CROP)
    self.assertTrue(np.isfinite(photo_quality.correlations([flat, flat])).all())


class RecognitionFaceTest(parameterized.TestCase):
  @parameterized.parameters((1.0, 0.0), (0.4, 0.6), (5.3, -2.5))
  def test_points_come_to_lie_on_the_template(self, scale, turn):
    template = photo_quality._TEMPLATE  # pylint: disable=protected-access
    motion = scale * np.array(
      [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    points = (template - 56) @ motion.T + (310, 290)
    # Soft spots, larger than a pixel of the face.
    y, x = np.mgrid[:600, :600] + 0.5
    photo = sum(
      np.exp(-((x - px) ** 2 + (y - py) ** 2) / 2 / (4 * scale) ** 2)
      for px, py in points
    )
    photo = np.uint8(np.clip(255 * photo, 0, 255))[..., None].repeat(3, -1)
    face = photo_quality.recognition_face(photo, points)
    self.assertEqual(face.shape, (112, 112, 3))
    y, x = np.mgrid[:112, :112] + 0.5
    for px, py in template:
      weight = face[..., 0] * (np.hypot(x - px, y - py) < 9).astype(float)
      centre = np.array([(weight * x).sum(), (weight * y).sum()])
      np.testing.assert_allclose(centre / weight.sum(), (px, py), atol=0.5)

  def test_no_face(self):
    with self.assertRaisesRegex(UserError, "in the same place"):
      photo_quality.recognition_face(
        np.zeros((9, 9, 3), np.uint8), np.full((5, 2), 4.0)
      )


class FindPersonTest(absltest.TestCase):
  def people(self, *counts, spread=0.5, seed=0):
    """Embeddings of people, `counts` of each; similar ones have about 0.8."""
    generator = np.random.default_rng(seed)
    unit = lambda x: x / np.linalg.norm(x, axis=-1, keepdims=True)
    means = unit(generator.normal(size=(len(counts), 128)))
    return np.concatenate(
      [
        unit(mean + spread * unit(generator.normal(size=(count, 128))))
        for mean, count in zip(means, counts)
      ]
    )

  def test_most_photos_are_the_persons(self):
    mine, similarity = photo_quality.find_person(
      self.people(4, 7, 2), np.arange(13)
    )
    np.testing.assert_array_equal(np.flatnonzero(mine), np.arange(4, 11))
    self.assertGreater(similarity[mine].min(), 0.6)
    self.assertLess(similarity[~mine].max(), 0.3)

  def test_one_face_of_a_photo(self):
    # Three photos with a companion; of one, the person's reflection, too.
    embeddings = self.people(5, 3)
    embeddings = np.concatenate([embeddings, embeddings[:1]])
    embeddings[-1] = 0.7 * embeddings[0] + 0.3 * embeddings[5]
    embeddings[-1] /= np.linalg.norm(embeddings[-1])
    photos = [0, 1, 2, 3, 4, 0, 1, 2, 0]
    mine, _ = photo_quality.find_person(embeddings, photos)
    np.testing.assert_array_equal(mine, [1, 1, 1, 1, 1, 0, 0, 0, 0])

  def test_many_faces_in_few_photos_are_not_the_person(self):
    mine, _ = photo_quality.find_person(
      self.people(3, 6), [0, 1, 2, 3, 3, 3, 4, 4, 4]
    )
    np.testing.assert_array_equal(np.flatnonzero(mine), [0, 1, 2])

  def test_of_a_couple_the_one_who_is_larger(self):
    embeddings = self.people(4, 4)
    for order in (
      [0, 4, 5, 1, 6, 2, 7, 3],
      [4, 0, 1, 5, 2, 6, 3, 7],
      [0, 4, 1, 5, 6, 2, 7, 3],
      [4, 0, 5, 1, 2, 6, 3, 7],
    ):
      mine, _ = photo_quality.find_person(
        embeddings[order], [0, 0, 1, 1, 2, 2, 3, 3]
      )
      person = np.array(order) < 4
      firsts = person[::2].sum()
      if firsts == 2:  # as often: who comes first
        wanted = person == person[0]
      else:
        wanted = person == (firsts > 2)
      np.testing.assert_array_equal(mine, wanted)

  def test_photos_of_another(self):
    embeddings, photos = self.people(5, 4, 2), [*range(5), 0, 1, 1, 2, 6, 7]
    mine = np.arange(11) < 5
    self.assertEqual(
      photo_quality.photos_of_another(embeddings, photos, mine), 3
    )
    for count, wanted in ((5, 0), (6, 1)):
      self.assertEqual(
        photo_quality.photos_of_another(
          embeddings[:count], photos[:count], mine[:count]
        ),
        wanted,
      )

  def test_few(self):
    for count in (0, 1):
      mine, similarity = photo_quality.find_person(
        self.people(count).reshape(count, 128), np.arange(count)
      )
      self.assertTrue(mine.all())
      self.assertLen(similarity, count)


if __name__ == "__main__":
  absltest.main()

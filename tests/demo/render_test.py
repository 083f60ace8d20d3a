"""The head's field and its pictures, which must tell the same story."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest

from my3dgen_jax.demo import heads, people, points, render
from my3dgen_jax.ops import cameras
from my3dgen_jax.ops.rendering import rays

RESOLUTION = 64

# One ray a pixel: with the album's test, one compilation serves all.
render_small = functools.partial(
  render.render, resolution=RESOLUTION, supersampling=1
)


def person_of(seed, kinds=()):
  return people.sample_person(jax.random.key(seed), kinds)


def batch_of(*persons):
  return jax.tree.map(lambda *x: jnp.stack(x), *persons)


def with_trait(person, **values):
  names = list(people.IDENTITY)
  identity = person.identity
  for name, value in values.items():
    identity = identity.at[names.index(name)].set(value)
  return person.replace(identity=identity)


class FieldTest(absltest.TestCase):
  def test_distances_grow_no_faster_than_places(self):
    keys = jax.random.split(jax.random.key(0))
    a = jax.random.uniform(keys[0], (4000, 3), minval=-0.45, maxval=0.45)
    b = a + 0.004 * jax.random.normal(keys[1], a.shape)
    sdf = jax.jit(heads.sdf)
    person = person_of(2, people.MARKS)
    change = np.abs(sdf(person, a) - sdf(person, b))
    ratio = change / np.linalg.norm(a - b, axis=-1)
    # Folded places (locks, the glasses' rims) may be a little steeper.
    self.assertLess(np.percentile(ratio, 95), 1.0)
    self.assertLess(np.percentile(ratio, 99.5), 1.6)

  def test_surface_points(self):
    person = person_of(5, people.MARKS)
    drawn = points.surface_points(
      jax.random.key(0), person, 1200, face_weight=0.6
    )
    self.assertLess(
      np.abs(jax.jit(heads.sdf)(person, drawn.points)).max(), 2e-3
    )
    self.assertLess(np.abs(drawn.points).max(), 0.5)
    np.testing.assert_allclose(
      np.linalg.norm(drawn.normals, axis=-1), 1, atol=1e-4
    )
    self.assertLessEqual(np.abs(drawn.color).max(), 1)
    again = points.surface_points(
      jax.random.key(0), person, 1200, face_weight=0.6
    )
    np.testing.assert_array_equal(drawn.points, again.points)
    # More than half are asked to lie on the face's front.
    self.assertGreater(np.mean(drawn.points[:, 2] > 0.08), 0.5)

  def test_field_points(self):
    person = person_of(5)
    field = points.field_points(jax.random.key(1), person, 2000)
    self.assertTrue(np.isfinite(field.points).all())
    np.testing.assert_array_equal(field.weight.sum(), 1600)
    inside = np.asarray(jax.jit(heads.sdf)(person, field.points)) < -0.01
    self.assertGreater(inside.sum(), 20)
    self.assertGreater(field.density[inside].min(), 10)
    centre = np.abs(field.points - np.array([0, 0, 0.42])).max(-1) < 0.05
    self.assertLess(field.density[centre].max(initial=-8), -7)


class RenderTest(absltest.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    # One call for all, so that the test compiles once.
    plain = person_of(7).replace(
      photo=jnp.zeros(len(people.PHOTO)), marks=people.no_marks()
    )
    plain = with_trait(plain, hair_part=0.0)
    mole = jnp.array([1.0, 0.07, -0.06, 0.013])
    c = people.face_camera(0.35, 0.1)
    cls.persons = batch_of(
      plain,
      plain,
      plain.replace(marks=plain.marks.replace(mole=mole)),
      person_of(8, people.MARKS),
      plain,  # as many as albums draw at a time
    )
    cls.c = jnp.stack([c, cameras.mirror(c), c, people.face_camera(-0.4, 0), c])
    cls.result = jax.tree.map(np.asarray, render_small(cls.persons, cls.c))

  def test_ranges_and_frame(self):
    self.assertLessEqual(np.abs(self.result.image).max(), 1)
    self.assertTrue(np.isfinite(self.result.image).all())
    share = self.result.mask.mean(axis=(1, 2, 3))
    self.assertTrue(((share > 0.3) & (share < 0.8)).all(), share)
    # Clothes fill the middle of the last row, background the upper corners.
    self.assertTrue((self.result.mask[:, -1, RESOLUTION // 2] == 1).all())
    self.assertTrue((self.result.mask[:, 0, [0, -1]] == 0).all())

  def test_masks_have_no_holes(self):
    for mask in self.result.mask[..., 0]:
      inside = (
        np.minimum.reduce(
          [mask[1:-1, :-2], mask[1:-1, 2:], mask[:-2, 1:-1], mask[2:, 1:-1]]
        )
        == 1
      )
      self.assertTrue((mask[1:-1, 1:-1][inside] == 1).all())

  def test_depth_lies_on_the_surface(self):
    shot = rays.generate_rays(*cameras.unpack_label(self.c), RESOLUTION)
    for n in (0, 3):
      person = jax.tree.map(lambda x, n=n: x[n], self.persons)
      places = shot.origins[n] + (
        self.result.depth[n].reshape(-1, 1) * shot.directions[n]
      )
      off = np.abs(jax.jit(heads.sdf)(person, places))
      hit = np.asarray(self.result.mask[n]).reshape(-1) == 1
      self.assertLess(off[hit].max(), 2e-3)
      self.assertLess(np.abs(heads.wall_sdf(places))[~hit].max(), 1e-4)

  def test_mirrored_person(self):
    off = np.abs(self.result.image[1] - self.result.image[0][:, ::-1])
    # A ray along an edge may end on either side of it.
    self.assertLess(np.mean(off > 0.03), 0.02)
    self.assertLess(np.mean(off), 0.005)

  def test_a_mark_changes_only_its_place(self):
    change = np.abs(self.result.image[2] - self.result.image[0]).max(-1)
    self.assertGreater(change.max(), 0.2)
    changed = np.argwhere(change > 0.02)
    # Within the mole's diameter, a pixel around it, and its shadow.
    self.assertLess(np.ptp(changed, axis=0).max(), 10)

  def test_supersampling_averages(self):
    half = render.render(
      self.persons, self.c, resolution=RESOLUTION // 2, supersampling=2
    )
    self.assertEqual(half.image.shape, (5, 32, 32, 3))
    np.testing.assert_allclose(
      half.mask[1, 3, 7], self.result.mask[1, 6:8, 14:16].mean(), atol=1e-6
    )
    self.assertGreater(len(np.unique(np.asarray(half.mask))), 3)

  def test_deterministic(self):
    again = render_small(self.persons, self.c)
    np.testing.assert_array_equal(again.image, self.result.image)


if __name__ == "__main__":
  absltest.main()

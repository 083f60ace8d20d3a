"""People: draws, names and cameras."""

import jax
import jax.numpy as jnp
import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.demo import people
from my3dgen_jax.ops import cameras


class PeopleTest(parameterized.TestCase):
  def test_same_key_same_person(self):
    one, again, other = (
      people.sample_person(jax.random.key(seed)) for seed in (3, 3, 4)
    )
    jax.tree.map(np.testing.assert_array_equal, one, again)
    self.assertGreater(np.abs(one.identity - other.identity).max(), 0.1)

  def test_smile_and_age_are_known(self):
    person = people.with_photo(
      people.sample_person(jax.random.key(0)), smile=0.9, age=0.25
    )
    self.assertAlmostEqual(float(people.smile(person)), 0.9, places=5)
    self.assertAlmostEqual(float(people.age(person)), 0.25, places=5)

  def test_extremes_are_squashed(self):
    person = people.Person(
      identity=jnp.full(len(people.IDENTITY), 50.0),
      photo=jnp.zeros(len(people.PHOTO)),
      marks=people.no_marks(),
    )
    middle, spread = people.IDENTITY["jaw_width"]
    self.assertAlmostEqual(
      float(people.decode(person).jaw_width), middle + 2.2 * spread, places=6
    )

  @parameterized.parameters(*people.MARKS)
  def test_a_mark_does_not_depend_on_others(self, kind):
    key = jax.random.key(1)
    alone, among = (
      people.sample_marks(key, kinds) for kinds in ((kind,), people.MARKS)
    )
    np.testing.assert_array_equal(getattr(alone, kind), getattr(among, kind))
    rest = alone.replace(**{kind: jnp.zeros_like(getattr(alone, kind))})
    jax.tree.map(np.testing.assert_array_equal, rest, people.no_marks())

  def test_cameras_stay_within_bounds_and_look_at_the_face(self):
    c = jax.vmap(people.sample_camera)(jax.random.split(jax.random.key(0), 500))
    cameras.check_label(c)
    origin = np.asarray(cameras.unpack_label(c)[0][:, :3, 3])
    np.testing.assert_allclose(
      np.linalg.norm(origin, axis=1), people.RADIUS, rtol=1e-5
    )
    yaw = np.arctan2(origin[:, 0], origin[:, 2])
    self.assertLess(np.abs(yaw).max(), 0.5 + 1e-4)
    self.assertLess(np.median(np.abs(yaw)), 0.2)

  def test_a_disturbed_camera_is_near_and_rigid(self):
    c = people.face_camera(0.2, 0.1)
    other = people.disturbed_camera(jax.random.key(0), c, 0.01)
    cameras.check_label(other[None])
    self.assertGreater(np.abs(other - c).max(), 1e-3)
    self.assertLess(np.abs(other - c).max(), 0.2)
    np.testing.assert_allclose(
      people.disturbed_camera(jax.random.key(0), c, 0.0), c, atol=1e-5
    )


if __name__ == "__main__":
  absltest.main()

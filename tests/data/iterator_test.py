"""Shuffled batches: the same for ever, whoever asks, wherever one resumes."""

import itertools

import numpy as np
from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dgen_jax.data import iterator
from my3dgen_jax.errors import UserError

SIZES = st.integers(1, 40)
SEEDS = st.integers(0, 2**70)
BATCH_SIZES = st.integers(1, 90)


class PermutationTest(parameterized.TestCase):
  @settings(deadline=None)
  @given(SIZES, SEEDS, st.integers(0, 2**40))
  def test_is_one(self, size, seed, epoch):
    order = iterator.permutation(size, seed=seed, epoch=epoch)
    np.testing.assert_array_equal(np.sort(order), np.arange(size))

  def test_cannot_be_changed(self):
    with self.assertRaises(ValueError):
      iterator.permutation(5, seed=0, epoch=0)[:] = 0

  def test_is_another_each_epoch_and_seed(self):
    orders = {
      tuple(iterator.permutation(12, seed=seed, epoch=epoch))
      for seed in range(5)
      for epoch in range(5)
    }
    self.assertLen(orders, 25)

  def test_stays_the_same_in_later_versions(self):
    """A run begun with an older version resumes with these numbers."""
    np.testing.assert_array_equal(
      iterator.permutation(10, seed=0, epoch=0), [0, 8, 9, 3, 7, 5, 1, 2, 6, 4]
    )
    np.testing.assert_array_equal(
      iterator.permutation(10, seed=7, epoch=3), [7, 1, 9, 6, 0, 4, 2, 8, 3, 5]
    )

  def test_places_are_uniform(self):
    """Chi-square of where photo 0 comes, over 2000 epochs and 8 places."""
    places = [
      int(np.argmin(iterator.permutation(8, seed=1, epoch=epoch)))
      for epoch in range(2000)
    ]
    counts = np.bincount(places, minlength=8)
    self.assertLess(np.sum((counts - 250) ** 2 / 250), 24.3)  # p = 0.001


class ShuffledBatchesTest(parameterized.TestCase):
  @settings(deadline=None)
  @given(SIZES, BATCH_SIZES, SEEDS, st.integers(1, 3))
  def test_each_epoch_holds_each_photo_once(
    self, size, batch_size, seed, epochs
  ):
    batches = iterator.ShuffledBatches(size, batch_size, seed)
    steps = -(-epochs * size // batch_size)
    stream = np.concatenate([batches.at(step) for step in range(steps)])
    self.assertLen(stream, steps * batch_size)
    for epoch in range(epochs):
      part = stream[epoch * size : (epoch + 1) * size]
      np.testing.assert_array_equal(np.sort(part), np.arange(size))

  @settings(deadline=None)
  @given(SIZES, BATCH_SIZES, SEEDS, st.integers(0, 50))
  def test_resuming_is_not_noticed(self, size, batch_size, seed, start):
    batches = iterator.ShuffledBatches(size, batch_size, seed)
    whole = itertools.islice(batches.from_step(), start, start + 3)
    resumed = itertools.islice(
      iterator.ShuffledBatches(size, batch_size, seed).from_step(start), 3
    )
    for (step, indices), (other_step, others) in zip(whole, resumed):
      self.assertEqual(step, other_step)
      np.testing.assert_array_equal(indices, others)
      self.assertEqual(indices.shape, (batch_size,))

  @settings(deadline=None)
  @given(SIZES, BATCH_SIZES, SEEDS, st.integers(0, 20))
  def test_the_order_does_not_depend_on_the_batch_size(
    self, size, batch_size, seed, step
  ):
    """Half the batch, twice the steps: the same photos in the same order."""
    batches = iterator.ShuffledBatches(size, 2 * batch_size, seed)
    halves = iterator.ShuffledBatches(size, batch_size, seed)
    np.testing.assert_array_equal(
      batches.at(step),
      np.concatenate([halves.at(2 * step), halves.at(2 * step + 1)]),
    )

  @parameterized.parameters(
    (dict(size=0, batch_size=1), "size"),
    (dict(size=1, batch_size=0), "batch_size"),
    (dict(size=1, batch_size=1, seed=-1), "seed"),
  )
  def test_bad_numbers(self, arguments, name):
    with self.assertRaisesRegex(UserError, f"^{name}: expected a whole"):
      iterator.ShuffledBatches(**arguments)


class ShardTest(parameterized.TestCase):
  @settings(deadline=None)
  @given(
    st.sampled_from([1, 2, 4]), st.sampled_from([None, 1, 3]), st.integers(1, 3)
  )
  def test_keeps_the_order(self, devices, accumulation, per_part):
    count = devices * (accumulation or 1) * per_part
    tree = {"i": np.arange(count), "x": np.zeros((count, 2, 3))}
    result = iterator.shard(
      tree, num_devices=devices, accumulation=accumulation
    )
    lead = (
      (devices, per_part)
      if accumulation is None
      else (devices, accumulation, per_part)
    )
    self.assertEqual(result["i"].shape, lead)
    self.assertEqual(result["x"].shape, lead + (2, 3))
    np.testing.assert_array_equal(result["i"].ravel(), tree["i"])

  @parameterized.parameters(
    (6, 4, None, "batch_size: 6 does not divide over 4 devices; .* of 4$"),
    (6, 2, 2, "over 2 devices of 2 accumulation steps each; .* of 4$"),
  )
  def test_what_does_not_divide(self, count, devices, accumulation, message):
    with self.assertRaisesRegex(UserError, message):
      iterator.shard(
        np.arange(count), num_devices=devices, accumulation=accumulation
      )


if __name__ == "__main__":
  absltest.main()

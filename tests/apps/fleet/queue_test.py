"""Who is next: groups, programs, tries."""

from absl.testing import absltest, parameterized
from hypothesis import given, settings
from hypothesis import strategies as st

from my3dgen_jax.apps.fleet.queue import Queue


class Program:
  """Counts how often programs are compared."""

  compared = 0

  def __init__(self, number):
    self.number = number

  def __hash__(self):
    return self.number

  def __eq__(self, other):
    Program.compared += 1
    return isinstance(other, Program) and self.number == other.number


class QueueTest(parameterized.TestCase):
  def test_groups_are_of_one_program_and_shrink_at_the_end(self):
    people = {name: name in "bdf" for name in "abcdefg"}
    queue = Queue(people, workers=2, group=3)
    self.assertEqual(queue.take(0), ["a", "c"])  # of 7 who wait, a quarter
    self.assertEqual(queue.take(0), [])  # it has them
    self.assertEqual(queue.take(1), ["b", "d"])
    for name in "ac":
      self.assertEqual(queue.current(0), name)
      queue.ended(0, name)
    self.assertEqual(queue.take(0), ["e"])
    queue.ended(0, "e")
    self.assertEqual(queue.take(0), ["g"])  # not f, for whom it would compile
    queue.ended(0, "g")
    self.assertEqual(queue.take(0), ["f"])
    one = Queue(dict.fromkeys(range(20)), workers=1, group=3)
    self.assertLen(one.take(0), 3)

  def test_lost_workers(self):
    queue = Queue(dict.fromkeys("abcd"), workers=1, group=3, retries=1)
    self.assertEqual(queue.take(0), ["a", "b"])
    self.assertEqual(queue.lost(0), ("a", True))
    self.assertEqual(queue.take(0), ["a", "b"])
    self.assertEqual(queue.lost(0), ("a", False))  # once more than `retries`
    self.assertEqual(queue.take(0), ["b", "c"])
    self.assertEqual(queue.tries, {"a": 2, "b": 0, "c": 0, "d": 0})
    self.assertEqual(queue.lost(1), (None, False))  # it had nobody

  def test_who_was_given_to_a_worker_that_has_stopped_may_end_all_the_same(
    self,
  ):
    queue = Queue(dict.fromkeys("abcd"), workers=1, group=8, retries=1)
    self.assertEqual(queue.take(0), ["a", "b"])
    queue.lost(0)
    queue.ended(0, "b")
    self.assertFalse(queue.failed(0, "a"))
    self.assertEqual(queue.tries, {"a": 2, "b": 1, "c": 0, "d": 0})
    self.assertEqual(queue.take(0), ["c"])
    queue.ended(0, "c")
    self.assertEqual(queue.take(0), ["d"])

  def test_work_does_not_grow_with_people(self):
    for programs in (1, 20_000):
      people = {str(i): Program(i % programs) for i in range(20_000)}
      queue = Queue(people, workers=4)
      for worker in range(4):
        queue.take(worker)
      Program.compared = 0
      for _ in range(50):
        for worker in range(4):
          queue.ended(worker, queue.current(worker))
          queue.take(worker)
      self.assertLess(Program.compared, 10_000)

  def test_who_fails_by_chance_waits_behind_the_others(self):
    queue = Queue(dict.fromkeys("ab"), workers=1, retries=1)
    queue.take(0)
    self.assertTrue(queue.failed(0, "a"))
    self.assertEqual(queue.take(0), ["b"])
    queue.ended(0, "b")
    self.assertEqual(queue.take(0), ["a"])
    self.assertFalse(queue.failed(0, "a"))
    self.assertTrue(queue.is_over)

  @settings(deadline=None, max_examples=50)
  @given(st.data())
  def test_everybody_ends_whatever_happens(self, data):
    people = {i: i % 3 for i in range(data.draw(st.integers(1, 9)))}
    workers, retries = (
      data.draw(st.integers(1, 3)),
      data.draw(st.integers(0, 2)),
    )
    queue = Queue(people, workers=workers, group=3, retries=retries)
    over = []
    while not queue.is_over:
      worker = data.draw(st.integers(0, workers - 1))
      queue.take(worker)
      person = queue.current(worker)
      kind = data.draw(st.sampled_from(["ended", "failed", "lost"]))
      if kind == "lost":
        lost, again = queue.lost(worker)
        self.assertEqual(lost, person)
        over += [] if again or lost is None else [lost]
      elif person is not None:
        again = kind == "failed" and queue.failed(worker, person)
        if kind == "ended":
          queue.ended(worker, person)
        over += [] if again else [person]
    self.assertCountEqual(over, people)
    self.assertLessEqual(max(queue.tries.values()), retries + 1)


if __name__ == "__main__":
  absltest.main()

"""The workers behind a viewer's windows."""

import threading
import time
from unittest import mock

import numpy as np
from absl.testing import absltest, parameterized

from my3dgen_jax.apps.rendering import frames, render
from my3dgen_jax.apps.viewer import workers
from my3dgen_jax.apps.viewer.workers import Level, Renderer, Request
from my3dgen_jax.data import images
from tests.support import persons

SMALL, FULL = Level(8), Level(16)
PATIENCE = 60.0


class Inbox:
  """What one window has been given."""

  def __init__(self):
    self.frames, self._changed = [], threading.Condition()

  def __call__(self, frame):
    with self._changed:
      self.frames.append(frame)
      self._changed.notify_all()

  def wait(self, condition):
    with self._changed:
      if not self._changed.wait_for(lambda: condition(self.frames), PATIENCE):
        raise AssertionError(f"not in time: {len(self.frames)} frames")
    return self.frames


class RendererTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.person = persons.tiny_person(4)

  def setUp(self):
    super().setUp()
    self.lines = []
    self.renderer = Renderer(log=self.lines.append)
    self.addCleanup(self.renderer.stop)

  def request(self, photo=0, camera=0, **changes):
    anchors = self.person.anchors
    return Request(
      self.person.generator,
      self.person.digest,
      np.asarray(anchors.ws[photo]),
      np.asarray(anchors.c[camera]),
      SMALL,
      FULL,
    )._replace(**changes)

  def test_moving_first_then_refined(self):
    inbox = Inbox()
    self.renderer.submit("a", self.request(), inbox)
    moving, still = inbox.wait(lambda frames: len(frames) == 2)
    self.assertEqual((moving.still, still.still), (False, True))
    anchors = self.person.anchors
    wanted = images.to_uint8(
      render.synthesize(
        self.person.generator, anchors.ws[:1], anchors.c[:1]
      ).image[0]
    )
    # Another program may round a pixel the other way.
    self.assertLessEqual(np.abs(still.picture.astype(int) - wanted).max(), 1)
    self.assertEqual(moving.picture.shape, wanted.shape)
    self.assertGreater(np.abs(moving.picture.astype(int) - wanted).max(), 1)
    time.sleep(0.4)
    self.assertLen(inbox.frames, 2)  # nothing is drawn for nobody

  def test_the_latest_wins(self):
    inbox, blocked, go = Inbox(), threading.Event(), threading.Event()

    def block(frame):
      blocked.set()
      go.wait(PATIENCE)

    self.renderer.submit("slow", self.request(), block)
    self.assertTrue(blocked.wait(PATIENCE))
    requests = [
      self.request(photo, camera) for photo in range(4) for camera in range(4)
    ]
    for request in requests:
      self.renderer.submit("a", request, inbox)
    self.renderer.close("slow")
    go.set()
    frames = inbox.wait(lambda frames: frames and frames[-1].still)
    self.assertLen(frames, 2)
    for frame in frames:
      self.assertIs(frame.request, requests[-1])

  def test_windows_take_turns(self):
    a, b = Inbox(), Inbox()
    # Rest is long, so that a pause of this busy machine's isn't taken for it.
    self.enter_context(mock.patch.object(workers, "_STILL_SECONDS", (2.0, 2.0)))
    self.renderer.submit("b", self.request(1), b)
    ended = time.monotonic() + PATIENCE
    while len(b.frames) < 2 and time.monotonic() < ended:
      self.renderer.submit("a", self.request(0), a)  # moves all the time
      time.sleep(0.005)
    self.assertTrue(b.frames[-1].still)
    self.assertFalse(any(frame.still for frame in a.frames))
    np.testing.assert_array_equal(
      b.frames[0].request.ws, self.person.anchors.ws[1]
    )

  def test_what_moves_does_not_wait_for_what_rests(self):
    """A refined picture may take seconds; an outdated one is dropped."""
    a, b = Inbox(), Inbox()
    drawing, go = threading.Event(), threading.Event()
    draw = self.renderer.draw

    def slow(request, level):
      if level == FULL and not go.is_set():
        drawing.set()
        go.wait(PATIENCE)
      return draw(request, level)

    self.renderer.draw = slow
    first, second = self.request(0), self.request(1)
    self.renderer.submit("a", first, a)
    self.assertTrue(drawing.wait(PATIENCE))
    self.renderer.submit("a", second, a)
    self.renderer.submit("b", first, b)
    a.wait(lambda frames: len(frames) == 2)
    b.wait(len)
    go.set()
    b.wait(lambda frames: frames[-1].still)
    frames = a.wait(lambda frames: frames[-1].still)
    self.assertEqual(
      [(frame.request is second, frame.still) for frame in frames],
      [(False, False), (True, False), (True, True)],
    )

  def test_nothing_quicker_is_drawn_once(self):
    inbox = Inbox()
    self.renderer.submit("a", self.request(moving=FULL), inbox)
    self.assertTrue(inbox.wait(len)[0].still)
    self.renderer.submit("a", self.request(moving=None), inbox)
    inbox.wait(lambda frames: len(frames) == 2)
    time.sleep(0.4)
    self.assertLen(inbox.frames, 2)

  def test_a_window_that_left_gets_nothing(self):
    inbox, other = Inbox(), Inbox()
    self.renderer.submit("a", self.request(), inbox)
    self.renderer.close("a")
    self.renderer.close("never opened")
    self.renderer.submit("b", self.request(), other)
    other.wait(lambda frames: len(frames) == 2)
    self.assertLess(len(inbox.frames), 2)
    self.assertFalse(any(frame.still for frame in inbox.frames))

  def test_failures_reach_their_window_alone(self):
    a, b = Inbox(), Inbox()

    def leaves(frame):
      a(frame)
      raise ConnectionError("closed")

    self.renderer.submit("bad", self.request(c=np.zeros(25)), b)
    frame = b.wait(len)[0]
    self.assertIsNone(frame.picture)
    self.assertRegex(frame.failure, "not a rigid camera")
    time.sleep(0.4)
    self.assertLen(b.frames, 1)  # it would fail again
    self.renderer.submit("left", self.request(), leaves)
    a.wait(lambda frames: len(frames) == 2)
    good = Inbox()
    self.renderer.submit("good", self.request(), good)
    good.wait(lambda frames: len(frames) == 2)
    self.assertIn("could not be sent", "\n".join(self.lines))
    self.assertNotIn("good", "\n".join(self.lines))

  def test_planes_are_kept(self):
    with mock.patch.object(
      frames, "planes_of", side_effect=frames.planes_of
    ) as planes:
      for camera in range(3):
        self.renderer.draw(self.request(0, camera), SMALL)
      self.assertEqual(planes.call_count, 1)
      self.renderer.draw(self.request(1), SMALL)
      self.renderer.draw(self.request(0, key="other weights"), SMALL)
      self.assertEqual(planes.call_count, 3)
      for i in range(20):
        self.renderer.draw(
          self.request(0, ws=np.full_like(self.person.anchors.ws[0], i)), SMALL
        )
      self.renderer.draw(self.request(0), SMALL)  # forgotten by now
      self.assertEqual(planes.call_count, 24)

  @parameterized.parameters("raw", "depth", "normals")
  def test_other_pictures(self, shown):
    picture = self.renderer.draw(self.request(), Level(16, shown))
    self.assertEqual(picture.shape, (16, 16, 3))
    self.assertEqual(picture.dtype, np.uint8)
    self.assertGreater(picture.std(), 0)

  def test_prepare(self):
    network = self.person.generator
    self.assertTrue(self.renderer.is_new(network, FULL))
    moving, still = self.renderer.prepare(network)
    for level in (moving, still):
      self.assertFalse(self.renderer.is_new(network, level))
    self.assertTrue(self.renderer.is_new(network, Level(16, "depth")))
    self.renderer.draw(self.request(), Level(16, "depth"))
    self.assertFalse(self.renderer.is_new(network, Level(16, "depth")))
    self.assertEqual(still, FULL)
    self.assertIn(moving.resolution, (16, 8))
    self.assertIn("compiling pictures of 16 x 16", "\n".join(self.lines))

  def test_choose_level(self):
    levels = [Level(64), Level(32), Level(16)]
    measured = []

    def measure(level):
      measured.append(level)
      return level.resolution / 1000

    choose = lambda *goals: workers.choose_level(levels, measure, goals)
    self.assertEqual(choose(0.1), Level(64))
    self.assertEqual(measured, levels[:1])
    self.assertEqual(choose(0.04, 0.1), Level(32))
    self.assertEqual(choose(0.001, 0.04), Level(32))
    self.assertEqual(measured[-3:], levels)  # each once
    self.assertEqual(choose(0.001, 0.002), Level(16))


if __name__ == "__main__":
  absltest.main()

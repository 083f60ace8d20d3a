"""News of a viewer's window: nobody waits, and nothing is forgotten."""

import threading

from absl.testing import absltest

from my3dgen_jax.apps.viewer.news import News
from my3dgen_jax.errors import UserError


class NewsTest(absltest.TestCase):
  def setUp(self):
    super().setUp()
    self.calls, self.told, self.warned = [], [], []
    self.closed = threading.Event()
    self.news = self.make(News)

  def make(self, kind, **options):
    return kind(
      **{
        "face": lambda: self.calls.append("changed"),
        "camera": lambda: self.calls.append("moved"),
        "tell": self.told.append,
        "warn": self.warned.append,
        "closed": self.closed,
        **options,
      }
    )

  def test_while_busy(self):
    busy, go = threading.Event(), threading.Event()

    def load(_):
      busy.set()
      go.wait(60)
      self.calls.append("loaded")

    thread = threading.Thread(target=self.news.guarded(load), args=(None,))
    thread.start()
    busy.wait(60)
    for _ in range(3):
      self.news.heard(camera=True)  # returns at once
    self.assertEqual(self.calls, [])
    go.set()
    thread.join()
    self.assertEqual(self.calls, ["loaded", "moved"])
    self.news.heard()
    self.assertEqual(self.calls[2:], ["changed"])

  def test_news_that_come_while_others_are_taken(self):
    class Late(News):
      """A slider moves just after it was looked at for the first time."""

      looks = 0
      value = False

      @property
      def _face_news(self):
        now, self.looks = self.value, self.looks + 1
        self.value = self.value or self.looks == 1
        return now

      @_face_news.setter
      def _face_news(self, value):
        self.value = value

    news = self.make(Late)
    news.looks = 0
    news.heard(camera=True)
    self.assertEqual(self.calls, ["moved", "changed"])

  def test_controls_that_we_set_are_no_news(self):
    with self.news.silently():
      self.news.heard()
      thread = threading.Thread(target=self.news.heard)  # a browser
      thread.start()
      thread.join()
    self.assertEqual(self.calls, ["changed"])

  def test_failures_are_told_in_the_window(self):
    def fail():
      raise UserError("photo: there is none")

    self.make(News, face=fail).heard()
    self.assertEqual(self.told, ["photo: there is none"])
    self.closed.set()
    self.news.heard()
    self.assertEqual(self.calls, [])

  def test_what_nobody_expects_is_reported(self):
    def fail(*_):
      raise ValueError("what is\nthis")

    self.news.guarded(fail)(None)
    self.assertLen(self.told, 1)
    self.make(News, camera=fail).heard(camera=True)
    self.assertLen(self.told, 1)
    self.assertLen(self.warned, 2)
    self.closed.set()
    self.news.guarded(fail)(None)
    self.assertLen(self.warned, 2)


if __name__ == "__main__":
  absltest.main()

"""The line of progress, on a terminal and in a file."""

import io

from absl.testing import absltest, parameterized

from my3dgen_jax.training.progress import Progress, duration


class Terminal(io.StringIO):

  def isatty(self):
    return True


class Clock:
  """A clock that is set by hand."""

  now = 0.0

  def __call__(self):
    return self.now


class ProgressTest(parameterized.TestCase):

  @parameterized.parameters(
      (0.4, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"),
      (18_120, "5 h 02 min"))
  def test_duration(self, seconds, text):
    self.assertEqual(duration(seconds), text)

  def test_file_has_few_lines(self):
    file, clock = io.StringIO(), Clock()
    progress = Progress("tuning", 100, "images", file=file, clock=clock)
    for done in range(1, 101):
      clock.now = float(done)
      progress.update(done, f"loss {1 / done:.2f}")
    lines = file.getvalue().splitlines()
    self.assertEqual(lines[0], "tuning: 1 of 100 (1 %), 1 images/s, "
                     "1 min 39 s left, loss 1.00")
    self.assertEqual(lines[-1], "tuning: 100 of 100 (100 %), 1 images/s, "
                     "loss 0.01")
    self.assertLen(lines, 5)

  def test_terminal_has_one(self):
    file, clock = Terminal(), Clock()
    progress = Progress("anchors", 3, "steps", file=file, clock=clock)
    for done in (1, 2, 3):
      clock.now += 1
      progress.update(done)
    self.assertEqual(file.getvalue().count("\n"), 1)
    self.assertEqual(file.getvalue().count("\r"), 3)

  def test_speed_is_of_this_process(self):
    file, clock = io.StringIO(), Clock()
    progress = Progress("tuning", 100, "images", start=90, file=file,
                        clock=clock)
    clock.now = 5.0
    progress.update(95)
    self.assertIn("95 of 100 (95 %), 1 images/s, 5 s left", file.getvalue())


if __name__ == "__main__":
  absltest.main()

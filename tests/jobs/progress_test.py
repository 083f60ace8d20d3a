"""The line of progress, on a terminal and in a file."""

import io
import threading
import time

import jax
import jax.numpy as jnp
from absl.testing import absltest, parameterized

from my3dgen_jax.jobs import compile_time
from my3dgen_jax.jobs import progress as progress_lib
from my3dgen_jax.jobs.progress import compiling, duration, Progress, Waiting


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
    (0.4, "0 s"),
    (59.4, "59 s"),
    (60, "1 min 00 s"),
    (3599, "59 min 59 s"),
    (18_120, "5 h 02 min"),
  )
  def test_duration(self, seconds, text):
    self.assertEqual(duration(seconds), text)

  def test_file_has_few_lines(self):
    file, clock = io.StringIO(), Clock()
    progress = Progress("tuning", 100, "images", file=file, clock=clock)
    for done in range(1, 101):
      clock.now = float(done)
      progress.update(done, f"loss {1 / done:.2f}")
    lines = file.getvalue().splitlines()
    self.assertEqual(lines[0], "tuning: 1 of 100 (1 %), loss 1.00")
    self.assertEqual(
      lines[1],
      "tuning: 31 of 100 (31 %), 1 images/s, 1 min 09 s left, loss 0.03",
    )
    self.assertEqual(
      lines[-1], "tuning: 100 of 100 (100 %), 1 images/s, loss 0.01"
    )
    self.assertLen(lines, 5)

  def test_terminal_has_one(self):
    file, clock = Terminal(), Clock()
    progress = Progress("anchors", 3, "steps", file=file, clock=clock)
    for done in (1, 2, 3):
      clock.now += 1
      progress.update(done)
    self.assertEqual(file.getvalue().count("\n"), 1)
    self.assertEqual(file.getvalue().count("\r"), 3)

  def test_speed_is_of_this_process_without_its_first_step(self):
    """That one waits for the program."""
    file, clock = io.StringIO(), Clock()
    progress = Progress(
      "tuning", 100, "images", start=90, file=file, clock=clock
    )
    clock.now = 200.0
    progress.update(92)
    clock.now = 240.0
    progress.update(94)
    progress.skip(2)  # they were remembered
    clock.now = 280.0
    progress.update(98)
    clock.now = 300.0
    progress.update(100)
    self.assertEqual(
      file.getvalue().splitlines(),
      [
        "tuning: 92 of 100 (92 %)",
        "tuning: 94 of 100 (94 %), 0.05 images/s, 2 min 00 s left",
        "tuning: 98 of 100 (98 %), 0.05 images/s, 40 s left",
        "tuning: 100 of 100 (100 %), 0.06 images/s",
      ],
    )

  def test_compiling_is_no_work(self):
    """A second program, e.g. of a last batch, does not spoil the estimate."""
    file, clock, compiled = io.StringIO(), Clock(), Clock()
    progress = Progress(
      "tuning", 100, "images", file=file, clock=clock, compiling_time=compiled
    )
    progress.update(1)
    clock.now, compiled.now = 100.0, 90.0
    progress.update(11)
    self.assertEqual(
      file.getvalue().splitlines()[1],
      "tuning: 11 of 100 (11 %), 1 images/s, 1 min 29 s left",
    )

  def test_programs_that_are_compiled_at_once(self):
    """Their seconds may be more than have passed."""
    file, clock, compiled = io.StringIO(), Clock(), Clock()
    progress = Progress(
      "tuning", 100, "images", file=file, clock=clock, compiling_time=compiled
    )
    progress.update(1)
    clock.now, compiled.now = 100.0, 120.0
    progress.update(11)
    self.assertIn("1 images/s, 1 min 29 s left", file.getvalue())

  def test_jax_tells_what_it_compiles(self):
    Progress("tuning", 1000, "images", file=io.StringIO())
    before, began = compile_time.seconds(), time.monotonic()
    jax.jit(lambda x: jnp.linalg.svd(jnp.cos(x) @ x)[0])(jnp.ones((7, 7)))
    took = compile_time.seconds() - before
    self.assertBetween(took, 1e-3, 2 * (time.monotonic() - began) + 1)


class WaitingTest(parameterized.TestCase):
  def wait(self, file, seconds, done=True):
    clock = Clock()
    waiting = Waiting("tuning", file=file, clock=clock)
    for now in range(4 * seconds + 1):
      clock.now = now / 4
      waiting.tick()
    waiting.end(done)
    return file.getvalue()

  def test_what_is_ready_soon_is_not_told(self):
    for file in (io.StringIO(), Terminal()):
      self.assertEqual(self.wait(file, 1), "")

  def test_file_has_few_lines(self):
    self.assertEqual(
      self.wait(io.StringIO(), 70).splitlines(),
      [
        "tuning: compiling … 2 s",
        "tuning: compiling … 32 s",
        "tuning: compiling … 1 min 02 s",
        "tuning: compiled in 1 min 10 s",
      ],
    )

  def test_terminal_has_one(self):
    text = self.wait(Terminal(), 12)
    self.assertEqual(text.count("\n"), 1)
    self.assertEqual(text.count("\r"), 12)
    self.assertIn("\rtuning: compiling … 11 s\x1b[K\r", text)
    self.assertEndsWith(text, "\rtuning: compiled in 12 s\x1b[K\n")

  def test_stopped(self):
    self.assertEqual(
      self.wait(io.StringIO(), 5, done=False).splitlines(),
      ["tuning: compiling … 2 s", "tuning: compiling … 5 s"],
    )

  def test_another_wait(self):
    file, clock = io.StringIO(), Clock()
    waiting = Waiting(
      "devices", doing="starting", done="started", file=file, clock=clock
    )
    clock.now = 3.0
    waiting.tick()
    clock.now = 9.0
    waiting.end()
    self.assertEqual(
      file.getvalue(), "devices: starting … 3 s\ndevices: started in 9 s\n"
    )

  def test_around_a_program(self):
    file, before = io.StringIO(), threading.active_count()
    with compiling("tuning", file=file):
      pass
    with self.assertRaises(KeyError), compiling("tuning", file=file):
      raise KeyError
    self.assertEqual(file.getvalue(), "")
    self.assertEqual(threading.active_count(), before)

  def test_in_its_thread(self):
    """The line comes while the program keeps the first thread."""
    seen = threading.Event()

    class File(io.StringIO):
      def write(self, text):
        seen.set()
        return super().write(text)

    file = File()
    with absltest.mock.patch.object(progress_lib, "_PATIENCE", 0.0):
      with compiling("tuning", file=file):
        self.assertTrue(seen.wait(60))
    self.assertRegex(
      file.getvalue(),
      r"\Atuning: compiling … \d+ s\n(?s:.*)"
      r"tuning: compiled in \d+ s\n\Z",
    )


if __name__ == "__main__":
  absltest.main()

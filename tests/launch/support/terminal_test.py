"""What commands print is plain text."""

import io
import subprocess
import sys

from absl.testing import absltest, parameterized

from my3dgen_jax.launch.support import terminal


class TerminalTest(parameterized.TestCase):
  @parameterized.parameters(
    ("photo\x1b]0;owned\x07.png", "photo?]0;owned?.png"),
    ("\x1b[2Jgone", "?[2Jgone"),
    ("a\u202egnp.exe", "a?gnp.exe"),
    ("\x9b31m", "?31m"),
    ("\rdone\x1b[K\n", "\rdone\x1b[K\n"),
    ("Ünï 太郎 …\t\n", "Ünï 太郎 …\t\n"),
  )
  def test_text(self, text, shown):
    raw = io.BytesIO()
    stream = terminal.PlainText(raw, encoding="utf-8", newline="")
    self.assertEqual(stream.write(text), len(text))
    stream.flush()
    self.assertEqual(raw.getvalue().decode(), shown)

  @parameterized.parameters("ascii", "cp1252", "utf-8")
  def test_streams_of_a_process(self, encoding):
    program = (
      "from my3dgen_jax.launch.support import terminal; import sys;"
      "terminal.guard(); terminal.guard(); print('太郎 \\x1b[2J …');"
      "print('e\\x07', file=sys.stderr)"
    )
    found = subprocess.run(
      [sys.executable, "-c", program],
      capture_output=True,
      check=True,
      env={"PYTHONIOENCODING": encoding, "JAX_PLATFORMS": "cpu"},
    )
    self.assertEqual(found.stderr, b"e?\n")
    self.assertNotIn(b"\x1b", found.stdout)
    self.assertIn(
      "太郎" if encoding == "utf-8" else r"\u592a",
      found.stdout.decode(encoding),
    )

  def test_what_is_unbuffered_stays_so(self):
    program = (
      "from my3dgen_jax.launch.support import terminal; import sys, os;"
      "terminal.guard(); print('first'); os._exit(0)"
    )
    found = subprocess.run(
      [sys.executable, "-u", "-c", program], capture_output=True, check=True
    )
    self.assertEqual(found.stdout, b"first\n")

  def test_older_handlers_go_on(self):
    program = (
      "import logging, sys; handler = logging.StreamHandler(sys.stderr);"
      "from my3dgen_jax.launch.support import terminal; terminal.guard();"
      "logging.getLogger().addHandler(handler); logging.warning('heard')"
    )
    found = subprocess.run(
      [sys.executable, "-c", program], capture_output=True, check=True
    )
    self.assertEqual(found.stderr, b"heard\n")


if __name__ == "__main__":
  absltest.main()

"""Compiled programs are kept, found again, and never in the way."""

import itertools
import json
import os
import pathlib
import resource
import stat
import subprocess
import sys
import tempfile

from absl.testing import absltest, parameterized

from my3dgen_jax.launch.support import programs

ROOT = pathlib.Path(__file__).resolve().parents[3]

# A command: it compiles, and says what it has made of how many programs.
COMMAND = """
import json, os
import jax, jax.numpy as jnp
from my3dgen_jax.launch.support import cli
if os.environ.get("TEST_CONFIG"):
  jax.config.update("jax_compilation_cache_dir", os.environ["TEST_CONFIG"])
counts = {"compile_requests_use_cache": 0, "cache_hits": 0, "cache_misses": 0}
def count(event, **_):
  name = event.rsplit("/", 1)[-1]
  if name in counts: counts[name] += 1
jax.monitoring.register_event_listener(count)
def main():
  f = jax.jit(lambda x: jnp.sin(x) @ jnp.cos(x).T)
  g = jax.jit(lambda x: jnp.linalg.norm(f(x)) + 1)
  result = float(g(jnp.arange(12.0).reshape(3, 4)))
  print(json.dumps({"asked": counts["compile_requests_use_cache"],
                    "found": counts["cache_hits"],
                    "kept": counts["cache_misses"], "result": result}))
cli.run(main)
"""


class ProgramsTest(parameterized.TestCase):
  def setUp(self):
    super().setUp()
    folder = tempfile.TemporaryDirectory()
    self.addCleanup(folder.cleanup)
    self.folder = pathlib.Path(folder.name)
    self.home = self.folder / "home"

  def start(self, *flags, preexec_fn=None, **environment):
    own = {
      name: value for name, value in os.environ.items() if "CACHE" not in name
    }
    return subprocess.Popen(
      [sys.executable, "-c", COMMAND, *flags],
      text=True,
      preexec_fn=preexec_fn,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      env={
        **own,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XDG_CACHE_HOME": str(self.home),
        **environment,
      },
    )

  def finish(self, process):
    """What the command says, and the lines on stderr."""
    out, err = process.communicate()
    self.assertEqual(process.returncode, 0, err)
    return json.loads(out), err.splitlines()

  def run_command(self, *flags, **environment):
    return self.finish(self.start(*flags, **environment))

  def entries(self, folder=None):
    return sorted((folder or self.home).rglob("*-cache"))

  def test_kept_and_found_again(self):
    first, warned = self.run_command()
    self.assertEqual(warned, [])
    self.assertGreater(first["asked"], 2)
    self.assertEqual((first["found"], first["kept"]), (0, first["asked"]))
    kept = self.entries()
    self.assertLen(kept, first["kept"])
    folder = kept[0].parent
    self.assertEqual(folder.parent, self.home / "my3dgen_jax" / "programs")
    self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
    second, warned = self.run_command()
    self.assertEqual(warned, [])
    self.assertEqual((second["found"], second["kept"]), (first["asked"], 0))
    self.assertEqual(second["result"], first["result"])

  def test_flag_overrules_all(self):
    place = self.folder / "elsewhere"
    _, warned = self.run_command(
      f"--program_cache={place}",
      JAX_ENABLE_COMPILATION_CACHE="0",
      JAX_COMPILATION_CACHE_DIR=str(self.folder / "theirs"),
    )
    self.assertEqual(warned, [])
    self.assertNotEmpty(self.entries(place))
    for environment in ({}, {"JAX_COMPILATION_CACHE_DIR": str(self.home)}):
      found, warned = self.run_command("--program_cache=", **environment)
      self.assertEqual((found["found"], found["kept"], warned), (0, 0, []))
    self.assertEqual(sorted(self.folder.iterdir()), [place])

  def test_environment_and_config_overrule_the_default(self):
    theirs = self.folder / "theirs"
    always = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    for environment in (
      {"JAX_COMPILATION_CACHE_DIR": str(theirs)},
      {"TEST_CONFIG": str(theirs)},
    ):
      found, _ = self.run_command(**environment, **always)
      self.assertEqual(found["asked"], found["found"] + found["kept"])
      self.assertNotEmpty(self.entries(theirs))
    self.assertEqual(found["kept"], 0)
    for environment in (
      {"JAX_ENABLE_COMPILATION_CACHE": "false"},
      {"JAX_COMPILATION_CACHE_DIR": ""},
    ):
      found, warned = self.run_command(**environment)
      self.assertEqual((found["found"], found["kept"], warned), (0, 0, []))
    self.assertFalse(self.home.exists())

  def test_environment_overrules_the_threshold(self):
    found, _ = self.run_command(
      JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="1000"
    )
    self.assertEqual(found["kept"], 0)

  @parameterized.parameters("file", "file/below", "/dev/null", "/proc/below")
  def test_folder_that_cannot_be_written(self, place):
    (self.folder / "file").write_text("")
    place = self.folder / place
    found, warned = self.run_command(f"--program_cache={place}")
    self.assertEqual((found["found"], found["kept"]), (0, 0))
    self.assertLen(warned, 1)
    self.assertRegex(warned[0], rf"\Awarning: [^\n]*{place}[^\n]*--program_ca")

  def test_home_that_cannot_be_written(self):
    self.home.write_text("")
    found, warned = self.run_command()
    self.assertLen(warned, 1)
    self.assertIn(str(self.home), warned[0])
    self.assertEqual(found["kept"], 0)

  def test_damaged_entries(self):
    """They are compiled again, without a word, and once."""
    first, _ = self.run_command()
    damages = (
      lambda whole: b"",
      lambda whole: b"\x00" * 3000,
      lambda whole: whole[: len(whole) // 2],
    )
    self.assertGreaterEqual(first["kept"], len(damages))
    for path, damage in zip(self.entries(), itertools.cycle(damages)):
      path.write_bytes(damage(path.read_bytes()))
    second, warned = self.run_command()
    self.assertEqual(warned, [])
    self.assertEqual((second["found"], second["kept"]), (0, first["kept"]))
    self.assertEqual(second["result"], first["result"])
    self.assertEqual(self.run_command()[0]["found"], first["asked"])

  def test_damaged_entries_of_others_stay(self):
    theirs = {
      "JAX_COMPILATION_CACHE_DIR": str(self.folder),
      "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    self.run_command(**theirs)
    for path in self.entries(self.folder):
      path.write_bytes(b"")
    found, warned = self.run_command(**theirs)
    self.assertEqual(found["found"], 0)
    self.assertLen(warned, 1)
    self.assertStartsWith(warned[0], "warning: Error reading")
    self.assertEqual(
      {path.stat().st_size for path in self.entries(self.folder)}, {0}
    )

  def test_entries_that_cannot_be_written(self):
    """As on a full disk: one line, however many; and the next one heals."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    found, warned = self.finish(self.start(preexec_fn=limit))
    self.assertLen(warned, 1)
    self.assertRegex(
      warned[0], r"\Awarning: Error writing [^\n]* without the cache"
    )
    self.assertEqual({path.stat().st_size for path in self.entries()}, {100})
    again, warned = self.run_command()
    self.assertEqual(
      (again["found"], again["kept"], warned), (0, found["asked"], [])
    )
    self.assertEqual(again["result"], found["result"])

  def test_two_at_once(self):
    processes = [self.start() for _ in range(2)]
    results = [self.finish(process) for process in processes]
    self.assertEqual([warned for _, warned in results], [[], []])
    self.assertEqual(results[0][0]["result"], results[1][0]["result"])
    found, _ = self.run_command()
    self.assertEqual(found["found"], found["asked"])

  def test_what_was_not_used_for_longest_goes(self):
    for i in range(8):
      path = self.folder / f"jit_{i}-cache"
      path.write_bytes(b"x" * 100)
      os.utime(path, (i, i))
    os.utime(self.folder / "jit_0-cache", (100, 0))  # it was read later
    programs.prune(self.folder, 800)
    self.assertLen(self.entries(self.folder), 8)
    programs.prune(self.folder, 600)
    self.assertEqual(
      [path.name for path in self.entries(self.folder)],
      [f"jit_{i}-cache" for i in (0, 5, 6, 7)],
    )

  def test_full_disk(self):
    shown = absltest.mock.patch.object(
      programs.shutil,
      "disk_usage",
      return_value=programs.shutil.disk_usage("/")._replace(free=2**20),
    )
    with (
      shown,
      self.assertRaisesRegex(ValueError, "only 1 MB of disk space left"),
    ):
      programs._check_room(self.folder)


if __name__ == "__main__":
  absltest.main()

"""Flags of a config's fields: what they read, and what they refuse."""

import dataclasses
import math
from typing import Literal

from absl import flags
from absl.testing import absltest, flagsaver, parameterized

from my3dgen_jax.config import part, REQUIRED, setting
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import config_flags


@dataclasses.dataclass(frozen=True)
class Lens:
  focal: float = setting(4.26, "Focal length.", low=0.01, high=1000)
  radius: float = setting(2.7, "Distance.")


@dataclasses.dataclass(frozen=True)
class Shot:
  path: str = setting(REQUIRED, "Folder.")
  lens: Lens = part(Lens(radius=3.0), "lens_", fields=("focal",))
  frames: int = setting(48, "Frames.", low=1)
  fps: float | None = setting(None, "Frames per second.")
  way: Literal["linear", "spherical"] = setting("linear", "Way.")
  dtype: Literal["float32"] | None = setting(None, "Type.")
  video: str = setting(".mp4", "Format.", choices=(".mp4", ".gif"))
  kinds: tuple[str, ...] = setting((), "Kinds.", choices=("raw", "depth"))
  yaws: tuple[float, ...] = setting((), "Yaws.", low=-math.pi, high=math.pi)
  strengths: tuple[float, ...] = setting(
    (-1.0, 0.5), "Strengths.", low=-9, high=9
  )
  only: tuple[int, ...] | None = setting(None, "Numbers.")
  names: tuple[str, ...] = setting((), "Names.")
  grid: bool = setting(False, "A grid.")
  computed: str = "unset"  # not a flag


class ConfigFlagsTest(parameterized.TestCase):
  @classmethod
  def setUpClass(cls):
    super().setUpClass()
    cls.read = staticmethod(
      config_flags.define(Shot, "shot_", names={"yaws": "yaw"}, path="here")
    )
    if not flags.FLAGS.is_parsed():
      flags.FLAGS.mark_as_parsed()

  @classmethod
  def tearDownClass(cls):
    for name in list(flags.FLAGS):
      if name.startswith("shot_") or name == "lens_focal":
        delattr(flags.FLAGS, name)
    super().tearDownClass()

  def test_defaults_are_the_configs(self):
    self.assertEqual(self.read(), Shot(path="here"))
    self.assertEqual(flags.FLAGS["shot_strengths"].default, ["-1", "0.5"])

  def test_fields_that_are_not_flags(self):
    for name in ("shot_computed", "lens_radius", "shot_yaws"):
      self.assertNotIn(name, flags.FLAGS)
    self.assertEqual(self.read(computed="now", frames=2).computed, "now")

  @parameterized.parameters(
    ("frames", "3", 3),
    ("fps", "2.5", 2.5),
    ("way", "spherical", "spherical"),
    ("dtype", "float32", "float32"),
    ("video", "gif", ".gif"),
    ("strengths", "1,-2e0", (1.0, -2.0)),
    ("only", "1,4-6", (1, 4, 5, 6)),
    ("names", "a,b", ("a", "b")),
    ("names", "", ()),
    ("grid", "true", True),
  )
  def test_values(self, name, text, expected):
    with flagsaver.as_parsed(**{f"shot_{name}": text}):
      self.assertEqual(getattr(self.read(), name), expected)

  def test_renamed_repeated_and_nested(self):
    with flagsaver.as_parsed(
      shot_yaw="0.5", shot_kinds=["raw", "depth"], lens_focal="2"
    ):
      found = self.read()
    self.assertEqual(
      (found.yaws, found.kinds, found.lens),
      ((0.5,), ("raw", "depth"), Lens(2.0, 3.0)),
    )

  @parameterized.parameters(("frames", "0"), ("way", "up"), ("video", ".gif"))
  def test_bounds_and_choices(self, name, text):
    with self.assertRaisesRegex(flags.IllegalFlagValueError, f"shot_{name}"):
      with flagsaver.as_parsed(**{f"shot_{name}": text}):
        pass

  @parameterized.parameters(
    ("strengths", ""),
    ("strengths", "10"),
    ("yaw", "4"),
    ("only", ""),
    ("only", "x"),
  )
  def test_lists_that_are_no_numbers(self, name, text):
    with flagsaver.as_parsed(**{f"shot_{name}": text}):
      with self.assertRaisesRegex(FlagError, f"--shot_{name}: "):
        self.read()

  def test_empty_where_that_is_the_default(self):
    with flagsaver.as_parsed(shot_yaw=""):
      self.assertEqual(self.read().yaws, ())

  def test_parse(self):
    read = config_flags.define(
      Shot, "shot_other_", only=("frames", "path"), parse={"path": str.upper}
    )
    with flagsaver.as_parsed(shot_other_path="x"):
      self.assertEqual(read(computed="y"), Shot(path="X", computed="y"))


if __name__ == "__main__":
  absltest.main()

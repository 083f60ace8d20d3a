"""Puts the flagfiles of `launch/` into wheels; all else is pyproject.toml."""

import pathlib
import shutil

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithFlagfiles(build_py):
  def run(self):
    super().run()
    if self.editable_mode:
      return  # `launch/` itself is found
    target = pathlib.Path(self.build_lib, "my3dgen_jax", "launch", "flagfiles")
    target.mkdir(parents=True, exist_ok=True)
    for path in pathlib.Path(__file__).parent.glob("launch/*"):
      shutil.copy(path, target)


setup(cmdclass={"build_py": BuildWithFlagfiles})

"""Writes a head as one HTML file that turns in any browser, offline.

    python -m my3dgen_jax.launch.share --run=runs/obama --latents=photo003 \\
        --out=head.html
    python -m my3dgen_jax.launch.share --run=runs/obama --out=way.html \\
        --latents=photo003,photo010 --between=linear

The page holds the radiance field itself, which the browser's graphics
processor draws (WebGL 2): before super-resolution, at any size. It asks nobody
for anything, and shows a picture where it cannot turn. Nobody's name and no
photo's is inside, but for --title.

What: --latents, photos of the run or files of launch.invert, or --seeds; each
is a button of the page. --between: a slider along the way from each to the
next. --direction and --strengths: a slider of an edit for each.
"""

from my3dgen_jax.apps import share
from my3dgen_jax.apps.rendering import scenes
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_OUT = cli.string("out", None, "File to write; its name ends in .html.")
_SCENES = config_flags.define(scenes.ScenesConfig)
_CONFIG = config_flags.define(share.ShareConfig)


def main():
  config = _CONFIG().validate()
  if not _OUT.value:
    raise FlagError("--out is missing: the file to write")
  wanted = _SCENES()
  wanted.latents.require_one_kind()
  if wanted.between and wanted.direction:
    raise FlagError("--between and --direction: give one of them")
  share.check_path(_OUT.value)  # before networks are read
  person = person_flags.person()
  found = scenes.find_scenes(person, wanted, frames=config.stops)
  share.write_scenes(person, found, config, _OUT.value)


if __name__ == "__main__":
  cli.run(main)

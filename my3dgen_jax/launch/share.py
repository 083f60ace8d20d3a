"""Writes a head as one HTML file, to turn in any browser, offline.

    my3dgen share --run=runs/obama --latents=photo003 --out=head.html
    my3dgen share --run=runs/obama --latents=photo003,photo010 \\
        --between=linear --out=between.html

The page contains the radiance field itself, before super-resolution, which the
browser's GPU draws (WebGL 2) at any size. The page makes no requests, and shows
a still picture if the browser cannot draw. It contains no names of people or
photos, except in --title.

Each of --latents (photos of the run or files of my3dgen invert) or --seeds is a
button on the page. --between adds a slider from each to the next; --direction
with --strengths adds a slider for an edit of each.
"""

from my3dgen_jax.apps import share
from my3dgen_jax.apps.rendering import scenes
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_OUT = cli.string("out", None, "File to write (.html).")
_SCENES = config_flags.define(scenes.ScenesConfig)
_CONFIG = config_flags.define(share.ShareConfig)


def main():
  config = _CONFIG().validate()
  if not _OUT.value:
    raise FlagError("--out is missing: the file to write")
  wanted = _SCENES()
  wanted.latents.require_one_kind()
  if wanted.between and wanted.direction:
    raise FlagError("--between and --direction exclude each other; give one")
  share.check_path(_OUT.value)  # before networks are loaded
  person = person_flags.person()
  found = scenes.find_scenes(person, wanted, frames=config.stops)
  share.write_scenes(person, found, config, _OUT.value)


if __name__ == "__main__":
  cli.run(main)

"""Turns photos or a video of one person into an album.

    python -m my3dgen_jax.launch.prepare --photos=my_photos --out=data/me

Finds the faces, cuts them out as EG3D's training images are, finds out how
each head is turned, and sets aside what would do harm: photos without a face,
blurred, tiny or grey ones, near duplicates and, with --identity, other people.
See data/me/kept.png and data/me/set_aside.png; data/me/report.csv says why.
A stopped command goes on when it is given again. --mark opens a page in the
browser, on which faces that were not found are marked by hand; --domain=cat,
for cats, does so for all photos without landmarks. Then:

    python -m my3dgen_jax.launch.personalize --album=data/me \\
        --checkpoint=… --lpips=… --out=runs/me

which holds the photos of data/me/album/test.txt out, and compares identity with
those of reference.txt.
"""

from my3dgen_jax.apps.preparation import prepare
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags

_CONFIG = config_flags.define(prepare.PrepareConfig)


def main():
  config = _CONFIG()
  for name in ("photos", "out"):
    if not getattr(config, name):
      raise FlagError(f"--{name} is missing; see --help")
  prepare.prepare(config)


if __name__ == "__main__":
  cli.run(main)

"""Turns photos or a video of one person into an album.

    my3dgen prepare --photos=my_photos --out=data/me
    my3dgen personalize --album=data/me --checkpoint=checkpoints/ffhq \\
        --lpips=checkpoints/lpips_alex --out=runs/me

Finds the faces, crops them like EG3D's training images, estimates each head's
pose, and sets aside photos that would harm training: photos without a face,
blurred, tiny and gray ones, near duplicates and, with --identity, other people.
The contact sheets data/me/kept.png and data/me/set_aside.png show the result;
data/me/report.csv gives the reasons. Run the same command again to resume after
an interruption. --mark opens a page in the browser to mark faces that were not
found by hand; --domain=cat, for cats, does so for all photos without landmarks.

my3dgen personalize holds out the photos in data/me/album/test.txt, and compares
identity with those in reference.txt.
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

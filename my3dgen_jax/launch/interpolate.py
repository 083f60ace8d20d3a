"""Interpolates between latents of a person, as a strip and a video.

    my3dgen interpolate --run=runs/obama --camera=orbit --out=between \\
        --anchors=photo003,photo010,inverted/new.npz

--anchors: two or more photos of the run (names, or numbers from 0), or files
that my3dgen invert has written.
"""

from my3dgen_jax.apps import interpolate
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_ANCHORS = cli.listing(
  "anchors",
  None,
  "Latents to pass through: photos of the run or files of my3dgen invert; "
  "default: the run's first and last photo.",
)
_CONFIG = config_flags.define(interpolate.InterpolateConfig)


def main():
  config = _CONFIG().validate()
  out = person_flags.out()
  interpolate.write_interpolation(
    person_flags.person(), config, out, names=_ANCHORS.value
  )
  print(
    f"{out}/{interpolate.STRIP_FILE}, {interpolate.VIDEO_STEM}{config.video}"
  )


if __name__ == "__main__":
  cli.run(main)

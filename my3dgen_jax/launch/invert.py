"""Turns photos into latents and views that nobody has photographed.

    python -m my3dgen_jax.launch.invert --run=runs/obama --album=new_photos \\
        --way=pivot --out=inverted

--way: w or w+ (projection), hull (into the personal hull), pivot (projection,
then a small adapter on top of the person's bends the generator to each photo).
A stopped command goes on when it is given again.
"""

from my3dgen_jax.apps import invert
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_ALBUM = person_flags.AlbumFlags()
_CONFIG = config_flags.define(invert.InvertConfig)


def main():
  if not _ALBUM.given:
    raise FlagError(
      "--album is missing: a folder or zip of photos with their dataset.json"
    )
  config = _CONFIG().validate()
  out = person_flags.out()
  person = person_flags.person(needs_run=config.way == "hull")
  model = person.generator.module.config
  # Photos may lie in the run's album with their anchors, which are of photos
  # that tuning has seen; what is asked for is a search.
  album = _ALBUM.open(
    img_resolution=model.img_resolution, rendering=model.rendering
  ).without_latents()
  summary = invert.write_inversions(person, album, config, out)
  print(
    f"mean of {len(album)}: "
    + ", ".join(
      f"{name} {value:.3f}" for name, value in summary["mean"].items()
    )
  )
  print(f"{out}/{invert.SHEET_FILE}")


if __name__ == "__main__":
  cli.run(main)

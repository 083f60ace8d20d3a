"""Turns photos into latents, and renders new views of them.

    my3dgen invert --run=runs/obama --album=new_photos --way=pivot \\
        --out=inverted

--way: w or w+ (projection), hull (into the personal convex hull), pivot
(projection, then a small adapter on top of the person's is tuned to each
photo), encoder (the encoder's prediction alone, in seconds). Run the same
command again to resume after an interruption.
"""

from my3dgen_jax.apps import invert
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_ALBUM = person_flags.AlbumFlags()
_CONFIG = config_flags.define(invert.InvertConfig)


def main():
  if not _ALBUM.given:
    raise FlagError(
      "--album is missing: a folder or zip of photos and dataset.json"
    )
  config = _CONFIG().validate()
  out = person_flags.out()
  person = person_flags.person(needs_run=config.way == "hull")
  model = person.generator.module.config
  # The run's own album holds the anchors of its photos. Inverting means to
  # search for latents, so those anchors are dropped.
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

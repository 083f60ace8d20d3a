"""Turns photos into latents and views that nobody has photographed.

    python -m my3dgen_jax.launch.invert --run=runs/obama --album=new_photos \\
        --way=pivot --out=inverted

--way: w or w+ (projection), hull (into the personal hull), pivot (projection,
then a small adapter on top of the person's bends the generator to each photo).
A stopped command goes on when it is given again.
"""

import dataclasses

from my3dgen_jax.apps import invert
from my3dgen_jax.config import HullFitConfig, PivotConfig, ProjectionConfig
from my3dgen_jax.data import provenance
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, person_flags

_ALBUM = person_flags.AlbumFlags()
_WAY = cli.enum("way", "pivot", invert.WAYS, "See above.")
_FRAMES = cli.integer("frames", 48, "Of the orbit; 0: none.", lower_bound=0)
_YAW = cli.number("yaw", 0.35, "Of the orbit, radians to either side.")
_PITCH = cli.number("pitch", 0.25, "Of the orbit, radians up and down.")
_VIDEO = cli.enum("video", "mp4", [s[1:] for s in provenance.VIDEOS],
                  "Format of the orbit.")
_PROJECTION = cli.define_config(ProjectionConfig, "latent_", steps=600)
_HULL = cli.define_config(HullFitConfig, "hull_")
_PIVOT = cli.define_config(PivotConfig, "tuning_")


def main():
  if not _ALBUM.given:
    raise FlagError("--album is missing: a folder or zip of photos with their "
                    "dataset.json")
  config = invert.InvertConfig(
      way=_WAY.value, projection=_PROJECTION(), hull=_HULL(), pivot=_PIVOT(),
      frames=_FRAMES.value, yaw=_YAW.value, pitch=_PITCH.value,
      video="." + _VIDEO.value).validate()
  out = person_flags.out()
  person = person_flags.person(needs_run=config.way == "hull")
  model = person.generator.module.config
  album = _ALBUM.open(img_resolution=model.img_resolution)
  # Photos may lie in the run's album with their anchors, which are of photos
  # that tuning has seen; what is asked for is a search.
  album = dataclasses.replace(album, photos=tuple(
      dataclasses.replace(photo, ws=None) for photo in album.photos))
  summary = invert.write_inversions(person, album, config, out)
  print(f"mean of {len(album)}: " + ", ".join(
      f"{name} {value:.3f}" for name, value in summary["mean"].items()))
  print(f"{out}/{invert.SHEET_FILE}")


if __name__ == "__main__":
  cli.run(main)

"""Inpaints, upscales, colorizes or deblurs photos of a person.

    my3dgen enhance --run=runs/obama --album=photos --task=inpaint \\
        --out=inpainted
    my3dgen enhance --run=runs/obama --small=tiny.png --camera=camera.json \\
        --task=superresolution --out=large

--task: inpaint (fills the black region of --mask, or of NAME_mask.png beside
the photo; default: the center of the face), superresolution (small photos, or
photos downscaled by --factor), color (gray photos), deblur (--sigma), jpeg
(--quality). All tasks but inpaint ignore the black region of NAME_mask.png
(borders that my3dgen prepare filled), and take the person's region from --mask
or --segmenter. Run the same command again to resume after an interruption.
"""

from my3dgen_jax.apps import enhance
from my3dgen_jax.apps.enhancement import photos
from my3dgen_jax.apps.enhancement.tasks import EnhanceConfig
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_ALBUM = person_flags.AlbumFlags(", of one size")
_SOURCE = config_flags.define(photos.PhotoSource)
_CONFIG = config_flags.define(EnhanceConfig)


def main():
  source = _SOURCE().validate(has_album=_ALBUM.given)
  config = _CONFIG().validate()
  out = person_flags.out()
  album = (
    photos.one_photo(source.small, source.camera, _ALBUM.convention)
    if source.small
    else _ALBUM.open()
  )
  segment = source.person_finder()
  summary = enhance.write_enhanced(
    person_flags.person(needs_run=True),
    album,
    config,
    out,
    mask=source.mask,
    segment=segment,
  )
  if summary["mean"]:
    means = (f"{name} {mean:.3f}" for name, mean in summary["mean"].items())
    print(f"mean of {len(album)}: {', '.join(means)}")
  print(f"{out}/{enhance.SHEET_FILE}")


if __name__ == "__main__":
  cli.run(main)

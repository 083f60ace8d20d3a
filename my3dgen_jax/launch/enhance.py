"""Fills in what is missing from photos of a person.

    python -m my3dgen_jax.launch.enhance --run=runs/obama --album=photos \\
        --task=inpaint --out=inpainted
    python -m my3dgen_jax.launch.enhance --run=runs/obama --small=tiny.png \\
        --camera=camera.json --task=superresolution --out=large

--task: inpaint (a hole: black in --mask or in NAME_mask.png beside the photo;
default: the centre of the face), superresolution (small photos, or --factor
times smaller ones), colour (grey photos), deblur (--sigma), jpeg (--quality).
All but inpaint do not look at what is black in NAME_mask.png (borders that
prepare filled); for them the person is where --mask or --segmenter says.
A stopped command goes on when it is given again.
"""

from my3dgen_jax.apps import enhance
from my3dgen_jax.apps.enhancement import photos
from my3dgen_jax.apps.enhancement.tasks import EnhanceConfig
from my3dgen_jax.data.faces import mediapipe_models
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_ALBUM = person_flags.AlbumFlags(", of one size")
_SMALL = cli.string("small", None, "File of one photo, of any size, in colours "
                    "or grey, in place of an album.")
_CAMERA = cli.string("camera", None, "File of --small's camera: JSON, 25 "
                     "numbers; default: dataset.json beside the photo.")
_MASK = cli.string("mask", None, "Grey picture of the generator's size: white "
                   "where the photo is known (inpaint; default: NAME_mask.png "
                   "beside the photo) or where the person is (other tasks; "
                   "default: --segmenter finds it).")
_SEGMENTER = cli.enum("segmenter", "depth", ["depth", "mediapipe"], "What "
                      "finds the person where there is no --mask: the "
                      "generator's depth, or MediaPipe's model.")
_CONFIG = config_flags.define(EnhanceConfig)


def main():
  if _ALBUM.given == bool(_SMALL.value):
    raise FlagError("give photos by --album, or one by --small")
  if _CAMERA.value and not _SMALL.value:
    raise FlagError("--camera is of --small; albums have a dataset.json")
  config = _CONFIG().validate()
  out = person_flags.out()
  album = (photos.one_photo(_SMALL.value, _CAMERA.value) if _SMALL.value
           else _ALBUM.open())
  segment = (mediapipe_models.person_segmenter()
             if _SEGMENTER.value == "mediapipe" else None)
  summary = enhance.write_enhanced(
      person_flags.person(needs_run=True), album, config, out,
      mask=_MASK.value, segment=segment)
  if summary["mean"]:
    print(f"mean of {len(album)}: " + ", ".join(
        f"{name} {value:.3f}" for name, value in summary["mean"].items()))
  print(f"{out}/{enhance.SHEET_FILE}")


if __name__ == "__main__":
  cli.run(main)

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
from my3dgen_jax.apps.enhancement import photos, tasks
from my3dgen_jax.config import HullFitConfig
from my3dgen_jax.data.faces import mediapipe_models
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, person_flags

_TASK = cli.enum("task", tasks.INPAINT, tasks.TASKS, "See above.")
_ALBUM = person_flags.AlbumFlags(", of one size")
_SMALL = cli.string("small", None, "One photo, of any size, in colours or "
                    "grey, in place of an album.")
_CAMERA = cli.string("camera", None, "Of --small: JSON, 25 numbers; default: "
                     "dataset.json beside it.")
_MASK = cli.string("mask", None, "Grey picture of the generator's size: white "
                   "where the photo is known (inpaint; default: NAME_mask.png "
                   "beside the photo) or where the person is (else; default: "
                   "--segmenter finds it).")
_SEGMENTER = cli.enum("segmenter", "depth", ["depth", "mediapipe"], "Who "
                      "finds the person where there is no --mask: "
                      "the generator's depth, or MediaPipe's model.")
_EVERYWHERE = cli.boolean("everywhere", False, "Take the background from the "
                          "generator too.")
_FACTOR = cli.number("factor", None, "superresolution: make photos so many "
                     "times smaller first, and compare.")
_SIGMA = cli.number("sigma", 4.0, "deblur: of the blur, pixels.")
_QUALITY = cli.number("quality", 10.0, "jpeg: 1 to 100.")
_INTACT = cli.boolean("intact", False, "Photos show what is to be found: "
                      "degrade them first, and compare; else a photo with a "
                      "hole of its own is only filled.")
_FEATHER = cli.number("feather", 0.02, "Width of the person's soft edge, share "
                      "of the side.")
_AGREEMENT = cli.integer("agreement_steps", 40, "Of bringing the result to "
                         "what was seen; 0: none.")
_HULL = cli.define_config(HullFitConfig, "hull_")


def main():
  if _ALBUM.given == bool(_SMALL.value):
    raise FlagError("give photos by --album, or one by --small")
  if _CAMERA.value and not _SMALL.value:
    raise FlagError("--camera is of --small; albums have a dataset.json")
  config = tasks.EnhanceConfig(
      task=_TASK.value, hull=_HULL(), factor=_FACTOR.value,
      sigma=_SIGMA.value, quality=_QUALITY.value, intact=_INTACT.value,
      everywhere=_EVERYWHERE.value, feather=_FEATHER.value,
      agreement_steps=_AGREEMENT.value).validate()
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

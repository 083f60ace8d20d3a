"""Changes one attribute of a person's pictures: a strip of strengths.

    python -m my3dgen_jax.launch.edit --run=runs/obama --direction=smile.npy \\
        --start=photo003,inverted/new.npz --out=smiling

The direction: a file (--direction), or found among samples of the generator
(InterFaceGAN). Those are labelled by you: --write_samples=FOLDER writes
pictures, and --samples=FOLDER --labels=smile.csv (name,score) reads what you
make of them; what you cannot decide needs no label. --demo_attribute labels
procedural people. --without: attributes that are to stay, each a .npy file, a
.csv file of the same samples, or an attribute of procedural people. --start:
photos of the run, "all", or files of launch.invert; without any, the direction
alone is written.
"""

from my3dgen_jax.apps import edit
from my3dgen_jax.apps.editing import samples
from my3dgen_jax.apps.editing.config import EditConfig
from my3dgen_jax.apps.editing.sources import direction_from, DirectionSource
from my3dgen_jax.data import provenance
from my3dgen_jax.demo import attributes
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_START = cli.listing(
  "start",
  [],
  "Latents to edit: photos of the run, all, or files of launch.invert.",
)
_SOURCE = config_flags.define(DirectionSource)
_DEMO = cli.enum(
  "demo_attribute",
  None,
  attributes.NAMES,
  "Attribute of procedural people to find among samples, which are labeled "
  "without you.",
)
_WRITE_SAMPLES = cli.string(
  "write_samples",
  None,
  "Folder to write samples to that are to be labeled; nothing else is done.",
)
_CONFIG = config_flags.define(EditConfig, names={"samples": "count"})


def main():
  config = _CONFIG().validate()
  if _WRITE_SAMPLES.value:
    samples.write_samples(person_flags.person(), config, _WRITE_SAMPLES.value)
    print(
      f"{_WRITE_SAMPLES.value}: label its pictures in a file of lines "
      "name,score and give it by --labels"
    )
    return
  source = _SOURCE(
    attribute=_DEMO.value, measurable=attributes.NAMES
  ).validate()
  if config.frames and _START.value:
    provenance.check_video(config.video)  # not after all the work
  out = person_flags.out()
  person = person_flags.person()
  starts = edit.find_starts(person, _START.value, config)
  measure = attributes.shipped_measure() if source.measured else None
  direction = direction_from(person, source, config, out, measure=measure)
  edit.write_edits(person, starts, direction, config, out, measure=measure)
  print(f"{out}/{edit.STRIP_FILE if starts else edit.SUMMARY_FILE}")


if __name__ == "__main__":
  cli.run(main)

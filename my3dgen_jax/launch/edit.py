"""Edits one attribute of a person, at several strengths side by side.

    my3dgen edit --run=runs/obama --direction=smile.npy \\
        --start=photo003,inverted/new.npz --out=smiling
    my3dgen edit --run=runs/obama --write_samples=samples
    my3dgen edit --run=runs/obama --samples=samples --labels=smile.csv \\
        --start=photo003 --out=smiling

The direction is read from --direction, or fitted to labeled samples of the
generator (InterFaceGAN). To label samples, --write_samples=FOLDER writes the
pictures; list them in a CSV file with the columns name,score and pass it as
--labels. Pictures without a clear answer need no label. --demo_attribute labels
procedural people automatically. --without names attributes to hold constant,
each as a .npy file, a .csv file of labels for the same samples, or an attribute
of procedural people. Without --start, only the direction is written.
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
  "Latents to edit: photos of the run, all, or files of my3dgen invert.",
)
_SOURCE = config_flags.define(DirectionSource)
_DEMO = cli.enum(
  "demo_attribute",
  None,
  attributes.NAMES,
  "Attribute of procedural people to fit a direction to; the samples are "
  "labeled automatically.",
)
_WRITE_SAMPLES = cli.string(
  "write_samples",
  None,
  "Folder to write samples for labeling to; does nothing else.",
)
_CONFIG = config_flags.define(EditConfig, names={"samples": "count"})


def main():
  config = _CONFIG().validate()
  if _WRITE_SAMPLES.value:
    samples.write_samples(person_flags.person(), config, _WRITE_SAMPLES.value)
    print(
      f"{_WRITE_SAMPLES.value}: label these pictures in a CSV file with lines "
      "name,score and pass it as --labels"
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

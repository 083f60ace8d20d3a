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

import pathlib
from typing import Optional, Sequence

import numpy as np

from my3dgen_jax import directions, latents
from my3dgen_jax.apps import edit
from my3dgen_jax.apps.editing import finding, labels, samples
from my3dgen_jax.apps.editing.config import APPLIES, UNITS, EditConfig
from my3dgen_jax.apps.person import Person
from my3dgen_jax.data import provenance
from my3dgen_jax.demo import attributes
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, person_flags

_MOST = 1000.0  # of strengths
_TABLE = ".csv"
_DEFAULT = EditConfig()

_START = cli.listing("start", [], "What is edited, see above.")
_DIRECTION = cli.string("direction", None, "A .npy file.")
_LABELS = cli.string("labels", None, "CSV: a name of --samples and a score.")
_SAMPLES = cli.string("samples", None, "Folder of --write_samples.")
_DEMO = cli.enum("demo_attribute", None, attributes.NAMES, "Of procedural "
                 "people: sampled and labelled without you.")
_WITHOUT = cli.listing("without", [], "Attributes that are to stay.")
_WRITE_SAMPLES = cli.string("write_samples", None, "Folder: write samples to "
                            "be labelled, and end.")
_COUNT = cli.integer("count", _DEFAULT.samples, "Of samples.", lower_bound=1)
_PSI = cli.number("truncation_psi", 1.0, "Of samples; 0: the mean face.")
_SEED = cli.integer("seed", 0, "Of samples.", lower_bound=0)
_SHARE = cli.number("share", 0.1, "Of samples with the highest scores, and "
                    "again with the lowest, that are told apart.")
_STRENGTHS = cli.listing("strengths", "-3,-2,-1,0,1,2,3", "A column each.")
_UNIT = cli.enum("unit", "spread", UNITS, "Of strengths: standard "
                 "deviations of the samples along the direction, or lengths "
                 "in W.")
_APPLY = cli.enum("apply", "alpha", APPLIES, "As weights of the anchors, "
                  "or added to w.")
_EDGE = cli.enum("edge", "continue", latents.EDGES, "Where the hull ends. "
                 "Photos of the run lie there already: stop hardly moves "
                 "them.")
_BETA = cli.number("beta", 0.02, "Of the hull: how far below 0 weights may "
                   "be.")
_TURN = cli.number("turn", 0.0, "The camera's yaw goes from -turn to turn, "
                   "radians; 0: it stays.")
_FRAMES = cli.integer("frames", 0, "Of a video a start; 0: none.",
                      lower_bound=0)
_YAW = cli.number("yaw", 0.0, "Of the video's orbit, radians.")
_PITCH = cli.number("pitch", 0.0, "Of the video's orbit, radians.")
_VIDEO = cli.enum("video", "mp4", [s[1:] for s in provenance.VIDEOS],
                  "Format of the video.")
_BATCH_SIZE = cli.integer("batch_size", 4, "Pictures at a time, over all "
                          "devices.", lower_bound=1)


def main():
  config = EditConfig(
      samples=_COUNT.value, truncation_psi=_PSI.value, seed=_SEED.value,
      batch_size=_BATCH_SIZE.value, share=_SHARE.value,
      strengths=tuple(cli.numbers("strengths", _STRENGTHS.value, _MOST)),
      unit=_UNIT.value, apply=_APPLY.value, edge=_EDGE.value,
      beta=_BETA.value, turn=_TURN.value, frames=_FRAMES.value,
      yaw=_YAW.value, pitch=_PITCH.value,
      video="." + _VIDEO.value).validate()
  if _WRITE_SAMPLES.value:
    samples.write_samples(person_flags.person(), config, _WRITE_SAMPLES.value)
    print(f"{_WRITE_SAMPLES.value}: label its pictures in a file of lines "
          "name,score and give it by --labels")
    return
  sources = [_DIRECTION.value, _LABELS.value, _DEMO.value]
  if sum(map(bool, sources)) != 1:
    raise FlagError("give one of --direction, --labels and --demo_attribute")
  tables = [one for one in [_LABELS.value or "", *_WITHOUT.value]
            if one.endswith(_TABLE)]
  if bool(tables) != bool(_SAMPLES.value):
    raise FlagError("--samples, the folder of --write_samples, and labels of "
                    f"it ({_TABLE}) go together; one of them is missing")
  wanted = {_DEMO.value, *_WITHOUT.value} & set(attributes.NAMES)
  if wanted and tables:
    raise FlagError(f"--without: {', '.join(sorted(wanted))} would be found "
                    "among other samples than those of --samples; give labels "
                    "of them")
  # Not after all the work.
  if config.frames and _START.value:
    provenance.check_video(config.video)
  if tables or wanted:
    directions.check_fitting()
  out = person_flags.out()
  person = person_flags.person()
  starts = edit.find_starts(person, _START.value, config)
  measure = attributes.shipped_measure() if wanted else None
  direction = _direction(person, config, out, tables, measure)
  if direction.accuracy is not None:
    print(f"{direction.name}: {100 * direction.accuracy:.1f} % of the samples "
          "that were held out are on the right side")
  edit.write_edits(person, starts, direction, config, out, measure=measure)
  print(f"{out}/{edit.STRIP_FILE if starts else edit.SUMMARY_FILE}")


def _direction(person: Person, config: EditConfig, out: str,
               tables: Sequence[str], measure: Optional[labels.Measure]
               ) -> directions.Direction:
  """What the flags ask for: from files, or found among labelled samples."""
  model = person.generator.module.config
  load = lambda path: directions.load(path, w_dim=model.w_dim,
                                      num_ws=model.num_ws)
  name = lambda path: pathlib.Path(path).stem
  # Files first: a wrong one should not be noticed after the samples.
  given = _DIRECTION.value and load(_DIRECTION.value)
  without = [one if one in attributes.NAMES else name(one)
             if one in tables else load(one) for one in _WITHOUT.value]
  w, scores = None, {}
  if tables:
    w, names = samples.read_samples(_SAMPLES.value, w_dim=model.w_dim,
                                    base=person.origin.base)
    scores = {name(one): directions.read_labels(one, names, partly=True)
              for one in tables}
    for one, values in scores.items():
      print(f"{one}: {np.isfinite(values).sum()} of {len(names)} samples have "
            "a label")
  elif measure:
    w, scores = labels.label_samples(person, measure, config, out)
  found = lambda one, **options: finding.find_direction(
      w, scores, one, share=config.share, **options)
  if given:
    return finding.without_others(given, [
        found(one) if isinstance(one, str) else one for one in without])
  return found(_DEMO.value or name(_LABELS.value), without=without)


if __name__ == "__main__":
  cli.run(main)

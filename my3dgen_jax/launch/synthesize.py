"""Makes new appearances of a person, each from a random camera.

    python -m my3dgen_jax.launch.synthesize --run=runs/obama --count=1000 \\
        --out=new
    python -m my3dgen_jax.launch.synthesize --run=runs/obama --only=5,17 \\
        --out=two_of_them

A picture's number and --seed decide what it shows. A stopped command goes on
when it is given again; a larger --count adds to what is there.
"""

from my3dgen_jax.apps import synthesize
from my3dgen_jax.launch.support import cli, person_flags

_COUNT = cli.integer("count", 64, "Numbers 0 to count - 1.", lower_bound=1)
_ONLY = cli.listing("only", None, "These numbers in place of --count's: 5,17 "
                    "or 0-3,8.")
_SEED = cli.integer("seed", 0, "Another one: other appearances.",
                    lower_bound=0)
_MIXED = cli.integer("mixed", 3, "Anchors that share the weight of each "
                     "latent.", lower_bound=1)
_YAW = cli.number("yaw", 0.35, "Of the cameras, radians to either side.")
_PITCH = cli.number("pitch", 0.25, "Of the cameras, radians up and down.")
_BATCH_SIZE = cli.integer("batch_size", 4, "Images at a time, over all "
                          "devices.", lower_bound=1)
_SHEET = cli.integer("sheet", 64, "Pictures of the contact sheet, at most.",
                     lower_bound=1)


def main():
  only = () if _ONLY.value is None else tuple(
      cli.whole_numbers("only", _ONLY.value))
  config = synthesize.SynthesizeConfig(
      count=_COUNT.value, only=only, seed=_SEED.value, mixed=_MIXED.value,
      yaw=_YAW.value, pitch=_PITCH.value, batch_size=_BATCH_SIZE.value,
      sheet=_SHEET.value).validate()
  out = person_flags.out()
  person = person_flags.person(needs_run=True)
  synthesize.write_samples(person, config, out)
  print(f"{out}/{synthesize.SHEET_FILE}")


if __name__ == "__main__":
  cli.run(main)

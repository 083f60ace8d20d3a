"""Samples new appearances of a person from random cameras.

    my3dgen synthesize --run=runs/obama --count=1000 --out=new
    my3dgen synthesize --run=runs/obama --only=5,17 --out=two_of_them

A picture depends only on its number and --seed. Run the same command again to
resume after an interruption; a larger --count adds to the existing pictures.
"""

from my3dgen_jax.apps import synthesize
from my3dgen_jax.launch.support import cli, config_flags, person_flags

_CONFIG = config_flags.define(synthesize.SynthesizeConfig)


def main():
  config = _CONFIG().validate()
  out = person_flags.out()
  person = person_flags.person(needs_run=True)
  synthesize.write_samples(person, config, out)
  print(f"{out}/{synthesize.SHEET_FILE}")


if __name__ == "__main__":
  cli.run(main)

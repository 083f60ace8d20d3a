"""Makes new appearances of a person, each from a random camera.

    python -m my3dgen_jax.launch.synthesize --run=runs/obama --count=1000 \\
        --out=new
    python -m my3dgen_jax.launch.synthesize --run=runs/obama --only=5,17 \\
        --out=two_of_them

A picture's number and --seed decide what it shows. A stopped command goes on
when it is given again; a larger --count adds to what is there.
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

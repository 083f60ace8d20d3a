"""Fits the demo's smile and age directions, after a new prior was trained.

    python -m benchmarks.demo_directions

Writes my3dgen_jax/demo/weights/directions/directions.json; takes one or two
minutes on two cores. Labels are kept in --out.
"""

import argparse

from my3dgen_jax.apps.person import load_person
from my3dgen_jax.demo import edits, shipped


def main():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--out",
    default="out/demo_directions",
    help="Folder for labels; default: out/demo_directions.",
  )
  arguments = parser.parse_args()
  person = load_person(checkpoint=shipped.PRIOR)
  found = edits.find(person, arguments.out)
  edits.DIRECTIONS.mkdir(exist_ok=True)
  edits.save(edits.DIRECTIONS, person.digest, found)
  for one in found:
    accuracy = "" if one.accuracy is None else f", accuracy {one.accuracy:.3f}"
    print(f"{one.name}: spread {one.spread:.3f}{accuracy}")


if __name__ == "__main__":
  main()

"""The part of a run's report about sharing the head."""

import pathlib
import shlex

import numpy as np

from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.reports.page import link, paragraph, section
from my3dgen_jax.training.anchors import Anchors

FILE = "head.html"  # written by my3dgen share, beside the report


def typical(person: Person) -> tuple[Anchors, int]:
  """A run's anchors, and the row of the one closest to their mean."""
  anchors = person.anchors
  assert anchors is not None  # runs have anchors
  ws = np.asarray(anchors.ws)
  away = np.linalg.norm(ws - ws.mean(axis=0), axis=(1, 2))
  return anchors, int(np.argmin(away))


def to_share(person: Person, run: pathlib.Path, folder: str) -> str:
  """The command that writes a head for sharing, and a link to it if it exists.

  Args:
    person: the run's person.
    run: the run's folder.
    folder: the report's folder in it.
  """
  anchors, row = typical(person)
  command = shlex.join(
    [
      "python",
      "-m",
      "my3dgen_jax.launch.share",
      f"--run={run.name}",
      f"--latents={anchors.names[row]}",
      f"--out={run.name}/{folder}/{FILE}",
    ]
  )
  parts = [
    paragraph(
      "To write the head as one file that turns in any browser, offline, "
      f"without names or photos: {command}"
    )
  ]
  if (run / folder / FILE).exists():
    parts.insert(0, link(FILE, "The head as a separate page"))
  return section("To share", *parts)

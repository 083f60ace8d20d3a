"""What a run's page says of the page that is made to be given away."""

import pathlib
import shlex

import numpy as np

from my3dgen_jax.apps.person import Person
from my3dgen_jax.apps.reports.page import link, paragraph, section
from my3dgen_jax.training.anchors import Anchors

FILE = "head.html"  # of launch.share, beside the report


def typical(person: Person) -> tuple[Anchors, int]:
  """A run's anchors, and the row of the one that is most like all others."""
  anchors = person.anchors
  assert anchors is not None  # a run has them
  ws = np.asarray(anchors.ws)
  away = np.linalg.norm(ws - ws.mean(axis=0), axis=(1, 2))
  return anchors, int(np.argmin(away))


def to_share(person: Person, run: pathlib.Path, folder: str) -> str:
  """How to give a head away, and where it is if that was done.

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
      "One file whose head turns in any browser, offline, without names "
      f"or photos inside: {command}"
    )
  ]
  if (run / folder / FILE).exists():
    parts.insert(0, link(FILE, "The head as a page of its own"))
  return section("To share", *parts)

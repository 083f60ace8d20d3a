"""Writes the page of a finished run, which launch.personalize writes too.

    python -m my3dgen_jax.launch.report --run=runs/obama

The page, RUN/report/index.html, is one file: it opens offline in any browser.
It shows photos of the person, so think of whom you give it to. What may be
passed on (the page, the adapter, pictures) names files, but not where they lie;
--scrub makes that true of runs of older versions, too.
"""

import pathlib

from my3dgen_jax.apps import scrub
from my3dgen_jax.apps.reports import report
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, person_flags

_RUN = cli.string(
  "run", None, "Folder of a run of launch.personalize; the page goes there."
)
_PRETRAINED = cli.boolean(
  "pretrained", False, "Not available: a report is about what is personal."
)
_OUT = cli.string(
  "out", None, "Not available: the page goes into the run's folder."
)
_SCRUB = cli.boolean(
  "scrub",
  False,
  "Take paths out of the run's adapter, and the machine's name out of its "
  "events files' names; older versions wrote them.",
)


def main():
  if _PRETRAINED.value:
    raise FlagError("--pretrained: a report is of what is personal")
  if _OUT.value:
    raise FlagError("--out: a report is written into the run's folder")
  person = person_flags.person(needs_run=True, banks=False)
  print(report.write_report(person, _RUN.value))
  if _SCRUB.value:
    scrub.scrub_run(pathlib.Path(str(_RUN.value)).expanduser())


if __name__ == "__main__":
  cli.run(main)

"""Rewrites the report page of a finished run.

    my3dgen report --run=runs/obama

The page, RUN/report/index.html, is one file that opens offline in any browser;
my3dgen personalize writes it at the end of a run. It shows photos of the
person, so consider who receives it. Files meant for sharing (the page, the
adapter, pictures) contain file names but no paths; --scrub removes paths from
runs of older versions, too.
"""

import pathlib

from my3dgen_jax.apps import scrub
from my3dgen_jax.apps.reports import report
from my3dgen_jax.errors import FlagError
from my3dgen_jax.launch.support import cli, person_flags

_RUN = cli.string(
  "run", None, "Folder of a personalize run; the page is written there."
)
_PRETRAINED = cli.boolean(
  "pretrained",
  False,
  "Not supported: a report describes the person's generator.",
)
_OUT = cli.string(
  "out", None, "Not supported: the page is written to the run's folder."
)
_SCRUB = cli.boolean(
  "scrub",
  False,
  "Remove paths from the run's adapter and the machine's name from its event "
  "files' names, which older versions wrote.",
)


def main():
  if _PRETRAINED.value:
    raise FlagError(
      "--pretrained: a report describes the person's generator; drop this flag"
    )
  if _OUT.value:
    raise FlagError(
      "--out: a report is written to the run's folder; drop this flag"
    )
  person = person_flags.person(needs_run=True, banks=False)
  print(report.write_report(person, _RUN.value))
  if _SCRUB.value:
    scrub.scrub_run(pathlib.Path(str(_RUN.value)).expanduser())


if __name__ == "__main__":
  cli.run(main)

"""The paper's tables, over personalized people.

A person is a folder of runs, or one run. Every measurement is cached in its own
file, keyed by all it depends on: adding a person or a table repeats nothing,
and a killed evaluation resumes with the measurement it was at.

Source: My3DGen, tables 1 to 6, figures 4 and 9, appendix D.
"""

import os
import pathlib
import time
from collections.abc import Callable, Sequence

from my3dgen_jax.apps.evaluation import report as report_lib
from my3dgen_jax.apps.evaluation import tables
from my3dgen_jax.apps.evaluation.cache import Bench
from my3dgen_jax.apps.evaluation.checks import check
from my3dgen_jax.apps.evaluation.paper_tables import READ_OFF, TABLES, with_gaps
from my3dgen_jax.apps.evaluation.runs import find_people, Runs
from my3dgen_jax.apps.evaluation.settings import EvaluateConfig
from my3dgen_jax.apps.evaluation.tables import Table
from my3dgen_jax.errors import UserError
from my3dgen_jax.jobs.interrupts import stopping_gently
from my3dgen_jax.storage.files import replacing

__all__ = [
  "EvaluateConfig",
  "Runs",
  "TABLES",
  "check",
  "evaluate",
  "find_people",
]


def evaluate(
  people: Sequence[Runs],
  config: EvaluateConfig,
  out: str | os.PathLike,
  *,
  header: Sequence[str] = (),
  log: Callable[[str], None] = print,
) -> list[Table]:
  """Measures people into a folder; resumes where it was stopped.

  Args:
    people: people from `find_people`.
    config: the settings.
    out: folder; `RESULTS.md`, `results.json`, one CSV per table, and pictures.
    header: first lines of the report: command, commit, machine.
    log: called with lines of progress.

  Returns: the tables.
  Raises: UserError, CheckpointError: name what is missing, before anything
    is measured; Interrupted: SIGTERM or SIGINT.
  """
  config.validate()
  check(people, config)
  if "4" in config.tables and not config.directions:
    raise UserError(
      "directions: table 4 needs directions of edits; give .npy files from "
      "my3dgen edit with --directions, or leave table 4 out"
    )
  out = pathlib.Path(out).expanduser()
  out.mkdir(parents=True, exist_ok=True)
  began = time.monotonic()
  with stopping_gently() as stop:
    bench = Bench(config, out, stop, log)
    # Person by person, so each generator is loaded once for all tables.
    for i, runs in enumerate(people):
      for name in config.tables:
        if name not in READ_OFF:
          TABLES[name]([runs], bench)
      log(f"{runs.name}: {i + 1} of {len(people)} people")
    found = [with_gaps(TABLES[name](people, bench)) for name in config.tables]
    bench.clean_up()
    if "layout" in config.tables:
      report_lib.draw_layouts(people, bench, out)
  names = [runs.name for runs in people]
  report_lib.write_values(found, names, config, out)
  lines = [
    *header,
    *report_lib.lines_about(people, config, bench, time.monotonic() - began),
  ]
  with replacing(out / report_lib.REPORT_FILE) as file:
    file.write(report_lib.to_report(found, lines).encode())
  for table in found:
    log(tables.to_markdown(table))
  log(f"{out / report_lib.REPORT_FILE}")
  return found

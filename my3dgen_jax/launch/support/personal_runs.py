"""Runs of launch.personalize: of one person, or of many."""

import dataclasses
import functools
from collections.abc import Sequence

from my3dgen_jax.apps import personalize
from my3dgen_jax.apps.personalize import PersonalizeConfig
from my3dgen_jax.demo.personal_runs import with_demo_person
from my3dgen_jax.errors import FlagError, UserError
from my3dgen_jax.launch.support import cli

_NOT_REPEATED = ("resume", "albums", "together")  # in a run's own flags


def complete(
  config: PersonalizeConfig,
  albums: Sequence[str],
  *,
  demo_person: int | None,
  resume: bool,
) -> PersonalizeConfig:
  """The config with what flags say besides, of the first of many runs.

  Args:
    config: as its flags say.
    albums: of many people; none: of one, `config.album`.
    demo_person: number of a procedural person, who needs no flags.
    resume: go on, with the precision that was begun with.

  Raises: FlagError: a flag is missing.
  """
  if albums:  # of a flagfile's --album, too
    config = dataclasses.replace(config, album=albums[0])
  demo = demo_person is not None
  for name in ("out",) if demo else ("checkpoint", "album", "out"):
    if not getattr(config, name):
      raise FlagError(
        f"--{name} is missing; --flagfile=demo.flags needs "
        "neither checkpoint nor photos"
      )
  outs = personalize.folders(config.out, albums) if albums else [config.out]
  begun = lambda: next(
    filter(None, map(personalize.begun_precision, outs)), None
  )
  config = dataclasses.replace(
    config, precision=cli.precision(lambda: begun() if resume else None)
  )
  if demo_person is None:
    return config
  return with_demo_person(
    config, demo_person, log=functools.partial(print, flush=True)
  )


def personalize_one(config: PersonalizeConfig, *, resume: bool):
  """Runs, and says what came of it."""
  summary = personalize.personalize(
    config, resume=resume, flags=cli.flags_as_text(skip=_NOT_REPEATED)
  )
  if summary is not None:  # of several processes one says it
    print(personalize.describe(summary, config.out))


def personalize_all(
  config: PersonalizeConfig,
  albums: Sequence[str],
  *,
  together: int,
  resume: bool,
):
  """The same of many people; see `personalize.personalize_all`.

  Raises: UserError: some have failed; the others' runs are whole.
  """
  results = personalize.personalize_all(
    config,
    albums,
    together=together,
    resume=resume,
    flags=cli.flags_as_text(skip=(*_NOT_REPEATED, "out")),
  )
  if any(summary is None for summary in results.values()):
    return
  print(personalize.describe_all(results, config.out))
  failed = [
    name for name, summary in results.items() if isinstance(summary, UserError)
  ]
  if failed:
    raise UserError(
      f"{len(failed)} of {len(results)} people have failed: "
      f"{', '.join(failed)}; their lines are above"
    )

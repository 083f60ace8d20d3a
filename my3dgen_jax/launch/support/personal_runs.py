"""Runs of `my3dgen personalize`, for one person or for several."""

import dataclasses
import functools
from collections.abc import Sequence

from my3dgen_jax.apps import personalize
from my3dgen_jax.apps.personalize import PersonalizeConfig
from my3dgen_jax.demo.personal_runs import with_demo_person
from my3dgen_jax.errors import FlagError, UserError
from my3dgen_jax.launch.support import cli

_NOT_REPEATED = ("resume", "albums", "together")  # in a run's flagfile


def complete(
  config: PersonalizeConfig,
  albums: Sequence[str],
  *,
  demo_person: int | None,
  resume: bool,
) -> PersonalizeConfig:
  """Completes the config of a run, or of the first of several.

  Args:
    config: the config that its own flags set.
    albums: albums of several people; empty: one person, `config.album`.
    demo_person: number of a procedural person, who needs no other flags.
    resume: keep the precision that the run began with.

  Raises: FlagError: a flag is missing.
  """
  if albums:  # overrides --album, which a flagfile may set
    config = dataclasses.replace(config, album=albums[0])
  demo = demo_person is not None
  for name in ("out",) if demo else ("checkpoint", "album", "out"):
    if not getattr(config, name):
      raise FlagError(
        f"--{name} is missing; to try without checkpoint and photos, use "
        "--flagfile=demo.flags"
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
  """Runs, and prints a summary."""
  summary = personalize.personalize(
    config, resume=resume, flags=cli.flags_as_text(skip=_NOT_REPEATED)
  )
  if summary is not None:  # only process 0 has one
    print(personalize.describe(summary, config.out))


def personalize_all(
  config: PersonalizeConfig,
  albums: Sequence[str],
  *,
  together: int,
  resume: bool,
):
  """Runs several people and prints a summary of each.

  Raises: UserError: some people failed; the others' runs are complete.
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
      f"{len(failed)} of {len(results)} people failed: "
      f"{', '.join(failed)}; see their errors above"
    )

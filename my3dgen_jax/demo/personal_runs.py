"""Runs of procedural people, with the package's own networks."""

import dataclasses
from collections.abc import Callable

from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.data import album_files
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.demo import shipped


def with_demo_person(
  config: PersonalizeConfig, number: int, *, log: Callable[[str], None] = print
) -> PersonalizeConfig:
  """Completes a config with the demo's album and networks.

  Args:
    config: a config with the run's folder; without an album, the demo person's
      is drawn beside that folder.
    number: the person's number, >= 0.
    log: called with a line before the album is drawn.

  Raises: UserError: the album cannot be written.
  """
  album = config.album or f"{config.out.rstrip('/')}_album_{number}"
  if not config.album:
    log(f"drawing photos of person {number} in {album}")
    demo_album.write_demo_album(album, number)
  own = (
    {}
    if config.album
    else {
      "test": f"{album}/{album_files.TEST_FILE}",
      "reference": f"{album}/{album_files.REFERENCE_FILE}",
    }
  )
  return dataclasses.replace(
    config,
    album=album,
    checkpoint=config.checkpoint or str(shipped.PRIOR),
    lpips=config.lpips or str(shipped.LPIPS),
    identity=config.identity or str(shipped.IDENTITY),
    **own,
  )

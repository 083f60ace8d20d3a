"""Flags of people's runs; rows of a manifest can override them."""

import dataclasses
from collections.abc import Sequence

from absl import flags

from my3dgen_jax.apps.fleet.manifest import ALBUM, ID, PHOTOS, Row
from my3dgen_jax.apps.fleet.person import Folders, Hooks, Person
from my3dgen_jax.apps.fleet.places import is_url, Place
from my3dgen_jax.apps.personalization.settings import PersonalizeConfig
from my3dgen_jax.apps.preparation.config import PrepareConfig
from my3dgen_jax.data.photo_selection import parse_selection
from my3dgen_jax.demo import album as demo_album
from my3dgen_jax.demo.personal_runs import with_demo_person
from my3dgen_jax.errors import FlagError, UserError
from my3dgen_jax.launch.support import cli, config_flags
from my3dgen_jax.training.anchors import default_cache

# The flags belong to the command that declares them.
flags.disclaim_key_flags()

_DEMO, _PRECISION = "demo_person", "precision"
# Flags of `prepare` that a fleet has; its others are the run's.
_OF_PHOTOS = (
  "domain",
  "detections",
  "min_sharpness",
  "min_color",
  "min_scale",
  "min_inside",
  "max_roll",
  "duplicate",
  "frames",
  "mirror",
  "keep",
)
# Flags of machines, not of a person; a manifest cannot set them.
_OF_MACHINES = ("cache", "devices", "log_every", "save_every")
_SELECTIONS = ("test", "reference", "train", "validation")
_PLACES = (
  *("checkpoint", "album", "lpips", "identity", "encoder"),
  "adapter_init",
)


class PeopleFlags:
  """Declares the flags, and reads them for each row of a manifest."""

  def __init__(self):
    """Declares them."""
    self._run = config_flags.define(
      PersonalizeConfig,
      skip=["out"],
      cache=default_cache(),
      report=True,
      parse=dict.fromkeys(_SELECTIONS, parse_selection),
    )
    self._photos = config_flags.define(PrepareConfig, only=_OF_PHOTOS)
    cli.integer(
      _DEMO,
      None,
      "Number of a procedural person: uses the networks of the package, and "
      "draws an album if none is given.",
      lower_bound=0,
    )
    cli.define_cpu_devices()
    self._columns = {
      *config_flags.names_of(PersonalizeConfig, skip=["out"]),
      *_OF_PHOTOS,
      _DEMO,
      _PRECISION,
    }
    self._kept = {*self._columns, "cpu_devices"}  # in a run's flagfile
    self._columns -= {*_OF_MACHINES}

  def people(self, rows: Sequence[Row], storage: str) -> list[Person]:
    """The people of a manifest, each with the flags of its row.

    Args:
      rows: the manifest's rows.
      storage: the fleet's folder.

    Raises: FlagError: names the file, the line and the column or flag.
    """
    return [self._person(row, storage) for row in rows]

  def _person(self, row: Row, storage: str) -> Person:
    for name, text in row.flags.items():
      if name in _OF_MACHINES:
        raise FlagError(
          f"{row.where}, column {name}: cannot differ between people; give "
          f"--{name} to the command instead"
        )
      if name not in self._columns:
        raise FlagError(
          f"{row.where}, column {name}: not a flag of a person's run; "
          "my3dgen fleet --help lists the flags"
        )
      try:
        with cli.given({name: text}):
          pass
      except FlagError as error:
        raise FlagError(f"{row.where}, column {name}: {error}") from None
    folders = Folders.of(storage, row.id)
    album = str(folders.album) if row.photos else row.album
    own = {**row.flags, **({ALBUM: album} if album else {})}
    with cli.given(own):
      try:
        return self._read(row, str(folders.run))
      except UserError as error:
        raise FlagError(f"{row.where}, {row.id}: {error}") from None

  def _read(self, row: Row, run: str) -> Person:
    demo = flags.FLAGS[_DEMO].value
    config = self._run(out=run)
    config = dataclasses.replace(
      config,
      precision=flags.FLAGS[_PRECISION].value,
      **{
        name: _absolute(place)
        for name in (*_PLACES, *_SELECTIONS)
        if isinstance(place := getattr(config, name), str)
        and place not in ("", "all")
      },
    )
    if not config.album and demo is None:
      raise FlagError(
        "has neither photos nor an album; fill in one of these columns"
      )
    if not config.checkpoint and demo is None:
      raise FlagError(
        "--checkpoint is missing: the folder of the pretrained generator"
      )
    whole = config
    if demo is not None:  # no paths of this machine: workers have theirs
      whole = with_demo_person(
        dataclasses.replace(config, album=config.album or "drawn"), demo
      )
    whole.validate()
    prepare = None
    if row.photos:
      prepare = self._photos(photos=_absolute(row.photos), out="album")
      prepare.validate()
      if prepare.detections:
        prepare = dataclasses.replace(
          prepare, detections=_absolute(prepare.detections)
        )
    text = cli.flags_as_text(
      skip=[name for name in flags.FLAGS if name not in self._kept]
      + [*_OF_PHOTOS, ID, PHOTOS]
    )
    return Person(row.id, config, prepare, demo, f"{text}--out={run}\n")


def draw(
  config: PersonalizeConfig, number: int, folder: str
) -> PersonalizeConfig:
  """The config of a procedural person; draws the album if it has none."""
  if not config.album:
    demo_album.write_demo_album(folder, number)
    config = dataclasses.replace(
      config,
      album=folder,
      test=f"{folder}/{demo_album.TEST_FILE}",
      reference=f"{folder}/{demo_album.REFERENCE_FILE}",
    )
  return with_demo_person(config, number)


def hooks() -> Hooks:
  """The functions that workers call."""
  return Hooks(start=cli.worker_start(), draw=draw)


def _absolute(place: str) -> str:
  """A place that does not depend on a process's current folder."""
  return place if is_url(place) else str(Place(place))

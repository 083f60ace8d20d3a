"""Flags shared by all commands that use a person."""

from typing import Any

from my3dgen_jax.apps.person import load_person, Person
from my3dgen_jax.data.album import Album
from my3dgen_jax.data.albums import open_album
from my3dgen_jax.data.cameras.conventions import HELP as CONVENTION_HELP
from my3dgen_jax.data.photo_selection import parse_selection
from my3dgen_jax.errors import FlagError
from my3dgen_jax.jobs.devices import described, local_devices
from my3dgen_jax.launch.support import cli

_RUN = cli.string("run", None, "Folder of a personalize run.")
_CHECKPOINT = cli.string(
  "checkpoint",
  None,
  "Folder of the base generator: for --bank, or without a person; for --run "
  "only if it has moved.",
)
_BANK = cli.string(
  "bank", None, "Folder of a bank of adapters, instead of --run; see --person."
)
_PERSON = cli.string("person", None, "Id of a person in the bank.")
_PRETRAINED = cli.boolean(
  "pretrained",
  False,
  "Use the run's base generator instead of the person's, with the same anchors.",
)
_LPIPS = cli.string(
  "lpips", None, "Folder of LPIPS weights; default: the run's."
)
_IDENTITY = cli.string(
  "identity", None, "Folder of a face recognition network; default: the run's."
)
_ENCODER = cli.string(
  "encoder",
  None,
  "Folder of an encoder for the base generator; default: the run's, or the one "
  "beside the base; empty: none.",
)
_OUT = cli.string("out", None, "Folder to write.")
_DEVICES = cli.integer(
  "devices",
  None,
  "Number of this machine's devices to use; default: all.",
  lower_bound=1,
)
cli.define_cpu_devices()


def out() -> str:
  """The value of --out; raises FlagError if it is missing."""
  if not _OUT.value:
    raise FlagError("--out is missing: the folder to write")
  return _OUT.value


class AlbumFlags:
  """--album, --photos and --camera_convention of commands that take photos."""

  def __init__(self, of: str = ""):
    """Declares them; `of` adds a requirement to the help of --album."""
    self._album = cli.string(
      "album", None, f"Folder or zip of photos with cameras{of}."
    )
    self._photos = cli.string(
      "photos",
      None,
      "Photos of the album to use: a number, a share, or a file with one name "
      "per line; default: all.",
    )

    self._convention = cli.string("camera_convention", "", CONVENTION_HELP)

  @property
  def convention(self) -> str:
    """Convention of the album's cameras, words separated by commas."""
    return self._convention.value or ""

  @property
  def given(self) -> bool:
    """Whether --album is given."""
    return bool(self._album.value)

  def open(self, **options: Any) -> Album:
    """Opens the album; options are `open_album`'s. Raises AlbumError."""
    found = open_album(
      self._album.value, min_photos=1, convention=self.convention, **options
    )
    if not self._photos.value:
      return found
    return found.select(parse_selection(self._photos.value))


def person(
  *, needs_run: bool = False, pretrained: bool = False, banks: bool = True
) -> Person:
  """The person that the flags name.

  Args:
    needs_run: refuse a bare base, which has no anchors.
    pretrained: return the run's base, regardless of the flags.
    banks: accept a person in a bank.

  Raises: FlagError, CheckpointError, UserError: names the flag or file.
  """
  wanted: str | None = None
  if _BANK.value and not banks:
    wanted = "--bank: this command needs the folder of a run; give --run"
  elif _BANK.value and _RUN.value:
    wanted = "--run and --bank exclude each other; give one"
  elif bool(_BANK.value) != bool(_PERSON.value):
    wanted = "--bank and --person must be given together"
  elif _BANK.value and not _CHECKPOINT.value:
    wanted = "--checkpoint is missing: the folder of the bank's base generator"
  elif _BANK.value:
    pass
  elif needs_run and not _RUN.value:
    wanted = "--run is missing: the folder of a personalize run" + (
      ", or --bank, --person and --checkpoint" if banks else ""
    )
  elif not _RUN.value and not _CHECKPOINT.value:
    wanted = "no person is given; use --run, or --checkpoint for a bare base"
  if wanted:
    raise FlagError(wanted)
  precision = cli.precision()
  devices = local_devices(_DEVICES.value)
  if not pretrained:  # else the person was announced before
    print(
      f"reading {_place()}; {described(devices)}"
      + (f", precision {precision}" if precision else ""),
      flush=True,
    )
  return load_person(
    run=_RUN.value,
    checkpoint=_CHECKPOINT.value,
    bank=_BANK.value,
    person=_PERSON.value,
    pretrained=pretrained or _PRETRAINED.value,
    lpips=_LPIPS.value,
    identity=_IDENTITY.value,
    encoder=_ENCODER.value,
    devices=devices,
    precision=precision,
  )


def _place() -> str:
  """The person's place, as messages name it."""
  if _BANK.value:
    return f"{_PERSON.value} of {_BANK.value}"
  return str(_RUN.value or _CHECKPOINT.value)

"""The people to make: a table with one line per person."""

import csv
import dataclasses
import io
import unicodedata
from collections.abc import Mapping

from my3dgen_jax import lora
from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.errors import UserError

ID, PHOTOS, ALBUM = "id", "photos", "album"
_DELIMITERS = ",;\t"  # spreadsheets write the last two in some locales
# Allowed within ids, beside letters and digits of any script.
_JOINING = "._- "
_MOST_BYTES = 120  # of an id, since file names contain it
# Windows allows no folders of these names.
_DEVICES = {"con", "prn", "aux", "nul"} | {
  f"{name}{i}" for name in ("com", "lpt") for i in range(1, 10)
}


@dataclasses.dataclass(frozen=True)
class Row:
  """A line of the table.

  Attributes:
    id: the person's id, valid as a folder name.
    photos: folder of photos to prepare an album from, or "".
    album: folder or zip of an album, or "".
    flags: flag name to its text, for this person; blank cells are left out.
    where: the file and line, for messages.
  """

  id: str
  photos: str
  album: str
  flags: Mapping[str, str]
  where: str


def read(where: str) -> list[Row]:
  """Reads a table.

  Args:
    where: a CSV file, or its URL: a header line, then one line per person,
      separated by commas, semicolons or tabs. Column `id` is required, `photos`
      and `album` are optional, and any other is a flag.

  Raises: UserError: names the file, line and column.
  """
  data = Place(where).read()
  if data is None:
    raise UserError(f"{where}: no such file; give a table with --manifest")
  try:
    return parse(data.decode("utf-8-sig"), where)
  except UnicodeDecodeError:
    raise UserError(
      f"{where}: is not UTF-8 text; save it as CSV in UTF-8"
    ) from None


def parse(text: str, where: str) -> list[Row]:
  """The lines of a table's text; see `read`."""
  first = text.partition("\n")[0]
  delimiter = max(_DELIMITERS, key=first.count)
  reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
  rows: list[Row] = []
  columns: list[str] = []
  lines: dict[str, int] = {}
  try:
    for cells in reader:
      if not any(cell.strip() for cell in cells):
        continue
      cells = [cell.strip() for cell in cells]
      if not columns:
        columns = _columns(cells, where)
        continue
      row = _row(columns, cells, f"{where}, line {reader.line_num}")
      same = lines.setdefault(row.id.casefold(), reader.line_num)
      if same != reader.line_num:
        raise UserError(
          f"{row.where}, column id: {row.id!r} is also in line {same}; "
          "some disks do not distinguish upper and lower case"
        )
      rows.append(row)
  except csv.Error as error:
    raise UserError(f"{where}, line {reader.line_num}: {error}") from None
  if not rows:
    raise UserError(
      f"{where}: lists no people; expected a header line (id,album), then one "
      "line per person"
    )
  return rows


def _columns(cells: list[str], where: str) -> list[str]:
  names = [cell.removeprefix("--") for cell in cells]
  if ID not in names:
    raise UserError(
      f"{where}, line 1: has no column id; it has {', '.join(names)}"
    )
  for i, name in enumerate(names):
    if not name:
      raise UserError(f"{where}, line 1: column {i + 1} has no name")
    if name in names[:i]:
      raise UserError(f"{where}, line 1: column {name} appears twice")
  return names


def _row(columns: list[str], cells: list[str], where: str) -> Row:
  if len(cells) > len(columns):
    raise UserError(
      f"{where}: has {len(cells)} cells for {len(columns)} columns; quote a cell "
      "that contains commas"
    )
  given = {name: cell for name, cell in zip(columns, cells) if cell}
  person = unicodedata.normalize("NFC", given.pop(ID, ""))
  fault = _fault(person)
  if fault:
    raise UserError(f"{where}, column id: {fault}, got {person[:40]!r}")
  photos, album = given.pop(PHOTOS, ""), given.pop(ALBUM, "")
  if photos and album:
    raise UserError(
      f"{where}, column photos: {person} has an album as well; give only one"
    )
  return Row(person, photos, album, given, where)


def _fault(person: str) -> str:
  """Why an id cannot name a folder; "" if it can."""
  if not person:
    return "expected a name"
  if not all(letter.isalnum() or letter in _JOINING for letter in person) or (
    person != lora.clean_id(person)
  ):
    return "expected letters, digits, single spaces and ._-"
  if person[0] in _JOINING or person[-1] in _JOINING:
    return "expected a letter or digit at both ends"
  if len(person.encode()) > _MOST_BYTES:
    return f"expected at most {_MOST_BYTES} bytes"
  if person.partition(".")[0].casefold() in _DEVICES:
    return "expected a name that is not a device's"
  return ""

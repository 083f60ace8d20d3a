"""Names in zips that do not say how their letters are written.

A zip marks names that are UTF-8. Others should be in the letters of the first
PCs; systems write UTF-8 all the same, or the letters of their country.
"""

import json
import zipfile

_UTF8_FLAG = 0x800
_UNMARKED = "cp437"  # which `zipfile` takes
# In the order in which they are tried: the first ones refuse what is none.
_ENCODINGS = ("utf-8", "cp932", "gbk", "cp949", "big5", "cp1251", "cp1252")
_MOST_BYTES = 2**25  # of a text that names the files


def decoded(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
  """All entries with their names.

  Of several encodings that names could be in, the one is taken whose names
  stand in the archive's texts, as those of photos do in a `dataset.json`.

  Args:
    archive: open.
  """
  entries = archive.infolist()
  doubtful = [
    entry
    for entry in entries
    if not entry.flag_bits & _UTF8_FLAG and not entry.filename.isascii()
  ]
  if not doubtful:
    return [(entry, entry.filename) for entry in entries]
  raw = {
    id(entry): entry.filename.encode(_UNMARKED, "replace") for entry in doubtful
  }
  texts = _texts(archive, entries)
  small = texts.lower()
  best, found = -1, {}
  for encoding in (*_ENCODINGS, _UNMARKED):
    try:
      names = {key: name.decode(encoding) for key, name in raw.items()}
    except UnicodeDecodeError:
      continue
    known = sum(
      _stem(name) in texts or _escaped(_stem(name)) in small
      for name in names.values()
    )
    if known > best:
      best, found = known, names
  return [(entry, found.get(id(entry), entry.filename)) for entry in entries]


def _texts(archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> str:
  """The JSON files of an archive in a row."""
  texts = []
  for entry in entries:
    if entry.filename.endswith(".json") and entry.file_size <= _MOST_BYTES:
      texts.append(archive.read(entry).decode("utf-8", "replace"))
  return "".join(texts)


def _stem(name: str) -> str:
  return name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]


def _escaped(name: str) -> str:
  """As JSON writes letters that are not English."""
  return json.dumps(name)[1:-1].lower()

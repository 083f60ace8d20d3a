"""File names in zips that do not state their encoding.

A zip marks names that are UTF-8. Others should be in the original PC's code
page; systems write UTF-8 all the same, or a local encoding.
"""

import json
import zipfile

_UTF8_FLAG = 0x800
_UNMARKED = "cp437"  # which `zipfile` assumes
# In the order in which they are tried: the first ones reject invalid bytes.
_ENCODINGS = ("utf-8", "cp932", "gbk", "cp949", "big5", "cp1251", "cp1252")
_MOST_BYTES = 2**25  # limit for a text that names the files


def decoded(archive: zipfile.ZipFile) -> list[tuple[zipfile.ZipInfo, str]]:
  """All entries with their names.

  Of several possible encodings, the one is chosen whose names appear in the
  archive's texts, like those of photos in a `dataset.json`.

  Args:
    archive: the open archive.
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
  """An archive's JSON files, concatenated."""
  texts = []
  for entry in entries:
    if entry.filename.endswith(".json") and entry.file_size <= _MOST_BYTES:
      texts.append(archive.read(entry).decode("utf-8", "replace"))
  return "".join(texts)


def _stem(name: str) -> str:
  return name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]


def _escaped(name: str) -> str:
  """Escapes non-ASCII letters as JSON does."""
  return json.dumps(name)[1:-1].lower()

"""A fleet's progress as a table: as text, as CSV, and as a web page."""

import csv
import io
from collections.abc import Iterable, Sequence

from my3dgen_jax.apps.fleet.person import Folders
from my3dgen_jax.apps.fleet.places import Place
from my3dgen_jax.apps.fleet.states import counted, KINDS, State
from my3dgen_jax.apps.fleet.worker import SCORES
from my3dgen_jax.apps.reports import page
from my3dgen_jax.jobs.progress import duration

CSV_FILE, HTML_FILE = "status.csv", "status.html"
_WHICH = ("pretrained", "personalized")
_TITLES = (("lpips", "LPIPS", 4), ("psnr", "PSNR", 2), ("id_sim", "ID_sim", 3))
# Spreadsheets take texts that start like this for formulas.
_FORMULAS = ("=", "+", "-", "@")


def sentence(states: Iterable[State]) -> str:
  """E.g. "6 people: 1 waiting, 2 running, 3 done, 0 failed"."""
  counts = counted(states)
  return f"{sum(counts.values())} people: " + ", ".join(
    f"{counts[kind]} {kind}" for kind in KINDS
  )


def as_text(states: Sequence[State]) -> str:
  """One line per person, in columns."""
  header = ["id", "state", "tries", "seconds"]
  header += [title for _, title, _ in _TITLES]
  rows = [header, *([state.id, *_cells(state)] for state in states)]
  widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
  lines = [
    "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
    for row in rows
  ]
  for i, state in enumerate(states, 1):
    if state.reason:
      lines[i] += f"  {state.reason}"
  return "\n".join([*lines, sentence(states)])


def as_csv(states: Iterable[State]) -> str:
  """One line per person, with full numbers."""
  file = io.StringIO()
  writer = csv.writer(file, lineterminator="\n")
  scores = [(which, name) for which in _WHICH for name in SCORES]
  writer.writerow(
    ["id", "state", "reason", "tries", "seconds", "compile_seconds"]
    + [f"{which}_{name}" for which, name in scores]
    + ["in_bank", "place"]
  )
  for state in states:
    reason = state.reason
    writer.writerow(
      [
        state.id,
        state.state,
        f"'{reason}" if reason.startswith(_FORMULAS) else reason,
        state.tries,
        state.seconds,
        state.compile_seconds,
        *(state.scores.get(which, {}).get(name, "") for which, name in scores),
        int(state.in_bank),
        state.place,
      ]
    )
  return file.getvalue()


def as_html(states: Sequence[State], storage: Place) -> str:
  """The page; it is rewritten while the fleet works."""
  header = ["person", "state", "tries", "time"]
  header += [title for _, title, _ in _TITLES]
  parts = [page.paragraph(sentence(states))]
  troubled = [state for state in states if state.state == "failed"]
  if troubled:
    parts.append(
      page.section(
        "Failed",
        page.table(
          ["person", "why", "log"],
          (
            (state.id, state.reason, _below(storage, "log", state.id))
            for state in troubled
          ),
          words=True,
        ),
      )
    )
  parts.append(
    page.section(
      "Everybody",
      page.table(
        header,
        ([state.id, *_cells(state, time=duration)] for state in states),
        caption="Scores on held-out photos, pretrained → personalized.",
      ),
    )
  )
  return page.page("Fleet", parts)


def write(states: Sequence[State], storage: Place):
  """Writes both files into the storage; raises OSError."""
  (storage / CSV_FILE).write(as_csv(states).encode())
  (storage / HTML_FILE).write(as_html(states, storage).encode())


def _cells(state: State, time=lambda seconds: f"{seconds:.0f}") -> list[str]:
  """All cells but the id."""
  return [
    state.state,
    str(state.tries or "-"),
    time(state.seconds) if state.seconds else "-",
    *(_change(state, name, digits) for name, _, digits in _TITLES),
  ]


def _change(state: State, name: str, digits: int) -> str:
  before, after = (state.scores.get(which, {}).get(name) for which in _WHICH)
  if before is None or after is None:
    return "-"
  return f"{before:.{digits}f} → {after:.{digits}f}"


def _below(storage: Place, what: str, person: str) -> str:
  """The path of a person's file, relative to the storage."""
  place = str(getattr(Folders.of(str(storage), person), what))
  return place.removeprefix(str(storage)).lstrip("/\\")

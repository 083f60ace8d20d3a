"""A web page in one file: tables, curves, pictures and videos inside.

The page fetches nothing and runs nothing: no scripts, no fonts, no links except
to files beside it. Wide parts scroll on their own, so that the page fits a
phone.
"""

import base64
import html
import math
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence

_MOST_POINTS = 400  # of a curve; there are no more pixels
# Of a curve's picture, in its own units.
_WIDTH, _HEIGHT = 320, 150
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 8, 8, 22

_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 70rem;
  padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.2; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2rem; border-top: 1px solid var(--line);
  padding-top: 1rem; }
p { max-width: 45rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: left;
  border-bottom: 1px solid var(--line); vertical-align: top; }
td.number, th.number { text-align: right; }
td.text { overflow-wrap: anywhere; min-width: 8rem; }
img, video { max-width: 100%; height: auto; display: block; }
.large { min-width: 52rem; max-width: none; width: 100%; }
.tiles { display: grid; gap: .8rem;
  grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); }
.pairs { grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); }
figure { margin: 0; background: var(--soft); padding: .5rem;
  border-radius: .4rem; }
figcaption { font-size: .85rem; overflow-wrap: anywhere; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: .25rem; }
.pair img { width: 100%; }
.film { max-width: 26rem; }
.film img, .film video { width: 100%; }
svg { width: 100%; height: auto; display: block; }
svg text { font-size: 11px; fill: currentColor; }
svg polyline { fill: none; stroke: #c2410c; stroke-width: 1.5; }
svg line { stroke: currentColor; stroke-opacity: .3; }
summary { cursor: pointer; font-weight: bold; }
@media (prefers-color-scheme: dark) { svg polyline { stroke: #fb923c; } }
"""


def text(value: object) -> str:
  """Any value as escaped text; unprintable characters are left out."""
  return html.escape(
    "".join(char for char in str(value) if char.isprintable() or char == "\n")
  )


def page(title: str, parts: Iterable[str]) -> str:
  """The whole page.

  Args:
    title: the page's title, plain text.
    parts: parts of the body, from the functions of this module.
  """
  body = "\n".join(parts)
  return (
    "<!DOCTYPE html>\n"
    '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    '<meta name="viewport" content="width=device-width, '
    'initial-scale=1">\n'
    f"<title>{text(title)}</title>\n<style>{_STYLE}</style>\n</head>\n"
    f"<body>\n<main>\n<h1>{text(title)}</h1>\n{body}\n</main>\n</body>\n"
    "</html>\n"
  )


def section(title: str, *parts: str) -> str:
  """A section with a heading."""
  return "\n".join(
    ["<section>", f"<h2>{text(title)}</h2>", *parts, "</section>"]
  )


def folded(title: str, *parts: str) -> str:
  """A section that opens when its title is clicked."""
  return "\n".join(
    ["<details>", f"<summary>{text(title)}</summary>", *parts, "</details>"]
  )


def paragraph(sentence: str) -> str:
  """A paragraph of plain text."""
  return f"<p>{text(sentence)}</p>"


def link(name: str, sentence: str) -> str:
  """A link to a file in the page's own folder.

  Args:
    name: the file's name.
    sentence: text of the link.
  """
  return (
    f'<p><a href="{text(urllib.parse.quote(name))}">{text(sentence)}</a></p>'
  )


def table(
  header: Sequence[str],
  rows: Iterable[Sequence[str]],
  *,
  caption: str = "",
  words: bool = False,
) -> str:
  """A table that scrolls if it is too wide.

  Args:
    header: titles of the columns.
    rows: cells of each row; the first cell is the row's heading.
    caption: text above the table.
    words: whether the other columns are text instead of numbers.
  """
  kind = "text" if words else "number"
  # No <caption>, which would be as wide as the table and scroll with it.
  lines = [paragraph(caption)] if caption else []
  lines += ['<div class="wide">', "<table>"]
  first, *others = header
  lines += [
    "<thead><tr>",
    f'<th scope="col">{text(first)}</th>',
    *(f'<th scope="col" class="{kind}">{text(cell)}</th>' for cell in others),
    "</tr></thead>",
    "<tbody>",
  ]
  for name, *cells in rows:
    lines.append(
      "<tr>"
      + f'<th scope="row">{text(name)}</th>'
      + "".join(f'<td class="{kind}">{text(cell)}</td>' for cell in cells)
      + "</tr>"
    )
  return "\n".join([*lines, "</tbody>", "</table>", "</div>"])


def picture(
  data: bytes,
  kind: str,
  alt: str,
  size: tuple[int, int],
  *,
  large: bool = False,
) -> str:
  """A picture inside the page.

  Args:
    data: bytes of the file.
    kind: its media type, such as "image/jpeg".
    alt: alternative text.
    size: width and height, pixels.
    large: whether it scrolls instead of shrinking, as it has small details.
  """
  width, height = size
  tag = (
    f'<img src="{_inside(data, kind)}" alt="{text(alt)}" '
    f'width="{width}" height="{height}"'
  )
  if large:
    return f'<div class="wide">{tag} class="large"></div>'
  return f"{tag}>"


def film(data: bytes, kind: str, alt: str, size: tuple[int, int]) -> str:
  """A video or animated picture inside the page; arguments as `picture`'s."""
  if kind.startswith("image/"):
    return f'<figure class="film">{picture(data, kind, alt, size)}</figure>'
  width, height = size
  return (
    f'<figure class="film"><video src="{_inside(data, kind)}" '
    f'width="{width}" height="{height}" aria-label="{text(alt)}" '
    "controls loop muted autoplay playsinline></video>"
    f"<figcaption>{text(alt)}</figcaption></figure>"
  )


def tiles(figures: Iterable[str], *, pairs: bool = False) -> str:
  """Figures side by side, as many as fit."""
  name = "tiles pairs" if pairs else "tiles"
  return "\n".join([f'<div class="{name}">', *figures, "</div>"])


def pair(left: str, right: str, caption: str) -> str:
  """Two pictures with a caption."""
  return (
    f'<figure><div class="pair">{left}{right}</div>'
    f"<figcaption>{text(caption)}</figcaption></figure>"
  )


def curve(name: str, points: Sequence[tuple[float, float]]) -> str:
  """A curve over the steps, as SVG; its axis starts at 0 or a lower minimum.

  Args:
    name: the curve's name.
    points: step and value; points that are not finite are left out.
  """
  points = [point for point in points if all(map(math.isfinite, point))]
  if not points:
    return ""
  thinned = points[:: -(-len(points) // _MOST_POINTS)]
  if thinned[-1] != points[-1]:
    thinned.append(points[-1])
  steps = [step for step, _ in points]
  first, last = min(steps), max(steps)
  values = [value for _, value in points]
  low, high = min(0.0, *values), max(values)
  right, bottom = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM
  x = lambda step: (
    _LEFT + (step - first) / ((last - first) or 1) * (right - _LEFT)
  )
  y = lambda value: (
    bottom - (value - low) / ((high - low) or 1) * (bottom - _TOP)
  )
  line = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in thinned)
  label = (
    f"{name} over the steps: from {values[0]:.4g} at step {steps[0]:g} "
    f"to {values[-1]:.4g} at step {steps[-1]:g}"
  )
  marks = [
    f'<text x="{_LEFT - 4}" y="{y(value) + 4:.1f}" '
    f'text-anchor="end">{value:.3g}</text>'
    for value in (low, high)
  ]
  marks += [
    f'<text x="{x(step):.1f}" y="{_HEIGHT - 6}" '
    f'text-anchor="{anchor}">{step:g}</text>'
    for step, anchor in ((first, "start"), (last, "end"))
  ]
  return "\n".join(
    [
      "<figure>",
      f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
      f'aria-label="{text(label)}">',
      f'<line x1="{_LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"></line>',
      f'<line x1="{_LEFT}" y1="{_TOP}" x2="{_LEFT}" y2="{bottom}"></line>',
      f'<polyline points="{line}"></polyline>',
      *marks,
      "</svg>",
      f"<figcaption>{text(name)}: {values[-1]:.4g} at the end</figcaption>",
      "</figure>",
    ]
  )


def settings(
  values: Mapping[str, object], prefix: str = ""
) -> list[tuple[str, str]]:
  """Nested settings as rows of a table: dotted name and value."""
  rows = []
  for name, value in values.items():
    if isinstance(value, Mapping):
      rows += settings(value, f"{prefix}{name}.")
    else:
      rows.append((f"{prefix}{name}", _said(value)))
  return rows


def _said(value: object | None) -> str:
  if value is None:
    return "-"
  if isinstance(value, (list, tuple)):
    return " ".join(map(str, value))
  return str(value)


def _inside(data: bytes, kind: str) -> str:
  return f"data:{kind};base64,{base64.b64encode(data).decode()}"

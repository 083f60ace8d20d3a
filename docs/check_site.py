"""Checks a built site: every link and picture is there, nothing is fetched.

python docs/check_site.py docs/_build/html
"""

import html.parser
import pathlib
import re
import sys
import urllib.parse


class _Page(html.parser.HTMLParser):
  """What a page has and asks for."""

  def __init__(self, text: str):
    super().__init__()
    self.names: set[str] = set()
    self.links: list[str] = []
    self.loads: list[str] = []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    found = {name: value for name, value in attributes if value is not None}
    self.names |= {found[name] for name in ("id", "name") if name in found}
    if tag == "a" and "href" in found:
      self.links.append(found["href"])
    elif tag == "link" and found.get("rel") not in ("canonical",):
      self.loads.append(found.get("href", ""))
    elif "src" in found:
      self.loads.append(found["src"])


def problems(folder: pathlib.Path) -> list[str]:
  """One line for each thing that is wrong with a site.

  Args:
    folder: the site's root.
  """
  pages = {
    path: _Page(path.read_text(encoding="utf-8"))
    for path in sorted(folder.rglob("*.html"))
  }
  found = []
  for path, page in pages.items():
    here = path.relative_to(folder)
    for target in page.loads:
      if _is_elsewhere(target) and not target.startswith("data:"):
        found.append(f"{here}: loads {target}")
    for target in page.links + page.loads:
      if _is_elsewhere(target):
        continue
      place, _, anchor = target.partition("#")
      place = urllib.parse.unquote(place.partition("?")[0])
      other = (path.parent / place).resolve() if place else path
      if not other.exists():
        found.append(f"{here}: {target} is missing")
      elif anchor and other in pages:
        if urllib.parse.unquote(anchor) not in pages[other].names:
          found.append(f"{here}: {target}: the anchor is missing")
  for style in sorted(folder.rglob("*.css")):
    text = style.read_text(encoding="utf-8")
    for target in re.findall(
      r"(?:url\(|@import)\s*['\"]?(https?:[^'\")]+)", text
    ):
      found.append(f"{style.relative_to(folder)}: loads {target}")
  if not pages:
    found.append(f"{folder}: holds no pages")
  return found


def _is_elsewhere(target: str) -> bool:
  return bool(re.match(r"[a-z][a-z0-9+.-]*:|//", target, re.IGNORECASE))


def main():
  """Prints what is wrong; exit code 1 if anything is."""
  found = problems(pathlib.Path(sys.argv[1]).resolve())
  print("\n".join(found) or "links and pictures: all are there")
  sys.exit(bool(found))


if __name__ == "__main__":
  main()

"""Checks web pages strictly: HTML, no request, words for each picture."""

import html.parser
import re

# Elements without an end tag.
_VOID = {"meta", "img", "br", "hr", "link", "input", "source"}
# Elements of SVG and of the pages' own that attributes are known of.
_URLS = ("src", "href", "poster", "data", "action", "srcset", "xlink:href")


class Page(html.parser.HTMLParser):
  """What a page is made of.

  Attributes:
    tags: of all elements.
    images: attributes of each `img`.
    words: all text.
  """

  def __init__(self):
    super().__init__()
    self.tags: list[str] = []
    self.images: list[dict[str, str]] = []
    self.words = ""
    self._open: list[str] = []
    self._ids = set()

  def handle_starttag(self, tag, attrs):
    names = [name for name, _ in attrs]
    assert len(set(names)) == len(names), f"<{tag}> says {names} twice"
    values = dict(attrs)
    self.tags.append(tag)
    if tag not in _VOID:
      self._open.append(tag)
    if tag == "img":
      assert "alt" in values, "a picture without words"
      self.images.append(values)
    if tag in ("video", "svg"):
      assert values.get("aria-label"), f"<{tag}> without words"
    for name in set(_URLS) & set(names):
      assert values[name].startswith("data:"), f"asks for {values[name][:80]}"
    if "id" in values:
      assert values["id"] not in self._ids, values["id"]
      self._ids.add(values["id"])

  def handle_endtag(self, tag):
    assert self._open and self._open[-1] == tag, (
      f"</{tag}> where {self._open[-1:]} is open"
    )
    self._open.pop()

  def handle_data(self, data):
    self.words += data

  def close(self):
    super().close()
    assert not self._open, f"{self._open} stay open"


def check_page(text: str) -> Page:
  """Parses a page; AssertionError says what is wrong with it.

  With html5lib, by the letter of HTML5; without, nesting, attributes and
  ends of elements.
  """
  page = Page()
  page.feed(text)
  page.close()
  assert text.startswith("<!DOCTYPE html>\n")
  assert page.tags[:2] == ["html", "head"]
  assert not re.search(
    r"@import|url\(|https?:",
    re.sub(r"https?://\S*digitalsourcetype\S*", "", text),
  ), "asks for something"
  try:
    import html5lib
  except ImportError:
    return page
  parser = html5lib.HTMLParser(strict=False)
  parser.parse(text)
  assert not parser.errors, parser.errors
  return page

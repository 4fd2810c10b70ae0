"""HTML of strangers: made safe to show (an allow-list, nothing loads), and read as text.

Three linear steps. `prescan` caps bytes, depth and attributes, as nested tags
are quadratic in html5ever and a tag with 100,000 attributes takes it 20 s. Then
nh3 parses and filters. Its output is well-formed, with quoted attributes and no
comments, so that a small tokenizer of ours reads it as text without breaking
words at inline tags, and knows quotations by their containers.
"""

from __future__ import annotations

import re
from html import escape, unescape

import nh3

from ingestd.mail.limits import DEFAULT_LIMITS, Limits

REMOTE_IMAGE = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=="
"""What stands in place of every image that would be loaded from the network: one transparent pixel."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TAGS = _words(
    "a abbr acronym address article aside b bdi bdo big blockquote br caption center cite code col colgroup dd del "
    "details dfn div dl dt em figcaption figure font footer h1 h2 h3 h4 h5 h6 header hr i img ins kbd li main mark nav "
    "ol p pre q s samp section small span strike strong sub summary sup table tbody td tfoot th thead time tr tt u ul "
    "var wbr"
)
_DROPPED_WITH_CONTENT = _words(
    "script style title svg math iframe object embed applet noscript template textarea select"
)
_ATTRIBUTES = {
    "*": {"align", "class", "dir", "id", "lang", "style", "title", "valign"},
    "a": {"href"},
    "blockquote": {"type"},
    "col": {"span", "width"},
    "colgroup": {"span", "width"},
    "font": {"color", "face", "size"},
    "img": {"alt", "height", "src", "width"},
    "li": {"value"},
    "ol": {"start", "type"},
    "table": {"bgcolor", "border", "cellpadding", "cellspacing", "width"},
    "td": {"bgcolor", "colspan", "height", "rowspan", "width"},
    "th": {"bgcolor", "colspan", "height", "rowspan", "width"},
}
_STYLES = _words(
    "color background-color font-weight font-style font-size font-family text-align display "
    "text-decoration margin-left "
    "padding-left border-left white-space vertical-align line-height"
)
# Containers by which clients mark what they quote; the only classes and ids that survive.
_QUOTE_CLASSES = frozenset(
    {"gmail_quote", "gmail_attr", "gmail_signature", "yahoo_quoted", "moz-cite-prefix", "moz-signature"}
    | {"protonmail_quote", "tutanota_quote", "zmail_extra", "OutlookMessageHeader", "gmail_quote_container"}
    | {"protonmail_signature_block", "mail_android_quote", "cf_quote", "front-blockquote", "quote", "airmail_on"}
    | {"spark_quote", "clean_bq", "ntes-mailmaster-quote", "ms-outlook-mobile-reference-message"}
)
_QUOTE_IDS = frozenset(
    {"divRplyFwdMsg", "appendonsend", "OLK_SRC_BODY_SECTION", "replySplit", "mailcontent", "Signature", "zmail_extra"}
    | {
        "reply-intro",
        "isForwardContent",
        "isReplyContent",
        "stopSpelling",
        "x_divRplyFwdMsg",
        "mail-editor-reference-message-container",
        "zwchr",
    }
)
_SAFE_URL = re.compile(r"(?:https?:|mailto:|tel:|cid:)", re.IGNORECASE)
_INLINE_IMAGE = re.compile(r"(?:cid:|data:image/(?:png|gif|jpeg|jpg|webp);base64,)", re.IGNORECASE)
_LOADS = re.compile(r"url|expression|import|[\\@]|/\*", re.IGNORECASE)

_VOID = _words("br hr img wbr col input meta link area base embed source track param")
_IMPLIED_END = _words("p li td tr th dt dd option thead tbody tfoot colgroup")
# Possessive, so that no input makes it try twice: a ">" inside a quoted value does not end the tag.
_TAG_END = re.compile(r"""(?:[^>"'=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+|["'])*+>""")
_TAG = re.compile(r"<(/?)([a-zA-Z][a-zA-Z0-9:_-]{0,40})")


def prescan(html: str, limits: Limits = DEFAULT_LIMITS) -> tuple[str, tuple[str, ...]]:
    """Return HTML that is safe to give to a tree builder, and defect words; linear in the input.

    Tags below the depth limit and attributes of tags that have too many are dropped; all text is kept.

    >>> prescan("<b>hi</b>")
    ('<b>hi</b>', ())
    """
    defects: list[str] = []
    if len(html) > limits.text_bytes_max:
        html = html[: limits.text_bytes_max]
        defects.append("html-too-long")
    depth = deepest = position = kept = 0
    out: list[str] = []
    while (match := _TAG.search(html, position)) is not None:
        end = _TAG_END.match(html, match.end())
        position = end.end() if end is not None else len(html)
        name = match[2].lower()
        drop = False
        if name not in _VOID and name not in _IMPLIED_END:
            drop = depth > limits.html_depth_max if match[1] else depth >= limits.html_depth_max
            depth = max(0, depth - 1) if match[1] else depth + 1
            deepest = max(deepest, depth)
        crowded = _attribute_count(html, match.end(), position) > limits.html_attributes_max
        if drop or crowded:
            out.append(html[kept : match.start()])
            kept = position
            if not drop:
                out.append(match[0] + ">")
                defects.append("html-too-many-attributes")
    if deepest > limits.html_depth_max:
        defects.append("html-too-deep")
    out.append(html[kept:])
    return "".join(out), tuple(dict.fromkeys(defects))


def _attribute_count(html: str, start: int, end: int) -> int:
    """Bound the number of attributes from above; 0 for tags that are too short to have many.

    Attributes are set off by white space, slashes or the quote that ends the one before. The words of a
    quoted value count too, so where there are values, no more are believed than "=" and slashes allow.
    """
    if end - start < 128:
        return 0
    text = html[start:end]
    slashes = text.count("/")
    most = len(text.split()) + slashes + (text.count('"') + text.count("'")) // 2
    return min(most, text.count("=") + slashes + 1) if "=" in text else most


def _filter_attribute(_tag: str, name: str, value: str) -> str | None:
    if name == "class":
        return " ".join(word for word in value.split() if word in _QUOTE_CLASSES) or None
    if name == "id":
        return value if value in _QUOTE_IDS else None
    if name == "style":
        return None if _LOADS.search(value) else value
    if name == "src":
        return value if _INLINE_IMAGE.match(value) else REMOTE_IMAGE
    if name == "href":
        return value if _SAFE_URL.match(value.strip()) and not value.strip().lower().startswith("cid:") else None
    return value


_CLEANER = nh3.Cleaner(
    tags=set(_TAGS),
    clean_content_tags=set(_DROPPED_WITH_CONTENT),
    attributes=_ATTRIBUTES,
    attribute_filter=_filter_attribute,
    filter_style_properties=set(_STYLES),
    link_rel="noopener noreferrer nofollow",
    strip_comments=True,
    url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
)


def sanitize(html: str, limits: Limits = DEFAULT_LIMITS) -> tuple[str, tuple[str, ...]]:
    """Return HTML that runs nothing and loads nothing from the network, and defect words.

    Images other than `cid:` and inline data become REMOTE_IMAGE.

    >>> sanitize('<p onclick=x>a<script>b</script><img src="https://example.com/t.gif"></p>')[0].count(REMOTE_IMAGE)
    1
    """
    scanned, defects = prescan(html, limits)
    return _CLEANER.clean(scanned), defects


_TOKEN = re.compile(r"<(/?)([a-z][a-z0-9]*)((?:[^>\"]|\"[^\"]*\")*)>|([^<]+)|<")
_ATTRIBUTE = re.compile(r"([a-z-]+)=\"([^\"]*)\"")
_SPACES = re.compile(r"[ \t\n\r\f]+")
_BLOCKS = _words(
    "address article aside blockquote center dd details div dl dt figcaption figure footer h1 h2 h3 h4 h5 h6 header hr "
    "li main nav ol p pre section summary table tbody tfoot thead tr ul caption"
)
_SPACED = _words("p blockquote h1 h2 h3 h4 h5 h6 ul ol dl pre table")
_BLANK_LINES = re.compile(r"\n{3,}")


class _Writer:
    """Writes lines of text, with `> ` before what stands in quotations."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []
        self.quote = 0
        self.kept_spaces = False
        """The line began in <pre>: its indentation means something."""

    def break_line(self, blank: bool = False) -> None:
        text = "".join(self.line)
        text = text.rstrip() if self.kept_spaces else text.strip()
        self.kept_spaces = False
        self.line.clear()
        prefix = "> " * min(self.quote, 8)
        if text.strip():
            self.lines.append(prefix + text)
        if blank and self.lines and self.lines[-1].strip("> ") != "":
            self.lines.append(prefix.rstrip())

    def text(self, text: str) -> None:
        if text.startswith(" ") and (not self.line or self.line[-1].endswith(" ")):
            text = text[1:]
        if text:
            self.line.append(text)


class _Reader:
    """Reads sanitized HTML token by token."""

    def __init__(self) -> None:
        self.writer = _Writer()
        self.pre = 0
        self.hidden_by = ""
        self.hidden = 0
        self.link: tuple[str, int] | None = None

    def text(self, value: str) -> None:
        if self.hidden:
            return
        value = unescape(value)
        if self.pre:
            _write_preformatted(self.writer, value)
        else:
            self.writer.text(_SPACES.sub(" ", value))

    def tag(self, name: str, closing: bool, attributes: str) -> None:
        if self._is_hidden(name, closing, attributes):
            return
        if name == "br":
            _line_end(self.writer)
        elif name in _BLOCKS:
            _block(self.writer, name, closing)
            if name == "pre":
                self.pre = max(0, self.pre + (-1 if closing else 1))
        elif name in ("td", "th"):
            if not closing and self.writer.line:
                self.writer.text(" ")
        elif name == "img":
            self.writer.text(_attribute(attributes, "alt").strip())
        elif name == "a":
            if closing and self.link is not None:
                _write_target(self.writer, *self.link)
            self.link = None if closing else (_attribute(attributes, "href"), len(self.writer.line))

    def _is_hidden(self, name: str, closing: bool, attributes: str) -> bool:
        """Follow a `display:none` element to its end: the preheaders of newsletters."""
        if name in _VOID:
            return self.hidden > 0
        if self.hidden:
            if name == self.hidden_by:
                self.hidden += -1 if closing else 1
            return True
        if not closing and "display:none" in attributes.replace(" ", ""):
            self.hidden_by, self.hidden = name, 1
            return True
        return False


def to_text(html: str) -> str:
    """Return the text of *sanitized* HTML as a reader sees it; blockquotes get `> `, links keep their target.

    >>> to_text('<p>in<b>lin</b>e</p><blockquote>old</blockquote>')
    'inline\\n\\n> old'
    """
    reader = _Reader()
    for match in _TOKEN.finditer(html):
        closing, name, attributes, text = match.groups()
        if name is None:
            reader.text(text if text is not None else "<")
        else:
            reader.tag(name, bool(closing), attributes)
    reader.writer.break_line()
    lines = reader.writer.lines
    while lines and not lines[-1].strip("> "):
        lines.pop()
    return _BLANK_LINES.sub("\n\n", "\n".join(lines)).strip()


def _attribute(attributes: str, name: str) -> str:
    return unescape(dict(_ATTRIBUTE.findall(attributes)).get(name, ""))


def _line_end(writer: _Writer) -> None:
    if writer.line:
        writer.break_line()
    else:
        writer.break_line(blank=True)


def _block(writer: _Writer, name: str, closing: bool) -> None:
    writer.break_line(blank=name in _SPACED and not (closing and name in ("ul", "ol")))
    if name == "blockquote":
        writer.quote = max(0, writer.quote + (-1 if closing else 1))
    elif name == "li" and not closing:
        writer.line.append("- ")
    elif name == "hr":
        writer.lines.append("> " * min(writer.quote, 8) + "________________________________")


def _write_preformatted(writer: _Writer, value: str) -> None:
    first, *rest = value.split("\n")
    writer.line.append(first)
    for line in rest:
        text = "".join(writer.line).rstrip()
        writer.line.clear()
        writer.lines.append("> " * min(writer.quote, 8) + text)
        writer.line.append(line)
        writer.kept_spaces = True


def _write_target(writer: _Writer, target: str, begun: int) -> None:
    """Add the target of a link unless its text shows it already."""
    shown = "".join(writer.line[begun:]).strip()
    bare = target.removeprefix("mailto:").removeprefix("tel:")
    if not target or not shown or len(target) > 300 or bare.rstrip("/").split("://")[-1] in shown:
        return
    if target.startswith(("http://", "https://")):
        writer.text(f" <{target}>")


def text_to_html(text: str) -> str:
    """Return plain text as HTML, for a message that mixes both.

    >>> text_to_html("a < b")
    '<div style="white-space:pre-wrap">a &lt; b</div>'
    """
    return f'<div style="white-space:pre-wrap">{escape(text, quote=False)}</div>'

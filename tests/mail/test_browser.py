"""Sanitized HTML in a real browser: nothing runs, nothing is loaded, nothing covers the page.

The same vectors are opened as they came, too: what does not run then proves nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ingestd.mail.html_safe import sanitize
from ingestd.mail.html_tags import SHOWN
from tests.conftest import missing
from tests.mail.browser import find_browser, visit
from tests.mail.xss import VECTORS

_SECONDS_MAX = 100
_SAFE, _RAW = 10_000, 20_000
"""Vector 7 is 10007 where it was sanitized, 20007 where it was not."""
_RUNS_AT_LEAST, _LOADS_AT_LEAST = 180, 80
"""Of the vectors as they came; less means that the browser or this harness no longer does what it did."""

_HARNESS = """
// A link that leads away is what a reader may follow; only script in its place counts.
function stay(event) {
  const link = event.target.closest ? event.target.closest("a, area") : null;
  const target = link ? link.getAttribute("href") || link.getAttribute("xlink:href") || "" : "";
  if (/^(https?|ftp|mailto|tel|sms):|^#/i.test(target)) event.preventDefault();
}
function poke(doc) {
  doc.addEventListener("click", stay, true);
  for (const element of doc.querySelectorAll("body, body *")) {
    for (const {name} of element.attributes) {
      if (!/^on/i.test(name)) continue;
      try { element.dispatchEvent(new MouseEvent(name.slice(2).toLowerCase())); } catch (error) { }
    }
    try {
      if (element.click) element.click();
      else element.dispatchEvent(new MouseEvent("click", {bubbles: true, cancelable: true}));
    } catch (error) { }
    try { if (element.focus) element.focus({preventScroll: true}); } catch (error) { }
  }
}
const pause = milliseconds => new Promise(done => setTimeout(done, milliseconds));
for (const name of ["alert", "confirm", "prompt", "print", "open"]) window[name] = () => { top.hit(name); };
"""

_MAIN = """<!doctype html><title>visit</title><script src="/harness.js"></script><script src="/vectors.js"></script>
<script>
const hits = [];
window.hit = which => { hits.push(which); };
function frame(attribute, value) {
  const element = document.createElement("iframe");
  element.width = 300; element.height = 80; element[attribute] = value;
  const loaded = new Promise(done => { element.addEventListener("load", done, {once: true}); });
  document.body.append(element);
  return Promise.race([loaded, pause(30000)]).then(() => element);
}
const asked = async () => (await fetch("/asked", {method: "POST"})).json();
// Until nothing new has come for a while; a busy machine gets its time.
async function settled() {
  for (let before = "", same = 0, tries = 0; same < 3 && tries < 100; tries++) {
    await pause(100);
    const now = JSON.stringify([hits.length, await asked()]);
    same = now === before ? same + 1 : 0;
    before = now;
  }
}
// As a program that stores the page, reads it again and shows it would do: markup that changes its meaning shows then.
function again(doc) {
  for (const shown of [...doc.querySelectorAll(".mail")]) {
    const second = doc.createElement("div"), third = doc.createElement("div");
    second.innerHTML = shown.innerHTML;
    doc.body.append(second);
    third.innerHTML = second.innerHTML;
    doc.body.append(third);
  }
}
function covers(doc) {
  const found = [];
  for (const element of doc.querySelectorAll("body *")) {
    const style = doc.defaultView.getComputedStyle(element);
    if (style.position !== "static" || style.zIndex !== "auto" || style.opacity !== "1" || style.transform !== "none"
        || style.filter !== "none" || style.float !== "none" || style.pointerEvents !== "auto"
        || style.backgroundImage !== "none" || style.animationName !== "none"
        || ["marginLeft", "marginTop", "marginRight", "marginBottom"].some(side => parseFloat(style[side]) < 0)
        || [...element.attributes].some(({name}) => /^on/.test(name)))
      found.push(element.outerHTML.slice(0, 200));
  }
  return found;
}
async function main() {
  const doc = (await frame("src", "/safe")).contentDocument;
  again(doc);
  poke(doc);
  await settled();
  const report = {
    mails: doc.querySelectorAll(".mail").length,
    text: doc.body.innerText.includes("the last words"),
    covers: covers(doc),
    names: doc.querySelectorAll("[id]:not([id^=mail-]), [name]").length,
    elements: [...new Set([...doc.querySelectorAll("body *")].map(element => element.localName))].sort(),
    safe: hits.splice(0),
    asked: await asked(),
  };
  const frames = await Promise.all(VECTORS.map(vector => frame("srcdoc", vector)));
  for (const element of frames) try { poke(element.contentDocument); } catch (error) { }
  await settled();
  await fetch("/report", {method: "POST", body: JSON.stringify({...report, raw: hits})});
}
addEventListener("load", main);
</script><body></body>"""


def _texts(vectors: Sequence[str]) -> dict[str, str]:
    raw = [
        '<!doctype html><meta charset=utf-8><script src="/harness.js"></script>'
        + vector.replace("%N", str(_RAW + number))
        for number, vector in enumerate(vectors)
    ]
    mails = (
        f'<div class="mail" id="mail-{number}">{sanitize(vector.replace("%N", str(_SAFE + number))).html}</div>\n'
        for number, vector in enumerate(vectors)
    )
    return {
        "/": _MAIN,
        "/harness.js": _HARNESS,
        "/vectors.js": f"const VECTORS = {json.dumps(raw)};",
        "/safe": '<!doctype html><meta charset=utf-8><script src="/harness.js"></script><body>'
        + "".join(mails)
        + "<p>the last words</p>",
    }


def test_sanitized_vectors_do_nothing_in_a_browser(tmp_path: Path) -> None:
    browser = find_browser()
    if browser is None:
        missing("Chromium", "chromium")
        return
    seen = visit(browser, _texts(VECTORS), tmp_path / "profile", seconds=_SECONDS_MAX)
    report = seen.report
    assert report["mails"] == len(VECTORS)
    assert report["text"]
    assert report["safe"] == []
    assert report["asked"] == [0, []]
    assert not {number for number in seen.asked if number < _RAW}
    assert report["covers"] == []
    assert report["names"] == 0
    assert set(report["elements"]) <= SHOWN

    ran = {number - _RAW for number in report["raw"] if isinstance(number, int)}
    loaded = {number - _RAW for number in seen.asked}
    assert len(ran) >= _RUNS_AT_LEAST
    assert len(loaded) >= _LOADS_AT_LEAST
    # Nearly all are alive: the others need an older browser.
    assert len(ran | loaded) >= 0.95 * len(VECTORS)

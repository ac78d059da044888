"""The page of `galley report` in headless Chromium, by ChromeDriver's WebDriver interface and nothing but Python's own
library. Prints a line for each test: `ok NAME` or `FAILED NAME`, with what was wrong below."""

import base64
import json
import re
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.request

KEYS = {"Tab": "\ue004", "Enter": "\ue007", "Escape": "\ue00c", "Home": "\ue011", "End": "\ue010",
        "Left": "\ue012", "Up": "\ue013", "Right": "\ue014", "Down": "\ue015", "Shift": "\ue008"}
ARGUMENTS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
             "--window-size=1280,900"]
# Ratio of the luminances of two colours of rgb(), with what is transparent laid over what is behind.
CONTRAST = r"""
const parse = (text) => (text.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
const light = ([r, g, b]) => { const f = (c) => (c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b); };
const ratio = (one, other) => { const [a, b] = [light(one), light(other)].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
const behind = (element) => { for (; element; element = element.parentElement) {
  const colour = parse(getComputedStyle(element).backgroundColor);
  if (colour.length === 3 || colour[3] > 0.99) return colour; } return [255, 255, 255]; };
const low = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node; (node = walker.nextNode());) {
  const element = node.parentElement, style = getComputedStyle(element);
  if (!node.data.trim() || !element.checkVisibility() || /^(SCRIPT|STYLE|title)$/.test(element.tagName)) continue;
  const svg = element.closest("svg");
  const ground = svg ? parse(getComputedStyle(element.parentElement.querySelector("rect")).fill) : behind(element);
  const colour = parse(svg ? style.fill : style.color);
  const found = ratio(colour, ground);
  if (found < 4.5) low.push([element.className.baseVal || element.className || element.tagName, node.data.slice(0, 30), found.toFixed(2)]);
}
return low;
"""


class Browser:
    """A session of ChromeDriver."""

    def __init__(self, profile):
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True)
        started = (re.search(r"successfully on port (\d+)", line) for line in self.driver.stdout)
        self.base = f"http://127.0.0.1:{next(filter(None, started))[1]}/session"
        options = {"args": ARGUMENTS + [f"--user-data-dir={profile}"], "binary": "/usr/bin/chromium"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options,
                  "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"}}
        # No proxy stands between us and ourselves.
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            self.base += "/" + self.ask("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]
        except BaseException:
            self.driver.terminate()
            raise

    def ask(self, path, body=None, method="POST"):
        data = None if method == "DELETE" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self.opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(json.load(error)["value"]["message"]) from None

    def open(self, path):
        self.ask("/url", {"url": "about:blank"})
        self.ask("/se/log", {"type": "performance"})
        self.ask("/se/log", {"type": "browser"})
        self.ask("/url", {"url": "file://" + path})

    def run(self, script, *arguments):
        return self.ask("/execute/sync", {"script": script, "args": list(arguments)})

    def press(self, *keys):
        actions = []
        for key in keys:
            actions += [{"type": kind, "value": KEYS[key]} for kind in ("keyDown", "keyUp")]
        self.ask("/actions", {"actions": [{"type": "key", "id": "keys", "actions": actions}]})

    def chrome(self, command, **parameters):
        return self.ask("/goog/cdp/execute", {"cmd": command, "params": parameters})

    def scheme(self, name):
        self.chrome("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def width(self, pixels):
        self.chrome("Emulation.setDeviceMetricsOverride", width=pixels, height=900, deviceScaleFactor=1, mobile=False)

    def focus(self):
        """What has the focus: its tag, link, text and the height in the window."""
        return self.run("""const e = document.activeElement, box = e.getBoundingClientRect();
            return {tag: e.tagName.toLowerCase(), href: e.getAttribute("href") || "", text: e.textContent.trim().slice(0, 60),
                    top: box.top, x: box.x, inside: e.closest("[data-keys]") ? e.closest("[data-keys]").tagName.toLowerCase() : "",
                    seen: box.bottom > 0 && box.top < innerHeight};""")

    def close(self):
        try:
            self.ask("", method="DELETE")
        finally:
            self.driver.terminate()
            self.driver.wait()


def messages(browser):
    return [entry["message"] for entry in browser.ask("/se/log", {"type": "browser"})]


def requests(browser):
    """The addresses that were asked for since the page was opened."""
    found = []
    for entry in browser.ask("/se/log", {"type": "performance"}):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            found.append(message["params"]["request"]["url"])
    return found


def quiet_and_alone(browser, folder):
    for name in ("first", "changed", "hostile"):
        page = f"{folder}/{name}.html"
        browser.open(page)
        browser.press("Tab", "Tab", "Enter")
        asked = [url for url in requests(browser) if not url.startswith(("data:", "about:"))]
        assert [url.split("#")[0] for url in asked] == [f"file://{page}"], asked
        said = messages(browser)
        assert not said, said


def tells_the_build(browser, folder):
    browser.open(f"{folder}/changed.html")
    headings = browser.run("return [...document.querySelectorAll('h1,h2')].map(h => h.textContent)")
    assert headings == ["app:1", "Time line", "Stages", "Steps", "Layers", "Beside the steps"], headings
    text = browser.run("document.querySelectorAll('details').forEach(d => d.open = true); return document.body.innerText")
    for expected in ("src of the build context", "/src/two", "the files below it", "found in the store", "compiling <main> & more"):
        assert expected in text, expected
    nodes = browser.run("return [...document.querySelectorAll('.node .title')].map(t => t.textContent)")
    assert nodes == ["base", "builder", "assets", "stage-3"] or set(nodes) >= {"base", "builder", "assets"}, nodes
    overlapping = browser.run("""const boxes = [...document.querySelectorAll('.node rect')].map(r => r.getBoundingClientRect());
        return boxes.some((a, i) => boxes.some((b, j) => i < j && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom));""")
    assert not overlapping


def time_line_by_keyboard(browser, folder):
    browser.open(f"{folder}/first.html")
    browser.press("Tab")
    assert browser.focus()["href"] == "#steps", browser.focus()
    for _ in range(30):
        browser.press("Tab")
        if browser.focus()["inside"] == "ol":
            break
    first = browser.focus()
    browser.press("Down")
    second = browser.focus()
    assert second["inside"] == "ol" and second["top"] > first["top"], (first, second)
    browser.press("Up")
    assert browser.focus()["href"] == first["href"]
    browser.press("End")
    last = browser.focus()
    assert last["top"] > second["top"], last
    browser.press("Home", "Down", "Enter")
    opened = browser.focus()
    assert opened["tag"] == "summary" and opened["seen"], opened
    is_open = "return document.activeElement.closest('details') && document.activeElement.closest('details').open"
    assert browser.run(is_open) is True
    assert browser.run("return document.querySelectorAll('details.step[open]').length") == 1
    browser.press("Escape")
    assert browser.focus()["href"] == second["href"], browser.focus()
    assert browser.run("return document.querySelectorAll('details.step[open]').length") == 0


def graph_by_keyboard(browser, folder):
    browser.open(f"{folder}/first.html")
    browser.run("document.querySelector('.graph a').focus()")
    start = browser.focus()
    browser.press("Right")
    right = browser.focus()
    assert right["inside"] == "svg" and right["x"] > start["x"], (start, right)
    browser.press("Left")
    assert browser.focus()["href"] == start["href"]
    browser.press("Right", "Enter")
    assert browser.focus()["tag"] == "summary" and browser.focus()["seen"], browser.focus()
    browser.press("Escape")
    assert browser.focus()["href"] == right["href"], browser.focus()


def every_stop_has_a_name_and_shows_the_focus(browser, folder):
    browser.open(f"{folder}/first.html")
    stops, last = 0, browser.run("return [...document.querySelectorAll('a,summary,button')].filter(e => e.checkVisibility()).length")
    for _ in range(last + 20):
        browser.press("Tab")
        stop = browser.run("""const e = document.activeElement; if (e === document.body) return null;
            const style = getComputedStyle(e), rect = e.matches('.node') ? getComputedStyle(e.querySelector('rect')) : null;
            return {tag: e.tagName, name: (e.getAttribute('aria-label') || e.textContent || e.getAttribute('aria-labelledby') || '').trim(),
                    shown: style.outlineStyle !== 'none' || (rect && parseFloat(rect.strokeWidth) >= 3)};""")
        if stop is None:
            break
        stops += 1
        assert stop["name"] and stop["shown"], stop
    assert stops >= last, (stops, last)
    tree = browser.chrome("Accessibility.getFullAXTree")["nodes"]
    nameless = [node["role"]["value"] for node in tree if not node["ignored"] and not node.get("name", {}).get("value")
                and node["role"]["value"] in ("link", "button", "region", "DisclosureTriangle", "heading")]
    assert not nameless, nameless


def readable_in_light_and_dark(browser, folder):
    grounds = []
    for scheme in ("light", "dark"):
        browser.scheme(scheme)
        for name in ("first", "hostile"):
            browser.open(f"{folder}/{name}.html")
            browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
            low = browser.run(CONTRAST)
            assert not low, (scheme, name, low)
        grounds.append(browser.run("return getComputedStyle(document.body).backgroundColor"))
    browser.scheme("light")
    assert grounds[0] != grounds[1], grounds


def fits_into_narrow_windows(browser, folder):
    for width in (320, 700, 1280, 1900):
        browser.width(width)
        for name in ("first", "hostile"):
            browser.open(f"{folder}/{name}.html")
            browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
            wide = browser.run("return document.documentElement.scrollWidth")
            over = browser.run("""return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll *, svg *'))
                .filter(e => e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 60)).slice(0, 3)""")
            assert wide <= width, (name, width, wide, over)
    browser.chrome("Emulation.clearDeviceMetricsOverride")


def foreign_text_stays_text(browser, folder):
    browser.open(f"{folder}/hostile.html")
    browser.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.run("return window.hacked === undefined")
    assert browser.run("return [document.scripts.length, document.images.length]") == [1, 0]
    text = browser.run("return document.body.innerText")
    for expected in ("</script><script>window.hacked=1</script>", "</pre></details>", "red \ufffd\ufffd", "the last words </summary>"):
        assert expected in text, expected
    assert browser.run("return document.querySelector('.badge').textContent") == "failed"
    # What failed is open from the start, and a script that comes in some other way is refused.
    browser.open(f"{folder}/hostile.html")
    assert browser.run("return document.querySelector('details.step[open] .badge').textContent") == "failed"
    browser.run("const s = document.createElement('script'); s.textContent = 'window.hacked = 6'; document.body.append(s)")
    assert browser.run("return window.hacked === undefined")


def works_without_its_script(browser, folder):
    with open(f"{folder}/first.html", encoding="utf-8") as file:
        page = re.sub(r"<script>.*</script>", "", file.read(), flags=re.S)
    with open(f"{folder}/plain.html", "w", encoding="utf-8") as file:
        file.write(page)
    browser.open(f"{folder}/plain.html")
    browser.run("document.querySelector('details.step summary').focus()")
    browser.press("Enter")
    assert browser.run("return document.querySelector('details.step').open") is True
    assert browser.run("return getComputedStyle(document.querySelector('.tools')).display") == "none"
    # A link into a step that is closed opens it.
    browser.run("document.querySelector('.gantt a').click()")
    assert browser.run("return location.hash").startswith("#step-")


def prints(browser, folder):
    browser.open(f"{folder}/first.html")
    paper = base64.b64decode(browser.chrome("Page.printToPDF")["data"])
    assert paper.startswith(b"%PDF") and len(paper) > 20_000, len(paper)
    assert browser.run("return [...document.querySelectorAll('details')].every(d => d.open)")


def trace_has_what_viewers_need(_, folder):
    with open(f"{folder}/first.json", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert {"plan", "write to disk"} <= {event["name"] for event in slices}
    assert all(event["dur"] >= 0 and event["ts"] >= 0 for event in slices)
    named = {event["tid"] for event in events if event["name"] == "thread_name"}
    assert {event["tid"] for event in slices} <= named


TESTS = [quiet_and_alone, tells_the_build, time_line_by_keyboard, graph_by_keyboard,
         every_stop_has_a_name_and_shows_the_focus, readable_in_light_and_dark, fits_into_narrow_windows,
         foreign_text_stays_text, works_without_its_script, prints, trace_has_what_viewers_need]


def main():
    folder = sys.argv[1]
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        try:
            for test in TESTS:
                name = test.__name__.replace("_", " ")
                begin = time.monotonic()
                try:
                    test(browser, folder)
                    print(f"ok report: {name} ({time.monotonic() - begin:.1f} s)", flush=True)
                except Exception:  # every kind of failure is one of this test
                    print(f"FAILED report: {name}\n{traceback.format_exc(limit=-2)}", flush=True)
        finally:
            browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())

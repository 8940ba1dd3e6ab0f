#!/usr/bin/env python3
"""Opens reports in a headless Chromium, at the widths of a phone and of a desk, light and dark.

usage: report_browser.py FOLDER_OF_PROGRAMS CHROMIUM [FOLDER_FOR_SCREENSHOTS]
Trains two tiny runs, evaluates one, and checks each page: nothing on the console, no request, nothing wider than the
window, charts that have points, and what the pointer shows. Speaks the DevTools protocol over two pipes.
"""
import base64
import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

TINY = ["--dataset", "synthetic", "--limit", "64", "--batch-size", "16", "--width", "4", "--projector", "16,16",
        "--workers", "1", "--threads", "1"]


class Browser:
    """A page in a headless browser."""

    def __init__(self, program, profile):
        commands, self.commands = os.pipe()  # the browser reads 3 and writes 4
        self.answers, answers = os.pipe()

        def place():
            high = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [program, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
             "--force-color-profile=srgb", "--hide-scrollbars", f"--user-data-dir={profile}", "--remote-debugging-pipe"],
            preexec_fn=place, close_fds=False, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self.buffer, self.count, self.session, self.events = b"", 0, None, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def receive(self):
        while b"\0" not in self.buffer:
            more = os.read(self.answers, 1 << 20)
            if not more:
                raise RuntimeError("the browser ended")
            self.buffer += more
        message, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, **parameters):
        self.count += 1
        message = {"id": self.count, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.count:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self.events.append(answer)

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def open(self, path, width, dark):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.receive())

    def complaints(self):
        """What the console was told, and what was asked of a network."""
        found = []
        for event in self.events:
            method, detail = event.get("method"), event.get("params", {})
            if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
                found.append(json.dumps(detail)[:500])
            if method == "Network.requestWillBeSent" and not detail["request"]["url"].startswith(("file:", "data:")):
                found.append(detail["request"]["url"][:200])
        return found

    def point_at(self, selector, right, down):
        """Moves the pointer to that share of an element's width and height."""
        box = self.evaluate(f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.scrollIntoView({{block:"
                            "'center'}); const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()")
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=box[0] + right * box[2], y=box[1] + down * box[3])

    def tip(self):
        """What the tooltip says, and how many pictures it shows; None while it is hidden."""
        return self.evaluate("tip.hidden ? null : [tip.textContent, tip.querySelectorAll('.picture').length]")

    def screenshot(self, path):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True,
                            clip={"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1})
        path.write_bytes(base64.b64decode(picture["data"]))

    def close(self):
        """Ends the browser with all its helpers, which write into the profile until they end."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def require(condition, what):
    if not condition:
        raise SystemExit(f"report_browser: {what}")


def run(program, *arguments):
    result = subprocess.run([program, *arguments], capture_output=True, text=True)
    require(result.returncode == 0, f"{[program, *arguments]}\n{result.stdout}{result.stderr}")


def make_pages(programs, folder):
    """The report of an evaluated run, of a run before its first epoch's end, and a comparison."""
    evaluated, short, other = folder / "run </script><b>&amp; 'quoted'", folder / "short", folder / "other"
    run(programs / "train", *TINY, "--out", evaluated, "--epochs", "3", "--knn-every", "1", "--knn-images", "40")
    run(programs / "linear_eval", evaluated / "checkpoint.safetensors", "--dataset", "synthetic", "--limit", "100",
        "--test-limit", "200", "--cached", "--epochs", "5", "--knn", "--whiten", "--crops", "2", "--threads", "1")
    run(programs / "train", *TINY, "--out", evaluated, "--epochs", "4", "--resume")
    run(programs / "train", *TINY, "--out", short, "--steps", "1", "--loss", "coding-rate", "--views", "9")
    run(programs / "train", *TINY, "--out", other, "--epochs", "2", "--lr", "0.01")
    comparison = folder / "comparison.html"
    run(programs / "report", evaluated, short, other, "--out", comparison)
    return {"run": evaluated / "report.html", "short": short / "report.html", "comparison": comparison}


def check_page(browser, name, width, what):
    require(browser.evaluate(f"document.documentElement.scrollWidth <= {width}"), f"{what}: wider than the window")
    require(browser.evaluate("document.querySelectorAll('main b').length - "
                             "document.querySelectorAll('main .card b').length") == 0, f"{what}: a name became HTML")
    drawn = browser.evaluate("[...document.querySelectorAll('figure.chart svg')].map((svg) => "
                             "svg.querySelectorAll('circle').length + svg.querySelectorAll('path.line').length)")
    require(len(drawn) >= {"run": 10, "short": 6, "comparison": 9}[name] and all(drawn), f"{what}: charts draw {drawn}")
    numbers = browser.evaluate("[...document.querySelectorAll('svg path, svg circle')].map((e) => "
                               "(e.getAttribute('d') ?? '') + (e.getAttribute('cx') ?? '')).join('')")
    require("NaN" not in numbers and "undefined" not in numbers, f"{what}: not numbers in a chart")
    text = browser.evaluate("document.querySelector('main').innerText")
    require("undefined" not in text and "NaN" not in text and "null" not in text, f"{what}: {text}")
    require(browser.tip() is None, f"{what}: a tooltip unasked")
    browser.point_at("figure.chart svg", 0.5, 0.5)
    tip = browser.tip()
    require(tip and tip[0].startswith(("epoch", "step")), f"{what}: a chart shows {tip}")
    browser.point_at("h1", 0.5, 0.5)
    require(browser.tip() is None, f"{what}: the tooltip stays")
    if name == "run":
        check_evaluation(browser, what)
    require(not browser.complaints(), f"{what}: {browser.complaints()}")
    colors = browser.evaluate("[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]")
    return tuple(colors)


def check_evaluation(browser, what):
    points = browser.evaluate("document.querySelectorAll('figure.map circle').length")
    require(points == 201, f"{what}: {points} points on the map")  # 200, and the ring around one
    box = "document.querySelector('figure.map circle')"
    right, down = browser.evaluate(f"[{box}.cx.baseVal.value / {box}.ownerSVGElement.clientWidth, "
                                   f"{box}.cy.baseVal.value / {box}.ownerSVGElement.clientHeight]")
    browser.point_at("figure.map svg", right, down)
    tip = browser.tip()
    require(tip and tip[1] == 1, f"{what}: the map shows {tip}")
    browser.point_at("figure.confusion rect", 0.5, 0.5)
    require(browser.tip() and " of " in browser.tip()[0], f"{what}: the matrix shows {browser.tip()}")
    require(browser.evaluate("document.querySelectorAll('.strips:has(.good, .bad) > div').length") == 20, f"{what}: neighbours of 20 images")
    require(browser.evaluate("document.querySelectorAll('.gallery > div').length") > 0, f"{what}: no mistakes")
    loaded = browser.evaluate("['views', 'tests'].map((name) => getComputedStyle(document.querySelector('.picture.' + name))"
                              ".backgroundImage.startsWith('url(\"data:image/png;base64,'))")
    require(loaded == [True, True], f"{what}: pictures {loaded}")


def main():
    programs, chromium = Path(sys.argv[1]), sys.argv[2]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:  # a helper may end after its browser
        folder = Path(temporary)
        shots = Path(sys.argv[3]) if len(sys.argv) > 3 else folder
        pages = make_pages(programs, folder)
        browser = Browser(chromium, folder / "profile")
        try:
            for name, path in pages.items():
                colors = {}
                for width in (360, 1280):
                    for dark in (False, True):
                        what = f"{name} at {width} pixels, {'dark' if dark else 'light'}"
                        browser.open(path, width, dark)
                        colors[width, dark] = check_page(browser, name, width, what)
                        browser.screenshot(shots / f"{name}_{width}_{'dark' if dark else 'light'}.png")
                require(colors[360, False] == colors[1280, False] != colors[360, True], f"{name}: colours {colors}")
        finally:
            browser.close()


if __name__ == "__main__":
    main()

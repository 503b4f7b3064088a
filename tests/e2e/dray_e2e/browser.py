"""Headless Chromium, driven over a pipe (its DevTools protocol): what a page shows, says and fetches.

A Browser has one page. What its console says, what scripts throw, and every request are kept. Its
profile stands in the stage's folder; no address but loopback's can be reached.
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import time

from .stage import die_with_parent

PROGRAM = next((b for b in map(shutil.which, ("chromium", "chromium-browser")) if b), None)
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars
--disable-background-networking --disable-component-update --disable-sync --disable-dev-shm-usage
--disable-default-apps --mute-audio --ignore-certificate-errors --remote-debugging-pipe""".split()
FLAGS.append("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.*")
PATIENCE_S = 60


class Browser:
    def __init__(self, stage, width=1280, height=900, dark=False):
        profile = stage.dir("chromium")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        self.log = open(os.path.join(profile, "log"), "w", encoding="utf-8")

        def inherit():  # the protocol is spoken on 3 and 4
            ends = [fcntl.fcntl(fd, fcntl.F_DUPFD, 10) for fd in (theirs_in, theirs_out)]
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)
            die_with_parent()

        self.process = subprocess.Popen(
            [PROGRAM, *FLAGS, "--user-data-dir=" + profile, "about:blank"], stdout=self.log,
            stderr=self.log, close_fds=False, preexec_fn=inherit)
        os.close(theirs_in)
        os.close(theirs_out)
        self.reader, self.writer = ours_in, ours_out
        self.buffer, self.number, self.answers = b"", 0, {}
        self.session = None
        self.console, self.requests, self.loaded = [], [], False
        target = next(t for t in self.call("Target.getTargets")["targetInfos"]
                      if t["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=target["targetId"],
                                 flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(domain + ".enable")
        self.look_as(width, height, dark)

    def close(self):
        if self.process.poll() is None:
            try:
                self.session = None
                self.call("Browser.close", timeout=10)
                self.process.wait(10)
            except (OSError, TimeoutError, subprocess.TimeoutExpired):
                self.process.kill()
                self.process.wait()
        for fd in (self.reader, self.writer):
            os.close(fd)
        self.log.close()

    # --- the protocol ---------------------------------------------------------------------------

    def call(self, method, timeout=PATIENCE_S, **params):
        self.number += 1
        mine = self.number
        message = {"id": mine, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        end = time.monotonic() + timeout
        while mine not in self.answers:
            self._read(end, method)
        answer = self.answers.pop(mine)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _read(self, end, what):
        if not select.select([self.reader], [], [], max(0, end - time.monotonic()))[0]:
            raise TimeoutError(f"chromium does not answer {what}")
        data = os.read(self.reader, 1 << 20)
        if not data:
            raise OSError("chromium ended")
        *messages, self.buffer = (self.buffer + data).split(b"\0")
        for raw in messages:
            message = json.loads(raw)
            if "id" in message:
                self.answers[message["id"]] = message
            else:
                self._event(message["method"], message["params"])

    def _event(self, method, params):
        if method == "Page.loadEventFired":
            self.loaded = True
        elif method == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(a.get("value", a.get("description")))
                                         for a in params["args"]))
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.console.append(details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded":
            entry = params["entry"]
            self.console.append(f"{entry['text']} {entry.get('url', '')}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"])

    # --- the page -------------------------------------------------------------------------------

    def look_as(self, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def open(self, url):
        self.console, self.requests, self.loaded = [], [], False
        self.call("Page.navigate", url=url)
        end = time.monotonic() + PATIENCE_S
        while not self.loaded:
            self._read(end, "with a page")

    def run(self, script):
        """The value of an expression in the page."""
        done = self.call("Runtime.evaluate", expression=script, returnByValue=True,
                         awaitPromise=True)
        if "exceptionDetails" in done:
            raise RuntimeError(f"{script}: {done['exceptionDetails']}")
        return done["result"].get("value")

    def wait(self, script, timeout=PATIENCE_S):
        """Until the expression is true; its value."""
        end = time.monotonic() + timeout
        while True:
            value = self.run(script)
            if value:
                return value
            if time.monotonic() > end:
                raise TimeoutError(f"{script}: not within {timeout:g} s; the page says\n"
                                   f"{self.run('document.body.innerText')}\n{self.console}")
            time.sleep(0.1)

    def text(self):
        return self.run("document.body.innerText")

    def overflow(self):
        """By how many pixels the page is wider than its window."""
        return self.run("document.documentElement.scrollWidth - innerWidth")

    def shot(self, path, whole=True):
        data = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        with open(path, "wb") as f:
            f.write(base64.b64decode(data["data"]))

#!/usr/bin/python3
"""report.html in a real browser: page.py DRAY-SIM.

Runs a small flash crowd with faults, opens its page in headless Chromium, and looks: no error on the
console, every figure and plot there, the region painted, nothing fetched. Keeps nothing.
"""
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

SKIPPED = 77
BROWSERS = ("chromium", "chromium-browser")
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --hide-scrollbars
--disable-background-networking --disable-component-update --disable-sync
--enable-logging=stderr --virtual-time-budget=8000""".split()
FLAGS.append("--host-resolver-rules=MAP * ~NOTFOUND")  # nothing may be fetched
SIZE = (720, 900)


def fail(what):
    print("sim.page: " + what, file=sys.stderr)
    sys.exit(1)


def browse(browser, folder, page, *args):
    """What it printed and logged."""
    profile = tempfile.mkdtemp(dir=folder)
    done = subprocess.run([browser, *FLAGS, "--user-data-dir=" + profile, *args, "file://" + page],
                          capture_output=True, text=True, timeout=120)
    if done.returncode:
        fail("%s ended with %d:\n%s" % (browser, done.returncode, done.stderr[-2000:]))
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    if console:
        fail("the console is not empty:\n" + "\n".join(console))
    return done.stdout


def pixels(path):
    """The rows of an 8-bit RGB or RGBA picture (PNG specification, 9: filtering)."""
    with open(path, "rb") as f:
        data = f.read()
    at, packed, head = 8, b"", None
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            head = struct.unpack(">IIBBBBB", data[at + 8:at + 8 + length])
        elif kind == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    width, height, step = head[0], head[1], 4 if head[3] == 6 else 3
    raw, stride = zlib.decompress(packed), width * step
    rows, above = [], bytearray(stride)
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride):
            left = row[x - step] if x >= step else 0
            corner = above[x - step] if x >= step else 0
            if kind == 1:
                row[x] = (row[x] + left) & 255
            elif kind == 2:
                row[x] = (row[x] + above[x]) & 255
            elif kind == 3:
                row[x] = (row[x] + (left + above[x]) // 2) & 255
            elif kind == 4:
                p = left + above[x] - corner
                nearest = min((abs(p - left), 0, left), (abs(p - above[x]), 1, above[x]),
                              (abs(p - corner), 2, corner))[2]
                row[x] = (row[x] + nearest) & 255
        rows.append(row)
        above = row
    return [tuple(row[x:x + 3]) for row in rows for x in range(0, stride, step)]


def near(a, b):
    return sum(abs(x - y) for x, y in zip(a, b)) < 40


def painted(picture, colour):
    """How many pixels have about that colour."""
    wanted = tuple(int(colour[i:i + 2], 16) for i in (1, 3, 5))
    return sum(n for c, n in picture.items() if near(c, wanted))


def look_at_text(dom):
    if 'data-ready="yes"' not in dom:
        fail("the script did not come to its end")
    for what in ("Every invariant held", "copies from the registry", "How long a pull took",
                 "How long a missing layer took", "Mesh traffic", "Membership", "again: dray-sim run"):
        if what not in dom:
            fail("the page lacks %r" % what)
    if re.search(r'(src|href)="(?!data:)', dom):
        fail("the page refers to something outside of it")


def look_at_picture(path):
    counted = {}
    for p in pixels(path):
        counted[p] = counted.get(p, 0) + 1
    for name, colour, least in (("transfers across the WAN", "#e07a1f", 200),
                                ("what was fetched", "#2a9d6f", 100)):
        n = painted(counted, colour)
        print("%s: %d pixels" % (name, n))
        if n < least:
            fail("the picture shows nothing of " + name)


def main():
    browser = next((b for b in map(shutil.which, BROWSERS) if b), None)
    if not browser:
        print("SKIPPED sim.page: chromium is not installed", file=sys.stderr)
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "run")
        done = subprocess.run([sys.argv[1], "run", "flash-crowd", "--nodes", "40", "--seed", "3", "--set",
                               "image_bytes=50MB", "--set", "crashes=3", "--out", out],
                              capture_output=True, text=True, timeout=120)
        if done.returncode:
            fail("the run failed:\n" + done.stderr[-2000:])
        page = os.path.join(out, "report.html")
        look_at_text(browse(browser, folder, page, "--dump-dom"))
        shot = os.path.join(folder, "shot.png")
        browse(browser, folder, page, "--window-size=%d,%d" % SIZE, "--screenshot=" + shot)
        look_at_picture(shot)


if __name__ == "__main__":
    main()

"""report.py - what was measured, as Markdown for people and JSON for programs.

Guarantee: a goal is "met" only when dray and its rival were both measured, in this run, without any
error. Whatever is missing is said to be missing.
"""

import json
import os
import re
import subprocess
import time

import measure

PACKAGES = ("nginx-light", "varnish", "docker-registry", "curl", "coreutils")


def _command(*words):
    try:
        out = subprocess.run(words, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return out.stdout.strip() if out.returncode == 0 else ""


def _disk(path):
    """"ext4 on vda, which the kernel calls rotational" (of virtual disks that says little)."""
    words = _command("findmnt", "-no", "FSTYPE,SOURCE", "-T", path).split()
    if len(words) < 2:
        return "unknown"
    name = os.path.basename(os.path.realpath(words[1]))
    for candidate in (name, re.sub(r"p?\d+$", "", name)):
        try:
            with open(f"/sys/block/{candidate}/queue/rotational") as f:
                kind = "rotational" if f.read().strip() == "1" else "not rotational"
            return f"{words[0]} on {candidate}, which the kernel calls {kind}"
        except OSError:
            continue
    return f"{words[0]} on {name}"


def _field(path, pattern):
    try:
        with open(path) as f:
            found = re.search(pattern, f.read(), re.M)
        return found.group(1).strip() if found else "unknown"
    except OSError:
        return "unknown"


def machine(base, node, source):
    """What the figures were measured on and with."""
    memory_kb = _field("/proc/meminfo", r"^MemTotal:\s+(\d+)")
    versions = {p: _command("dpkg-query", "-W", "-f", "${Version}", p) or "unknown" for p in PACKAGES}
    commit = _command("git", "-C", source, "rev-parse", "--short", "HEAD")
    if commit and _command("git", "-C", source, "status", "--porcelain", "--untracked-files=no"):
        commit += ", with uncommitted changes"
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "system": _field("/etc/os-release", r'^PRETTY_NAME="?([^"\n]*)'),
        "kernel": os.uname().release,
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _field("/proc/cpuinfo", r"^model name\s*:\s*(.*)"),
        "memory_gib": round(int(memory_kb) / (1 << 20), 1) if memory_kb.isdigit() else "unknown",
        "disk": _disk(base),
        "dray": (_command(node, "--version") or "unknown") if node else "not measured",
        "commit": commit or "unknown",
        "packages": versions,
    }


def show(value, unit):
    if unit == "ms":
        return f"{value * 1000:.2f} ms"
    if unit == "MiB":
        return f"{value / (1 << 20):.1f} MiB"
    if unit == "count":
        return f"{value:g}"
    if unit == "1/s":
        return f"{value:,.0f}/s"
    return f"{value:.3f} {unit}"


def _values(row, name, metric):
    return [s[metric] for s in row.samples.get(name, [])]


def judge(row, goal):
    """(measured text, verdict) of one goal."""
    metric = next(m for m in row.metrics if m.key == goal.metric)
    if "dray" not in row.contenders:
        return "–", "not measured"
    for name in ("dray", goal.rival):
        if name in row.errors:
            return f"{name} failed", "NOT met"
    ours = _values(row, "dray", goal.metric)
    if goal.rival:
        value = measure.paired_ratio(ours, _values(row, goal.rival, goal.metric))
        text = "–" if value is None else f"{value:.2f} ×"
    else:
        value = None
        if ours:
            worst = max if goal.sign == "<=" else min
            value = worst(ours) if goal.every else measure.spread(ours)[0]
        text = "–" if value is None else show(value, metric.unit)
    if value is None:
        return text, "not measured"
    met = value <= goal.limit if goal.sign == "<=" else value >= goal.limit
    return text, "met" if met else "NOT met"


def _goal_text(row, goal):
    metric = next(m for m in row.metrics if m.key == goal.metric)
    sign = "≤" if goal.sign == "<=" else "≥"
    if goal.rival:
        return f"{metric.label}: {sign} {goal.limit:g} × {goal.rival}"
    every = ", every round" if goal.every else ""
    return f"{metric.label}: {sign} {show(goal.limit, metric.unit)}{every}"


def row_lines(row):
    out = [f"## {row.title}", "", row.how, ""]
    out += ["| | " + " | ".join(m.label for m in row.metrics) + " |",
            "|---|" + "---|" * len(row.metrics)]
    for name in row.contenders:
        cells = []
        for m in row.metrics:
            values = _values(row, name, m.key)
            if name in row.errors or not values:
                cells.append("failed" if name in row.errors else "–")
                continue
            mid, least, most = measure.spread(values)
            cells.append(f"**{show(mid, m.unit)}** ({show(least, m.unit)} – {show(most, m.unit)})")
        out.append(f"| {name} | " + " | ".join(cells) + " |")
    out.append("")
    out += ["| goal for dray | measured | |", "|---|---|---|"]
    for goal in row.goals:
        measured, verdict = judge(row, goal)
        out.append(f"| {_goal_text(row, goal)} | {measured} | {verdict} |")
    out.append("")
    if "dray" in row.contenders and "dray" not in row.errors:
        out += _ratio_lines(row)
    for name, error in row.errors.items():
        out += [f"{name} failed: {' '.join(error.split())}", ""]
    return out


def _ratio_lines(row):
    """dray over each rival, every metric: the median of the rounds' ratios."""
    parts = []
    for name in row.contenders:
        if name == "dray" or name in row.errors:
            continue
        ratios = []
        for m in row.metrics:
            if m.unit == "ms" and "added" in m.label:
                continue  # differences near nought have no meaningful ratio
            r = measure.paired_ratio(_values(row, "dray", m.key), _values(row, name, m.key))
            if r is not None:
                ratios.append(f"{m.label} {r:.3g} ×")
        if ratios:
            parts.append(f"to {name}: " + ", ".join(ratios))
    return [f"dray {'; '.join(parts)}.", ""] if parts else []


def markdown(rows, about, command, rounds, quick):
    packages = ", ".join(f"{k} {v}" for k, v in about["packages"].items())
    out = ["# Benchmarks", "",
           f"Made by `{command}` ({about['date']}); not edited by hand.", ""]
    if quick:
        out += ["**A smoke run: sizes and times are tiny, the figures mean nothing.**", ""]
    out += [
        f"Machine: {about['cores']} cores ({about['cpu']}), {about['memory_gib']} GiB, "
        f"{about['system']}, Linux {about['kernel']}, {about['disk']}. Origin, contender and client "
        "share it, over loopback: rates are floors, and what counts is the comparison within a row.", "",
        f"Versions: dray {about['dray'].removeprefix('dray-node ')} (commit {about['commit']}); from "
        f"Debian: {packages}.", "",
        f"Each figure is the median of {rounds} rounds, with the least and the greatest. A round "
        "measures every contender once, one after the other, so that a disturbance meets all of them. "
        "Ratios are the median over rounds of the ratio within a round. Any failed request, short body "
        "or wrong digest fails a contender. The client (`tests/bench/load.c`) is one thread and lets "
        "the kernel discard bodies. All settings stand in `tests/bench/servers.py`: nginx with "
        "`sendfile`, `tcp_nopush`, one worker per core, an open file cache and no log; Varnish with "
        "2 GB in memory and streaming; docker-registry and dray with errors logged only. No "
        "TLS but where a row says so, no passwords.", ""]
    for row in rows:
        out += row_lines(row)
    return "\n".join(out).rstrip() + "\n"


def as_json(rows, about, command, rounds, quick):
    return json.dumps({
        "command": command, "quick": quick, "rounds": rounds, "machine": about,
        "rows": [{
            "key": r.key, "title": r.title, "contenders": r.contenders, "errors": r.errors,
            "units": {m.key: m.unit for m in r.metrics}, "samples": r.samples,
            "goals": [{"goal": _goal_text(r, g), "measured": judge(r, g)[0], "verdict": judge(r, g)[1]}
                      for g in r.goals],
        } for r in rows]}, indent=1) + "\n"

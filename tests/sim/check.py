#!/usr/bin/python3
"""The simulator as a test: check.py CHECK --sim PROGRAM --tree TREE --build BUILD.

cli        what scripts rely on: the summary's keys, files, exit codes, Ctrl-C
seeds      the kept seeds, each twice: the same state both times (where `compilers` does not do it)
scenarios  every scenario in small
lost       whoever reads a layer for all is killed, frozen, or lies: how much later all are done
swarm      runs drawn at random, other ones each time; the first seed is printed
compilers  the kept seeds hold; in every fifth, gcc -O2 and clang -O1 come to the same state
mutants    cores broken on purpose are caught

A failure ends with a line "again: ..." that plays it again.
"""
import argparse
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

HERE = os.path.dirname(os.path.abspath(__file__))
KEYS = """scenario seed nodes virtual_s wall_s events events_per_s state_hash invariants_broken
makespan_s makespan_bound_s makespan_ratio origin_copies office_copies converge_p50_ms converge_p99_ms
detect_p50_ms detect_p99_ms false_dead mesh_bytes_per_node_s hit_ratio peer_hit_ratio
own_office_ratio rtt_error_p50 rtt_error_p90""".split()
SWARM_RUNS = 14
SMALL = {  # what makes each scenario small
    "steady": "--nodes 40 --set duration=60s",
    "flash-crowd": "--nodes 60 --set image_bytes=25MB",
    "rolling-update": "--nodes 40 --set duration=120s",
    "churn": "--nodes 60 --set duration=60s",
    "partition": "--nodes 60 --set duration=160s",
    "origin-outage": "--nodes 30 --set duration=140s",
    "join-storm": "--nodes 100",
    "offices": "--nodes 24 --set duration=80s",
    "liars": "--nodes 40 --set duration=80s",
    "kraken": "--nodes 60 --set image_bytes=50MB",
    "pauses": "--nodes 80 --set duration=240s",
    "idle": "--nodes 80 --set duration=60s",
    "swarm": "--seed 4",
    "trace": "--nodes 12 --set trace=%s/trace.csv" % HERE,
}


class Failed(Exception):
    """`again`: the command that fails."""

    def __init__(self, what, again=None):
        super().__init__(what)
        self.again = again


def check(what, truth):
    if not truth:
        raise Failed(what)


def run(sim, line, code=0):
    """The summary of a run; `code` None: any."""
    args = [sim] + (shlex.split(line) if isinstance(line, str) else line)
    p = subprocess.run(args, capture_output=True, text=True, timeout=1500)
    if code is not None and p.returncode != code:
        again = shlex.join(args)
        raise Failed("%s: exit %d\n%s" % (again, p.returncode, p.stderr[-2000:]), again)
    summary = json.loads(p.stdout) if p.stdout.startswith("{") and p.stdout.count("\n") == 1 else None
    return p, summary


def check_cli(o):
    p, _ = run(o.sim, "list")
    names = [line.split()[0] for line in p.stdout.splitlines()]
    check("every scenario has a small form here: %s" % names, sorted(names) == sorted(SMALL))
    check("--version", "dray-sim" in run(o.sim, "--version")[0].stdout)
    check("--help teaches", "Try:" in run(o.sim, "--help")[0].stdout)
    check("a scenario's help has its knobs", "loss" in run(o.sim, "run churn --help")[0].stdout)
    for wrong in ("walk", "run nothing", "run churn --set loss=2", "run churn --nodes x",
                  "run churn --set topology=/nowhere"):
        p, _ = run(o.sim, wrong, 2)
        check("%s: says why" % wrong, p.stderr.startswith("dray-sim: ") and not p.stdout)
    with tempfile.TemporaryDirectory() as d:
        _, s = run(o.sim, ["run", "steady", "--nodes", "12", "--set", "duration=60s", "--out", d])
        check("the keys are those promised", list(s) == KEYS)
        check("a calm day breaks nothing", s["invariants_broken"] == [])
        with open(d + "/summary.json") as f:
            check("summary.json is what stdout got", json.load(f) == s)
        with open(d + "/figures.json") as f:
            check("figures.json", json.load(f)["pulls"] > 0)
        kinds, last = set(), 0
        with open(d + "/events.jsonl") as f:
            for line in f:
                e = json.loads(line)
                check("events are in order", e["t"] >= last)
                last = e["t"]
                kinds.add(e["e"])
        for kind in "run office up alive second wan fetch request fetched pull phase".split():
            check("events.jsonl has %s" % kind, kind in kinds)
        check_topology(o, d)
        check_users(o, d)
        check_replay(o, d)
        check_trace(o, d)
        check_takeover(o, d)
        check_restart(o, d)
        check_interrupt(o, d)


def check_topology(o, d):
    path = d + "/places.yaml"
    with open(path, "w") as f:
        f.write("offices:\n  - {name: a, region: x, nodes: 6}\n  - {name: b, region: y, nodes: 5}\n")
    _, s = run(o.sim, ["run", "idle", "--set", "topology=" + path, "--set", "duration=20s"])
    check("the topology says how many nodes there are", s["nodes"] == 11)
    with open(path, "w") as f:
        f.write("offices:\n  - {name: a, region: x, colour: red}\n")
    p, _ = run(o.sim, ["run", "idle", "--set", "topology=" + path], 2)
    check("a wrong topology is refused with its line", "line 2: colour" in p.stderr)


def check_users(o, d):
    """Through trackers: who was served by whom is told, and adds up."""
    path = d + "/users.yaml"
    with open(path, "w") as f:
        f.write("trackers: 2\noffices:\n"
                "  - {name: a, region: x, nodes: 4, users: 9, cache: node-1}\n"
                "  - {name: b, region: y, nodes: 4, users: 9, cache: y, east: 1ms}\n")
    _, s = run(o.sim, ["run", "offices", "--set", "topology=" + path, "--set", "duration=100s",
                       "--set", "crashes=0", "--set", "tracker_faults=0", "--out", d])
    check("nothing breaks", s["invariants_broken"] == [] and s["nodes"] == 8)
    check("profiles are kept to: %s" % s["own_office_ratio"], s["own_office_ratio"] == 1)
    with open(d + "/events.jsonl") as f:
        served = [e for e in map(json.loads, f) if e["e"] == "served"]
    with open(d + "/figures.json") as f:
        figures = json.load(f)
    check("each layer is told of once", len(served) == figures["served_own_office"] > 0)
    check("office a's users come to the node that they name",
          {e["by"] for e in served if e["office"] == 0} == {1})
    check("office b's to the nodes of their region",
          {e["by"] for e in served if e["office"] == 1} <= {4, 5, 6, 7})


def check_replay(o, d):
    """What a failing run prints is what a shell takes, wherever the files are."""
    place = d + "/it's here; a place"
    os.mkdir(place)
    path = place + "/two offices.yaml"
    with open(path, "w") as f:
        f.write("offices:\n  - {region: x, nodes: 4}\n  - {region: x, nodes: 3}\n")
    p, s = run(o.sim, ["run", "idle", "--set", "topology=" + path, "--set", "memory=1B"], 1)
    again = [l.split("again: ", 1)[1] for l in p.stderr.splitlines() if "again: " in l]
    check("a command to run it again", len(again) == 1 and s["invariants_broken"] == ["memory"])
    words = shlex.split(again[0])
    check("the path is one word of it: %s" % again[0], "topology=" + path in words)
    _, t = run(o.sim, words[1:], 1)
    check("it fails the same way", t["state_hash"] == s["state_hash"])


def check_trace(o, d):
    sample = HERE + "/trace.csv"
    line = ["run", "trace", "--nodes", "12", "--set", "trace=" + sample, "--out", d]
    _, a = run(o.sim, line)
    _, b = run(o.sim, line)
    check("a trace is replayed the same way twice", a["state_hash"] == b["state_hash"])
    with open(sample) as f:
        rows = [r.split(",") for r in f.read().splitlines()[1:]]
    with open(d + "/figures.json") as f:
        figures = json.load(f)
    check("every line is asked for", figures["requests"] == len(rows))
    pulls = {(r[0], r[1], r[2], r[5]) for r in rows}
    check("lines of one moment are one pull", figures["pulls"] == len(pulls))
    with open(d + "/events.jsonl") as f:
        fetched = {e["bytes"] for e in map(json.loads, f) if e["e"] == "fetch"}
    check("the sizes are those of the file", fetched == {int(r[4]) for r in rows})
    path = d + "/wrong.csv"
    with open(path, "w") as f:
        f.write(",".join(["time,user,repository,digest,bytes\n1", "u", "r", "sha256:00", "1\n"]))
    p, _ = run(o.sim, ["run", "trace", "--set", "trace=" + path], 2)
    check("a wrong trace is refused with its line", "line 2: digest" in p.stderr)
    p, _ = run(o.sim, ["run", "trace"], 2)
    check("a trace needs its file", "belong together" in p.stderr)
    p, _ = run(o.sim, ["run", "trace", "--set", "trace=" + sample, "--set", "topology=" + places(d)], 2)
    check("an office that is not there is refused", "office: there is none" in p.stderr)


def kinds_of_faults(o):
    """By the numbers that a list of faults has."""
    with open(o.tree + "/sim/fault.h") as f:
        return re.findall(r'X\((\w+), \d+, "', f.read())


def check_restart(o, d):
    """Pieces that are here when a process dies are here when it is back; after a power cut they
    are not."""
    kinds = kinds_of_faults(o)
    line = shlex.split("run flash-crowd --nodes 6 --set offices=6 --set image_layers=1 "
                       "--set image_bytes=100MB --set wan=12500000B --set settled=1 --set warm=5s "
                       "--set duration=60s --set heal=60s --out") + [d]
    plan = d + "/faults"
    for kind in "CRASH", "LEAVE", "POWER_LOSS", "LOSE_STORE":
        with open(plan, "w") as f:
            f.write("".join("12000000000 5000000000 %d %d 0\n" % (kinds.index(kind), i)
                            for i in range(6)))
        run(o.sim, line + ["--faults", plan])
        with open(d + "/events.jsonl") as f:
            fetched = [e for e in map(json.loads, f) if e["e"] == "fetched"]
        with open(d + "/figures.json") as f:
            there = json.load(f)["pieces_there"]
        for node in range(6):
            mine = [e for e in fetched if e["node"] == node]
            check("%s: node %d begins twice, and ends: %s" % (kind, node, mine),
                  [e["outcome"] for e in mine] == ["ERR_CANCELED", "worked"])
            before, after = (e["peer"] + e["registry"] for e in mine)
            kept = kind in ("CRASH", "LEAVE")
            check("%s: node %d goes on where it was: %d, then %d" % (kind, node, before, after),
                  (after < 90e6 and before + after < 110e6) if kept else after >= 100e6)
        check("%s: pieces that were there: %d" % (kind, there), (there > 0) == kept)


def check_takeover(o, d):
    """A fetcher that is cut from the registry half way resigns; another goes on where it was, and
    all have the layer in the end."""
    kinds = kinds_of_faults(o)
    line = shlex.split("run flash-crowd --nodes 12 --set offices=3 --set image_layers=1 "
                       "--set image_bytes=100MB --set wan=12500000B --set settled=1 --set warm=5s "
                       "--set duration=60s --set heal=60s --out") + [d]
    plan = d + "/faults"

    def streams():
        """(node, bytes) for each request to the registry, and how fetches ended."""
        with open(d + "/events.jsonl") as f:
            events = [json.loads(l) for l in f]
        return ([(e["node"], e["bytes"]) for e in events if e["e"] == "request" and e["from"] == -1],
                [e["outcome"] for e in events if e["e"] == "fetched"])

    run(o.sim, line)
    asked, ended = streams()
    check("one reads the layer: %s" % asked, len({n for n, _ in asked}) == 1 and len(ended) == 12)
    first, size = asked[0][0], sum(b for _, b in asked)
    for kind, whom in ("WAN_CUT", first), ("OFFICE_WAN_CUT", first // 4):
        with open(plan, "w") as f:
            f.write("9000000000 50000000000 %d %d 0\n" % (kinds.index(kind), whom))
        _, s = run(o.sim, line + ["--faults", plan])
        asked, ended = streams()
        gone = sum(b for n, b in asked if n == first)
        others = {n for n, b in asked if b > 0} - {first}
        check("%s: it was half way: %d of %d" % (kind, gone, size), 0 < gone < size)
        check("%s: another took over: %s" % (kind, asked), len(others) == 1)
        check("%s: and not one that is cut as well" % kind,
              kind == "WAN_CUT" or min(others) // 4 != first // 4)
        check("%s: all have it: %s" % (kind, ended), ended == ["worked"] * 12)
        check("%s: what was here was not read again: %s" % (kind, s["origin_copies"]),
              s["origin_copies"] < 1.1)


def check_lost(o):
    """Six nodes at 25 Mbit/s, 16 MiB: 6.75 s undisturbed."""
    def lost(line):
        args = [o.build + "/dray-lost"] + line.split()
        p = subprocess.run(args, capture_output=True, text=True, timeout=600)
        check("%s: exit %d %s" % (shlex.join(args), p.returncode, p.stderr), p.returncode == 0)
        print("%-60s %s" % (line, p.stdout.splitlines()[-1]), flush=True)
        return shlex.join(args), json.loads(p.stdout.splitlines()[-1])

    def bounded(line, p90, most):
        again, s = lost(line)
        if s["never_done"] or s["added_p90_s"] > p90 or s["added_most_s"] > most:
            raise Failed("%s: p90 is to be %.1f at most, none above %.1f" % (line, p90, most), again)

    for fault, role in itertools.product(("kill", "dark", "freeze"), ("home", "asker")):
        for share in .3, .5:
            bounded("fault=%s role=%s share=%s" % (fault, role, share), 3, 5)
        bounded("fault=%s role=%s share=0.3 then=0.6" % (fault, role), 6, 8)
    for role in "home", "asker":  # a time and a tenth for each
        bounded("fault=lie role=%s" % role, 7.6, 10)
        bounded("fault=lie role=%s then=0.01 duration=300s" % role, 15.2, 20)


def places(d):
    path = d + "/two.yaml"
    with open(path, "w") as f:
        f.write("offices:\n  - {name: a, region: x, nodes: 6}\n")
    return path


def check_interrupt(o, d):
    p = subprocess.Popen([o.sim, "run", "churn", "--nodes", "300", "--set", "duration=24h", "--out",
                          d], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=60)
    check("Ctrl-C ends in order", p.returncode == 0 and "interrupted" in err)
    with open(d + "/summary.json") as f:
        check("and reports", json.load(f) == json.loads(out))


def seeds():
    with open(HERE + "/seeds") as f:
        for line in f:
            line = line.split("#")[0].strip()
            if line:
                yield "run " + line


def check_seeds(o):
    """Each twice. Under the sanitizers, which look for something else and are slow, every third once."""
    sanitized = os.environ.get("DRAY_SANITIZED") == "1"
    for line in itertools.islice(seeds(), 0, None, 3 if sanitized else 1):
        _, a = run(o.sim, line)
        if not sanitized:
            _, b = run(o.sim, line)
            check("%s: the same state twice" % line, a["state_hash"] == b["state_hash"])
        print("%s  %s  %.1f s" % (a["state_hash"], line, a["wall_s"]))


def check_scenarios(o):
    for name, small in SMALL.items():
        _, s = run(o.sim, "run %s %s" % (name, small))
        print("%-15s %6.1f s virtual in %5.1f s, %9d events" %
              (name, s["virtual_s"], s["wall_s"], s["events"]))
        if name == "flash-crowd":
            _, s = run(o.sim, "run %s --nodes 60 --set offices=3 --set image_bytes=25MB" % name)
            print("  over each of three offices' lines came %.2f copies" % s["office_copies"])
            check("a piece crosses to an office about once", s["office_copies"] < 1.5)
        if name in ("idle", "pauses", "churn"):
            check("%s: nobody alive is called dead" % name, s["false_dead"] == 0)


def check_swarm(o):
    """A seed that failed is the first one of the next run."""
    first = int(os.environ.get("DRAY_SIM_SEED", time.time_ns() // 1000 % 10**12))
    kept = o.build + "/sim-swarm-failed"
    numbers = itertools.count(first)
    if os.path.exists(kept) and "DRAY_SIM_SEED" not in os.environ:
        with open(kept) as f:
            numbers = itertools.chain([int(f.read())], numbers)
    print("first seed: %d" % first, flush=True)
    began, done = time.monotonic(), 0
    for seed in numbers:
        if done >= SWARM_RUNS and time.monotonic() - began >= float(os.environ.get("DRAY_SIM_SECONDS", 0)):
            break
        try:
            run(o.sim, "run swarm --seed %d" % seed)
        except Failed:
            with open(kept, "w") as f:
                f.write("%d\n" % seed)
            raise
        done += 1
    if os.path.exists(kept):
        os.unlink(kept)
    print("%d runs" % done)


def check_compilers(o):
    other = o.build + "/sim-clang"
    if not shutil.which("clang"):
        print("sim.compilers: skipped: no clang")
        sys.exit(77)
    subprocess.run(["cmake", "-S", o.tree, "-B", other, "-G", "Ninja", "-DCMAKE_C_COMPILER=clang",
                    "-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_C_FLAGS_DEBUG=-O1", "--log-level=WARNING"],
                   check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", other, "--target", "dray-sim", "-j", "2"], check=True,
                   stdout=subprocess.DEVNULL)
    jobs = []
    for i, line in enumerate(list(seeds()) + ["run swarm --seed %d" % s for s in range(60, 66)]):
        jobs += [(o.sim, line)] + ([(other + "/dray-sim", line)] if i % 5 == 0 else [])
    with ThreadPoolExecutor(2) as pool:
        states = {}
        for (_, line), (_, s) in zip(jobs, pool.map(lambda job: run(*job), jobs)):
            state = states.setdefault(line, (s["state_hash"], s["events"]))
            if state != (s["state_hash"], s["events"]):
                raise Failed("%s: gcc -O2 and clang -O1 come to different states" % line,
                             "%s/dray-sim %s" % (other, line))
            print("%s  %s" % (state[0], line))


def compile_command(o, source):
    with open(o.build + "/compile_commands.json") as f:
        for c in json.load(f):
            file = os.path.join(c["directory"], c["file"])  # one that is made may not be there yet
            if os.path.exists(file) and os.path.samefile(file, os.path.join(o.tree, source)):
                return c["directory"], shlex.split(c["command"])
    raise Failed("no compile command for " + source)


def build_mutant(o, m, d):
    """Compiles the one file that is broken, and links it before the libraries, which then leave
    theirs out."""
    with open(os.path.join(o.tree, m["file"])) as f:
        text = f.read()
    check("%s: what it breaks stands in %s once" % (m["name"], m["file"]),
          text.count(m["from"]) == 1)
    broken = os.path.join(d, os.path.basename(m["file"]))
    with open(broken, "w") as f:
        f.write(text.replace(m["from"], m["to"]))
    where, command = compile_command(o, m["file"])
    args = command[:command.index("-o")] + ["-Wno-error", "-w", "-I", o.tree, "-c", broken, "-o",
                                            broken + ".o"]
    subprocess.run(args, cwd=where, check=True)
    _, command = compile_command(o, "sim/main.c")
    libs = ["libdray_sim.a", "libdray_store.a", "libdray_proto.a"]
    program = os.path.join(d, "dray-sim")
    main = os.path.join(o.build, "CMakeFiles/dray-sim.dir/sim/main.c.o")
    subprocess.run([command[0], main, broken + ".o"] + [os.path.join(o.build, l) for l in libs] +
                   ["-llmdb", "-lcrypto", "-lsodium", "-lyaml", "-lm", "-fno-lto", "-o", program,
                    "-Wl,--wrap=crypto_sign_verify_detached,--wrap=crypto_sign_detached"] +
                   [a for a in command if a.startswith("-fsanitize")], check=True)
    return program


def check_mutants(o):
    sys.path.insert(0, HERE)
    import mutants
    only = os.environ.get("DRAY_MUTANT")
    survived, well = [], set()
    for m in mutants.MUTANTS:
        if only and m["name"] != only:
            continue
        with tempfile.TemporaryDirectory() as d:
            program = build_mutant(o, m, d)
            caught = None
            for line in m["runs"]:
                if line not in well:
                    run(o.sim, line)  # what is not broken passes
                    well.add(line)
                p, s = run(program, line, None)
                broken = s["invariants_broken"] if s else ["crash"]
                if broken:
                    caught = (line, broken[0])
                    break
            print("%-24s %s" % (m["name"], "caught by %s: %s" % caught if caught else "SURVIVED"))
            if not caught or caught[1] not in m["breaks"]:
                survived.append(m["name"])
    check("mutants that were not caught as they should be: %s" % survived, not survived)


def main():
    checks = {k[6:]: v for k, v in globals().items() if k.startswith("check_") and k[6:] in (
        "cli", "seeds", "scenarios", "lost", "swarm", "compilers", "mutants")}
    p = argparse.ArgumentParser()
    p.add_argument("check", choices=checks)
    for name in ("sim", "tree", "build"):
        p.add_argument("--" + name, required=True)
    o = p.parse_args()
    try:
        checks[o.check](o)
    except Failed as e:
        print("FAILED: %s" % e)
        if e.again:
            print("again: %s" % e.again)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

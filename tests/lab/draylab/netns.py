"""Network namespaces of our own, and their certain end.

Names say whose they are: draylab-<pid>-<start of that process>-<host>. They go in three ways. The
test removes them when it is done. A janitor, a child in a session of its own, removes them when the
test is gone in any other way, kill -9 included: it waits for the end of a pipe that only the test
holds. And each new run sweeps what belongs to processes that no longer live, should a janitor have
been killed as well. Only namespaces of that name are touched, and only processes inside them.
"""

import contextlib
import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
import time

FOLDER = "/run/netns"
CLONE_NEWNET = 0x40000000
_NAME = re.compile(r"draylab-(\d+)-(\d+)-(.+)")
_libc = ctypes.CDLL(None, use_errno=True)


class Refused(RuntimeError):
    """This machine does not permit what the lab needs."""


def run(*argv, stdin=None):
    """A command that must succeed; its output."""
    done = subprocess.run([str(a) for a in argv], input=stdin, capture_output=True, text=True,
                          timeout=60, check=False)
    if done.returncode:
        raise Refused(f"{' '.join(map(str, argv))}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def batch(lines, namespace=None):
    """Many `ip` commands in one go, in one namespace."""
    where = ["-n", namespace] if namespace else []
    run("ip", *where, "-batch", "-", stdin="\n".join(lines) + "\n")


# --- names and owners ------------------------------------------------------------------------------

def _started(pid):
    """When that process began, in the kernel's ticks; None when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[19]
    except (FileNotFoundError, ProcessLookupError):
        return None


def prefix(pid=None):
    pid = pid or os.getpid()
    return f"draylab-{pid}-{_started(pid)}-"


def mine(pid=None):
    """The namespaces of that process."""
    start = prefix(pid)
    return [name for name in _all() if name.startswith(start)]


def orphans():
    """Those whose process is gone."""
    return [name for name in _all() if _orphaned(name)]


def _all():
    return sorted(os.listdir(FOLDER)) if os.path.isdir(FOLDER) else []


def _orphaned(name):
    hit = _NAME.fullmatch(name)
    return bool(hit) and _started(hit[1]) != hit[2]


# --- life and death --------------------------------------------------------------------------------

def add(names):
    batch([f"netns add {name}" for name in names])
    for name in names:
        batch(["link set lo up"], name)


def pids(name):
    done = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
    return [int(pid) for pid in done.stdout.split()]


def remove(names):
    """Ends every process inside and removes the namespaces; never fails."""
    for name in names:
        for _ in range(50):
            inside = [pid for pid in pids(name) if pid != os.getpid()]
            for pid in inside:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if not inside:
                break
            time.sleep(0.02)
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def sweep():
    """Removes what dead runs left; says what that was."""
    left = orphans()
    remove(left)
    return left


def janitor():
    """Starts the janitor of this process; keep what it returns."""
    argv = [sys.executable, "-B", os.path.abspath(__file__), str(os.getpid()), prefix()]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL, start_new_session=True)


def _wait_and_remove(start):
    """The janitor's own work."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for _ in range(3):  # a namespace may just have been in the making
        remove([name for name in _all() if name.startswith(start)])
        time.sleep(0.2)


@contextlib.contextmanager
def inside(name):
    """This thread, and no other, is in that namespace meanwhile."""
    with open("/proc/thread-self/ns/net", "rb") as home, open(f"{FOLDER}/{name}", "rb") as there:
        _enter(there)
        try:
            yield
        finally:
            _enter(home)


def _enter(file):
    if _libc.setns(file.fileno(), CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


# --- what this machine permits ---------------------------------------------------------------------

def refusal():
    """Why the lab cannot run here, in a line; None when it can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    for program, package in (("ip", "iproute2"), ("tc", "iproute2"), ("iptables", "iptables"),
                             ("nsenter", "util-linux")):
        if not shutil.which(program):
            return f"{program} is not installed ({package})"
    names = [prefix() + "probe1", prefix() + "probe2"]
    try:
        add(names)
        batch(["link add br0 type bridge", f"link add e type veth peer name e netns {names[1]}",
               "link set e master br0", "link set e up"], names[0])
        run("tc", "-n", names[0], "qdisc", "add", "dev", "e", "root", "tbf", "rate", "8mbit",
            "burst", "64kb", "latency", "50ms")
        with inside(names[1]):
            run("iptables", "-w", "-A", "INPUT", "-s", "10.0.0.1", "-j", "DROP")
    except (Refused, OSError) as no:
        return f"this machine does not permit it: {str(no).splitlines()[0]}"
    finally:
        remove(names)
    return None


def offers(what):
    """Does the kernel offer this? `what`: "netem" (delay), "loss" (random drops), "ipv6"."""
    name = prefix() + "probe3"
    add([name])
    try:
        with inside(name):
            if what == "netem":
                run("tc", "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms")
            elif what == "loss":
                run("iptables", "-w", "-A", "INPUT", "-m", "statistic", "--mode", "random",
                    "--probability", "0.5", "-j", "DROP")
            else:
                run("ip", "addr", "add", "fd00::1/64", "dev", "lo")
                run("ip6tables", "-w", "-A", "INPUT", "-s", "fd00::2", "-j", "DROP")
        return True
    except Refused:
        return False
    finally:
        remove([name])


if __name__ == "__main__":
    _wait_and_remove(sys.argv[2])

"""A test's temporary folder, its processes, and their certain end.

A Stage owns one folder under /tmp and every process started through it. close() ends the processes
in reverse order, each by its own pid (SIGTERM, then SIGKILL), undoes mounts, and removes the folder.
A stage that was not closed is closed at exit, SIGTERM included, and children die with the test
itself (PR_SET_PDEATHSIG), so that a killed test leaves no process. The folder of one that was killed
-9 is removed by the next: its name tells the process that made it.
"""

import atexit
import collections
import ctypes
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

PR_SET_PDEATHSIG = 1
PATIENCE_S = 60
PORTS = (15000, 32000)
_random = random.Random(os.getpid())
_given = collections.deque(maxlen=1000)
_libc = ctypes.CDLL(None, use_errno=True)


def free_port(host="127.0.0.1"):
    """A TCP port that was free a moment ago, of those that the system gives to nobody who connects:
    it stays free also while whoever listens on it is away. Not one of the last given: whoever got
    it may not listen yet."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = _random.randrange(*PORTS)
        if port in _given:
            continue
        with socket.socket(family, socket.SOCK_STREAM) as s:
            try:
                s.bind((host, port))
            except OSError:
                continue
            _given.append(port)
            return port


def wait_for(condition, timeout=0.0, what="condition", every=0.02):
    """Calls `condition` until it is true; returns its value. Gives up after `timeout`, but not before
    PATIENCE_S: other tests may have the processor, and how fast something is, is no test's affair."""
    timeout = max(timeout, PATIENCE_S)
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not within {timeout:g} s")
        time.sleep(every)


def port_open(port, host="127.0.0.1"):
    try:
        socket.create_connection((host, port), timeout=1).close()
        return True
    except OSError:
        return False


def die_with_parent():
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _prepare(listener):
    die_with_parent()
    if listener:
        if listener.fileno() != 3:
            os.dup2(listener.fileno(), 3)
        os.set_inheritable(3, True)


class Process:
    """One child with its output in a file."""

    def __init__(self, name, argv, log, env=None, cwd=None, listener=None):
        """`listener`: a socket that it is given as systemd gives one (sd_listen_fds)."""
        self.name = name
        self.argv = [str(a) for a in argv]
        self.log_path = log
        with open(log, "ab") as out:
            self.popen = subprocess.Popen(
                self.argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                env=env, cwd=cwd, preexec_fn=lambda: _prepare(listener),
                close_fds=listener is None)  # Python's own are closed on exec anyway

    @property
    def pid(self):
        return self.popen.pid

    def running(self):
        return self.popen.poll() is None

    def log(self):
        with open(self.log_path, "rb") as f:
            return f.read().decode("utf-8", "replace")

    def signal(self, number):
        if self.running():
            self.popen.send_signal(number)

    def wait(self, timeout=0.0):
        """The exit status; negative for a signal. As patient as wait_for()."""
        return self.popen.wait(max(timeout, PATIENCE_S))

    def stop(self, timeout=10.0):
        """SIGTERM, and SIGKILL if that does not do it. Returns the exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self):
        self.signal(signal.SIGKILL)
        return self.popen.wait(10)

    def until(self, condition, timeout=15.0, what="ready"):
        """Waits for `condition`; a child that ends meanwhile is an error that shows its log."""
        def check():
            if not self.running():
                raise RuntimeError(f"{self.name} ended with {self.popen.returncode}:\n{self.tail()}")
            return condition()
        try:
            return wait_for(check, timeout, f"{self.name} {what}")
        except TimeoutError as late:
            raise TimeoutError(f"{late}\n{self.tail()}") from None

    def tail(self, lines=30):
        return "\n".join(self.log().splitlines()[-lines:])


class Stage:
    def __init__(self, prefix="dray-e2e-"):
        self._sweep(prefix)
        self.path = tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir="/tmp")
        self._undo = []
        self._names = 0
        atexit.register(self.close)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def dir(self, name):
        """A new folder; a number is added when the name is taken. Threads may ask at once."""
        path = os.path.join(self.path, name)
        while True:
            try:
                os.makedirs(path)
                return path
            except FileExistsError:
                self._names += 1
                path = os.path.join(self.path, f"{name}-{self._names}")

    def file(self, name, content, mode=0o600):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, mode)
        return path

    def spawn(self, name, argv, env=None, cwd=None, listener=None):
        if listener:  # the shell's process becomes the program's
            argv = ["/bin/sh", "-c", 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"', "sh", *argv]
        self._names += 1
        log = os.path.join(self.path, f"{name}-{self._names}.log")
        process = Process(name, argv, log, env, cwd, listener)
        self.defer(process.stop)
        return process

    def defer(self, undo):
        """`undo` is called at close(), last registered first."""
        self._undo.append(undo)

    def tmpfs(self, name, size):
        """A small file system of its own; None where this may not be had."""
        path = self.dir(name)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
                              capture_output=True, check=False)
        if done.returncode:
            return None
        self.defer(lambda: subprocess.run(["umount", "-l", path], capture_output=True, check=False))
        return path

    def close(self):
        while self._undo:
            try:
                self._undo.pop()()
            except (OSError, RuntimeError, subprocess.SubprocessError) as e:
                print(f"cleaning up: {e}")
        self._remove(self.path)
        atexit.unregister(self.close)

    @classmethod
    def _sweep(cls, prefix):
        for name in os.listdir("/tmp"):
            owner = name.removeprefix(prefix).split("-")[0]
            if name.startswith(prefix) and owner.isdigit() and not os.path.exists(f"/proc/{owner}"):
                path = os.path.join("/tmp", name)
                if os.path.exists("/proc/self") and os.stat(path).st_uid == os.getuid():
                    cls._remove(path)

    @classmethod
    def _remove(cls, path):
        # Client daemons leave mounts behind when they are stopped early.
        for mount in cls._mounts(path):
            subprocess.run(["umount", "-l", mount], capture_output=True, check=False)
        shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _mounts(path):
        try:
            with open("/proc/self/mounts", encoding="utf-8") as f:
                points = [line.split()[1] for line in f]
        except FileNotFoundError:  # a bare root without /proc: nobody could have mounted anything
            return []
        return sorted((p for p in points if p.startswith(path + "/")), reverse=True)

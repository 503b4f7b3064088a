"""The lab itself: the network does what it is told, and nothing is left of a test that was killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time

from draylab import netns
from draylab.network import MB
from draylab.scenario import Scenarios, scenario
from dray_e2e.stage import wait_for

SO_RCVBUFFORCE = 33  # which Python does not name
HERE = os.path.dirname(os.path.abspath(__file__))

# A test that makes two namespaces with a process in one, says so, and waits to be killed.
VICTIM = """
import subprocess, sys, time
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/../e2e"]
from draylab import netns
keep = netns.janitor() if sys.argv[2] == "janitor" else None
names = [netns.prefix() + "a", netns.prefix() + "b"]
netns.add(names)
inside = subprocess.Popen(["nsenter", "--net=/run/netns/" + names[0], "sleep", "600"])
while not netns.pids(names[0]):
    time.sleep(0.01)
print(netns.prefix(), inside.pid, flush=True)
time.sleep(600)
"""


def count_datagrams(sender, receiver, n):
    """How many of n datagrams arrive."""
    with receiver.inside():
        listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender.inside():
        sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with listening, sending:
        listening.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 16 << 20)  # room for all of them
        listening.bind((receiver.address, 7000))
        listening.settimeout(0.3)
        got = 0
        for _ in range(n):
            with contextlib.suppress(OSError):  # the machine may know already that there is no way
                sending.sendto(b"x", (receiver.address, 7000))
        try:
            while listening.recv(16):
                got += 1
        except TimeoutError:
            return got


def mb_per_s(sender, receiver, mb):
    """What a TCP connection carries."""
    with receiver.inside():
        server = socket.create_server((receiver.address, 7000))

    def serve():
        connection, _ = server.accept()
        with connection:
            while connection.recv(1 << 20):
                pass
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with server, sender.inside(), socket.create_connection((receiver.address, 7000), 10) as c:
        started = time.monotonic()
        c.sendall(bytes(mb * MB))
        c.shutdown(socket.SHUT_WR)
        c.recv(1)
        return mb / (time.monotonic() - started)


class Victim:
    def __init__(self, kind):
        self.process = subprocess.Popen([sys.executable, "-B", "-c", VICTIM, HERE, kind],
                                        stdout=subprocess.PIPE, text=True)
        self.prefix, pid = self.process.stdout.readline().split()
        self.child = int(pid)

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.process.stdout.close()

    def namespaces(self):
        return [name for name in os.listdir(netns.FOLDER) if name.startswith(self.prefix)]

    def is_gone(self):
        return not self.namespaces() and not os.path.exists(f"/proc/{self.child}")


class Tools(Scenarios):
    @scenario(racks={"london": 1, "paris": 1}, start=False, small=True)
    def test_network_does_what_it_is_told(self, lab):
        """Rates, cuts in one direction, unplugged cables and losses, measured between two hosts."""
        a, b = (rack.machine for rack in lab.racks)
        lab.measure("unbroken, of 500", count_datagrams(a, b, 500), at_least=500)
        lab.cut_one_way(a, b)
        lab.measure("the way that is cut", count_datagrams(a, b, 500), at_most=0)
        lab.measure("the other way", count_datagrams(b, a, 500), at_least=500)
        lab.heal()
        lab.unplug(b)
        lab.measure("unplugged", count_datagrams(a, b, 500) + count_datagrams(b, a, 500), at_most=0)
        lab.heal()
        lab.unplug(lab.office("paris"))
        lab.measure("office unplugged", count_datagrams(a, b, 500), at_most=0)
        lab.heal()
        lab.measure("healed", count_datagrams(a, b, 500), at_least=500)
        lab.slow_down(b, 8)
        lab.measure("8 MB/s, inwards", mb_per_s(a, b, 10), "MB/s", at_least=6.5, at_most=9.0)
        lab.measure("8 MB/s, outwards", mb_per_s(b, a, 10), "MB/s", at_least=6.5, at_most=9.0)
        if netns.offers("loss"):
            lab.lose(0.2)
            lab.measure("a fifth lost, of 2000", count_datagrams(a, b, 2000), at_least=1400,
                        at_most=1800)

    def test_nothing_is_left_after_kill_9(self):
        """kill -9 of a test: its janitor removes all; without one, the next run does."""
        tidy, careless = Victim("janitor"), Victim("none")
        self.assertEqual(len(tidy.namespaces()), 2)
        tidy.kill()
        wait_for(tidy.is_gone, 10, "the janitor to remove all")
        careless.kill()
        os.kill(careless.child, 0)  # still there: it belongs to nobody now
        self.assertLessEqual(set(careless.namespaces()), set(netns.orphans()))
        netns.sweep()
        wait_for(careless.is_gone, 10, "the sweep to remove all")

    test_nothing_is_left_after_kill_9.small = True

"""The lab's network: hosts in offices, offices around a core, all in namespaces of one test.

       host ── eth0 ┐                    ┌ eth0 ── host
                    ├ office ── core ── office ┤
       host ── eth0 ┘    (uplink)        └ eth0 ── host

An office is a bridge with a router, a subnet each of IPv4 and IPv6, and one uplink to the core, which
routes between them. Nothing of it is in the machine's own namespace, so that nothing of the machine
can be in its way, and several labs run beside each other. Links lose nothing and have no delay of
their own; `shape()` gives them a rate and a queue.

Packets are dropped where they arrive: cut() adds rules to the firewalls of the hosts named last.
Their senders learn nothing, as with a real broken line. unplug() takes a cable out instead.
"""

import ipaddress
import itertools

from dray_e2e.place import Place

from . import netns

MB = 1_000_000


class Host(Place):
    """One machine: a namespace with one address (and one more of the other family)."""

    def __init__(self, network, office, name, number):
        self.network, self.office, self.name = network, office, name
        self.namespace = network.namespace(name)
        self.port = f"h{number}"  # its end of the cable, in the office
        self.v4 = str(office.v4.network_address + number)
        self.v6 = str(office.v6.network_address + number)
        super().__init__(self.v6 if network.family == 6 else self.v4)
        self.via = ("nsenter", f"--net={netns.FOLDER}/{self.namespace}", "--")

    def inside(self):
        return netns.inside(self.namespace)

    def addresses(self):
        return [self.v4, self.v6]

    def hosts(self):
        return [self]

    def counters(self):
        """(bytes received, bytes sent) by its network card, headers included."""
        with self.inside(), open("/proc/thread-self/net/dev", encoding="ascii") as f:
            numbers = next(line for line in f if "eth0:" in line).split(":")[1].split()
        return int(numbers[0]), int(numbers[8])

    def __repr__(self):
        return self.name


class Office:
    """A subnet with its router; `number` is in its addresses: 10.<number>.0.0/24, fd00:<number>::/64."""

    def __init__(self, network, name, number):
        self.network, self.name, self.number = network, name, number
        self.namespace = network.namespace(f"office-{name}")
        self.v4 = ipaddress.ip_network(f"10.{number}.0.0/24")
        self.v6 = ipaddress.ip_network(f"fd00:{number}::/64")
        self.gateway4 = str(self.v4.network_address + 254)
        self.gateway6 = str(self.v6.network_address + 0xfffe)
        self.members = []

    def addresses(self):
        return [str(self.v4), str(self.v6)]

    def hosts(self):
        return self.members

    def __repr__(self):
        return f"office {self.name}"


def _set_up(namespace, router=False):
    """IPv6 addresses count at once; a router forwards. Congestion control is one that every
    kernel has, and that loss alone slows: BBR takes the queues of these cables for lost rate when both
    directions are busy."""
    values = {"ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/accept_dad": 0,
              "ipv4/tcp_congestion_control": "reno"}
    if router:
        values |= {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1,
                   "ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0}
    with netns.inside(namespace):
        for name, value in values.items():
            with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as f:
                f.write(str(value))


class Network:
    """`family`: 4 or 6, whose addresses everybody uses; hosts have both."""

    def __init__(self, family=4):
        self.family = family
        self.offices, self.hosts = [], []
        self._unplugged = set()
        self.core = self.namespace("core")
        netns.add([self.core])
        _set_up(self.core, router=True)

    @staticmethod
    def namespace(name):
        return netns.prefix() + name

    def close(self):
        netns.remove(netns.mine())

    # --- building --------------------------------------------------------------------------------

    def add_office(self, name):
        o = Office(self, name, len(self.offices) + 1)
        up, down = f"172.31.{o.number}.1", f"172.31.{o.number}.2"
        up6, down6 = f"fd00:ffff:{o.number}::1", f"fd00:ffff:{o.number}::2"
        netns.add([o.namespace])
        _set_up(o.namespace, router=True)
        netns.batch([
            f"link add name office{o.number} netns {self.core} type veth "
            f"peer name uplink netns {o.namespace}"])
        netns.batch([
            f"addr add {up}/30 dev office{o.number}", f"addr add {up6}/64 dev office{o.number} nodad",
            f"link set office{o.number} up",
            f"route add {o.v4} via {down}", f"route add {o.v6} via {down6}"], self.core)
        netns.batch([
            f"addr add {down}/30 dev uplink", f"addr add {down6}/64 dev uplink nodad",
            "link set uplink up", "link add br0 type bridge mcast_snooping 0", "link set br0 up",
            f"addr add {o.gateway4}/24 dev br0", f"addr add {o.gateway6}/64 dev br0 nodad",
            f"route add default via {up}", f"route add default via {up6}"], o.namespace)
        # There is no name service: whoever asks is told so at once, and does not wait for seconds.
        for table in ("iptables", "ip6tables"):
            netns.run("nsenter", f"--net={netns.FOLDER}/{o.namespace}", "--", table, "-w", "-A",
                      "FORWARD", "-p", "udp", "--dport", "53", "-j", "REJECT")
        self.offices.append(o)
        return o

    def add_host(self, office, name):
        h = Host(self, office, name, len(office.members) + 1)
        netns.add([h.namespace])
        _set_up(h.namespace)
        netns.batch([f"link add name {h.port} netns {office.namespace} type veth "
                     f"peer name eth0 netns {h.namespace}"])
        netns.batch([f"link set {h.port} master br0 up"], office.namespace)
        netns.batch([
            f"addr add {h.v4}/24 dev eth0", f"addr add {h.v6}/64 dev eth0 nodad", "link set eth0 up",
            f"route add default via {office.gateway4}",
            f"route add default via {office.gateway6}"], h.namespace)
        office.members.append(h)
        self.hosts.append(h)
        return h

    # --- shaping ---------------------------------------------------------------------------------

    def _cable(self, x):
        """Both ends of the cable of a host or office, the inner one first: (namespace, interface)."""
        if isinstance(x, Host):
            return (x.namespace, "eth0"), (x.office.namespace, x.port)
        return (x.namespace, "uplink"), (self.core, f"office{x.number}")

    def shape(self, x, up=None, down=None):
        """The cable of a host, or an office's uplink, carries so many bytes per second, with a queue
        of 200 ms. None: as fast as it goes."""
        for (namespace, interface), rate in zip(self._cable(x), (up, down)):
            kind = ["root"]
            if rate:
                # A burst must hold the largest packet that the card is handed, 64 KiB of many segments.
                burst = max(80_000, int(rate / 200))
                kind += ["tbf", "rate", f"{int(rate * 8)}bit", "burst", f"{burst}b", "latency", "200ms"]
                netns.run("tc", "-n", namespace, "qdisc", "replace", "dev", interface, *kind)
            elif "tbf" in netns.run("tc", "-n", namespace, "qdisc", "show", "dev", interface):
                netns.run("tc", "-n", namespace, "qdisc", "del", "dev", interface, *kind)

    # --- breaking and healing --------------------------------------------------------------------

    def drop(self, source, target):
        """Nothing from `source` arrives at `target` any more; the other way is as before."""
        for host in target.hosts():
            for address in source.addresses():
                self._rule(host, address, "-s", address)

    def lose(self, host, share, protocol="udp"):
        """That share of the datagrams that arrive at a host is lost, by chance."""
        for address in host.addresses():
            self._rule(host, address, "-p", protocol, "-m", "statistic", "--mode", "random",
                       "--probability", f"{share:.4f}")

    @staticmethod
    def _rule(host, address, *match):
        table = "ip6tables" if ":" in address else "iptables"
        netns.run(*host.via, table, "-w", "-A", "INPUT", *match, "-j", "DROP")

    def unplug(self, x):
        """The cable of a host or office is out: whoever is behind it notices at most a missing link."""
        (_, _), (namespace, interface) = self._cable(x)
        netns.batch([f"link set {interface} down"], namespace)
        self._unplugged.add(x)

    def plug(self, x):
        (_, _), (namespace, interface) = self._cable(x)
        netns.batch([f"link set {interface} up"], namespace)
        if not isinstance(x, Host):  # the core forgets its routes with the link
            o = x
            netns.batch([
                f"addr replace fd00:ffff:{o.number}::1/64 dev office{o.number} nodad",
                f"route replace {o.v4} via 172.31.{o.number}.2",
                f"route replace {o.v6} via fd00:ffff:{o.number}::2"], self.core)
        self._unplugged.discard(x)

    def heal(self):
        """Every cable is in, no firewall drops anything. Rates stay."""
        for x in list(self._unplugged):
            self.plug(x)
        for host in self.hosts:
            for table in ("iptables", "ip6tables"):
                netns.run(*host.via, table, "-w", "-F", "INPUT")

    # --- looking ---------------------------------------------------------------------------------

    def describe(self):
        """What each host's network looks like now, for the logs."""
        parts = []
        for x in itertools.chain(self.offices, self.hosts):
            (namespace, interface), _ = self._cable(x)
            parts.append(f"=== {x} ({namespace})\n")
            for argv in (["ip", "-s", "addr", "show"], ["ip", "route"], ["ip", "-6", "route"],
                         ["tc", "-s", "qdisc", "show", "dev", interface], ["iptables", "-S"],
                         ["iptables", "-nvL", "INPUT"]):
                try:
                    with netns.inside(namespace):
                        parts.append(netns.run(*argv))
                except (netns.Refused, OSError) as e:
                    parts.append(f"{e}\n")
        return "".join(parts)

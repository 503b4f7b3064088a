"""The real clients: skopeo, ctr (with containerd), docker (with dockerd).

Each daemon is a private one: own root, own socket, own containerd, no bridge, no firewall rules. A
client that is not installed, or whose daemon does not come up here, raises Unavailable with the
reason, and the test is skipped by that name.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import unittest

from .place import LOOPBACK
from .stage import wait_for


class Unavailable(unittest.SkipTest):
    """This client cannot run on this machine: whoever wanted it is skipped, with the reason."""


def find(*names):
    """The first of these programs that exists."""
    for name in names:
        path = name if os.path.isabs(name) and os.access(name, os.X_OK) else shutil.which(name)
        if path:
            return path
    raise Unavailable(f"{names[-1]} is not installed")


class Done:
    """A finished command."""

    def __init__(self, argv, done):
        self.argv, self.code = argv, done.returncode
        self.out, self.err = done.stdout, done.stderr

    @property
    def ok(self):
        return self.code == 0

    def must(self):
        if not self.ok:
            raise AssertionError(f"{' '.join(self.argv)}: exit {self.code}\n{self.out}{self.err}")
        return self


def execute(argv, env=None, timeout=80, stdin=None):
    argv = [str(a) for a in argv]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False,
                          env={**os.environ, **(env or {})}, input=stdin)
    return Done(argv, done)


def private_env(stage):
    """An environment in which clients find neither the user's logins nor a proxy."""
    home = stage.dir("home")
    return {"HOME": home, "XDG_RUNTIME_DIR": home, "REGISTRY_AUTH_FILE": home + "/auth.json",
            "http_proxy": "", "https_proxy": "", "HTTP_PROXY": "", "HTTPS_PROXY": ""}


class Skopeo:
    """Copies into fresh folders (dir:), where every file is named by its digest."""

    def __init__(self, stage, place=LOOPBACK):
        self.stage, self.place = stage, place
        self.program = find("skopeo")
        self.env = private_env(stage)

    def copy(self, image, creds=None, ca=None, mirror=None, everything=False, retries=0, timeout=80):
        """`image`: host:port/name:tag. `ca`: its CA's file; None: plain HTTP. `mirror`: one host:port,
        or several to be tried in order. Returns (Done, folder)."""
        folder = self.stage.dir("skopeo")
        argv = [*self.place.via, self.program, "--insecure-policy"]
        argv += ["--registries-conf", self._mirror_conf(image, mirror)] if mirror else []
        argv += ["copy", "--quiet"]
        argv += ["--all"] if everything else []
        argv += ["--retry-times", str(retries)] if retries else []
        argv += ["--src-creds", creds] if creds else []
        if ca:
            trusted = self.stage.dir("skopeo-ca")
            shutil.copy(ca, os.path.join(trusted, "ca.crt"))
            argv += ["--src-cert-dir", trusted]
        elif not mirror:
            argv += ["--src-tls-verify=false"]
        return execute(argv + [f"docker://{image}", f"dir:{folder}"], self.env, timeout), folder

    def _mirror_conf(self, image, mirrors):
        lines = [f'[[registry]]\nlocation = "{image.split("/")[0]}"\n']
        for mirror in [mirrors] if isinstance(mirrors, str) else mirrors:
            lines.append(f'[[registry.mirror]]\nlocation = "{mirror}"\ninsecure = true\n')
        folder = self.stage.dir("registries")
        return self.stage.file(os.path.join(folder, "registries.conf"), "".join(lines))

    @staticmethod
    def verify(folder, image):
        """Every blob of `image` is in the folder, byte by byte."""
        with open(os.path.join(folder, "manifest.json"), "rb") as f:
            assert f.read() == image.manifest, "another manifest"
        for digest in image.blobs():
            with open(os.path.join(folder, digest.split(":")[1]), "rb") as f:
                got = "sha256:" + hashlib.sha256(f.read()).hexdigest()
            assert got == digest, f"{digest} holds {got}"

    @staticmethod
    def verify_index(folder, index):
        with open(os.path.join(folder, "manifest.json"), "rb") as f:
            assert f.read() == index.manifest, "another index"
        for image in index.images:
            name = image.digest.split(":")[1] + ".manifest.json"
            with open(os.path.join(folder, name), "rb") as f:
                assert f.read() == image.manifest, f"another manifest of {image.architecture}"
            for digest, data in image.blobs().items():
                with open(os.path.join(folder, digest.split(":")[1]), "rb") as f:
                    assert f.read() == data, f"other bytes in {digest}"


class Containerd:
    """A private containerd, and ctr talking to it."""

    def __init__(self, stage, place=LOOPBACK):
        self.stage, self.place = stage, place
        self.daemon, self.ctr_program = find("containerd"), find("ctr")
        self.folder = stage.dir("containerd")
        self.socket = os.path.join(self.folder, "s")
        self.env = private_env(stage)
        config = stage.file(os.path.join(self.folder, "containerd.toml"), (
            f'version = 2\nroot = "{self.folder}/root"\nstate = "{self.folder}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n'
            f'[grpc]\n  address = "{self.socket}"\n[ttrpc]\n  address = "{self.socket}.ttrpc"\n'))
        self.process = stage.spawn("containerd", [*place.via, self.daemon, "--config", config],
                                   env={**os.environ, **self.env})
        try:
            self.process.until(lambda: self.ctr("version").ok, timeout=20)
        except (RuntimeError, TimeoutError) as e:
            raise Unavailable(f"containerd does not run here: {str(e)[-300:]}") from None

    def ctr(self, *argv, timeout=80):
        argv = [*self.place.via, self.ctr_program, "--address", self.socket, *argv]
        return execute(argv, self.env, timeout)

    def hosts(self, registry, mirrors, ca=None):
        """A hosts.toml folder in which `mirrors` (a URL, or several in order) stand for `registry`
        (a name)."""
        mirrors = [mirrors] if isinstance(mirrors, str) else mirrors
        folder = self.stage.dir("hosts")
        place = os.path.join(folder, registry)
        os.makedirs(place)
        trust = f'ca = "{ca}"\n' if ca else ""
        lines = [f'server = "{mirrors[-1]}"\n{trust}[host]\n']
        for mirror in mirrors:
            if "]" not in mirror:  # an IPv6 address as a table's name is more than containerd 1.6 reads
                lines.append(f'[host."{mirror}"]\n  capabilities = ["pull", "resolve"]\n  {trust}')
        with open(os.path.join(place, "hosts.toml"), "w", encoding="utf-8") as f:
            f.writelines(lines)
        return folder

    def pull(self, image, hosts, user=None, timeout=80):
        # --snapshotter native needs no overlay mounts: it runs where root is all there is.
        argv = ["images", "pull", "--hosts-dir", hosts, "--snapshotter", "native"]
        argv += ["--user", user] if user else []
        return self.ctr(*argv, image, timeout=timeout)

    def forget(self, image):
        """Removes the image and all its content, so that the next pull is a whole one."""
        self.ctr("images", "rm", "--sync", image).must()
        wait_for(lambda: not self.ctr("content", "ls", "-q").must().out.split(), 20,
                 "content to be collected")

    def verify(self, image):
        for digest in [image.digest, *image.blobs()]:
            done = subprocess.run([self.ctr_program, "--address", self.socket, "content", "get",
                                   digest], capture_output=True, timeout=30, check=False)
            got = "sha256:" + hashlib.sha256(done.stdout).hexdigest()
            assert got == digest, f"{digest} holds {got}: {done.stderr!r}"


def cgroups_mounted():
    """dockerd ends with a panic where there are none, as in a plain chroot."""
    try:
        with open("/proc/self/mounts", encoding="utf-8") as f:
            return any(line.split()[2].startswith("cgroup") for line in f)
    except FileNotFoundError:
        return False


def root_is_mounted():
    """dockerd unpacks layers behind pivot_root, which a plain chroot does not permit."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8") as f:
            return any(line.split()[4] == "/" for line in f)
    except FileNotFoundError:
        return False


class Docker:
    """A private dockerd, and docker talking to it. `mirror`: the URL that stands before docker.io, or
    several."""

    def __init__(self, stage, containerd, mirror=None, ca=None, place=LOOPBACK):
        self.stage = stage
        self.daemon = find("/usr/sbin/dockerd", "dockerd")
        self.program = find("/usr/bin/docker", "docker")
        if not cgroups_mounted():
            raise Unavailable("dockerd does not run here: no cgroups are mounted")
        if not root_is_mounted():
            raise Unavailable("dockerd unpacks nothing here: this is a plain chroot")
        self.folder = stage.dir("docker")
        self.socket = f"unix://{self.folder}/s"
        self.env = private_env(stage)
        argv = [*place.via, self.daemon, "--bridge=none", "--iptables=false", "--ip6tables=false",
                "--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/run",
                "--pidfile", f"{self.folder}/pid", "--host", self.socket,
                "--config-file", stage.file(f"{self.folder}/daemon.json", "{}"),
                "--containerd", containerd.socket]
        for one in [mirror] if isinstance(mirror, str) else mirror or []:
            argv += ["--registry-mirror", one]
        # Go reads this as the system's store of CAs: nothing is written to /etc/docker.
        env = {**os.environ, **self.env, **({"SSL_CERT_FILE": ca} if ca else {})}
        self.process = stage.spawn("dockerd", argv, env=env)
        try:
            self.process.until(lambda: self.docker("version").ok, timeout=30)
        except (RuntimeError, TimeoutError) as e:
            raise Unavailable(f"dockerd does not run here: {str(e)[-300:]}") from None

    def docker(self, *argv, stdin=None, timeout=80):
        return execute([self.program, "--host", self.socket, "--config", f"{self.folder}/login",
                        *argv], self.env, timeout, stdin)

    def login(self, host, user, password):
        return self.docker("login", "--username", user, "--password-stdin", host, stdin=password)

    def pull(self, image, timeout=80):
        return self.docker("pull", image, timeout=timeout)

    def forget(self, image):
        self.docker("rmi", "--force", image).must()

    def verify(self, name, image):
        """dockerd has unpacked every layer: its ids of the plain tars are the config's."""
        seen = json.loads(self.docker("image", "inspect", name).must().out)[0]
        assert seen["Id"] == image.config_digest, f"{name} is {seen['Id']}"
        want = json.loads(image.config)["rootfs"]["diff_ids"]
        assert seen["RootFS"]["Layers"] == want, f"layers {seen['RootFS']['Layers']}"
        assert re.search(re.escape(image.digest), " ".join(seen["RepoDigests"])), seen["RepoDigests"]

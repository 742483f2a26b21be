# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""A private containerd for tests: own root, own socket, own CNI folders.

All functional tests use it. It needs root, and Debian's containerd,
busybox-static and containernetworking-plugins. It runs the first containerd
in PATH, of any release.
"""

from collections.abc import Mapping
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time
import tomllib
from typing import Any

import fixtures
from oslo_config import cfg

from kata_openstack.conf import opts
from kata_openstack.runtime.containerd import binary
from kata_openstack.runtime.containerd import config
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import edit
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.hypervisors import base
from tests.functional import images

CNI_BIN_DIR = pathlib.Path('/usr/lib/cni')

# Connects pods to the host and to one another without a bridge on the host.
PTP: dict[str, Any] = {
    'cniVersion': '0.4.0', 'name': 'kata-test', 'plugins': [{
        'type': 'ptp',
        'ipam': {'type': 'host-local', 'subnet': '10.213.0.0/24',
                 'routes': [{'dst': '0.0.0.0/0'}]}}]}

_CONFIG = '''\
version = {version}
root = "{root}/root"
state = "{root}/state"
disabled_plugins = [
  "io.containerd.internal.v1.restart",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.aufs"]
[grpc]
  address = "{root}/containerd.sock"
[ttrpc]
  address = "{root}/ttrpc.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
'''
_CRI_V2 = '''\
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  stream_server_address = "127.0.0.1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{root}/certs.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "{default}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{root}/cni/bin"
    conf_dir = "{root}/cni/net.d"
'''
_CRI_V3 = '''\
[plugins."io.containerd.grpc.v1.cri"]
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.cri.v1.images"]
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{pause}"
  [plugins."io.containerd.cri.v1.images".registry]
    config_path = "{root}/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "{default}"
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{root}/cni/bin"]
    conf_dir = "{root}/cni/net.d"
'''


def handlers(conf: cfg.ConfigOpts,
             files: Mapping[base.Handler, base.Files]) -> str:
    """TOML of the handlers, to append to the fixture's configuration.

    Without the version, which the fixture's configuration already has.
    """
    return config.render(conf, files, binary.version()).partition('\n')[2]


class Containerd(fixtures.Fixture):
    """A running containerd with the two test images in it.

    :param handlers: TOML of handlers(); by default there are no handlers
    :param conflist: the CNI configuration
    :param plugins: CNI plugins by name, in addition to Debian's
    :param env: environment variables for containerd and its shims

    Attributes: ``root`` (pathlib.Path), ``address`` (str, the socket),
    ``conf`` (a ConfigOpts with this address, and with state_path and run_path
    inside root), ``client`` (a CriClient), ``log`` (Path).
    """

    def __init__(self, handlers: str = '',
                 conflist: dict[str, Any] | None = None,
                 plugins: dict[str, pathlib.Path] | None = None,
                 env: dict[str, str] | None = None) -> None:
        super().__init__()
        self._handlers = handlers
        self._conflist = conflist or PTP
        self._plugins = plugins or {}
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None

    def _setUp(self) -> None:
        # Not below TMPDIR: the path of a Unix socket has at most 107 bytes,
        # and containerd's shims use long ones.
        self.root = pathlib.Path(tempfile.mkdtemp(prefix='kt-', dir='/tmp'))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.addCleanup(self._unmount)
        self.address = str(self.root / 'containerd.sock')
        self.log = self.root / 'containerd.log'
        self._write_cni()
        self._write_config()
        self.conf = cfg.ConfigOpts()
        opts.register_opts(self.conf)
        self.conf([], project='kata-openstack', default_config_files=[],
                  default_config_dirs=[])
        self.conf.set_override('address', self.address, 'containerd')
        self.conf.set_override('state_path', str(self.root / 'lib'))
        self.conf.set_override('run_path', str(self.root / 'run'))
        self.client = cri.CriClient(self.conf)
        self.addCleanup(self.client.close)
        self.addCleanup(self.stop)
        self.start()
        for name, write in ((images.BUSYBOX, images.write_busybox),
                            (images.PAUSE, images.write_pause)):
            archive = self.root / 'image.tar'
            write(archive)
            self.import_image(name, archive)
            archive.unlink()
        self.addCleanup(self._remove_pods)

    def import_image(self, name: str, archive: pathlib.Path) -> None:
        """Import an image; wait until CRI knows it, which is a bit later."""
        self.ctr('images', 'import', str(archive))
        deadline = time.monotonic() + 30
        while not self.client.image_status(name).HasField('image'):
            if time.monotonic() > deadline:
                raise RuntimeError(f'CRI does not know {name}')
            time.sleep(0.01)

    def _write_config(self) -> None:
        number = config.format_version(binary.version())
        runtimes = edit.runtimes(tomllib.loads(self._handlers))
        text = _CONFIG + (_CRI_V2 if number == 2 else _CRI_V3)
        (self.root / 'config.toml').write_text(text.format(
            version=number, root=self.root, pause=images.PAUSE,
            # the CRI plugin needs a default; its own is runc
            default=next(iter(runtimes), 'runc')) + self._handlers)

    def _write_cni(self) -> None:
        binaries = self.root / 'cni' / 'bin'
        binaries.mkdir(parents=True)
        for plugin in CNI_BIN_DIR.iterdir():
            (binaries / plugin.name).symlink_to(plugin)
        for name, path in self._plugins.items():
            (binaries / name).symlink_to(path)
        folder = self.root / 'cni' / 'net.d'
        folder.mkdir()
        # records of used addresses must not outlive the test
        text = json.dumps(self._conflist).replace(
            '"type": "host-local"',
            f'"type": "host-local", "dataDir": "{self.root}/cni/ipam"')
        (folder / '10-test.conflist').write_text(text)

    def start(self) -> None:
        with self.log.open('ab') as log:
            self._process = subprocess.Popen(
                ['containerd', '--config', str(self.root / 'config.toml')],
                stdout=log, stderr=log, env={**os.environ, **self._env},
                start_new_session=True)
        deadline = time.monotonic() + 30
        while True:
            try:
                if all(c.status for c in
                       self.client.status().status.conditions):
                    return
            except Exception as e:
                if time.monotonic() > deadline or self._process.poll():
                    raise RuntimeError(self.log.read_text()) from e
            time.sleep(0.05)

    def stop(self, with_signal: int = signal.SIGTERM) -> None:
        """Stop containerd only: shims and their VMs keep running."""
        if self._process is not None:
            self._process.send_signal(with_signal)
            self._process.wait(30)
            self._process = None

    def ctr(self, *args: str) -> str:
        done = subprocess.run(
            ['ctr', '--address', self.address, '--namespace', 'k8s.io',
             *args], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f'ctr {args}: {done.stderr}')
        return done.stdout

    def network_namespace(self, sandbox: str) -> str:
        """Path of a sandbox's network namespace on the host."""
        status = self.client._runtime.PodSandboxStatus(
            pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True))
        spec = json.loads(status.info['info'])['runtimeSpec']
        return next(n['path'] for n in spec['linux']['namespaces']
                    if n['type'] == 'network')

    def _remove_pods(self) -> None:
        if self._process is None:
            self.start()
        for sandbox in self.client.list_pod_sandboxes():
            self.client.stop_pod_sandbox(sandbox.id)
            self.client.remove_pod_sandbox(sandbox.id)

    def _unmount(self) -> None:
        """Unmount the remains of killed shims, innermost first."""
        with open('/proc/self/mounts') as mounts:
            points = [line.split()[1] for line in mounts]
        for point in reversed(points):
            if point.startswith(f'{self.root}/'):
                subprocess.run(['umount', '--lazy', point])

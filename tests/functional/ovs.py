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

"""A private Open vSwitch in userspace, which needs no kernel module."""

import ctypes
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import fixtures

BRIDGE = 'kt-br-int'


class PrivateNetwork(fixtures.Fixture):
    """Moves the main thread and its child processes to a new namespace.

    Use it in the main thread only: /proc/self is that thread's.
    """

    _CLONE_NEWNET = 0x40000000

    def _setUp(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        before = os.open('/proc/self/ns/net', os.O_RDONLY)
        self.addCleanup(os.close, before)
        if libc.unshare(self._CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), 'unshare')
        self.addCleanup(libc.setns, before, self._CLONE_NEWNET)


class OpenVSwitch(fixtures.Fixture):
    """A switch with a netdev bridge. Attribute: ``connection``.

    It runs in a new network namespace, and the calling thread moves there
    too, because a namespace can have only one userspace datapath.
    """

    def _setUp(self) -> None:
        self.useFixture(PrivateNetwork())
        # not below TMPDIR: the path of a Unix socket has at most 107 bytes
        self.root = pathlib.Path(tempfile.mkdtemp(prefix='kt-', dir='/tmp'))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        database = self.root / 'conf.db'
        self.connection = f'unix:{self.root}/db.sock'
        subprocess.run(
            ['ovsdb-tool', 'create', str(database),
             '/usr/share/openvswitch/vswitch.ovsschema'], check=True)
        self._start('ovsdb-server', str(database),
                    f'--remote=p{self.connection}')
        self._wait(lambda: (self.root / 'db.sock').exists())
        self.vsctl('--no-wait', 'init')
        self._start('ovs-vswitchd', self.connection, '--disable-system')
        self.vsctl('add-br', BRIDGE, '--', 'set', 'bridge', BRIDGE,
                   'datapath_type=netdev')
        # a netdev bridge is a real network interface
        self.addCleanup(self.vsctl, '--if-exists', 'del-br', BRIDGE)

    def _start(self, program: str, *args: str) -> None:
        with (self.root / f'{program}.log').open('wb') as log:
            process = subprocess.Popen(
                [program, *args, f'--unixctl={self.root}/{program}.ctl'],
                stdout=log, stderr=log, env={
                    'PATH': '/usr/sbin:/usr/bin:/sbin:/bin',
                    'OVS_RUNDIR': str(self.root)})
        self.addCleanup(process.wait, 30)
        self.addCleanup(process.terminate)

    def _wait(self, condition) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError('Open vSwitch does not start')
            time.sleep(0.05)

    def vsctl(self, *args: str) -> str:
        return subprocess.run(
            ['ovs-vsctl', '--timeout=30', f'--db={self.connection}', *args],
            check=True, capture_output=True, text=True).stdout

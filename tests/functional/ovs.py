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
    """Moves the main thread, and what it starts, to a new namespace.

    It must be the main thread: the namespace of a process is its.
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
    """With a bridge of the datapath netdev. Attribute: ``connection``.

    It lives in a network namespace of its own, into which the calling
    thread goes with it: a namespace can have only one of its kind.
    """

    def _setUp(self) -> None:
        self.useFixture(PrivateNetwork())
        # not under TMPDIR: a unix socket's path has 107 characters at most
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
        # netdev bridges are real interfaces of the host
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

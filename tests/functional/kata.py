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

"""A node for tests: containerd with the handlers that this host can run.

On a host without usable KVM, this is the embedded runtime with emulation. The
guest image and the VM template take long to create, so a folder keeps them
between runs: KATA_TEST_STATE, or /var/tmp/kata-openstack-test.
"""

import functools
import os
import pathlib
import shutil
import sys
import time
from typing import Any
import uuid

import fixtures
from oslo_config import cfg
import oslo_messaging
from oslo_messaging import conffixture

from kata_openstack.compute import rpcapi
from kata_openstack.compute import service
from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.runtime.embedded.image import preparation
from kata_openstack.runtime import launcher
from kata_openstack.runtime import node
from tests.functional import containerd
from tests.functional import images

STATE = pathlib.Path(os.environ.get(
    'KATA_TEST_STATE', '/var/tmp/kata-openstack-test'))
CONTEXT = {'request_id': 'req-test', 'project_id': 'p', 'user_id': 'u'}
HOST = 'node1'


def configure(conf: cfg.ConfigOpts) -> None:
    """Set the options so that they match the guest of prepared()."""
    conf.set_override('state_path', str(STATE / 'lib'))
    conf.set_override('run_path', str(STATE / 'run'))
    conf.set_override('allow_emulation', True, 'kata')
    conf.set_override('kernel_package',
                      os.environ.get('KATA_TEST_KERNEL_DEB', ''), 'embedded')


@functools.cache
def prepared() -> str:
    """Create the guest, once in each process.

    :returns: containerd's configuration of the handlers, as TOML
    """
    for name in ('lib', 'run'):
        (STATE / name).mkdir(parents=True, exist_ok=True)
    conf = cfg.ConfigOpts()
    opts.register_opts(conf)
    conf([], default_config_files=[], default_config_dirs=[])
    configure(conf)
    here = node.Node(conf)
    accelerator = here.accelerator()
    if accelerator is None:
        raise RuntimeError('No QEMU here; install qemu-system-x86.')
    preparation.prepare(conf, accelerator, lambda text: None)
    return containerd.handlers(conf, here.files())


def programs() -> pathlib.Path:
    """The folder of our console scripts."""
    return pathlib.Path(sys.executable).parent


class Containerd(containerd.Containerd):
    """containerd with kata handlers and kata-cni.

    ``cni_socket`` is the socket on which kata-compute serves kata-cni.
    """

    def __init__(self) -> None:
        self.cni_socket = f'/tmp/kt-{uuid.uuid4().hex[:12]}.sock'
        super().__init__(
            handlers=prepared(),
            plugins={'kata-cni': launcher.CNI.write(STATE / 'lib')},
            conflist={'cniVersion': '1.0.0', 'name': 'kata', 'plugins': [
                {'type': 'kata-cni', 'socket': self.cni_socket}]},
            # containerd 1.6 looks for shims only in its PATH
            env={'PATH': f'{programs()}:{os.environ["PATH"]}'})

    def _setUp(self) -> None:
        super()._setUp()
        configure(self.conf)
        self.conf.set_override('socket_path', self.cni_socket, 'cni')
        self.conf.set_override('host', HOST)


class Node(fixtures.Fixture):
    """kata-compute in this process, with a real containerd.

    :param options: values of options, by (group, option)
    :param own: a containerd that runs; by default, one is started

    Attributes: ``containerd``, ``conf``, ``service``, ``api``.
    """

    def __init__(self, options: dict[tuple[str, str], Any] | None = None,
                 own: containerd.Containerd | None = None) -> None:
        super().__init__()
        self._options = options or {}
        self._own = own

    def _setUp(self) -> None:
        self.containerd = self._own or self.useFixture(Containerd())
        self.conf = self.containerd.conf
        self.useFixture(conffixture.ConfFixture(self.conf))
        self.conf.set_override('control_exchange', rpcapi.EXCHANGE)
        self.conf.set_override('port', 0, 'console')  # others use the default
        for (group, name), value in self._options.items():
            self.conf.set_override(name, value, group)
        self.transport = oslo_messaging.get_rpc_transport(
            self.conf, 'kombu+memory://',
            allowed_remote_exmods=[exception.__name__])
        self.addCleanup(self.transport.cleanup)
        self.start()
        self.addCleanup(self._stop)
        self.api = rpcapi.ComputeAPI(self.transport, timeout=60,
                                     long_timeout=1800)

    def start(self) -> None:
        self.service = service.Service(
            self.conf, transport=self.transport,
            notification_transport=self.transport)
        self.service.start()
        self._wait_for_canaries()

    def _wait_for_canaries(self) -> None:
        """A pod that is asked for before they have run may be refused."""
        deadline = time.monotonic() + 120
        while self.service.canaries.pending:
            if time.monotonic() > deadline:
                raise RuntimeError('The canary sandboxes do not end.')
            time.sleep(0.1)

    def _stop(self) -> None:
        # while the service runs: stopping a sandbox needs its CNI socket
        for pod in self.call('list_pods'):
            self.call('delete_pod', pod['uuid'])
        self.service.stop()
        state = pathlib.Path(self.conf.state_path)
        shutil.rmtree(state / 'logs', ignore_errors=True)
        (state / 'events.json').unlink(missing_ok=True)

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.api, method)(CONTEXT, HOST, *args, **kwargs)

    def pod(self, command: list[str] | None = None, **fields: Any
            ) -> dict[str, Any]:
        """A request for a pod with one busybox container that sleeps."""
        ident = str(uuid.uuid4())
        container = {
            'uuid': ident, 'name': 'test', 'image': images.BUSYBOX,
            'command': command or ['sleep', '1000'],
            **fields.pop('container', {})}
        return {'uuid': ident, 'kind': 'container', 'project_id': 'p',
                'user_id': 'u', 'containers': [container],
                'hostname': 'test', **fields}

    def run(self, command: list[str] | None = None, **fields: Any
            ) -> dict[str, Any]:
        """Create and start a pod.

        :returns: its request
        """
        pod = self.pod(command, **fields)
        self.call('create_pod', pod)
        self.call('start_pod', pod)
        return pod

    def execute(self, pod: dict[str, Any], *command: str) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.call('exec_sync', pod['uuid'], list(command))
        if done['exit_code']:
            raise AssertionError(f'{command}: {done}')
        return done['output']

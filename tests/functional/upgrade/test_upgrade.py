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

"""Pods of an older release, after an upgrade in place."""

import hashlib
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time
import uuid

from oslo_config import cfg
from tests.functional.compute.network import test_vif
from tests.functional import containerd
from tests.functional import images
from tests.functional import kata
from tests.functional import ovs
from tests.functional.upgrade import installation
from tests.unit import base
from testtools import content

from kata_openstack.conf import opts
from kata_openstack import exception
from kata_openstack.runtime.embedded.common import mounts
from kata_openstack.runtime.embedded.vm import pod_cgroup
from kata_openstack.runtime import node

COMMIT = 'd6320ff'
# Says that it runs, and ends on SIGTERM; a loop would keep an emulated CPU
# busy.
COMMAND = ['sh', '-c', 'echo started; trap "exit 3" TERM; sleep 1000 & wait']
CONFIG = '''\
[DEFAULT]
host = {host}
state_path = {root}/lib
run_path = {root}/run
transport_url = kombu+memory://
log_file = {root}/log
[kata]
allow_emulation = true
hypervisor_order = clh, qemu, embedded
[embedded]
kernel_package = {kernel}
[canary]
enabled = false
[cni]
socket_path = {root}/cni.sock
[vif_ovs]
ovsdb_connection = {switch}
'''


class Containerd(containerd.Containerd):
    """Has the handlers and kata-cni of an installation."""

    def __init__(self, installed, handlers):
        super().__init__(
            handlers=handlers,
            conflist={'cniVersion': '1.0.0', 'name': 'kata', 'plugins': [
                {'type': 'kata-cni',
                 'socket': f'{installed.root}/cni.sock'}]},
            plugins={'kata-cni': installed.programs / 'kata-cni'})
        self._config = installed.root / 'kata.conf'

    def _setUp(self):
        super()._setUp()
        with self._config.open('a') as file:
            file.write(f'[containerd]\naddress = {self.address}\n')
        for name in ('state_path', 'run_path'):
            self.conf.clear_override(name)
        self.conf(['--config-file', str(self._config)])


class UpgradeTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.node = None
        self.installed = self.useFixture(installation.Installation())
        try:
            self.installed.install_commit(COMMIT)
        except installation.NotInHistory as e:
            self.skipTest(f'This checkout does not have the history: {e}')
        # Under emulation, that commit's guests ran other code than that of
        # their programs, which ended them: always with QEMU 10. A later
        # commit added this option.
        self.installed.edit('runtime/embedded/vm/qemu.py', " norandmaps'",
                            " norandmaps init_on_alloc=1'")
        self.switch = self.useFixture(ovs.OpenVSwitch())
        self.root = self.installed.root
        self.config = self.root / 'kata.conf'
        self.config.write_text(CONFIG.format(
            root=self.root, host=kata.HOST, switch=self.switch.connection,
            kernel=os.environ.get('KATA_TEST_KERNEL_DEB', '')))
        conf = cfg.ConfigOpts()
        opts.register_opts(conf)
        conf(['--config-file', str(self.config)])
        self.accelerator = node.Node(conf).accelerator()
        self.addCleanup(self.remove_memory)
        self.prepare()
        # "containerd config" is that commit's name of "containerd show"
        self.containerd = self.useFixture(Containerd(
            self.installed, self.command('containerd', 'config')
            .partition('\n')[2]))
        self.addCleanup(self.start_node)  # removes pods after a failure
        self.addOnException(self.attach_logs)

    def attach_logs(self, exc_info):
        for path in (self.root / 'log', self.containerd.log):
            if path.exists():
                self.addDetail(path.name, content.text_content(
                    path.read_text()[-20000:]))

    def remove_memory(self):
        """Remove the memory of VMs, in the place of either release."""
        subprocess.run(['umount', '--lazy',
                        str(self.root / 'run' / 'embedded' / 'memory')],
                       stderr=subprocess.DEVNULL)
        state = f'{self.root}/lib/embedded'.encode()
        shutil.rmtree('/dev/shm/kata-openstack-'
                      + hashlib.sha256(state).hexdigest()[:8],
                      ignore_errors=True)

    def command(self, *args):
        return self.installed.run('kata-openstack', '--config-file',
                                  str(self.config), *args)

    def prepare(self):
        path = self.command('embedded', 'prepare', '--accelerator',
                            self.accelerator)
        self.settings = json.loads(pathlib.Path(path.strip()).read_text())

    def start_node(self):
        if self.node is None:
            self.node = self.useFixture(kata.Node(own=self.containerd))

    def pod(self, number, containers):
        idents = [str(uuid.uuid4()) for _ in range(containers)]
        return {
            'uuid': idents[0], 'kind': 'capsule', 'project_id': 'p',
            'user_id': 'u', 'hostname': 'test', 'containers': [
                {'uuid': ident, 'name': ident, 'image': images.BUSYBOX,
                 'command': COMMAND} for ident in idents],
            'vifs': [test_vif.make_vif(number).to_dict()]}

    def execute(self, container, *command):
        done = self.node.call('exec_sync', container['uuid'], list(command))
        self.assertEqual(0, done['exit_code'], done)
        return done['output']

    def boot(self, container):
        """The ID of the boot of its VM."""
        return self.execute(container, 'cat',
                            '/proc/sys/kernel/random/boot_id')

    def container_states(self, pod):
        return [c['state'] for c in
                self.node.call('show_pod', pod['uuid'])['containers']]

    def wait_for(self, condition, what):
        deadline = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def templates(self):
        """Paths of all templates, of both releases."""
        return sorted(
            path for folder in (self.root / 'lib', self.root / 'run',
                                pathlib.Path(self.old_memory))
            for path in folder.rglob('template-*'))

    def test_pods_outlive_it(self):
        kept, lost = self.pod(11, containers=2), self.pod(12, containers=1)
        sandboxes, states = self.make_with_old_release(kept, lost)
        self.old_memory = self.settings['memory_path']
        old_templates = self.templates()
        self.assertEqual(['.ram', '.state'],
                         [path.suffix for path in old_templates])

        # pip replaces the files in place; the shims go on
        self.installed.install_checkout()
        self.prepare()
        templates = self.templates()
        self.assertEqual(1, len(templates))
        self.assertEqual(set(), {*templates} & {*old_templates})
        self.assertFalse(os.path.exists(self.old_memory))
        self.installed.run('kata-openstack-status', '--config-file',
                           str(self.config), 'upgrade', 'check')
        self.start_node()
        boots = {self.boot(container) for container in kept['containers']}
        self.assertEqual(1, len(boots))

        # containerd connects to one shim again; it cleans up after the other
        self.containerd.stop()
        os.kill(states[1]['shim'], signal.SIGKILL)
        self.containerd.start()
        self.assert_nothing_left(states[1])
        self.assertEqual(boots, {self.boot(c) for c in kept['containers']})

        self.assertEqual({kept['uuid'], lost['uuid']},
                         {p['uuid'] for p in self.node.call('list_pods')})
        self.assertEqual(['running', 'running'], self.container_states(kept))
        self.assertEqual(['exited'], self.container_states(lost))
        self.assert_files_are_there(kept)
        for container in kept['containers']:
            self.assertEqual('started\n',
                             self.node.call('logs', container['uuid']))
        self.assertGreater(
            self.node.call('stats', kept['uuid'])['memory_mib'], 0)
        self.assertIn('10.214.0.11/24', self.execute(
            kept['containers'][0], 'ip', 'address'))

        stopped = self.node.call('stop_pod', kept['uuid'], 30)
        self.assertEqual([3, 3],
                         [c['exit_code'] for c in stopped['containers']])
        self.assert_nothing_left(states[0])
        for pod in (kept, lost):
            started = self.node.call('start_pod', pod)
            self.assertNotIn(started['sandbox_id'], sandboxes)
            self.assert_files_are_there(pod)
            states.append(self.state(started['sandbox_id']))
        self.assertNotIn(self.boot(kept['containers'][1]), boots)
        self.assertIn('10.214.0.12/24', self.execute(
            lost['containers'][0], 'ip', 'address'))

        for pod in (kept, lost):
            self.node.call('delete_pod', pod['uuid'])
            self.assertRaises(exception.NotFound, self.node.call, 'show_pod',
                              pod['uuid'])
        for state in states:
            self.assert_nothing_left(state)
            self.assertFalse(os.path.exists(state['netns']))
        self.assertEqual([], self.switch.vsctl(
            'list-ports', ovs.BRIDGE).split())
        self.assertEqual([], self.containerd.client.list_containers())
        self.assertEqual(templates, self.templates())
        self.assertEqual({'lock', 'template.lock', 'ram', 'state'}, {
            path.name for path in (self.root / 'run' / 'embedded').rglob('*')
            if not path.is_dir()})

    def make_with_old_release(self, *pods):
        """Create the pods, with a file in each container.

        :returns: the IDs of the sandboxes, and what :meth:`state` returns
        """
        program = pathlib.Path(__file__).with_name('old_compute.py')
        output = self.installed.run('python', str(program), request={
            'config': str(self.config), 'pods': pods,
            'commands': [(c['uuid'], ['sh', '-c',
                                      f'echo {c["uuid"]} > /root/file'])
                         for pod in pods for c in pod['containers']]})
        sandboxes = [pod['sandbox_id'] for pod in json.loads(output)]
        return sandboxes, [self.state(sandbox) for sandbox in sandboxes]

    def state(self, sandbox):
        """Return the state file of a sandbox, and its network namespace."""
        path = pathlib.Path(self.settings['run_path'], sandbox, 'state.json')
        return {**json.loads(path.read_text()),
                'netns': self.containerd.network_namespace(sandbox)}

    def assert_files_are_there(self, pod):
        for container in pod['containers']:
            self.assertEqual(f'{container["uuid"]}\n', self.execute(
                container, 'cat', '/root/file'))

    def assert_nothing_left(self, state):
        """Nothing is left on the host of the VM of a state file."""
        self.wait_for(lambda: not os.path.exists(state['folder']),
                      f'{state["folder"]} is removed')
        self.assertEqual([], mounts.below(state['folder']))
        for path in (state['socket'], state['ram'],
                     f'{self.settings["run_path"]}/users/{state["uid"]}',
                     *pod_cgroup.Cgroup(state['cgroup']).folders):
            self.assertFalse(os.path.lexists(path), path)
        for program in ('shim', 'qemu', 'virtiofsd'):
            self.wait_for(lambda program=program: not re.search(
                program, words_of(state[program])), f'{program} ends')


def words_of(pid):
    """The command line of a process; '' if it has ended."""
    try:
        return pathlib.Path(f'/proc/{pid}/cmdline').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ''

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

"""A killed process leaves nothing behind, and no exit is lost."""

import dataclasses
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded.common import mounts
from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.vm import pod_cgroup
from kata_openstack.runtime.embedded.vm import size
from kata_openstack.runtime.embedded.vm.templates import template
from kata_openstack.runtime.embedded.vm import vm_memory
from tests.functional.embedded import base
from tests.functional import images


class TestFaults(base.EmbeddedTestCase):
    def setUp(self):
        super().setUp()
        self.sandbox = self.pod()
        # it has the live share, too
        self.container = self.sandbox.run(mounts=[pb.Mount(
            container_path='/data', host_path=str(self.folder()))])
        self.before = self.sandbox.state

    def assert_nothing_left(self):
        state = self.before
        self.wait_for(lambda: not os.path.exists(state['folder']),
                      'its folder is removed')
        for name in ('shim', 'qemu', 'virtiofsd', 'virtiofsd_live'):
            self.wait_for(
                lambda name=name: not alive(state[name], state['sandbox']),
                f'{name} has ended')
        self.assertEqual([], mounts.below(state['folder']))
        for path in (state['socket'], state['ram'],
                     f'{self.settings.run_path}/users/{state["uid"]}'):
            self.assertFalse(os.path.lexists(path), path)
        for folder in pod_cgroup.Cgroup(state['cgroup']).folders:
            self.wait_for(lambda folder=folder: not os.path.exists(folder),
                          f'{folder} is removed')

    def exits(self, code=137):
        status = self.sandbox.wait(self.container)
        self.assertEqual(code, status.exit_code)
        self.wait_for(lambda: self.client.list_pod_sandboxes(
            sandbox_id=self.sandbox.id)[0].state == pb.SANDBOX_NOTREADY,
            'the sandbox is not ready')

    def test_removal(self):
        self.sandbox.remove()
        self.assert_nothing_left()

    def test_the_shim_is_killed(self):
        os.kill(self.before['shim'], signal.SIGKILL)
        self.exits(255)  # containerd's code for an unknown exit
        self.assert_nothing_left()
        self.sandbox.remove()

    def test_qemu_is_killed(self):
        os.kill(self.before['qemu'], signal.SIGKILL)
        self.exits()
        self.assert_nothing_left()
        self.sandbox.remove()

    def test_virtiofsd_is_killed(self):
        os.kill(self.before['virtiofsd'], signal.SIGKILL)
        self.exits()
        self.assert_nothing_left()

    def test_the_virtiofsd_of_the_live_share_is_killed(self):
        os.kill(self.before['virtiofsd_live'], signal.SIGKILL)
        self.exits()
        self.assertIn('the VM has ended: virtiofsd of the live share has '
                      'ended', self.containerd.log.read_text())
        self.assert_nothing_left()

    def test_the_vm_shuts_down(self):
        os.kill(self.before['qemu'], signal.SIGTERM)
        self.exits()
        self.assert_nothing_left()

    def test_containerd_restarts(self):
        self.containerd.stop(signal.SIGKILL)
        self.containerd.start()
        self.assertEqual('still here\n', self.sandbox.execute(
            self.container, 'echo', 'still here'))

    def test_an_exit_while_containerd_is_away(self):
        short = self.sandbox.run('sh', '-c', 'sleep 1; exit 6')
        self.containerd.stop()
        time.sleep(2)
        self.containerd.start()
        self.assertEqual(6, self.sandbox.wait(short).exit_code)


def alive(pid, sandbox):
    """Is it still that process? A zombie is not, and pids are reused."""
    try:
        status = pathlib.Path(f'/proc/{pid}/status').read_text()
        words = pathlib.Path(f'/proc/{pid}/cgroup').read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return 'State:\tZ' not in status and sandbox in words


class TestConfinement(base.EmbeddedTestCase):
    def test_qemu_has_nothing(self):
        one, two = self.pod(), self.pod()
        uids = set()
        for pod in (one, two):
            pid = pod.state['qemu']
            status = dict(
                line.split(':\t', 1) for line in pathlib.Path(
                    f'/proc/{pid}/status').read_text().splitlines()
                if ':\t' in line)
            uids.add(status['Uid'])
            first = self.settings.first_uid
            self.assertIn(int(status['Uid'].split()[0]),
                          range(first + 1, first + self.settings.uids))
            self.assertEqual('', status['Groups'].strip())
            for kind in ('CapEff', 'CapPrm', 'CapAmb', 'CapInh'):
                self.assertEqual(0, int(status[kind], 16), kind)
            self.assertEqual('1', status['NoNewPrivs'])
            self.assertEqual('2', status['Seccomp'])
            for kind in ('net', 'mnt', 'ipc', 'uts'):
                self.assertNotEqual(os.readlink(f'/proc/self/ns/{kind}'),
                                    os.readlink(f'/proc/{pid}/ns/{kind}'))
            # a copy of a mount would keep it busy on the host
            self.assertLess(len(self.mounts_of(pid)), 8)
            root = pathlib.Path(f'/proc/{pid}/root')
            self.assertFalse((root / 'root').exists())
            self.assertFalse((root / 'proc').exists())
            self.assertIn(pod.state['cgroup'], pathlib.Path(
                f'/proc/{pid}/cgroup').read_text())
        self.assertEqual(2, len(uids))

    def mounts_of(self, pid):
        """All mounts of the namespace of a process, also outside its root."""
        with subprocess.Popen(['nsenter', f'--mount=/proc/{pid}/ns/mnt',
                               '/usr/bin/sleep', '60']) as inside:
            try:
                process = pathlib.Path(f'/proc/{inside.pid}')
                self.wait_for(lambda: (process / 'comm').read_text()
                              == 'sleep\n', 'it is in the namespace')
                return (process / 'mountinfo').read_text().splitlines()
            finally:
                inside.kill()

    def test_the_root_of_a_guest_writes_only_into_containers(self):
        """Where the host makes mount points, nothing can be planted."""
        folder = self.folder()
        (folder / 'file').write_text('of the host\n')
        pod = self.pod(security_context=pb.LinuxSandboxSecurityContext(
            privileged=True))
        container = self.client.create_container(pod.id, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name='root'),
            image=pb.ImageSpec(image=images.BUSYBOX),
            command=['sleep', '1000'], log_path='root.log',
            mounts=[pb.Mount(container_path='/data', readonly=True,
                             host_path=str(folder))],
            linux=pb.LinuxContainerConfig(
                security_context=pb.LinuxContainerSecurityContext(
                    privileged=True))), pod.config)
        self.client.start_container(container)
        pod.execute(container, 'mkdir', '/mnt', '/live')
        for tag, point in (('share', '/mnt'), ('live', '/live')):
            pod.execute(container, 'mount', '-t', 'virtiofs', tag, point)
        for attempt in ('ln -s /dev /mnt/link', 'touch /mnt/file',
                        f'mv /mnt/{container} /mnt/other',
                        f'mkdir /mnt/{container}/m99',
                        'mkdir /mnt/.volumes/99',
                        'mv /mnt/.volumes /mnt/other',
                        'ln -s /dev /live/link', 'touch /live/file',
                        'mkdir /live/.volumes/99',
                        'mv /live/.volumes /live/other',
                        'set -- /live/.volumes/*/file; echo evil > $1'):
            done = self.client.exec_sync(container, ['sh', '-c', attempt],
                                         60)
            self.assertNotEqual(0, done.exit_code, attempt)
            self.assertIn(b'Read-only file system', done.stderr, attempt)
        self.assertEqual('of the host\n', (folder / 'file').read_text())
        # and a container can still be added
        self.assertEqual('ok\n', pod.execute(pod.run(), 'echo', 'ok'))
        pod.remove()

    def test_secrets_are_not_on_the_host(self):
        pod = self.pod()
        secret = 'f2b0c9d4e8'
        container = pod.run(envs=[pb.KeyValue(key='TOKEN', value=secret)])
        self.assertEqual(f'{secret}\n', pod.execute(
            container, 'sh', '-c', 'echo $TOKEN'))
        folder = pathlib.Path(pod.state['folder'])
        texts = [path.read_text(errors='replace')
                 for path in folder.glob('*') if path.is_file()]
        texts += [path.read_text(errors='replace') for path in
                  folder.glob(f'share/{container}/*') if path.is_file()]
        texts.append(self.containerd.log.read_text())
        self.assertTrue(texts)
        self.assertFalse([text for text in texts if secret in text])
        self.assertEqual(0o700, folder.stat().st_mode & 0o777)


class TestBrokenTemplate(base.EmbeddedTestCase):
    """A state that QEMU cannot load, as after a mistaken upgrade."""

    def configuration(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        broken = dataclasses.replace(self.settings, run_path=folder.name)
        vm_memory.mount(broken)
        self.addCleanup(syscalls.umount, broken.memory_path,
                        syscalls.MNT_DETACH)
        one, other = (template.Template(config, size.choose({}, config))
                      for config in (self.settings, broken))
        shutil.copytree(one.folder, other.folder)
        pathlib.Path(other.folder, 'state').write_bytes(b'nonsense')
        path = f'{folder.name}/embedded.json'
        broken.save(path)
        self.run_path = folder.name
        return path

    def test_the_error_says_so_at_once(self):
        folder = pathlib.Path(self.run_path, 's')
        error = self.assertRaises(exception.KataError, self.pod)
        # and not that a deadline is over
        self.assertIn('the VM did not start', str(error))
        # the shim tells containerd first, and cleans up after that
        self.wait_for(lambda: not list(folder.glob('*')),
                      'its socket is removed')

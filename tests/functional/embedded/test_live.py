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

"""Files that others than one container change."""

from concurrent import futures
import os
import pathlib
import tempfile
import time

from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded.common import mounts
from kata_openstack.runtime.embedded.common import syscalls
from kata_openstack.runtime.embedded.virtiofs import open_files
from kata_openstack.runtime.embedded.vm import pod_cgroup
from tests.functional.embedded import base
from tests.functional import images

_SECONDS = 2.0  # until a change is seen
_LIST = ('sh', '-c', 'cd /data; ls; cat file')


class LiveTestCase(base.EmbeddedTestCase):
    def setUp(self):
        super().setUp()
        self.data = self.folder()
        (self.data / 'file').write_text('one\n')

    def mount(self, readonly=False):
        return [pb.Mount(container_path='/data', readonly=readonly,
                         host_path=str(self.data))]

    def assert_seen(self, pod, container, expected, since=None):
        """A container lists the folder and the file as expected, in time."""
        since = time.monotonic() if since is None else since
        while True:
            begun = time.monotonic()
            found = pod.execute(container, *_LIST)
            if found == expected:
                return
            if begun - since > _SECONDS:
                self.assertEqual(expected, found)

    def virtiofsds(self, pod):
        """How many serve a pod; each is two processes."""
        return sum(self.serves(entry, pod)
                   for entry in pathlib.Path('/proc').glob('[0-9]*'))

    def serves(self, process, pod):
        try:
            words = (process / 'cmdline').read_text()
            parent = (process / 'stat').read_text().split(') ')[1].split()[1]
        except (FileNotFoundError, ProcessLookupError):
            return False
        return ('virtiofsd' in words and pod.id in words
                and int(parent) == pod.state['shim'])


class TestLive(LiveTestCase):
    def test_the_host_changes_files(self):
        pod = self.pod()
        for readonly in (True, False):
            (self.data / 'file').write_text('one\n')
            container = pod.run(mounts=self.mount(readonly))
            self.assert_seen(pod, container, 'file\none\n')
            (self.data / 'file').write_text('longer than before\n')
            self.assert_seen(pod, container, 'file\nlonger than before\n')
            (self.data / 'file').write_text('1\n')
            self.assert_seen(pod, container, 'file\n1\n')
            (self.data / 'new').write_text('replaced\n')
            (self.data / 'new').rename(self.data / 'file')
            self.assert_seen(pod, container, 'file\nreplaced\n')
            (self.data / 'added').touch()
            self.assert_seen(pod, container, 'added\nfile\nreplaced\n')
            (self.data / 'added').unlink()
            self.assert_seen(pod, container, 'file\nreplaced\n')
        (self.data / 'file').unlink()
        time.sleep(_SECONDS)
        pod.execute(container, 'sh', '-c', 'echo of the guest >/data/file')
        self.assertEqual('of the guest\n', (self.data / 'file').read_text())

    def test_a_file_that_a_program_reads_on(self):
        pod = self.pod()
        container = pod.run('tail', '-f', '/data/file', mounts=self.mount())
        self.wait_for(lambda: pod.log(container), 'it has read a line')
        with (self.data / 'file').open('a') as file:
            file.write('two\n')
        self.wait_for(lambda: ('stdout', 'two') in pod.log(container),
                      'it has read the next one')

    def test_read_only_and_writable(self):
        """They are two mounts, but each sees what the other has."""
        pod = self.pod()
        reader, writer = (pod.run(mounts=self.mount(readonly))
                          for readonly in (True, False))
        for name in ('new', 'other'):
            self.assert_seen(pod, reader, pod.execute(writer, *_LIST))
            pod.execute(writer, 'sh', '-c', f'cd /data; touch {name}; '
                        f'echo {name} >file')
            self.assert_seen(pod, reader, pod.execute(writer, *_LIST))
            self.assertIn(name, pod.execute(reader, *_LIST))
        refused = self.client.exec_sync(reader, ['touch', '/data/x'], 60)
        self.assertIn(b'Read-only', refused.stderr)

    def test_what_is_mounted_below_has_the_same_guards(self):
        """A hostile guest reaches it without the container's mount."""
        below = self.data / 'below'
        below.mkdir()
        syscalls.mount('tmpfs', str(below), 'tmpfs')
        self.addCleanup(syscalls.umount, str(below), syscalls.MNT_DETACH)
        pod = self.pod()
        for readonly in (True, False):
            container = pod.run(mounts=self.mount(readonly))
            done = self.client.exec_sync(
                container, ['touch', f'/data/below/{readonly}'], 60)
            self.assertEqual(readonly, b'Read-only' in done.stderr)
        self.assertEqual(['False'], [path.name for path in below.iterdir()])
        pid = open_files._server(pod.state['virtiofsd_live'])
        options = [set(line.split()[5].split(',')) for line in pathlib.Path(
            f'/proc/{pid}/mountinfo').read_text().splitlines()
            if line.split()[4].endswith('/below')]
        self.assertEqual(['ro', 'rw'], sorted(
            (each & {'ro', 'rw'}).pop() for each in options))
        for each in options:
            self.assertLessEqual({'nosuid', 'nodev', 'noexec'}, each)
        pod.remove()  # else the folder is a mount point

    def test_two_pods(self):
        pods = [self.pod() for _ in range(2)]
        containers = [pod.run(mounts=self.mount()) for pod in pods]
        for number in (0, 1, 0):
            pods[number].execute(containers[number], 'sh', '-c',
                                 f'cd /data; echo {number} >file')
            for pod, container in zip(pods, containers, strict=True):
                self.assert_seen(pod, container, f'file\n{number}\n')

    def test_containers_that_start_at_once(self):
        pod = self.pod()
        containers = [pod.create('sleep', '1000', mounts=self.mount())
                      for _ in range(3)]
        with futures.ThreadPoolExecutor() as pool:
            list(pool.map(self.client.start_container, containers))
        for container in containers:
            self.assertEqual('one\n', pod.execute(container, 'cat',
                                                  '/data/file'))
        self.assertEqual(2, self.virtiofsds(pod))
        self.assertIn(pod.state['virtiofsd_live'],
                      pod_cgroup.Cgroup(pod.state['cgroup']).pids())
        for container in containers:
            self.client.remove_container(container)
        # what the last one leaves can be used by the next one
        self.assert_seen(pod, pod.run(mounts=self.mount()), 'file\none\n')

    def test_what_only_a_container_changes_is_not_live(self):
        archive = self.containerd.root / 'volume.tar'
        images.write(archive, 'registry.test/volume:1',
                     images.busybox_entries(), ['sh'], volumes=['/volume'])
        self.containerd.import_image('registry.test/volume:1', archive)
        pod = self.pod()
        container = self.client.create_container(pod.id, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name='volume'),
            image=pb.ImageSpec(image='registry.test/volume:1'),
            command=['sleep', '1000'], log_path='volume.log',
            # containerd mounts the pod's files read-only then
            linux=pb.LinuxContainerConfig(
                security_context=pb.LinuxContainerSecurityContext(
                    readonly_rootfs=True))), pod.config)
        self.client.start_container(container)
        pod.execute(container, 'touch', '/volume/file')
        self.assertEqual(0, pod.state['virtiofsd_live'])
        self.assertEqual(1, self.virtiofsds(pod))
        self.assertFalse(pathlib.Path(pod.state['folder'], 'live').exists())


class TestNotPlugged(LiveTestCase):
    """A virtiofsd that does not serve the live share."""

    def configuration(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        program = pathlib.Path(folder.name, 'virtiofsd')
        self.broken = pathlib.Path(folder.name, 'broken')
        self.broken.write_text('echo out of luck >&2; exit 1\n')
        program.write_text(
            '#!/bin/sh\n'
            f'case "$*" in *cache=auto*) if [ -e {self.broken} ]; then\n'
            f'    . {self.broken}; fi;; esac\n'
            f'exec {self.settings.virtiofsd} "$@"\n')
        program.chmod(0o700)
        return self.configured(folder.name, virtiofsd=str(program))

    def test_the_error_names_the_cause(self):
        pod = self.pod()
        for _ in range(2):
            container = pod.create('sleep', '1000', mounts=self.mount())
            error = self.assertRaises(
                exception.KataError, self.client.start_container, container)
            self.assertIn('cannot share files of the host', str(error))
            self.assertIn('out of luck', str(error))
            self.client.remove_container(container)
        # nothing is left of it, and the pod goes on
        self.assertEqual(0, pod.state['virtiofsd_live'])
        self.assertEqual(1, self.virtiofsds(pod))
        self.assertEqual('ok\n', pod.execute(pod.run(), 'echo', 'ok'))
        self.broken.unlink()
        self.assert_seen(pod, pod.run(mounts=self.mount()), 'file\none\n')
        pod.remove()
        self.assertFalse(os.path.exists(pod.state_file.parent))

    def test_the_pod_is_removed_meanwhile(self):
        """QEMU waits for a virtiofsd that does not serve."""
        self.broken.write_text('exec sleep 1000\n')
        pod = self.pod()
        container = pod.create('sleep', '1000', mounts=self.mount())
        with futures.ThreadPoolExecutor() as pool:
            start = pool.submit(self.client.start_container, container)
            self.wait_for(lambda: pod.state['virtiofsd_live'],
                          'virtiofsd is started')
            state = pod.state
            time.sleep(0.5)
            pod.remove()
            self.assertIsInstance(start.exception(60), exception.KataError)
        self.assertFalse(os.path.exists(state['folder']))
        self.assertEqual([], mounts.below(state['folder']))
        self.assertFalse(os.path.exists(f'/proc/{state["virtiofsd_live"]}'))

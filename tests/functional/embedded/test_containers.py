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

"""What can be done with containers in a VM."""

import json
import os
import pathlib
import pty
import struct
import subprocess
import time

from kata_openstack import exception
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded.vm import pod_cgroup
from kata_openstack.runtime.embedded.vm import size
from tests.functional.embedded import base
from tests.functional.embedded import memory
from tests.functional import images

MIB = 1024 * 1024


def cpu_seconds(group):
    """The CPU time that all processes of a cgroup have used."""
    for folder in map(pathlib.Path, group.folders):
        usage = folder / 'cpuacct.usage'
        if usage.exists():
            return int(usage.read_text()) / 1e9
    words = (folder / 'cpu.stat').read_text().split()
    return int(words[words.index('usage_usec') + 1]) / 1e6


class TestIsolation(base.EmbeddedTestCase):
    def test_a_kernel_for_each_pod_shared_by_its_containers(self):
        one, two = self.pod(), self.pod()
        release = os.uname().release
        facts = {}
        for name, pod in (('one', one), ('again', one), ('two', two)):
            container = pod.run()
            facts[name] = pod.execute(
                container, 'sh', '-c', 'uname -r; hostname; '
                'cat /proc/sys/kernel/random/boot_id; ps -o args').split('\n')
        self.assertNotEqual(release, facts['one'][0])
        self.assertEqual(one.state['kernel'], facts['one'][0])
        self.assertEqual(one.name, facts['one'][1])
        self.assertEqual(facts['one'][:3], facts['again'][:3])
        with open('/proc/sys/kernel/random/boot_id') as file:
            boot_ids = {file.read().strip(), facts['one'][2],
                        facts['two'][2]}
        self.assertEqual(3, len(boot_ids))
        # its own processes only
        self.assertEqual(1, facts['again'].count('sleep 1000'))

    def test_clones_do_not_share_random_numbers(self):
        found = set()
        for _ in range(2):
            pod = self.pod()
            found.add(pod.execute(pod.run(), 'sh', '-c',
                                  'head -c 16 /dev/urandom | md5sum'))
        self.assertEqual(2, len(found))

    def test_containers_of_a_pod_share_memory_and_network(self):
        pod = self.pod()
        writer = pod.run('sh', '-c', 'echo from-writer >/dev/shm/note; '
                         'nc -l -p 7000 -e echo over-loopback')
        reader = pod.run()
        # the writer has started, and may have done nothing so far
        pod.execute(reader, 'sh', '-c', 'until netstat -lnt | '
                    'grep -q ":7000 "; do sleep 0.1; done')
        self.assertEqual('from-writer\n',
                         pod.execute(reader, 'cat', '/dev/shm/note'))
        self.assertEqual('over-loopback\n', pod.execute(
            reader, 'sh', '-c', 'nc 127.0.0.1 7000 </dev/null'))
        self.assertEqual(0, pod.wait(writer).exit_code)


class TestProcesses(base.EmbeddedTestCase):
    def test_output_and_exit_code(self):
        pod = self.pod()
        container = pod.run('sh', '-c', 'echo out; echo err >&2; exit 42')
        self.assertEqual(42, pod.wait(container).exit_code)
        self.assertEqual({('stdout', 'out'), ('stderr', 'err')},
                         set(pod.log(container)))

    def test_exec(self):
        pod = self.pod()
        container = pod.run()
        done = self.client.exec_sync(
            container, ['sh', '-c', 'echo out; echo err >&2; exit 3'], 60)
        self.assertEqual((3, b'out\n', b'err\n'),
                         (done.exit_code, done.stdout, done.stderr))

    def test_a_megabyte_of_output_at_once(self):
        # more than a window, and sooner than the start is answered
        pod = self.pod()
        script = f"head -c {MIB} /dev/zero | tr '\\0' x"
        container = pod.run('sh', '-c', script)
        self.assertEqual(0, pod.wait(container).exit_code)
        self.assertEqual(MIB, sum(len(text)
                                  for _, text in pod.log(container)))
        output = pod.execute(pod.run(), 'sh', '-c', script)
        self.assertTrue('x' * MIB == output)

    def test_a_signal_reaches_the_process(self):
        pod = self.pod()
        container = pod.run(
            'sh', '-c', 'trap "echo bye; exit 9" TERM; '
            'echo ready; while :; do sleep 0.1; done')
        self.wait_for(lambda: pod.log(container), 'its first words')
        self.client.stop_container(container, 30)
        self.assertEqual(9, pod.wait(container).exit_code)
        self.assertIn(('stdout', 'bye'), pod.log(container))

    def test_a_deaf_process_is_killed(self):
        pod = self.pod()
        container = pod.run('sh', '-c',
                            'trap "" TERM; while :; do sleep 1; done')
        self.client.stop_container(container, 1)
        self.assertEqual(137, pod.wait(container).exit_code)

    def test_errors_name_the_cause(self):
        pod = self.pod()
        container = pod.create('/no/such/program')
        error = self.assertRaises(exception.KataError,
                                  self.client.start_container, container)
        self.assertIn('/no/such/program', str(error))
        self.assertIn('not found', pod.status(container).message)
        # and the pod goes on
        self.assertEqual('ok\n', pod.execute(pod.run(), 'echo', 'ok'))

    def test_input_of_many_megabytes_comes_back(self):
        pod = self.pod()
        container = pod.run()
        data = os.urandom(5 * MIB)
        done = self.ctr('task', 'exec', '--exec-id', 'cat', container, 'cat',
                        input=data)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertTrue(data == done.stdout)

    def test_a_terminal_has_its_size(self):
        pod = self.pod()
        container = pod.run()
        ours, theirs = pty.openpty()
        os.set_blocking(ours, True)
        subprocess.run(['stty', 'rows', '33', 'cols', '77'], stdin=theirs,
                       check=True)
        process = subprocess.Popen(
            ['ctr', '--address', self.containerd.address, '--namespace',
             'k8s.io', 'task', 'exec', '--tty', '--exec-id', 'tty',
             container, 'sh', '-c',
             # ctr sets the size only after the program has started, and
             # Busybox's stty does not fail without one
             'read x; until stty size 2>/dev/null | grep .; do :; done; '
             'tty; exit 5'],
            stdin=theirs, stdout=theirs, stderr=theirs,
            start_new_session=True)
        os.close(theirs)
        os.write(ours, b'\n')
        text = b''
        while True:
            try:
                text += os.read(ours, 4096)
            except OSError:  # EIO: ctr has ended
                break
        os.close(ours)
        self.assertEqual(5, process.wait(60))
        self.assertIn(b'33 77', text)
        self.assertIn(b'/dev/pts/', text)


class TestResources(base.EmbeddedTestCase):
    def test_limits_and_figures(self):
        pod = self.pod()
        container = pod.run(memory=64 * MIB)
        limit = pod.execute(container, 'cat', '/sys/fs/cgroup/memory.max')
        self.assertEqual(64 * MIB, int(limit))
        stats = self.client.container_stats(container)
        self.assertGreater(stats.cpu.usage_core_nano_seconds.value, 0)
        self.assertGreater(stats.memory.working_set_bytes.value, 0)
        self.assertLess(stats.memory.working_set_bytes.value, 64 * MIB)

    def test_figures_of_a_pod_on_the_node(self):
        pod = self.pod()
        pod.run()
        done = self.ctr('tasks', 'metrics', '--format', 'json', pod.id)
        figures = json.loads(done.stdout)
        self.assertGreater(int(figures['memory']['usage']), 30 * MIB)
        self.assertGreater(int(figures['cpu']['usage_usec']), 0)
        self.assertGreater(int(figures['pids']['current']), 2)

    def test_open_files(self):
        pod = self.pod()
        container = pod.run()
        script = 'ulimit -Sn; ulimit -Hn; cat /proc/sys/fs/file-max'
        soft, hard, together = map(int, pod.execute(
            container, 'sh', '-c', script).split())
        self.assertEqual((1048576, 1048576), (soft, hard))
        self.assertGreater(together, 1048576)

    def test_limits_of_the_oci_config(self):
        """CRI sets none of open files; containerd's own client does."""
        done = self.ctr(
            'run', '--rm', '--runtime', base.RUNTIME, images.BUSYBOX,
            'limited', 'sh', '-c', 'ulimit -Sn; ulimit -Hn')
        self.assertEqual((b'1024\n1024\n', 0),
                         (done.stdout, done.returncode), done.stderr)

    def test_a_busy_guest_has_a_limit_on_the_host(self):
        """Work outside of the guest's own cgroups counts as well."""
        pod = self.pod(resources=pb.LinuxContainerResources(
            cpu_quota=10_000, cpu_period=100_000))
        pod.run('sh', '-c', 'while :; do :; done')
        pod.run('sh', '-c', 'while :; do find / -type f -exec cat {} + '
                '>/dev/null 2>&1; done')
        group = pod_cgroup.Cgroup(pod.state['cgroup'])
        before, began = cpu_seconds(group), time.monotonic()
        time.sleep(10)
        used = cpu_seconds(group) - before
        share = used / (time.monotonic() - began)
        # busybox's loop alone would take a whole CPU
        self.assertLess(share, 1.1 * (0.1 + size.HOST_OVERHEAD_CPUS))
        self.assertGreater(share, 0.05)
        pod.remove()

    def test_a_guest_that_fills_its_memory_is_not_killed_by_the_host(self):
        memory.fill(self, read_mib=600)

    def test_out_of_memory(self):
        pod = self.pod()
        container = pod.run('dd', 'if=/dev/zero', 'of=/dev/null', 'bs=60M',
                            memory=24 * MIB)
        status = pod.wait(container)
        self.assertEqual((137, 'OOMKilled'),
                         (status.exit_code, status.reason))

    def test_the_vm_is_as_big_as_the_pod_asks(self):
        pod = self.pod(resources=pb.LinuxContainerResources(
            memory_limit_in_bytes=300 * MIB, cpu_quota=200000,
            cpu_period=100000))
        self.assertEqual(448, pod.state['memory_mib'])
        found = pod.execute(pod.run(), 'sh', '-c',
                            'grep -c ^processor /proc/cpuinfo; free -m')
        self.assertEqual(min(2, self.settings.max_vcpus),
                         int(found.split()[0]))
        self.assertGreater(int(found.split('Mem:')[1].split()[0]), 300)

    def test_pause_stops_the_clock_of_a_container(self):
        pod = self.pod()
        container = pod.run('sh', '-c',
                            'while :; do echo tick; sleep 0.1; done')
        self.wait_for(lambda: pod.log(container), 'its first tick')
        self.assertEqual(0, self.ctr('task', 'pause', container).returncode)
        self.assertIn(b'PAUSED', self.ctr('task', 'list').stdout)
        paused = self.cpu_usage(container)
        self.assertEqual(paused, self.cpu_usage(container))
        self.assertEqual(0, self.ctr('task', 'resume', container).returncode)
        self.wait_for(lambda: self.cpu_usage(container) > paused, 'resuming')

    def cpu_usage(self, container):
        return self.client.container_stats(
            container).cpu.usage_core_nano_seconds.value


class TestMounts(base.EmbeddedTestCase):
    def test_folders_and_files(self):
        folder = self.folder()
        (folder / 'file').write_text('from the host\n')
        pod = self.pod()
        container = pod.run(mounts=[
            pb.Mount(container_path='/data', host_path=str(folder)),
            pb.Mount(container_path='/etc/one', readonly=True,
                     host_path=str(folder / 'file'))])
        self.assertEqual('from the host\n',
                         pod.execute(container, 'cat', '/data/file'))
        pod.execute(container, 'sh', '-c', 'echo from the guest >/data/new')
        self.assertEqual('from the guest\n', (folder / 'new').read_text())
        refused = self.client.exec_sync(
            container, ['sh', '-c', 'echo x >/etc/one'], 60)
        self.assertNotEqual(0, refused.exit_code)
        self.assertIn(b'Read-only', refused.stderr)

    def test_containers_share_a_folder(self):
        """Each sees at once what the other writes."""
        folder = self.folder()
        (folder / 'file').write_text('old\n')
        mounts = [pb.Mount(container_path='/data', host_path=str(folder))]
        pod = self.pod()
        writer, reader = pod.run(mounts=mounts), pod.run(mounts=mounts)
        listed = ('sh', '-c', 'ls /data; cat /data/file')
        self.assertEqual('file\nold\n', pod.execute(reader, *listed))
        pod.execute(writer, 'sh', '-c',
                    'echo longer than before >/data/file; touch /data/new')
        self.assertEqual('file\nnew\nlonger than before\n',
                         pod.execute(reader, *listed))
        # a pipe, like a lock or a socket, belongs to one inode in the guest
        pod.execute(writer, 'sh', '-c', 'mkfifo /data/pipe; '
                    'echo through the pipe >/data/pipe 2>&1 &')
        self.assertEqual('through the pipe\n', pod.execute(
            reader, 'timeout', '10', 'cat', '/data/pipe'))
        self.client.stop_container(writer, 0)
        self.client.remove_container(writer)
        self.assertEqual('longer than before\n',
                         pod.execute(reader, 'cat', '/data/file'))
        third = pod.run(mounts=mounts)
        self.assertEqual('longer than before\n',
                         pod.execute(third, 'cat', '/data/file'))

    def test_special_files(self):
        """Programs in a chroot need device nodes on the share, too.

        So virtiofsd needs the capability to make them.
        """
        pod = self.pod()
        container = pod.run()
        self.assertEqual('pipe null\n', pod.execute(
            container, 'sh', '-c', 'mkfifo /pipe && [ -p /pipe ] && '
            'echo -n "pipe " && mknod /null c 1 3 && echo lost >/null && '
            '[ -c /null ] && echo null'))

    def test_access_control_lists(self):
        """They open a file to a user, or close it."""
        folder = self.folder()
        folder.chmod(0o755)
        # struct posix_acl_xattr_header and _entry: owner, the user, group,
        # mask, others
        for name, mode, user in (('opened', 0o600, 4), ('closed', 0o644, 0)):
            (folder / name).write_text(f'{name}\n')
            (folder / name).chmod(mode)
            os.setxattr(folder / name, 'system.posix_acl_access', struct.pack(
                'I' + 'HHI' * 5, 2, 1, 6, 2**32 - 1, 2, user, 1234,
                4, 4, 2**32 - 1, 16, 4, 2**32 - 1,
                32, mode & 7, 2**32 - 1))
        pod = self.pod()
        container = self.client.create_container(pod.id, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name='user'),
            image=pb.ImageSpec(image=images.BUSYBOX),
            command=['sh', '-c', 'cat /data/opened /data/closed'],
            log_path='user.log', mounts=[pb.Mount(
                container_path='/data', host_path=str(folder))],
            linux=pb.LinuxContainerConfig(
                security_context=pb.LinuxContainerSecurityContext(
                    run_as_user=pb.Int64Value(value=1234)))), pod.config)
        self.client.start_container(container)
        pod.wait(container)
        self.assertEqual(
            {('stdout', 'opened'),
             ('stderr', "cat: can't open '/data/closed': Permission denied")},
            set(pod.log(container)))

    def test_files_keep_owner_and_mode(self):
        pod = self.pod()
        container = pod.run()
        self.assertEqual('1234:99 4750\n', pod.execute(
            container, 'sh', '-c', 'touch /tmp/x; chown 1234:99 /tmp/x; '
            'chmod 4750 /tmp/x; stat -c "%u:%g %a" /tmp/x'))


class TestHonouredOrRefused(base.EmbeddedTestCase):
    """No part of a request is dropped without a word."""

    def test_sysctls_of_a_pod(self):
        pod = self.pod(sysctls={'net.core.somaxconn': '1234',
                                'kernel.shmmax': '8000000',
                                'net.ipv4.ip_unprivileged_port_start': '0'})
        self.assertEqual('1234\n8000000\n0\n', pod.execute(
            pod.run(), 'cat', '/proc/sys/net/core/somaxconn',
            '/proc/sys/kernel/shmmax',
            '/proc/sys/net/ipv4/ip_unprivileged_port_start'))
        for name, why in (('net.no.such', 'No such file'),
                          ('net.core.somaxconn', 'Invalid argument')):
            error = self.assertRaises(exception.RuntimeFailed, self.pod,
                                      sysctls={name: 'many'})
            self.assertIn(f'cannot set the sysctl {name.replace(".", "/")} '
                          f"to 'many': {why}", str(error))

    def test_refusals(self):
        for words, options in (
                ('the network of the host', {'network': pb.NODE}),
                ('the processes of the host', {'pid': pb.NODE}),
                ('the IPC objects of the host', {'ipc': pb.NODE})):
            error = self.assertRaises(
                exception.RuntimeFailed, self.pod,
                security_context=pb.LinuxSandboxSecurityContext(
                    namespace_options=pb.NamespaceOption(**options)))
            self.assertIn(words, str(error))
        pod = self.pod()
        for words, more in (
                ('a device of the host', {'devices': [pb.Device(
                    host_path='/dev/zero', container_path='/dev/zero1',
                    permissions='rw')]}),
                ('a device of the host, /dev/zero, at /m', {
                    'mounts': [pb.Mount(host_path='/dev/zero',
                                        container_path='/m')]}),
                ('1000 MiB is larger than the VM', {'memory': 1000 * MIB})):
            error = self.assertRaises(exception.RuntimeFailed,
                                      self._run_with, pod, **more)
            self.assertIn(words, str(error))
        self.assertEqual('still here\n', pod.execute(
            pod.run(), 'echo', 'still here'))

    def _run_with(self, pod, memory=0, **more):
        container = self.client.create_container(pod.id, pb.ContainerConfig(
            metadata=pb.ContainerMetadata(name='refused'),
            image=pb.ImageSpec(image=images.BUSYBOX), command=['true'],
            linux=pb.LinuxContainerConfig(
                resources=pb.LinuxContainerResources(
                    memory_limit_in_bytes=memory)), **more), pod.config)
        try:
            self.client.start_container(container)
        finally:
            self.client.remove_container(container)

    def test_programs_have_random_addresses(self):
        """Also under emulation, where crun and the kernel have none."""
        pod = self.pod()
        command = ['sh', '-c', 'grep -m 1 stack /proc/self/maps']
        container = pod.run('sh', '-c', f'{command[-1]}; sleep 1000')
        self.wait_for(lambda: pod.log(container), 'it has written')
        found = {pod.log(container)[0][1].split()[0]}
        for _ in range(3):
            found.add(pod.execute(container, *command).split()[0])
        self.assertEqual(4, len(found), found)
        self.assertEqual('2\n', pod.execute(
            container, 'cat', '/proc/sys/kernel/randomize_va_space'))

    def test_no_nested_virtualisation(self):
        pod = self.pod()
        flags = pod.execute(pod.run(), 'grep', '-m', '1', '^flags',
                            '/proc/cpuinfo').split()
        self.assertIn('sse2', flags)
        self.assertFalse({'vmx', 'svm'} & set(flags))

    def test_the_size_and_the_log_of_a_container_without_cri(self):
        folder = self.folder()
        done = self.ctr(
            'run', '--detach', '--runtime', base.RUNTIME,
            '--memory-limit', str(500 * MIB), '--log-uri',
            f'file://{folder}/new/my%20log', images.BUSYBOX, 'alone', 'sh',
            '-c', 'free -m; echo to-stderr >&2')
        self.assertEqual(0, done.returncode, done.stderr)
        log = folder / 'new' / 'my log'
        self.wait_for(lambda: 'to-stderr' in log.read_text(), 'it is written')
        words = log.read_text().split()
        self.assertGreater(int(words[words.index('Mem:') + 1]), 500)
        self.ctr('task', 'delete', '--force', 'alone')
        self.ctr('container', 'delete', 'alone')
        done = self.ctr(
            'run', '--detach', '--runtime', base.RUNTIME, '--log-uri',
            'binary:///bin/cat', images.BUSYBOX, 'bin', 'true')
        self.assertIn(b'log URIs with the scheme binary', done.stderr)
        self.ctr('container', 'delete', 'bin')

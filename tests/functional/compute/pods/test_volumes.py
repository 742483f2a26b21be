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

"""Volumes that images declare, in real VMs."""

import os
import uuid

import fixtures
from tests.functional.compute.pods import test_lifecycle
from tests.functional import images
from tests.functional import kata
from tests.unit import base

from kata_openstack import exception

_PLAIN = 'registry.test/kata-openstack/volumes:1'
_REDIS = 'registry.test/kata-openstack/redis:1'
_USER = 999
# each write is on disk before its answer
_COMMAND = ['redis-server', '--dir', '/data', '--appendonly', 'yes',
            '--appendfsync', 'always', '--save', '']


class VolumesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.node = self.useFixture(kata.Node())

    def import_image(self, reference, entries, **config):
        archive = self.node.containerd.root / 'volumes.tar'
        images.write(archive, reference, entries, **config)
        self.node.containerd.ctr('images', 'import', str(archive))
        archive.unlink()

    def wait_for_redis(self, pod):
        def answer():
            return self.node.call('exec_sync', pod['uuid'],
                                  ['redis-cli', 'ping'])['output']
        test_lifecycle.wait_until(lambda: answer() == 'PONG\n')

    def redis(self, pod, *command):
        return self.node.execute(pod, 'redis-cli', *command).strip()

    def volumes(self):
        """The volumes on the node, which belong to containerd."""
        root = self.node.containerd.root / 'root'
        return [path for path in root.glob('*/containers/*/volumes/*')
                if path.is_dir()]

    def test_redis(self):
        self.import_image(
            _REDIS, [*images.redis_entries(), ('data', None, 0o750),
                     ('data/of-the-image', b'', 0o640)],
            command=_COMMAND, volumes=['/data'], user=f'{_USER}:{_USER}',
            owners={'data': _USER, 'data/of-the-image': _USER})
        pod = self.node.run(container={'image': _REDIS, 'command': _COMMAND})
        self.wait_for_redis(pod)
        # copied from the image
        self.assertEqual('999 999 750', self.node.execute(
            pod, 'stat', '-c', '%u %g %a', '/data').strip())
        self.node.execute(pod, 'rm', '/data/of-the-image')

        for number, (method, *arguments) in enumerate((
                ('stop_pod', pod['uuid'], 30),
                ('kill_container', pod['uuid'], 'KILL'),
                ('restart_pod', pod, 30))):
            self.redis(pod, 'set', f'key{number}', f'value{number}')
            self.node.call(method, *arguments)
            self.node.call('start_pod', pod)
            self.wait_for_redis(pod)
            self.assertEqual(f'value{number}',
                             self.redis(pod, 'get', f'key{number}'))
        self.assertEqual('3', self.redis(pod, 'dbsize'))
        self.assertEqual('999 999 750', self.node.execute(
            pod, 'stat', '-c', '%u %g %a', '/data').strip())
        self.assertNotIn('of-the-image',
                         self.node.execute(pod, 'ls', '/data'))
        self.assertEqual(1, len(self.volumes()))

        # as a rebuild does
        self.node.call('delete_pod', pod['uuid'])
        self.assertEqual([], self.volumes())
        self.node.call('create_pod', pod)
        self.node.call('start_pod', pod)
        self.wait_for_redis(pod)
        self.assertEqual('0', self.redis(pod, 'dbsize'))

    def test_death_in_a_start_loses_no_data(self):
        """containerd and kata-compute die at each step of a hand-over."""
        self.import_image(_PLAIN, images.busybox_entries(), command=['sh'],
                          volumes=['/data'])
        pod = self.node.run(container={'image': _PLAIN})
        self.node.execute(pod, 'touch', '/data/kept')
        rename = os.rename
        for step in range(3):
            self.node.call('stop_pod', pod['uuid'], 0)
            steps = []

            def die(source, target, step=step, steps=steps):
                if 'volumes' in str(source):
                    if len(steps) == step:
                        self.node.containerd.stop(9)
                        raise exception.RuntimeFailed(operation='o',
                                                      why='injected')
                    steps.append(source)
                rename(source, target)
            with fixtures.MonkeyPatch('os.rename', die):
                error = self.assertRaises(exception.RuntimeFailed,
                                          self.node.call, 'start_pod', pod)
            self.assertIn('injected', str(error))
            self.node.service.stop()
            self.node.containerd.start()
            self.node.start()
            self.node.call('start_pod', pod)
            self.node.execute(pod, 'test', '-e', '/data/kept')
            self.assertEqual(1, len(self.volumes()))

    def test_unusual_paths(self):
        """Volumes below one another, named twice, relative, through links."""
        outside = self.node.containerd.root / 'outside'
        outside.mkdir()
        (outside / 'of-the-host').touch()
        inside = str(outside)[1:]
        paths = {'/data': '/data', '/data/': '/data', '/new': '/new',
                 '/data/below': '/data/below', 'relative': '/relative',
                 '../up': '/up', '/link': '/link'}
        self.import_image(
            _PLAIN, [*images.busybox_entries(), (inside, None, 0o755),
                    (f'{inside}/of-the-image', b'', 0o644),
                    ('link', str(outside), 0o777)],
            command=['sh'], volumes=list(paths))
        # a capsule: its containers do not share the volumes
        pod = self.node.pod(container={'image': _PLAIN}, kind='capsule')
        pod['containers'].append({**pod['containers'][0],
                                  'uuid': str(uuid.uuid4()), 'name': 'two'})
        self.node.call('create_pod', pod)
        self.node.call('start_pod', pod)
        uuids = [container['uuid'] for container in pod['containers']]
        folders = sorted(set(paths.values()))

        def execute(container, command):
            return self.node.call('exec_sync', container, [
                'sh', '-c', command])['output'].split()
        self.assertEqual(['of-the-image'], execute(uuids[0], 'ls /link'))
        for container in uuids:
            execute(container, f'for f in {" ".join(folders)}; do '
                    f'echo {container} > $f/kept; done')
        self.node.call('restart_pod', pod, 0)
        for container in uuids:
            self.assertEqual([container] * len(folders), execute(
                container, f'cd /; cat {"/kept ".join(folders)}/kept'))
        self.assertEqual(['of-the-host'], os.listdir(outside))

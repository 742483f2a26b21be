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

from unittest import mock

from kata_openstack import objects
from kata_openstack.zun_driver.records import status as module
from tests.unit import base


def container(state, **values):
    return objects.ContainerStatus(uuid='u', name='n', container_id='c',
                                   state=state, **values)


class TestDetail(base.TestCase):

    def test_since(self) -> None:
        for seconds, words in ((0, '0 seconds'), (1, '1 second'),
                               (59, '59 seconds'), (60, '1 minute'),
                               (7199, '1 hour'), (7200, '2 hours'),
                               (200000, '2 days'), (-5, '0 seconds')):
            self.assertEqual(words, module.since(1000.0, 1000.0 + seconds))
        self.assertEqual('some time', module.since(None, 0))

    def test_detail(self) -> None:
        for status, words in (
                (container('created'), 'Created'),
                (container('running', started_at=0.0), 'Up 3 minutes'),
                (container('exited', exit_code=1, finished_at=0.0),
                 'Exited(1) 3 minutes ago'),
                (container('exited', exit_code=137, finished_at=0.0,
                           reason='OOMKilled'),
                 'Exited(137) 3 minutes ago (OOMKilled)'),
                (container('exited', exit_code=0, finished_at=0.0,
                           reason='OOMKilled'), 'Exited(0) 3 minutes ago'),
                (container('exited'), 'Exited(?) some time ago'),
                (container('unknown'), '')):
            self.assertEqual(words, module.detail(status, 180.0))

    def test_a_capsule_of_unknown_state(self) -> None:
        for states, status in ((('running', 'unknown'), 'Running'),
                               (('exited', 'unknown'), 'Unknown'),
                               (('exited', 'exited'), 'Stopped')):
            members = [mock.Mock(uuid=f'u{n}', status='Running',
                                 task_state=None)
                       for n, _ in enumerate(states)]
            capsule = mock.Mock(status='Running', task_state=None,
                                init_containers=[], containers=members)
            module.apply_capsule(capsule, objects.PodStatus(
                uuid='u', kind='capsule', sandbox_id='s', ready=True,
                handler='h', containers=[
                    objects.ContainerStatus(
                        uuid=f'u{n}', name='', container_id='c', state=state)
                    for n, state in enumerate(states)]))
            self.assertEqual(status, capsule.status)

    def test_a_reason_that_is_known_later(self) -> None:
        record = mock.Mock(status='Running', status_reason=None,
                           task_state=None)
        ended = objects.ContainerStatus(uuid='u', name='', container_id='c',
                                        state='exited', exit_code=137)
        module.apply(record, ended)
        self.assertEqual(('Stopped', None), (record.status,
                                             record.status_reason))
        ended.message = 'The virtual machine ended.'
        module.apply(record, ended)
        self.assertEqual('The virtual machine ended.', record.status_reason)
        record.status_reason = 'of the last request'
        module.apply(record, ended)
        self.assertEqual('of the last request', record.status_reason)

    def test_fits_the_column(self) -> None:
        text = module.detail(container(
            'exited', exit_code=-2 ** 63, finished_at=-1e19), 1e19)
        self.assertEqual(50, len(text))

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

from kata_openstack.compute.pods import containers
from kata_openstack.compute.pods import labels
from kata_openstack.compute.usage import top
from kata_openstack import exception
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd import native
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from kata_openstack.runtime.embedded import guest_client
from tests.unit import base
from tests.unit.compute.usage import test_ps
from tests.unit import fake_containerd


class TopTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        self.client = cri.CriClient(self.fake.conf)
        self.addCleanup(self.client.close)
        self.fake.state.containers['c'] = pb.Container(
            id='c', pod_sandbox_id='s', labels={labels.CONTAINER: 'uuid'},
            state=pb.CONTAINER_RUNNING)
        self.subject = top.Top(
            self.fake.conf, self.client, containers.Containers(
                self.fake.conf, self.client,
                native.NativeClient(self.fake.conf, self.client.channel)))

    def answers(self, *args, **kwargs):
        self.client.exec_sync = mock.Mock(*args, **kwargs)

    def test_from_the_guest(self):
        with mock.patch.object(guest_client, 'call', return_value={
                'processes': [test_ps.SH]}) as call:
            found = self.subject.get('uuid', '-o pid,args')
        self.assertEqual([['1', 'sh -c sleep 9']], found['Processes'])
        self.assertEqual('s', call.call_args.args[1])
        self.assertEqual('c', call.call_args.kwargs['container'])

    def test_from_ps_with_another_runtime(self):
        self.answers(return_value=pb.ExecSyncResponse(
            stdout=b'PID   USER  COMMAND\n    1 root  sleep 1000\n'))
        self.assertEqual(
            {'Titles': ['PID', 'USER', 'COMMAND'],
             'Processes': [['1', 'root', 'sleep 1000']]},
            self.subject.get('uuid', 'aux'))
        self.client.exec_sync.assert_called_once_with('c', ['ps', 'aux'], 30)

    def test_without_any_ps(self):
        for answer in (
                {'side_effect': exception.RuntimeFailed(
                    operation='ExecSync', why='no such file')},
                {'return_value': pb.ExecSyncResponse(
                    exit_code=1, stderr=b'no such file')}):
            self.answers(**answer)
            error = self.assertRaises(exception.Conflict, self.subject.get,
                                      'uuid', '')
            self.assertIn('no such file', str(error))
            self.assertIn('Use an image that contains ps', str(error))

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

import threading
from unittest import mock

from kata_openstack.compute.restarts import inits
from kata_openstack import exception
from kata_openstack import objects
from kata_openstack.runtime.containerd import cri
from kata_openstack.runtime.containerd.protos import cri_pb2 as pb
from tests.unit import base
from tests.unit import fake_containerd

UUID = '00000000-0000-4000-8000-000000000001'


class InitsTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.fake = self.useFixture(fake_containerd.FakeContainerd())
        client = cri.CriClient(self.fake.conf)
        self.addCleanup(client.close)
        self.fake.state.containers['c'] = pb.Container(
            id='c', state=pb.CONTAINER_RUNNING)
        self.inits = inits.Inits(self.fake.conf, client)
        self.container = objects.Container(uuid=UUID, name='first', image='i')

    def end(self, code):
        self.fake.state.exits['c'] = code
        self.fake.state.containers['c'].state = pb.CONTAINER_EXITED

    def wait(self):
        self.inits.wait('pod', self.container, 'c')

    def test_one_that_ends_well(self):
        threading.Timer(0.1, self.end, (0,)).start()
        self.wait()

    def test_one_that_fails(self):
        self.end(3)
        error = self.assertRaises(exception.Conflict, self.wait)
        self.assertIn('first is of no use: it ended with exit code 3.',
                      str(error))

    def test_a_deletion_does_not_wait_for_it(self):
        waiting = threading.Event()
        errors = []

        def wait():
            waiting.set()
            try:
                self.wait()
            except exception.Conflict as e:
                errors.append(str(e))
        thread = threading.Thread(target=wait)
        thread.start()
        waiting.wait()
        with self.inits.given_up('other'):
            thread.join(0.2)
            self.assertTrue(thread.is_alive())
        with self.inits.given_up('pod'):
            thread.join(30)
        self.assertIn('being deleted', errors[0])
        self.assertEqual({}, dict(self.inits._given_up))

    def test_kata_compute_does_not_wait_when_it_stops(self):
        threading.Timer(0.1, self.inits.stop).start()
        self.assertRaises(exception.Conflict, self.wait)

    def test_one_that_takes_too_long(self):
        with mock.patch.object(inits, '_LONGEST', 0.1):
            error = self.assertRaises(exception.Conflict, self.wait)
        self.assertIn('still running', str(error))

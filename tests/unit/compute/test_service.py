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

from kata_openstack.compute import service
from tests.unit import base


class TestStop(base.TestCase):

    def test_copies_end_before_it_waits_for_requests(self):
        parts = mock.MagicMock()
        service.Service.stop(parts)
        calls = [name for name, _, _ in parts.mock_calls]
        self.assertLess(calls.index('pods.interrupts.stop'),
                        calls.index('_server.stop'))

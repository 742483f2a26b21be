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

from concurrent import futures

from oslo_context import context
from oslo_context import fixture
from tests.unit import base

from kata_openstack import request_context

CTXT = {'request_id': 'req-1', 'project_id': 'p', 'user_id': 'u'}


class RequestContextTest(base.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixture.ClearRequestContext())

    def test_without_a_request(self):
        self.assertEqual({}, request_context.current())
        self.assertEqual({}, request_context.carried(
            request_context.current)())

    def test_the_next_request_replaces_all(self):
        request_context.enter({**CTXT, 'valid_until': 5})
        self.assertEqual(CTXT, request_context.current())
        request_context.enter({'request_id': 'req-2', 'project_id': None})
        self.assertEqual(
            {'request_id': 'req-2', 'project_id': None, 'user_id': None},
            request_context.current())

    def test_no_line_of_the_log_can_be_forged(self):
        for wrong in ('a\nb', '', 'x' * 256, 7, {}, None):
            request_context.enter({**CTXT, 'request_id': wrong})
            self.assertRegex(context.get_current().request_id, 'req-.{36}')

    def test_other_threads_can_carry_it(self):
        with futures.ThreadPoolExecutor(1) as pool:
            request_context.enter(CTXT)
            self.assertEqual({}, pool.submit(
                request_context.current).result())
            self.assertEqual(CTXT, pool.submit(request_context.carried(
                request_context.current)).result())

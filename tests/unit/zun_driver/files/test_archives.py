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
from typing import Any

from zun.common import exception as zun_exc

from kata_openstack.compute import rpcapi
from kata_openstack import exception
from tests.unit.zun_driver import base
from tests.unit.zun_driver import test_container

DATA = bytes(range(256)) * (rpcapi.ARCHIVE_PART // 100)


class TestArchives(test_container.ContainerTestCase):

    def setUp(self) -> None:
        super().setUp()
        self.record = self.run_container()
        self.api.calls.clear()

    def called(self, method: str) -> list[tuple[Any, ...]]:
        return [call[3:] for call in self.api.calls if call[0] == method]

    def test_both_ways(self) -> None:
        self.driver.put_archive(self.context, self.record, '/data', DATA)
        self.assertEqual(DATA, self.api.files['/data'])
        offsets = [(0,), (rpcapi.ARCHIVE_PART,), (2 * rpcapi.ARCHIVE_PART,)]
        self.assertEqual(offsets, self.called('write_archive'))
        data, stat = self.driver.get_archive(self.context, self.record,
                                             '/data')
        self.assertEqual(DATA, data)
        self.assertEqual({'name', 'size', 'mode', 'mtime', 'linkTarget'},
                         stat.keys())
        self.assertEqual(offsets, self.called('read_archive'))
        self.assertEqual([('/data', 90)], self.called('pack_archive'))
        self.assertEqual({}, self.api.archives)
        self.assertEqual({base.HOST}, {call[1] for call in self.api.calls})

    def test_a_third_copy_waits(self) -> None:
        """zun-compute holds each archive in its memory, several times."""
        self.api.files['/x'] = DATA
        begun, go = threading.Semaphore(0), threading.Semaphore(0)
        errors: list[Exception] = []
        self.addCleanup(go.release, 10)  # after a failure

        def held(method: Any) -> Any:
            def call(*arguments: Any) -> Any:
                begun.release()
                go.acquire(timeout=30)
                return method(*arguments)
            return call
        self.api.pack_archive = held(self.api.pack_archive)
        self.api.open_archive = held(self.api.open_archive)

        def copy(number: int) -> None:
            try:
                if number % 2:
                    self.driver.put_archive(self.context, self.record, '/y',
                                            DATA)
                else:
                    self.driver.get_archive(self.context, self.record, '/x')
            except Exception as e:
                errors.append(e)
        threads = [threading.Thread(target=copy, args=(number,), daemon=True)
                   for number in range(4)]
        for thread in threads:
            thread.start()
        self.assertTrue(begun.acquire(timeout=30))
        self.assertTrue(begun.acquire(timeout=30))
        for _ in range(2):
            self.assertFalse(begun.acquire(timeout=0.2))
            go.release()
            self.assertTrue(begun.acquire(timeout=30))
        go.release(2)
        for thread in threads:
            thread.join(30)
        self.assertEqual([], errors)

    def test_turns_end_with_errors(self) -> None:
        self.api.files['/x'] = DATA
        self.api.fail = {'pack_archive': exception.RuntimeFailed(
            operation='o', why='w')}
        for _ in range(3):
            self.assertRaises(zun_exc.Conflict, self.driver.get_archive,
                              self.context, self.record, '/x')

    def test_text_of_an_old_api(self) -> None:
        self.driver.put_archive(self.context, self.record, '/', 'text')
        self.assertEqual(b'text', self.api.files['/'])

    def test_errors(self) -> None:
        """Each gets a code below 500, because zun-api hides other texts."""
        self.api.files['/x'] = DATA
        wrong = exception.InvalidInput(field='path', value='/x', why='w',
                                       remedy='Do this.')
        busy = exception.Conflict(kind='Container', id='c', state='read-only',
                                  remedy='Do that.')
        gone = exception.RuntimeFailed(operation='o', why='w')

        def get() -> Any:
            return self.driver.get_archive(self.context, self.record, '/x')

        def put() -> None:
            self.driver.put_archive(self.context, self.record, '/x', DATA)
        for method, work in (('pack_archive', get), ('read_archive', get),
                             ('open_archive', put), ('write_archive', put),
                             ('unpack_archive', put)):
            for error, expected in ((wrong, zun_exc.Invalid),
                                    (busy, zun_exc.Conflict),
                                    (gone, zun_exc.Conflict)):
                self.api.fail = {method: error}
                raised = self.assertRaises(expected, work)
                self.assertEqual(str(error), str(raised))
                self.assertEqual({}, self.api.archives)
        # the node forgets it by itself
        self.api.fail = {'close_archive': gone}
        self.assertEqual(DATA, get()[0])

    def test_an_archive_that_ends_early(self) -> None:
        self.api.files['/x'] = DATA
        self.api.read_archive = lambda *arguments: ''
        self.assertRaises(zun_exc.Conflict, self.driver.get_archive,
                          self.context, self.record, '/x')

    def test_refusals(self) -> None:
        for path in ('', None):
            raised = self.assertRaises(
                zun_exc.Invalid, self.driver.get_archive, self.context,
                self.record, path)
            self.assertIn('<container>:<path>', str(raised))
            self.assertRaises(
                zun_exc.Invalid, self.driver.put_archive, self.context,
                self.record, path, b'')
        record = self.container()
        self.assertRaises(zun_exc.Invalid, self.driver.get_archive,
                          self.context, record, '/x')
        self.assertRaises(zun_exc.Invalid, self.driver.put_archive,
                          self.context, record, '/x', b'')
        self.assertEqual([], self.api.calls)

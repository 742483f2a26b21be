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

from typing import Any
from unittest import mock

from zun.common import utils as zun_utils

from kata_openstack import exception
from kata_openstack.zun_driver.records import restarts
from tests.unit.contract import base


class TestRestarts(base.ContractTestCase):
    """``later``: what runs in green threads that have not begun."""

    def setUp(self) -> None:
        super().setUp()
        self.later: list[Any] = []
        patch = mock.patch.object(restarts.time, 'sleep')
        self.sleep = patch.start()
        self.addCleanup(patch.stop)

    def policy(self, name: str, most: int = 0) -> Any:
        return self.create(restart_policy={
            'Name': name, 'MaximumRetryCount': str(most)})

    def ends(self, record: Any, code: int = 1, seconds: float = 1) -> Any:
        """Let it end on the node, and the watch learn of it.

        :returns: the record before it is started again
        """
        self.api.set_state(record.uuid, 'exited', exit_code=code,
                           started_at=1000.0, finished_at=1000.0 + seconds)
        with mock.patch.object(zun_utils, 'spawn_n',
                               lambda *call: self.later.append(call)):
            self.manager.driver._changed(record.uuid)
        return self.reload(record)

    def goes_on(self, record: Any) -> Any:
        while self.later:
            function, *arguments = self.later.pop(0)
            function(*arguments)
        return self.reload(record)

    def pauses(self) -> list[float]:
        """Return those before restarts; the database has others."""
        return [call.args[0] for call in self.sleep.mock_calls
                if call.args[0]]

    def starts(self, record: Any) -> int:
        return len([c for c in self.api.calls if c[0] == 'start_pod'
                    and c[2].uuid == record.uuid])

    def test_always(self) -> None:
        for name in ('always', 'unless-stopped'):
            record = self.policy(name)
            for code in (0, 1):
                waiting = self.ends(record, code)
                self.assertEqual('Running', waiting.status)
                self.assertIn(f'Restarting({code})', waiting.status_detail)
                # a user who looks, and the sync, change nothing
                self.assertEqual('Running', self.does(
                    'show', record).status)
                self.minute()
                record = self.goes_on(record)
                self.assertEqual('Running', record.status)
                self.assertIn('Up', record.status_detail)
                self.assertIsNotNone(record.started_at)
            self.assertEqual(3, self.starts(record))

    def test_without_a_policy(self) -> None:
        for record in (self.create(), self.policy('no')):
            self.assertEqual('Stopped', self.ends(record).status)
            self.assertEqual([], self.later)

    def test_on_failure(self) -> None:
        record = self.policy('on-failure', 2)
        for _ in range(2):
            self.assertEqual('Running', self.ends(record, 3).status)
            record = self.goes_on(record)
        stopped = self.ends(record, 3)
        self.assertEqual('Stopped', stopped.status)
        self.assertIn('Exited(3)', stopped.status_detail)
        self.assertEqual([], self.later)
        # a user's start begins anew
        record = self.does('start', stopped)
        self.assertEqual('Running', self.ends(record, 3).status)
        record = self.goes_on(record)
        self.assertEqual('Stopped', self.ends(record, 0).status)

    def test_the_pauses_grow_until_it_runs_for_long(self) -> None:
        record = self.policy('always')
        for _ in range(12):
            self.ends(record)
            self.goes_on(record)
        pauses = self.pauses()
        self.assertEqual([0.1, 0.2, 0.4, 0.8], pauses[:4])
        self.assertEqual([51.2, 60.0, 60.0], pauses[-3:])
        self.ends(record, seconds=11)
        self.goes_on(record)
        self.assertEqual(0.1, self.pauses()[-1])

    def test_a_user_who_stops_it_meanwhile(self) -> None:
        for action, arguments in (('stop', ('5',)), ('kill', ('SIGKILL',))):
            record = self.policy('always')
            self.ends(record)
            record = self.does(action, record, *arguments)
            self.assertEqual('Stopped', record.status)
            before = self.starts(record)
            self.assertEqual('Stopped', self.goes_on(record).status)
            self.assertEqual(before, self.starts(record))

    def test_a_user_who_deletes_it_meanwhile(self) -> None:
        record = self.policy('always')
        self.ends(record)
        self.assertIsNone(self.delete(record))
        while self.later:
            function, *arguments = self.later.pop(0)
            function(*arguments)
        self.assert_nothing_left()

    def test_a_user_who_ends_it_by_a_signal(self) -> None:
        for signal, status in (('SIGTERM', 'Stopped'), ('int', 'Stopped'),
                               ('15', 'Stopped'), ('SIGHUP', 'Running')):
            record = self.policy('always')
            record = self.does('kill', record, signal)
            self.assertEqual('Running', record.status)
            self.assertEqual(status, self.ends(record).status, signal)
            self.later.clear()

    def test_a_start_that_fails(self) -> None:
        record = self.policy('always')
        self.ends(record)
        self.api.fail['start_pod'] = exception.NotEnoughMemory(
            asked_mib=2, limit_mib=1)
        record = self.goes_on(record)
        self.assertEqual('Stopped', record.status)
        self.assertIn('at most 1 MiB', record.status_reason)

    def test_a_start_that_may_succeed_later(self) -> None:
        record = self.policy('always')
        self.ends(record)
        for error in (exception.NodeUnavailable(host='h', why='it restarts'),
                      exception.NodeFull(asked_mib=1, limit_mib=1,
                                         used_mib=1)):
            self.api.fail['start_pod'] = error
            with mock.patch.object(zun_utils, 'spawn_n',
                                   lambda *call: self.later.append(call)):
                function, *arguments = self.later.pop()
                function(*arguments)
            record = self.reload(record)
            self.assertEqual(('Running', str(error)), (
                record.status, record.status_reason))
            self.minute()  # changes nothing
        self.api.fail.clear()
        record = self.goes_on(record)
        self.assertEqual(('Running', None), (record.status,
                                             record.status_reason))
        self.assertEqual([0.1, 0.2, 0.4], self.pauses())

    def test_one_that_ends_at_once(self) -> None:
        """Before the answer to the start, or to a signal."""
        for action, arguments in (('start', ()), ('kill', ('SIGHUP',))):
            record = self.policy('always')
            if action == 'start':
                record = self.does('stop', record, '1')
            method = {'start': 'start_pod', 'kill': 'kill_container'}[action]
            done = getattr(self.api, method)

            def ends(*args, done=done, uuid=record.uuid, **kwargs):
                done(*args, **kwargs)
                self.api.set_state(uuid, 'exited', exit_code=1)
                return self.api.pods[uuid].to_dict()
            with mock.patch.object(self.api, method, ends):
                record = self.does(action, record, *arguments)
            self.assertEqual('Running', record.status)
            with mock.patch.object(zun_utils, 'spawn_n',
                                   lambda *call: self.later.append(call)):
                self.manager.driver._changed(record.uuid)
            self.assertEqual(1, len(self.later), action)
            self.assertEqual('Running', self.goes_on(record).status)

    def test_a_restart_of_zun_compute(self) -> None:
        for resume in (True, False):
            self.config(resume_container_state=resume, group='compute')
            record = self.policy('always')
            self.ends(record)
            self.later.clear()
            self.start_zun_compute()
            record = self.reload(record)
            self.assertEqual('Running', record.status)
            self.assertEqual('running', self.api.pods[
                record.uuid].containers[0].state)


class TestWatch(base.ContractTestCase):

    def test_states(self) -> None:
        ended, gone, removed = records = [
            self.create(**values) for values in (
                {}, {}, {'auto_remove': True})]
        for record in (ended, removed):
            self.api.set_state(record.uuid, 'exited', exit_code=3)
        del self.api.pods[gone.uuid]
        for record in records:
            self.manager.driver._changed(record.uuid)
        self.manager.driver._changed('00000000-0000-4000-8000-000000000000')
        self.assertEqual(['Stopped', 'Running', 'Deleted'], [
            self.reload(record).status for record in records])
        self.assertIn('Exited(3)', self.reload(ended).status_detail)

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

"""Each operation in each state: an answer or a clear refusal, never a 500."""

import pymysql
from zunclient.common.apiclient import exceptions

from tests.e2e import base

STATES = ('Creating', 'Created', 'Running', 'Stopped', 'Paused', 'Error',
          'Dead', 'Deleting', 'Restarting', 'Rebuilding', 'Unknown')


class StatesTest(base.TestCase):

    def setUp(self):
        super().setUp()
        stack = base.stack()
        self.database = pymysql.connect(
            unix_socket=str(stack.run / 'mariadb.sock'), user='zun',
            password=stack.passwords['zun'], database='zun', autocommit=True)
        self.addCleanup(self.database.close)
        self.container = self.run_container(interactive=True, memory='64')

    def sql(self, text, *values):
        with self.database.cursor() as cursor:
            cursor.execute(f'{text} WHERE uuid = %s',
                           (*values, self.container.uuid))
            return cursor.fetchone()

    def set_state(self, state):
        self.sql('UPDATE container SET status = %s, task_state = NULL', state)

    def operations(self):
        zun, uuid = base.zun().containers, self.container.uuid
        return {
            'show': lambda: zun.get(uuid),
            'pause': lambda: zun.pause(uuid),
            'unpause': lambda: zun.unpause(uuid),
            'kill': lambda: zun.kill(uuid, 'SIGUSR2'),
            'logs': lambda: zun.logs(uuid, stdout=True),
            'exec': lambda: zun.execute(uuid, command='true', run=True),
            'top': lambda: zun.top(uuid),
            'stats': lambda: zun.stats(uuid),
            'attach': lambda: zun.attach(uuid),
            'resize': lambda: zun.resize(uuid, 80, 24),
            'update': lambda: zun.update(uuid, memory='70'),
            'rename': lambda: zun.update(uuid, name=self.name()),
            'get_archive': lambda: zun.get_archive(uuid, '/etc/hosts'),
            'put_archive': lambda: zun.put_archive(uuid, '/tmp', b''),
            'commit': lambda: zun.commit(uuid, 'x', 'y'),
            'networks': lambda: zun.network_list(uuid),
            'start': lambda: zun.start(uuid),
            'stop': lambda: zun.stop(uuid, 0),
            'restart': lambda: zun.restart(uuid, 0)}

    def code(self, operation):
        try:
            operation()
        except exceptions.HttpError as e:
            self.assertGreater(len(str(e)), 20)  # it says something
            return e.http_status
        return 200

    def test_each_operation_in_each_state(self):
        wrong = []
        for state in STATES:
            for name, operation in self.operations().items():
                self.set_state(state)
                code = self.code(operation)
                if code >= 500:
                    wrong.append(f'{name} in {state}: {code}')
                base.wait_until(
                    f'the end of {name} in {state}', lambda: self.sql(
                        'SELECT task_state FROM container') == (None,))
        self.assertEqual([], wrong)
        self.set_state('Running')

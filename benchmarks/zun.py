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

"""Measures operations on containers through the Zun API.

Needs a running stack of tools/quickstart.sh. Run nothing else on the stack
meanwhile. The first round is not counted, because it fills caches.

The state is read from Zun's database: each request to the API would take CPU
time from what is measured.
"""

import pathlib
import time
from typing import Any

import pymysql

from benchmarks import report
from tools.quickstart import node
from tools.quickstart import proof
from tools.quickstart import readiness
from tools.quickstart import settings

NAME = 'benchmark'
_PAUSE = 0.01  # seconds between two looks


class Records:
    """The records of containers in Zun's database."""

    def __init__(self, stack: settings.Stack) -> None:
        self._database = pymysql.connect(
            unix_socket=str(stack.run / 'mariadb.sock'), user='zun',
            password=stack.passwords['zun'], database='zun', autocommit=True)

    def status(self, uuid: str) -> str | None:
        """The status of a container; None: there is none."""
        with self._database.cursor() as cursor:
            cursor.execute('SELECT status FROM container WHERE uuid = %s',
                           (uuid,))
            row = cursor.fetchone()
        return row[0] if row else None

    def wait(self, uuid: str, status: str | None) -> None:
        """:raises QuickstartError: after 2 minutes, or for status Error"""
        deadline = time.monotonic() + proof.RUN_SECONDS
        while (found := self.status(uuid)) != status:
            if found == 'Error' or time.monotonic() > deadline:
                raise settings.QuickstartError(
                    f'Container {uuid} is {found}, not {status}')
            time.sleep(_PAUSE)


def one_round(zun: Any, records: Records) -> dict[str, float]:
    """Create a container, run a command in it, delete it.

    :returns: seconds by key.
    """
    times = {}
    began = time.monotonic()
    container = zun.containers.run(name=NAME, image=proof.IMAGE,
                                   command=['sleep', '3600'])
    records.wait(container.uuid, 'Running')
    times['zun.create_to_running_s'] = time.monotonic() - began
    try:
        began = time.monotonic()
        done = zun.containers.execute(container.uuid, command='true',
                                      run=True)
        times['zun.exec_true_s'] = time.monotonic() - began
        if done['exit_code'] != 0:
            raise settings.QuickstartError(f'"true" failed: {done}')
    finally:
        began = time.monotonic()
        zun.containers.delete(container.uuid, force=True)
        records.wait(container.uuid, None)
    times['zun.delete_s'] = time.monotonic() - began
    return times


def event_to_record(stack: settings.Stack, zun: Any,
                    records: Records) -> float:
    """Let a container end by itself.

    :returns: seconds until Zun's record shows it.
    """
    container = zun.containers.run(name=NAME, image=proof.IMAGE,
                                   command=['sleep', '2'])
    try:
        records.wait(container.uuid, 'Running')
        records.wait(container.uuid, 'Stopped')
        seen = time.time()
        pod = node.api(stack).show_pod(node.CONTEXT, stack.host,
                                       container.uuid)
        return seen - pod['containers'][0]['finished_at']
    finally:
        zun.containers.delete(container.uuid, force=True)
        records.wait(container.uuid, None)


def main() -> None:
    parser = report.parser('zun', __doc__)
    parser.add_argument('--state-dir', type=pathlib.Path, required=True)
    options = parser.parse_args()
    stack = settings.open_stack(options.state_dir, None)
    zun = readiness.containers(stack)
    records = Records(stack)
    one_round(zun, records)
    rounds = [one_round(zun, records) | {
        'zun.event_to_record_s': event_to_record(stack, zun, records)}
        for _ in range(options.n)]
    report.show({key: report.summary([times[key] for times in rounds])
                 for key in ('zun.create_to_running_s', 'zun.delete_s',
                             'zun.exec_true_s', 'zun.event_to_record_s')},
                options.json)


if __name__ == '__main__':
    main()

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

"""Measures creation, exec and deletion of a container, through the Zun API.

Needs a running stack of tools/quickstart.sh. Run nothing else on the stack
meanwhile. The first round is not counted, because it fills caches.
"""

import pathlib
import time
from typing import Any

from benchmarks import report
from tools.quickstart import proof
from tools.quickstart import readiness
from tools.quickstart import settings

NAME = 'benchmark'


def one_round(zun: Any) -> dict[str, float]:
    """Create a container, run a command in it, delete it.

    :returns: seconds by key.
    """
    times = {}
    began = time.monotonic()
    container = zun.containers.run(name=NAME, image=proof.IMAGE,
                                   command=['sleep', '3600'])
    proof.wait_for(zun, container.uuid, 'Running')
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
        proof.wait_gone(zun, container.uuid)
    times['zun.delete_s'] = time.monotonic() - began
    return times


def main() -> None:
    parser = report.parser('zun', __doc__)
    parser.add_argument('--state-dir', type=pathlib.Path, required=True)
    options = parser.parse_args()
    stack = settings.open_stack(options.state_dir, None)
    zun = readiness.containers(stack)
    one_round(zun)
    rounds = [one_round(zun) for _ in range(options.n)]
    report.show({key: report.summary([times[key] for times in rounds])
                 for key in ('zun.create_to_running_s', 'zun.delete_s',
                             'zun.exec_true_s')}, options.json)


if __name__ == '__main__':
    main()

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

"""kata-compute of commit d6320ff: it creates pods, and is stopped.

A program for the interpreter of an installation of that commit, whose
modules it imports. Reads JSON from its standard input: ``config`` is a
configuration file; ``pods`` are requests for pods to create and start;
``commands`` are pairs of a container's UUID and a command to run in it.
Writes the state of the pods to its standard output, also as JSON.
"""

import json
import sys

from kata_openstack.cmd import threads

threads.use_threads()

from kata_openstack.cmd import compute  # noqa: E402
from kata_openstack.compute import rpcapi  # noqa: E402
from kata_openstack.compute import service  # noqa: E402
from kata_openstack import exception  # noqa: E402
import oslo_messaging  # noqa: E402

CONTEXT = {'request_id': 'req-test', 'project_id': 'p', 'user_id': 'u'}


def main() -> None:
    request = json.load(sys.stdin)
    conf = compute.prepare(['--config-file', request['config']])
    transport = oslo_messaging.get_rpc_transport(
        conf, allowed_remote_exmods=[exception.__name__])
    node = service.Service(conf, transport=transport)
    node.start()
    api = rpcapi.ComputeAPI(transport, timeout=60, long_timeout=1800)
    states = []
    for pod in request['pods']:
        api.create_pod(CONTEXT, conf.host, pod)
        states.append(api.start_pod(CONTEXT, conf.host, pod))
    for container, command in request['commands']:
        done = api.exec_sync(CONTEXT, conf.host, container, command)
        if done['exit_code']:
            raise RuntimeError(f'{command}: {done}')
    node.stop()
    json.dump(states, sys.stdout)


if __name__ == '__main__':
    main()

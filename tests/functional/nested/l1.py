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

"""Run in L1: checks of the host, and a pod with KVM, each in a process.

usage: python -m tests.functional.nested.l1 KERNEL_PACKAGE STATE_PATH

The processes are forks, because Python's imports take 10 s in L1. Prints one
JSON object: exit code, standard output and standard error of each.
"""

from collections.abc import Callable
import json
import os
import sys
import tempfile
import traceback

from kata_openstack.cmd import cli
from tests.functional.nested import kvm_pod


def host_check() -> int:
    return cli.main(['host', 'check', '-f', 'json'])


def without_vsock() -> int:
    os.remove('/dev/vhost-vsock')
    return host_check()


def pod() -> int:
    kvm_pod.main(*sys.argv[1:])
    return 0


def apart(function: Callable[[], int]) -> tuple[int, str, str]:
    """Run it in a process; return exit code, stdout and stderr."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            code = 1
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            try:
                code = function()
                sys.stdout.flush()
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode('utf-8', 'replace'))
        return code, texts[0], texts[1]


if __name__ == '__main__':
    print(json.dumps({f.__name__: apart(f)
                      for f in (host_check, pod, without_vsock)}))

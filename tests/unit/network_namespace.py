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

import os

from tests.unit import base

from kata_openstack.runtime.embedded.common import syscalls


def enter_new(case: base.TestCase) -> None:
    """Give this thread a network namespace of its own until the test ends.

    Only root can; for others the test is skipped.
    """
    if os.geteuid():
        case.skipTest('needs root')
    own = os.open('/proc/thread-self/ns/net', os.O_RDONLY)
    case.addCleanup(os.close, own)
    syscalls.unshare(syscalls.CLONE_NEWNET)
    case.addCleanup(syscalls.setns, own, syscalls.CLONE_NEWNET)

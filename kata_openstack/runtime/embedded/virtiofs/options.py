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

"""Options that only one of the two programs named virtiofsd has.

QEMU had one of its own, in C, up to release 7.2, which Debian 12 has. Debian
13 and Ubuntu 24.04 have the one in Rust.
"""

import os
import subprocess

# Words in virtiofsd's help, and the options that they stand for.
_WANTED = {
    # The one in Rust announces each mount in the share, and the guest then
    # mounts it too. That mount would outlive the container: virtiofsd would
    # keep files of it open, and the host could not free its space. QEMU's
    # announces nothing.
    '--no-announce-submounts': ('--no-announce-submounts',),
    # Without them, the guest stores access control lists, but does not obey
    # them: a file would be open to users that its list excludes.
    '--posix-acl': ('--posix-acl',),
    'posix_acl/no_posix_acl': ('-o', 'posix_acl'),
    # A guest that resets its device again and again would fill the log.
    '--log-level': ('--log-level', 'error'),
    'log_level=<level>': ('-o', 'log_level=err'),
}


def supported(program: str) -> list[str]:
    """Return those of the wanted options that this virtiofsd knows.

    :raises OSError: the program cannot be started.
    """
    told = subprocess.run([program, '--help'], capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, timeout=10,
                          env={'PATH': os.defpath, 'LC_ALL': 'C'})
    words = told.stdout.split()
    return [option for word, options in _WANTED.items() if word in words
            for option in options]

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

"""The two programs that are named virtiofsd, with different options.

QEMU had one of its own, in C, up to release 7.2, which Debian 12 has. Debian
13 and Ubuntu 24.04 have the one in Rust, which has versions of its own.
"""

import os
import subprocess


def is_rust(program: str) -> bool:
    """Start ``program --version``; return whether it is the one in Rust.

    QEMU's prints "virtiofsd version 7.2.22 (...)", the other one
    "virtiofsd 1.13.2".

    :raises OSError: the program cannot be started.
    """
    told = subprocess.run([program, '--version'], capture_output=True,
                          stdin=subprocess.DEVNULL, text=True, timeout=10,
                          env={'PATH': os.defpath, 'LC_ALL': 'C'})
    return not told.stdout.startswith('virtiofsd version ')

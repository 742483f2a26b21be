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

"""containerd-shim-kata-embedded-v2: containerd runs it for each task.

It runs at every start of a container, so it imports as little as possible.
"""

import os
import sys

from kata_openstack.runtime.embedded.shim import program
from kata_openstack.runtime.embedded.shim import start_failed

_SWITCHES = ('debug', 'v', 'info')


def _parse(words: list[str]) -> tuple[str, dict[str, str]]:
    """Parse Go's flags (``-name value``, ``-name=value``) and a command."""
    command = ''
    flags = {}
    rest = iter(words)
    for word in rest:
        if not word.startswith('-'):
            command = word
            continue
        name, has_value, value = word.lstrip('-').partition('=')
        if not has_value and name not in _SWITCHES:
            value = next(rest, '')
        flags[name] = value
    return command, flags


def main() -> int:
    command, flags = _parse(sys.argv[1:])
    if 'v' in flags:
        sys.stdout.write('containerd-shim-kata-embedded-v2\n')
        return 0
    if 'info' in flags:
        program.info()
        return 0
    ident = flags.get('id', '')
    problem = program.problem(ident)
    if problem:
        sys.stderr.write(f'{problem}\n')
        return 1
    if command == 'delete':
        program.delete(flags.get('namespace', ''), ident,
                       flags.get('bundle') or os.getcwd())
    elif command != 'start':
        sys.stderr.write(f'unknown command {command!r}\n')
        return 1
    else:
        try:
            program.start(flags.get('namespace', ''), ident,
                          'debug' in flags)
        except (start_failed.StartFailed, OSError) as e:
            sys.stderr.write(f'{e}\n')
            return 1
    sys.stdout.flush()
    # skip interpreter shutdown: it costs milliseconds of each start
    os._exit(0)

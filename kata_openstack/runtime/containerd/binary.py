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
"""The program containerd, asked without a running one."""

import pathlib
import re
import subprocess
import tomllib
from typing import Any

from kata_openstack import exception
from kata_openstack.runtime.containerd import grpc_errors

_TIMEOUT = 30.0  # seconds


def version(program: str = 'containerd') -> str:
    """What ``containerd --version`` prints.

    :raises RuntimeFailed: if there is none, or it prints something else.
    """
    operation = 'Asking containerd for its version'
    try:
        printed = subprocess.run(
            [program, '--version'], check=True, capture_output=True,
            text=True, timeout=_TIMEOUT).stdout
    except (OSError, subprocess.SubprocessError) as e:
        raise exception.RuntimeFailed(operation=operation, why=e) from e
    match = re.search(r'\sv?(\d+\.\d+\.\S+)', printed)
    if match is None:
        raise exception.RuntimeFailed(operation=operation,
                                      why=f'it printed {printed!r}')
    return match.group(1)


def dump(config: pathlib.Path, program: str = 'containerd',
         known_as: pathlib.Path | None = None) -> dict[str, Any]:
    """The configuration as containerd understands it, with all imports.

    :param known_as: the file's name for errors, if it is a trial.
    :raises InvalidInput: it does not, with its words.
    :raises RuntimeFailed: there is no such program.
    """
    try:
        done = subprocess.run(
            [program, '--config', str(config), 'config', 'dump'],
            capture_output=True, text=True, timeout=_TIMEOUT)
    except (OSError, subprocess.SubprocessError) as e:
        raise exception.RuntimeFailed(
            operation='containerd config dump', why=e) from e
    if done.returncode:
        raise exception.InvalidInput(
            field="containerd's configuration", value=str(known_as or config),
            why=grpc_errors.one_line(done.stderr or done.stdout).replace(
                str(config), str(known_as or config)),
            remedy='Correct it; nothing was changed.')
    return tomllib.loads(done.stdout)

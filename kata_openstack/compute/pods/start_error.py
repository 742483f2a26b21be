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

"""Recognises in a runtime's error text that a command does not exist.

Neither CRI nor the OCI runtime specification has an error code for it.
"""

import re

from kata_openstack import exception

# runc:  exec: "nope": executable file not found in $PATH
#        exec: "/nope": stat /nope: no such file or directory
# crun:  executable file `nope` not found in $PATH
#        open executable: No such file or directory
#        exec: No such file or directory / exec container process `/nope`
_MISSING = re.compile(
    r'exec: "(?P<a>[^"]*)": (?:stat [^:]*: no such file|executable file not)'
    r'|executable file [`\'"](?P<b>[^`\'"]+)[`\'"] not found'
    r'|exec container process [`\'"](?P<c>[^`\'"]+)[`\'"]: No such file'
    r'|executable file not found'
    r'|open executable: no such file', re.IGNORECASE)


def missing_command(text: str) -> str | None:
    """Return the name of the command that does not exist.

    :returns: '' if the text does not name it, None for any other error
    """
    match = _MISSING.search(text)
    if not match:
        return None
    return match['a'] or match['b'] or match['c'] or ''


def refine(error: exception.KataError, command: str,
           image: str) -> exception.KataError:
    """Return CommandNotFound if a RuntimeFailed means that.

    :param command: the requested one, for a runtime that does not name it
    """
    if isinstance(error, exception.RuntimeFailed):
        missing = missing_command(str(error))
        if missing is not None:
            return exception.CommandNotFound(command=missing or command,
                                             image=image)
    return error

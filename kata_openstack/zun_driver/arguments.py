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

"""Parse arguments that Zun passes through from its users."""

import datetime
import shlex

import zun.conf

from kata_openstack import exception

CONF = zun.conf.CONF


def tail(value: int | str | None) -> int | None:
    """Return the number of log lines to read.

    :param value: ``'all'`` or a count.
    :returns: None for all lines, also if ``value`` is not a number.
    """
    try:
        return max(0, int(str(value)))
    except ValueError:
        return None


def side(value: int | str | None) -> int:
    """Return the height or the width of a terminal, in characters.

    :returns: 0 if the client did not name it.
    :raises InvalidInput: if it is no number
    """
    try:
        return min(max(0, int(value or 0)), 65535)
    except ValueError:
        raise exception.InvalidInput(
            field='size of a terminal', value=str(value)[:32],
            why='it is no number',
            remedy='Use numbers of characters, such as 24 and 80.') from None


def since(value: int | float | str | None) -> float | None:
    """Return a start time in Unix seconds.

    :param value: Unix seconds, or a UTC time such as
        ``2026-01-31 12:00:00,000``.
    :returns: None if no time was given.
    :raises InvalidInput: for anything else.
    """
    if value in (None, '', 'None'):
        return None
    try:
        return float(str(value))
    except ValueError:
        pass
    for form in ('%Y-%m-%d %H:%M:%S,%f', '%Y-%m-%d %H:%M:%S'):
        try:
            at = datetime.datetime.strptime(str(value), form)
        except ValueError:
            continue
        return at.replace(tzinfo=datetime.UTC).timestamp()
    raise exception.InvalidInput(
        field='since', value=value, why='it is not a time',
        remedy='Use Unix seconds, or a UTC time such as '
               '"2026-01-31 12:00:00,000".')


def seconds(timeout: int | str | None) -> int:
    """Return the seconds between the stop signal and the kill signal.

    Default: [kata_driver] stop_timeout. Limit: max_stop_timeout; a longer
    time is reduced to it.
    """
    longest = int(CONF.kata_driver.max_stop_timeout)
    if timeout in (None, '', 'None'):
        timeout = CONF.kata_driver.stop_timeout
    try:
        return min(int(timeout or 0), longest)
    except ValueError:
        # Zun accepts digits only, but int() refuses more than 4300 digits.
        return longest


def words(command: str) -> list[str]:
    """Split a command as a shell does. The image needs no shell for this.

    A command that looks as python-zunclient sends it is split as that client
    means it, see :func:`_of_the_client`.

    :raises InvalidInput: if the command is empty or a quotation mark is not
        closed.
    """
    found = _of_the_client(command)
    if found is not None:
        return found
    try:
        found = shlex.split(command)
    except ValueError as e:
        raise exception.InvalidInput(
            field='command', value=command, why=str(e),
            remedy='Close each quotation mark.') from e
    if not found:
        raise exception.InvalidInput(
            field='command', value=command, why='it is empty',
            remedy='Name a program to run.')
    return found


def _of_the_client(command: str) -> list[str] | None:
    r"""Split what parse_command() of python-zunclient has joined.

    It puts each word into double quotation marks, and escapes nothing. So
    ``sh -c 'echo "a b"'`` arrives as ``"sh" "-c" "echo "a b""``, which a shell
    would split elsewhere. The words end at ``" "``, unless that is within a
    pair of quotation marks of the user's.

    :returns: None for a command that is quoted by a shell's rules: it does not
        have this form, or has an escaped quotation mark.
    """
    if (len(command) < 2 or not command.startswith('"')
            or not command.endswith('"') or '\\"' in command):
        return None
    parts = command[1:-1].split('" "')
    found = [parts[0]]
    for part in parts[1:]:
        if found[-1].count('"') % 2:
            found[-1] += f'" "{part}'
        else:
            found.append(part)
    # a word with one mark only: nothing says where a pair would be
    return parts if found[-1].count('"') % 2 else found

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
"""Changes of files, made all together or not at all."""

from collections.abc import Sequence
import dataclasses
import difflib
import os
import pathlib
import tempfile

from kata_openstack import exception

BACKUP = '.before-kata-openstack'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """The change of one file.

    ``before`` and ``after`` are its content; None: the file does not exist.
    ``original``: it is the operator's file without any additions of ours.
    """

    path: pathlib.Path
    before: str | None
    after: str | None
    original: bool = False

    def diff(self) -> str:
        return ''.join(difflib.unified_diff(
            (self.before or '').splitlines(keepends=True),
            (self.after or '').splitlines(keepends=True),
            str(self.path) if self.before is not None else '/dev/null',
            str(self.path) if self.after is not None else '/dev/null'))


def read(path: pathlib.Path) -> str:
    """Return the text with its line ends unchanged."""
    with path.open(newline='') as file:
        return file.read()


def apply(changes: Sequence[Change], config: pathlib.Path) -> None:
    """Make the changes; undo all of them on an error.

    The operator's original file is copied to a file with the suffix BACKUP.

    :param config: the path of that file.
    :raises RuntimeFailed: has the files that could not be undone, if any.
    """
    done: list[Change] = []
    try:
        for change in changes:
            if change.original and change.before is not None:
                _write(config.with_name(config.name + BACKUP),
                       change.before, config)
            done.append(change)
            _make(change.path, change.after)
    except BaseException as e:  # also KeyboardInterrupt
        left = undo(done)
        if not left and not isinstance(e, OSError):
            raise
        raise exception.RuntimeFailed(
            operation='Writing the configuration', why='; not undone: '.join(
                [str(e) or type(e).__name__, *left])) from e


def undo(changes: Sequence[Change]) -> list[str]:
    """Undo as many changes as possible.

    :returns: the files that could not be restored, each with the reason
    """
    left = []
    for change in reversed(changes):
        try:
            # skip unchanged files: writing them may be what failed
            if not _has(change.path, change.before):
                _make(change.path, change.before)
        except OSError as e:
            left.append(f'{change.path} ({e})')
    return left


def _has(path: pathlib.Path, content: str | None) -> bool:
    try:
        return read(path) == content
    except FileNotFoundError:
        return content is None
    except (OSError, UnicodeDecodeError):
        return False


def _make(path: pathlib.Path, content: str | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        _write(path, content, path)


def _write(path: pathlib.Path, content: str, like: pathlib.Path) -> None:
    """Write the file atomically, with the mode and owner of ``like``.

    The mode matters because the file may hold secrets. If ``path`` is a
    symbolic link, its target is written and the link remains.
    """
    path = pathlib.Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile('w', dir=path.parent, delete=False,
                                     prefix=f'.{path.name}') as file:
        new = pathlib.Path(file.name)
        try:
            file.write(content)
            file.flush()
            # otherwise a crash could leave the new name with an empty file
            os.fsync(file.fileno())
            _make_alike(new, like)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise


def _make_alike(path: pathlib.Path, like: pathlib.Path) -> None:
    try:
        old = like.stat()
        os.chown(path, old.st_uid, old.st_gid)
        path.chmod(old.st_mode & 0o7777)
    except FileNotFoundError:
        path.chmod(0o644)

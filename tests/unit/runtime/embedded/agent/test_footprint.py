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

"""Memory that a template need not have."""

import types
from unittest import mock

from kata_openstack.runtime.embedded.agent import footprint
from kata_openstack.runtime.embedded.agent import system
from tests.unit.runtime.embedded.image import base

# as Linux 6.1 writes it: the number of free blocks of each order, 0 to 10
_BUDDYINFO = """\
Node 0, zone      DMA      1      0      0      0      0      0      0      0      1      7      3
Node 0, zone    DMA32      1      2      0      0      0      0      0      0      2      9     38
"""  # noqa: E501


class TestFiles(base.FolderTestCase):
    def module(self, name):
        return types.SimpleNamespace(__file__=str(self.folder / name))

    def test_only_compiled_modules_that_are_loaded_go(self):
        for name in ('loaded.pyc', 'frozen.pyc', 'later.pyc', 'source.py',
                     'library.so'):
            (self.folder / name).touch()
        footprint.remove_loaded([
            self.module('loaded.pyc'), self.module('frozen.py'),
            self.module('gone.pyc'), self.module('source.py'),
            self.module('library.so'), types.SimpleNamespace(),
            types.SimpleNamespace(__file__=None)])
        self.assertEqual(['later.pyc', 'library.so', 'source.py'],
                         sorted(path.name for path in self.folder.iterdir()))


class TestFreeMemory(base.FolderTestCase):
    def test_as_much_is_taken_as_is_in_small_blocks(self):
        parts = []

        class Part(bytearray):
            def __init__(self, size):
                super().__init__(size)
                parts.append(self)

            def __setitem__(self, pages, values):
                self.touched = len(range(*pages.indices(len(self))))
                super().__setitem__(pages, values)
        with (mock.patch.object(system, 'read', return_value=_BUDDYINFO),
              mock.patch.object(footprint, 'bytearray', Part, create=True)):
            footprint.clear_free()
        # 1 + 256 and 1 + 2 * 2 + 2 * 256 pages, in parts of 128
        self.assertEqual([512 * 1024] * 7, [len(part) for part in parts])
        self.assertEqual({128}, {part.touched for part in parts})

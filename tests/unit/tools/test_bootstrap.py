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

"""The package lists of tools/bootstrap.sh."""

import pathlib
import subprocess

from tests.unit import base

REPOSITORY = pathlib.Path(__file__).parents[3]


def packages(*arguments):
    return subprocess.run(
        ['bash', '-euc', 'REPOSITORY=$0; source "$0/tools/bootstrap.sh"; '
         'packages_for "$@"', REPOSITORY, *arguments],
        check=True, capture_output=True, text=True).stdout.split()


class TestPackages(base.TestCase):
    def test_virtiofsd_is_a_package_where_qemu_has_none(self):
        for release in ('debian-trixie', 'debian-forky', 'ubuntu-noble'):
            self.assertIn('virtiofsd', packages(release))
        self.assertNotIn('virtiofsd', packages('debian-bookworm'))

    def test_profiles(self):
        node = packages('debian-trixie')
        self.assertIn('crun', node)
        self.assertNotIn('rabbitmq-server', node)
        self.assertNotIn('ethtool', node)
        both = packages('debian-trixie', 'quickstart', 'test')
        self.assertLess(set(node), set(both))
        self.assertLess({'rabbitmq-server', 'ethtool'}, set(both))
        self.assertNotIn('mmdebstrap', both)

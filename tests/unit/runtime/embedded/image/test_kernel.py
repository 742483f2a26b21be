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

"""The guest's kernel."""

import lzma
import os
import shutil
import subprocess
from unittest import mock

import fixtures

from kata_openstack.runtime.embedded.image import bzimage
from kata_openstack.runtime.embedded.image import errors
from kata_openstack.runtime.embedded.image import kernel
from kata_openstack.runtime.embedded.image import vmlinux
from tests.unit.runtime.embedded.image import base


class TestKernel(base.FolderTestCase):
    def setUp(self):
        super().setUp()
        (self.folder / 'boot').mkdir()
        (self.folder / 'boot' / 'vmlinuz-6.1.0-9').write_bytes(b'image')
        self.modules = self.folder / 'lib/modules/6.1.0-9/kernel/drivers'
        self.modules.mkdir(parents=True)

    def module(self, name, depends, suffix=''):
        content = b'\x7fELF\0alias=x\0depends=' + depends + b'\0retpoline=Y'
        if suffix:
            content = lzma.compress(content)
        (self.modules / f'{name}.ko{suffix}').write_bytes(content)

    def test_modules_come_after_what_they_need(self):
        self.module('virtio-ring', b'')
        self.module('virtio', b'virtio_ring', '.xz')
        self.module('net', b'virtio,failover')
        self.module('failover', b'')
        found = kernel.Kernel(self.folder).modules(['net', 'builtin'])
        self.assertEqual(['virtio_ring', 'virtio', 'failover', 'net'],
                         list(found))
        self.assertTrue(found['virtio'].startswith(b'\x7fELF'))

    def test_the_unpacked_image_is_preferred(self):
        self.assertEqual('vmlinuz-6.1.0-9',
                         kernel.Kernel(self.folder).image.name)
        (self.folder / 'vmlinux').write_bytes(b'x')
        found = kernel.Kernel(self.folder)
        self.assertEqual('vmlinux', found.image.name)
        self.assertEqual('6.1.0-9', found.release)
        (self.folder / 'vmlinux-slim').write_bytes(b'x')
        self.assertEqual('vmlinux-slim',
                         kernel.Kernel(self.folder).image.name)


# the programs of apt, for one package whose file lies in a folder
_APT_CACHE = """\
#!/bin/sh
echo 'linux-image-cloud-amd64'
echo "  Depends: linux-image-$(cat {0}/abi)-cloud-amd64"
"""
_APT_GET = """\
#!/bin/sh
echo "$@" >> {0}/calls
[ ! -e {0}/offline ] || {{ echo 'E: Failed to fetch' >&2; exit 100; }}
case "$*" in
*--print-uris*)
    for name in $(ls {0}/archive); do
        echo "'http://mirror.test/$name' $name 5 SHA256:0"
    done ;;
*) cp {0}/archive/* . ;;
esac
"""


class TestUnpack(base.FolderTestCase):
    def setUp(self):
        super().setUp()
        self.state = self.folder / 'state'
        self.state.mkdir()
        (self.folder / 'bin').mkdir()
        for name, text in (('apt-cache', _APT_CACHE), ('apt-get', _APT_GET)):
            program = self.folder / 'bin' / name
            program.write_text(text.format(self.folder))
            program.chmod(0o755)
        self.useFixture(fixtures.EnvironmentVariable(
            'PATH', f'{self.folder}/bin:{os.environ["PATH"]}'))
        self.steps = []
        self.offer('6.1.0-9', '6.1.1-1')

    def package(self, abi, version):
        """Make a kernel package."""
        tree = self.folder / 'tree'
        shutil.rmtree(tree, ignore_errors=True)
        (tree / 'DEBIAN').mkdir(parents=True)
        (tree / 'DEBIAN' / 'control').write_text(
            f'Package: linux-image-{abi}-cloud-amd64\nVersion: {version}\n'
            'Architecture: amd64\nMaintainer: x <x@x.test>\n'
            'Description: x\n')
        (tree / 'boot').mkdir()
        (tree / 'boot' / f'vmlinuz-{abi}-cloud-amd64').write_text(version)
        path = self.folder / f'linux-image-{abi}-cloud-amd64_{version}.deb'
        subprocess.run(['dpkg-deb', '--build', '--root-owner-group', tree,
                        path], check=True, capture_output=True)
        return path

    def offer(self, abi, version):
        """Let apt have this package."""
        (self.folder / 'abi').write_text(abi)
        archive = self.folder / 'archive'
        shutil.rmtree(archive, ignore_errors=True)
        archive.mkdir()
        path = self.package(abi, version)
        path.rename(archive / path.name)

    def calls(self):
        return (self.folder / 'calls').read_text().splitlines()

    def unpack(self, package='', used=None, **more):
        return kernel.unpack(str(package), 'x86_64', self.state,
                             used and used.folder, self.steps.append, **more)

    def test_the_newest_if_there_is_none(self):
        found = self.unpack()
        self.assertEqual('6.1.0-9-cloud-amd64', found.release)
        self.assertEqual('6.1.1-1', found.image.read_text())
        self.assertEqual([found.folder], list(self.state.iterdir()))

    def test_the_one_in_use_stays(self):
        used = self.unpack()
        self.offer('6.1.0-10', '6.1.2-1')
        (self.folder / 'calls').unlink()
        self.assertEqual(used.folder, self.unpack(used=used).folder)
        self.assertFalse((self.folder / 'calls').exists())

    def test_an_update(self):
        used = self.unpack()
        (self.folder / 'calls').unlink()
        # the same one is not downloaded again
        self.assertEqual(used.folder,
                         self.unpack(used=used, newest=True).folder)
        self.assertEqual(1, len(self.calls()))
        # a new version may have the same name
        for abi, version in (('6.1.0-9', '6.1.1-2'), ('6.1.0-10', '6.1.2-1')):
            self.offer(abi, version)
            new = self.unpack(used=used, newest=True)
            self.assertEqual(version, new.image.read_text())
            self.assertEqual(f'{abi}-cloud-amd64', new.release)
            self.assertTrue(used.image.exists())
            used = new

    def test_the_image_is_slimmed_if_possible(self):
        plain = mock.patch.object(bzimage, 'unpack', return_value=b'plain')
        for slim, expected in (
                ({'return_value': b'slim'}, ('vmlinux-slim', b'slim')),
                ({'side_effect': vmlinux.NotSlimmed},
                 ('vmlinux', b'plain'))):
            with plain, mock.patch.object(vmlinux, 'slim', **slim) as called:
                image = self.unpack().image
            called.assert_called_with(b'plain')
            self.assertEqual(expected, (image.name, image.read_bytes()))
            shutil.rmtree(image.parent)

    def test_one_that_a_former_release_unpacked_is_outdated(self):
        used = self.unpack()
        stamp = used.folder / 'package'
        former = stamp.read_text().split()[0]
        self.assertEqual(former, next((self.folder / 'archive').iterdir()).name)
        stamp.write_text(former)
        used.folder.rename(self.state / 'kernel-former')
        used = kernel.Kernel(self.state / 'kernel-former')
        self.assertNotEqual(used.folder,
                            self.unpack(used=used, newest=True).folder)

    def test_offline(self):
        used = self.unpack()
        (self.folder / 'offline').touch()
        error = self.assertRaises(errors.KernelMissing, self.unpack,
                                  used=used, newest=True)
        self.assertIn('Failed to fetch', str(error))
        self.assertEqual([used.folder], list(self.state.iterdir()))

    def test_a_package_of_the_operator(self):
        package = self.package('6.12.0-1', '6.12.1-1')
        used = self.unpack(package)
        self.assertEqual('6.12.1-1', used.image.read_text())
        for newest in (False, True):
            self.assertEqual(used.folder, self.unpack(
                package, used=used, newest=newest).folder)
        os.utime(package, (1, 1))  # another file of this name
        self.assertNotEqual(used.folder,
                            self.unpack(package, used=used).folder)
        self.assertFalse((self.folder / 'calls').exists())

    def test_the_folder_of_a_former_release(self):
        former = self.state / 'kernel'
        self.unpack().folder.rename(former)
        self.assertEqual(former, self.unpack(
            used=kernel.Kernel(former), newest=True).folder)

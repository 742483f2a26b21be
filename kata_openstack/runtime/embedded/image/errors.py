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

"""Errors of the preparation of the embedded runtime."""

from kata_openstack import exception


class ToolMissing(exception.KataError):
    msg_fmt = '%(tool)s is not installed.'
    remedy_fmt = 'Install it: apt-get install %(package)s'


class KernelMissing(exception.KataError):
    """The embedded runtime has no guest kernel."""

    msg_fmt = 'There is no kernel package for the guest: %(why)s.'
    remedy_fmt = ('Run apt-get update, or name a linux-image-*-cloud-*.deb in '
                  '[embedded] kernel_package.')


class GuestImageFailed(exception.KataError):
    msg_fmt = 'The guest image could not be built: %(why)s.'
    remedy_fmt = "Check Debian's python3 and crun packages on the node."


class NoSpace(exception.KataError):
    msg_fmt = ('%(path)s has %(free_mib)d MiB left, but %(needed_mib)d MiB '
               'are needed.')
    remedy_fmt = '%(remedy)s'


class TemplateFailed(exception.KataError):
    """The VM from which sandboxes are cloned could not be made."""

    msg_fmt = 'The VM template could not be made: %(why)s.'
    remedy_fmt = ('Check the QEMU package, and that /dev/shm and the memory '
                  'suffice.')

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


class ProgramMissing(exception.KataError):
    """QEMU or virtiofsd is not where it should be."""

    msg_fmt = '%(why)s.'
    remedy_fmt = '%(remedy)s'


class KernelMissing(exception.KataError):
    """The embedded runtime has no guest kernel."""

    msg_fmt = 'No usable kernel package for the guest: %(why)s.'
    remedy_fmt = ('Run apt-get update, or set [embedded] kernel_package to a '
                  'linux-image-*-cloud-*.deb file of Debian. Other '
                  'distributions, such as Ubuntu, have no such package.')


class GuestImageFailed(exception.KataError):
    msg_fmt = 'Cannot build the guest image: %(why)s.'
    remedy_fmt = ("Check that Debian's python3 and crun packages on the node "
                  'are complete.')


class NoSpace(exception.KataError):
    msg_fmt = ('Pods on this node may use %(limit_mib)d MiB of memory, but '
               'templates and the smallest VM need %(needed_mib)d MiB.')
    remedy_fmt = ('Enlarge [kata] pod_memory_mib, or reduce [embedded] '
                  'template_memory_mib.')


class TemplateFailed(exception.KataError):
    """The VM from which sandboxes are cloned could not be created."""

    msg_fmt = 'Cannot create the VM template: %(why)s.'
    remedy_fmt = ('Check the QEMU package, the free memory, and the '
                  'memory of [kata] pod_memory_mib.')


class NotPrepared(exception.KataError):
    msg_fmt = 'The embedded runtime is not prepared: %(path)s: %(why)s.'
    remedy_fmt = 'Run "kata-openstack embedded prepare" as root.'

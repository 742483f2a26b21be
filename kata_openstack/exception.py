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

"""Errors that say what happened and what to do about it.

Every error carries two sentences: the cause, which names the offending
value, and the remedy. ``str()`` gives both, so a message that reaches
Zun's ``status_reason`` is useful as it is. The classes cross RPC by name;
keep their constructors keyword-only with JSON-able values.
"""

from typing import Any


class KataError(Exception):
    """Base of all errors of this project.

    Subclasses set ``msg_fmt`` and ``remedy_fmt``, both filled from the
    keyword arguments. A positional message replaces the cause; that is
    also how oslo.messaging rebuilds an error on the caller's side.
    """

    msg_fmt = 'An unknown error occurred.'
    remedy_fmt = ''

    def __init__(self, message: str | None = None, **kwargs: Any) -> None:
        if message is None:
            if 'why' in kwargs:  # often a sentence; the format has its stop
                kwargs['why'] = str(kwargs['why']).rstrip('. ')
            cause = self.msg_fmt % kwargs
            remedy = self.remedy_fmt % kwargs
            message = f'{cause} {remedy}' if remedy else cause
        self.kwargs = kwargs
        super().__init__(message)


class InvalidInput(KataError):
    """A value from a request cannot be used."""

    msg_fmt = '%(field)s has the value %(value)r, which is not usable: %(why)s.'
    remedy_fmt = '%(remedy)s'


class Unsupported(KataError):
    """An operation that this project does not offer (yet)."""

    msg_fmt = 'kata-openstack does not support %(operation)s.'
    remedy_fmt = '%(remedy)s'


class NotFound(KataError):
    msg_fmt = '%(kind)s %(id)s is not on this node.'
    remedy_fmt = 'Delete it and create it again.'


class Conflict(KataError):
    """The object is in a state in which the operation makes no sense."""

    msg_fmt = '%(kind)s %(id)s is %(state)s.'
    remedy_fmt = '%(remedy)s'


class ImageNotFound(KataError):
    msg_fmt = 'Image %(image)s was not found in its registry.'
    remedy_fmt = ('Check the name and the tag, and that the registry holds '
                  'the image for this architecture.')


class RegistryUnreachable(KataError):
    msg_fmt = 'The registry of image %(image)s cannot be reached: %(why)s.'
    remedy_fmt = ('Check the registry host in the image name and the '
                  "compute node's route, proxy and mirrors.")


class RegistryDenied(KataError):
    msg_fmt = 'The registry refused access to image %(image)s.'
    remedy_fmt = ('Give the right user name and password: openstack '
                  'appcontainer registry create, then --registry.')


class ImagePullFailed(KataError):
    msg_fmt = 'Image %(image)s could not be pulled: %(why)s.'
    remedy_fmt = "See kata-compute's log on the node."


class NoHandler(KataError):
    """No runtime handler of this node satisfies the request.

    ``why`` lists, for each hypervisor, the first thing against it.
    """

    msg_fmt = 'No hypervisor of this node can run this: %(why)s.'
    remedy_fmt = 'Run "kata-openstack host check" on the node.'


class UnknownRuntime(KataError):
    """``why``: a reason in parentheses for a name of former times, or ''."""

    msg_fmt = 'Runtime %(runtime)s is not known here%(why)s.'
    remedy_fmt = 'Use %(use)s.'


class NotEnoughMemory(KataError):
    msg_fmt = ('%(asked_mib)d MiB of memory were asked for, but a sandbox on '
               'this node can have %(limit_mib)d MiB at most.')
    remedy_fmt = 'Ask for less with --memory, or use a larger node.'


class NetworkFailed(KataError):
    msg_fmt = 'The network of %(id)s could not be set up: %(why)s.'
    remedy_fmt = '%(remedy)s'


class CommandNotFound(KataError):
    msg_fmt = 'The command %(command)s does not exist in image %(image)s.'
    remedy_fmt = ('Give the full path of a program that the image holds, or '
                  'leave the command out to use the default of the image.')


class RuntimeFailed(KataError):
    """containerd or the runtime failed in a way that has no better name."""

    msg_fmt = '%(operation)s failed: %(why)s.'
    remedy_fmt = "See kata-compute's and containerd's logs on the node."


class NodeUnavailable(KataError):
    """kata-compute did not answer."""

    msg_fmt = 'kata-compute on %(host)s does not answer: %(why)s.'
    remedy_fmt = 'Check that the service runs there and reaches the broker.'


class ContainerdUnavailable(KataError):
    msg_fmt = 'containerd at %(address)s does not answer: %(why)s.'
    remedy_fmt = ('Start containerd on the node, with its CRI plugin enabled '
                  '(version 1.6 or later), and check [containerd] address.')

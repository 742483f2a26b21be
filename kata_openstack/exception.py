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

"""Errors with a cause and a remedy.

The cause names the offending value; the remedy tells the user or operator
what to do. ``str()`` returns both, because the text of an error often ends
up in Zun's ``status_reason``. The classes cross RPC by name, so construct
them with keyword arguments only, whose values fit into JSON.
"""

from typing import Any


class KataError(Exception):
    """Base of all errors of this project.

    Subclasses set ``msg_fmt`` and ``remedy_fmt``; both are filled from the
    keyword arguments. A positional message replaces both. oslo.messaging
    uses it to rebuild an error on the caller's side.
    """

    msg_fmt = 'An unknown error occurred.'
    remedy_fmt = ''

    def __init__(self, message: str | None = None, **kwargs: Any) -> None:
        if message is None:
            if 'why' in kwargs:  # msg_fmt adds the full stop
                kwargs['why'] = str(kwargs['why']).rstrip('. ')
            cause = self.msg_fmt % kwargs
            remedy = self.remedy_fmt % kwargs
            message = f'{cause} {remedy}' if remedy else cause
        self.kwargs = kwargs
        super().__init__(message)


class InvalidInput(KataError):
    """A value in a request or in the configuration is invalid."""

    msg_fmt = 'Invalid %(field)s %(value)r: %(why)s.'
    remedy_fmt = '%(remedy)s'


class Unsupported(KataError):
    """The driver does not offer this operation."""

    msg_fmt = 'kata-openstack does not support %(operation)s.'
    remedy_fmt = '%(remedy)s'


class NotFound(KataError):
    msg_fmt = '%(kind)s %(id)s is not on this node.'
    remedy_fmt = 'Delete it and create it again.'


class Conflict(KataError):
    """The state of the object does not allow the operation."""

    msg_fmt = '%(kind)s %(id)s is %(state)s.'
    remedy_fmt = '%(remedy)s'


class ImageNotFound(KataError):
    msg_fmt = 'Image %(image)s was not found.'
    remedy_fmt = ('Check the name, the tag or digest, and that the registry '
                  "has the image for the node's architecture. With the pull "
                  'policy "never", the node must already have the image; if '
                  'it is not public, your project must have pulled it to '
                  'this node before.')


class RegistryUnreachable(KataError):
    msg_fmt = ('The registry of image %(image)s cannot be reached, or does '
               'not answer as a registry.')
    remedy_fmt = ('Check the registry host in the image name, and the '
                  "compute node's routes, proxy and registry mirrors. The "
                  "cause is in kata-compute's log on the node.")


class RegistryDenied(KataError):
    msg_fmt = 'The registry refused access to image %(image)s.'
    remedy_fmt = ('Store the user name and password with openstack '
                  'appcontainer registry create, and name that registry with '
                  '--registry.')


class ImagePullFailed(KataError):
    msg_fmt = 'Cannot pull image %(image)s: %(why)s.'
    remedy_fmt = "Find the cause in kata-compute's log on the node."


class GlanceFailed(KataError):
    msg_fmt = 'Cannot get image %(image)s from Glance: %(why)s.'
    remedy_fmt = '%(remedy)s'


class NoHandler(KataError):
    """No runtime handler of this node satisfies the request.

    ``why`` lists the first obstacle of each hypervisor.
    """

    msg_fmt = 'No hypervisor of this node can run the pod: %(why)s.'
    remedy_fmt = ('Reduce the needs of the pod, or run "kata-openstack host '
                  'check" on the node and follow its remedies.')


class UnknownRuntime(KataError):
    """The node does not know the runtime.

    ``why`` is empty, or explains in parentheses why a former name is no
    longer valid.
    """

    msg_fmt = 'Unknown runtime %(runtime)s%(why)s.'
    remedy_fmt = 'Use %(use)s.'


class NotEnoughMemory(KataError):
    msg_fmt = ('The pod needs %(asked_mib)d MiB of memory with the overhead '
               'of its VM, but all pods on this node together can have at '
               'most %(limit_mib)d MiB.')
    remedy_fmt = 'Request less with --memory, or use a larger node.'


class NodeFull(KataError):
    msg_fmt = ('The pod needs %(asked_mib)d MiB of memory with the overhead '
               'of its VM, but of the %(limit_mib)d MiB for pods on this '
               'node, other pods have %(used_mib)d MiB.')
    remedy_fmt = ('Stop or delete other containers on this node, or request '
                  'less with --memory.')


class NotEnoughDisk(KataError):
    msg_fmt = ('%(what)s needs %(asked_mib)d MiB of free disk space, of which '
               'the node keeps %(reserve_mib)d MiB free, but the node has '
               '%(free_mib)d MiB.')
    remedy_fmt = ('Request a smaller --disk, delete other containers on this '
                  'node, or use another node.')


class NodeBusy(KataError):
    """Too many requests of one kind are in progress. Nothing was done."""

    msg_fmt = ('The node has too many %(kind)s in progress: %(limit)d of '
               '%(whose)s.')
    remedy_fmt = 'Wait until some of them have ended, and try again.'


class NetworkFailed(KataError):
    msg_fmt = 'Cannot set up the network of %(id)s: %(why)s.'
    remedy_fmt = '%(remedy)s'


class CommandNotFound(KataError):
    msg_fmt = 'The command %(command)s does not exist in image %(image)s.'
    remedy_fmt = ('Give the full path of a program that the image holds, or '
                  'leave the command out to use the default of the image.')


class RuntimeFailed(KataError):
    """containerd or the runtime failed, and no other class fits."""

    msg_fmt = '%(operation)s failed: %(why)s.'
    remedy_fmt = ("Find the cause in kata-compute's and containerd's logs on "
                  'the node.')


class NodeUnavailable(KataError):
    """kata-compute did not answer."""

    msg_fmt = 'kata-compute on %(host)s does not answer: %(why)s.'
    remedy_fmt = ('Check that kata-compute runs there and reaches the message '
                  'broker, and that [DEFAULT] host is the same in its '
                  "configuration and in zun-compute's.")


class VersionMismatch(KataError):
    """kata-compute does not know a call of the driver. Nothing was done."""

    msg_fmt = ('kata-compute and zun-compute on %(host)s are of different '
               'releases: kata-compute does not know the call %(operation)s. '
               'The RPC version of kata-compute is %(node)s, and that of '
               'zun-compute %(driver)s.')
    remedy_fmt = ('Upgrade kata-openstack for %(older)s on %(host)s to the '
                  'release of %(newer)s, and restart %(older)s there.')


class Expired(KataError):
    """A request waited too long before it was executed. Nothing was done."""

    msg_fmt = ('%(operation)s was not executed: the request expired '
               '%(late).0f s before kata-compute could begin with it.')
    remedy_fmt = ('Try again. If it happens often, the node or the message '
                  'broker is overloaded, or the clocks of the hosts differ.')


class ContainerdUnavailable(KataError):
    msg_fmt = 'containerd at %(address)s does not answer: %(why)s.'
    remedy_fmt = ('Start containerd 1.6 or later on the node, with its CRI '
                  'plugin enabled, and check [containerd] address.')
